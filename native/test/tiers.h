/* Runs tests on every tier of kernels that this machine can run. */
#ifndef A4J_TIERS_H
#define A4J_TIERS_H

#include "a4j.h"
#include "check.h"

/*
 * Selects the first tier from number i on that this machine can run, and returns its number. If there is none, selects the best
 * tier of all and returns a4j_isa_count().
 */
static inline int32_t select_tier_from(int32_t i) {
  while (i < a4j_isa_count() && !a4j_isa_available(i)) i++;
  int32_t tier = i < a4j_isa_count() ? i : 0;
  while (!a4j_isa_available(tier)) tier++;
  CHECK_INT(a4j_isa_select(a4j_isa_name(tier)), A4J_OK);
  return i;
}

/* A loop whose body runs with each tier in turn selected; i is its number. The best tier is selected afterwards. */
#define FOR_EACH_TIER(i) for (int32_t i = select_tier_from(0); i < a4j_isa_count(); i = select_tier_from(i + 1))

#endif
