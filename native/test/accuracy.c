/*
 * The distribution of errors of attention over random shapes and options, for each tier of this machine:
 *
 *   accuracy [problems] [first seed]
 *
 * The unit is the largest error over the output of the textbook formula in float32 on the same input, at least half a unit in the
 * last place of its largest number; both are errors against the formula in double. The median may be 1.0 at most, the 99th
 * percentile 2.0, the largest 4.0. Left out are outputs of less than LEAST_NUMBERS, because there the textbook is exact by luck,
 * and problems whose q and k go beyond 1, because their logits are hundreds, and a unit in the last place of those decides
 * between keys.
 */
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "problem.h"
#include "tiers.h"

enum { LEAST_NUMBERS = 256 };

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Half a unit in the last place of a float. */
static double half_unit(double x) { return x == 0 ? 0 : ldexp(1, ilogb(x) - 24); }

static bool is_measured(const struct problem *p) {
  const a4j_attention_desc *d = p->d;
  if (d->batch * d->heads_q * d->len_q * d->dim_v < LEAST_NUMBERS) return false;
  for (int64_t i = 0; i < p->q_count; i++)
    if (fabsf(p->q[i]) > 1) return false;
  return true;
}

static void measure(int problems, uint64_t first_seed) {
  double *ratio = malloc(sizeof(double) * (size_t)problems);
  if (ratio == NULL) abort();
  double worst = -1;
  char of_worst[1024] = "";
  int counted = 0;
  seed = first_seed;
  for (int i = 0; i < problems; i++) {
    struct problem *p = random_problem();
    if (is_measured(p)) {
      const char *fault = fault_of(p);
      CHECK(fault == NULL, "%s", fault);
      const double unit = fmax(p->plain_error, half_unit(p->largest_out));
      ratio[counted] = unit > 0 ? p->error / unit : 0;
      if (ratio[counted] > worst) {
        worst = ratio[counted];
        snprintf(of_worst, sizeof of_worst, "%s", described(p, "the largest"));
      }
      counted++;
    }
    release(p);
  }
  qsort(ratio, (size_t)counted, sizeof *ratio, ascending);
  CHECK(counted > problems / 4, "only %d of %d problems are large enough", counted, problems);
  if (counted == 0) return;
  const double p50 = ratio[counted / 2], p99 = ratio[(int64_t)counted * 99 / 100];
  printf("%-10s %d problems: p50 %.2f, p90 %.2f, p99 %.2f, largest %.2f\n  %s\n", a4j_isa_active(), counted, p50,
         ratio[(int64_t)counted * 9 / 10], p99, worst, of_worst);
  fflush(stdout);
  CHECK(p50 <= 1.0, "%s: half of the problems have an error of at most %.3f times the textbook's, wanted 1.0", a4j_isa_active(),
        p50);
  CHECK(p99 <= 2.0, "%s: 99 of 100 problems have an error of at most %.3f times the textbook's, wanted 2.0", a4j_isa_active(),
        p99);
  CHECK(worst <= 4.0, "%s: the largest error is %.3f times the textbook's, wanted 4.0", a4j_isa_active(), worst);
  free(ratio);
}

int main(int argc, char **argv) {
  const int problems = argc > 1 ? atoi(argv[1]) : 20000;
  const uint64_t first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : check_seed();
  if (problems < 1) {
    fprintf(stderr, "accuracy [problems] [first seed]: %s is no number of problems\n", argv[1]);
    return 2;
  }
  FOR_EACH_TIER (i) measure(problems, first_seed);
  return CHECK_RESULT();
}
