/*
 * The choice of a tier on other machines: dispatch.c is compiled again, under other names, for a CPU that lacks the first tiers.
 */
#define a4j_cpu_runs other_cpu_runs
#define a4j_kernels_active other_kernels_active
#define a4j_isa_count other_isa_count
#define a4j_isa_name other_isa_name
#define a4j_isa_available other_isa_available
#define a4j_isa_active other_isa_active
#define a4j_isa_select other_isa_select
#include "../src/dispatch.c"

#include "check.h"

static int first_that_runs;

int other_cpu_runs(const char *tier) {
  for (int i = first_that_runs; i < TIERS; i++)
    if (strcmp(tiers[i]->isa, tier) == 0) return 1;
  return 0;
}

/* As in a process that has just started, on a CPU without the tiers before this one. */
static void start_on_cpu_with(int first) {
  first_that_runs = first;
  atomic_store(&active, NULL);
}

static void shouldTakeTheBestTierThatTheCpuRuns(void) {
  for (int first = 0; first < TIERS; first++) {
    start_on_cpu_with(first);
    CHECK_TEXT(other_isa_active(), tiers[first]->isa);
    for (int i = 0; i < TIERS; i++) CHECK_INT(other_isa_available(i), i >= first);
  }
}

static void shouldRefuseTiersThatTheCpuLacksAndKeepTheOneInUse(void) {
  for (int first = 0; first < TIERS; first++)
    for (int i = 0; i < TIERS; i++) {
      start_on_cpu_with(first);
      CHECK_INT(other_isa_select(tiers[i]->isa), i >= first ? A4J_OK : A4J_ISA_UNAVAILABLE);
      CHECK_TEXT(other_isa_active(), tiers[i >= first ? i : first]->isa);
    }
}

static void shouldRefuseNamesThatAreNoTier(void) {
  start_on_cpu_with(0);
  CHECK_INT(other_isa_select("mmx"), A4J_ISA_UNKNOWN);
  CHECK_INT(other_isa_select(""), A4J_ISA_UNKNOWN);
  CHECK_INT(other_isa_select(NULL), A4J_NULL_POINTER);
  CHECK_TEXT(other_isa_active(), tiers[0]->isa);
  CHECK_INT(other_isa_available(-1), 0);
  CHECK_INT(other_isa_available(TIERS), 0);
  CHECK_TEXT(other_isa_name(-1), "");
  CHECK_TEXT(other_isa_name(other_isa_count()), "");
}

int main(void) {
  RUN(shouldTakeTheBestTierThatTheCpuRuns);
  RUN(shouldRefuseTiersThatTheCpuLacksAndKeepTheOneInUse);
  RUN(shouldRefuseNamesThatAreNoTier);
  return CHECK_RESULT();
}
