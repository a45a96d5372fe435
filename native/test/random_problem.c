/* Random combinations of all options of attention. */
#include <string.h>

#include "problem.h"
#include "programs.h"

enum { MOST_BATCH = 6 };

/* Sizes that reach each path, and cost the reference little. */
static struct shape random_shape(void) {
  struct shape s = {.batch = 1 + up_to(2),
                    .heads_kv = 1 + up_to(1),
                    .group = 1 + up_to(3),
                    .len_q = up_to(20),
                    .len_k = up_to(30),
                    .dim_qk = 1 + up_to(40),
                    .dim_v = 2 * (1 + up_to(20)),
                    .maps = 1 + (int)up_to(1),
                    .value_parts = one_in(4) ? 2 : 1,
                    .range = one_in(6) ? 12 : 1,
                    .gap = up_to(3),
                    .shared_keys = one_in(5),
                    .one_key = one_in(3),
                    .backwards = one_in(8)};
  switch (up_to(9)) {
  case 0: /* several tiles, several blocks of keys */
  case 1:
    s.batch = 1 + up_to(1);
    s.len_q = 1 + up_to(150);
    s.len_k = up_to(300);
    s.dim_qk = 1 + up_to(20);
    s.dim_v = 2 * (1 + up_to(10));
    break;
  case 2: /* few rows, several chunks of keys */
  case 3:
    s.batch = 1 + up_to(1);
    s.heads_kv = 1;
    s.len_q = 1 + up_to(7);
    s.len_k = up_to(2600);
    s.dim_qk = 1 + up_to(15);
    s.dim_v = 2 * (1 + up_to(7));
    break;
  case 4: /* some rows, several chunks of keys */
    s.batch = s.heads_kv = 1;
    s.group = 1 + up_to(1);
    s.len_q = 9 + up_to(39);
    s.len_k = up_to(1500);
    s.dim_qk = 1 + up_to(9);
    s.dim_v = 2 * (1 + up_to(5));
    break;
  }
  return s;
}

void random_lens(int32_t *lens, int64_t count, int64_t most) {
  for (int64_t b = 0; b < count; b++) lens[b] = (int32_t)(one_in(6) ? 0 : one_in(5) ? 1 : one_in(4) ? up_to(9) : up_to(most));
}

struct problem *random_problem(void) {
  struct shape shape = random_shape();
  int32_t q_lens[MOST_BATCH], k_lens[MOST_BATCH];
  const bool packed = one_in(5);
  if (packed) {
    shape.batch = 1 + up_to(MOST_BATCH - 1);
    shape.shared_keys = false;
    random_lens(q_lens, shape.batch, shape.len_q);
    random_lens(k_lens, shape.batch, shape.len_k);
    if (one_in(2)) memcpy(k_lens, q_lens, sizeof k_lens);
    shape.q_lens = q_lens;
    shape.k_lens = k_lens;
  }
  struct problem *p = make(shape);
  /* The tail moves the descriptor: it is set through p->d, after each option. */
  if (shape.maps == 2) {
    p->d->key_map = shape.one_key ? A4J_KEY_PAIRS : (int)up_to(1);
    p->d->lambda_form = (int)up_to(1);
  }
  set_causal(p->d, (int)up_to(2));
  if (one_in(4)) with_offsets(p);
  if (one_in(4)) {
    p->d->window_left = one_in(20) ? INT64_MAX : up_to(one_in(2) ? 10 : 200);
    p->d->window_right = one_in(20) ? INT64_MAX : one_in(2) ? up_to(20) : p->d->window_right;
  }
  if (one_in(8)) p->d->chunk = 1 + up_to(one_in(2) ? 10 : 200);
  if (one_in(8)) with_key_limit(p, up_to(p->d->len_k));
  if (one_in(4))
    with_lengths(p);
  else if (!packed && one_in(8))
    with_row_lengths(p, one_in(2));
  static const int64_t range_rows[] = {1, 3, 16, 48, 100};
  if (one_in(6)) with_ranges(p, range_rows[up_to(4)], one_in(2), one_in(2));
  if (!packed) {
    if (one_in(4)) with_mask(p, (int)(next() & next() & SPREADS), (enum pattern)up_to(3));
    if (one_in(6)) with_key_mask(p, one_in(3), (enum pattern)up_to(3));
    if (one_in(4)) with_bias(p, (int)(next() & next() & SPREADS), one_in(2), (enum pattern)up_to(3));
    if (one_in(6)) with_keep(p, (int)(next() & next() & SPREADS));
    if (one_in(4)) with_weights(p);
    if (one_in(5)) with_scores(p, (int)up_to(2));
  }
  if (one_in(5)) p->d->softcap = one_in(2) ? 50 : 0.5f + (float)up_to(3);
  if (one_in(5)) with_alibi(p);
  if (shape.maps == 1 && one_in(3)) with_relative(p, one_in(2) ? 20 : 300);
  if (one_in(5)) with_sinks(p);
  if (one_in(5)) with_mask_program(p, (int)up_to(MASK_PROGRAMS - 1));
  if (one_in(6)) with_score_program(p, (int)up_to(SCORE_PROGRAMS - 1));
  if (one_in(6)) with_lse_turned(p);
  if (one_in(4)) p->d->scale = one_in(2) ? 0.3f : one_in(2) ? -0.2f : 0;
  p->d->threads = 1 + (int)up_to(2);
  const uint64_t drawn = seed; /* all that is random elsewhere stays as it is */
  if (p->keep == NULL && one_in(5)) with_dropout(p);
  if (!packed && shape.maps == 1 && one_in(3)) with_hardening(p);
  seed = drawn;
  return p;
}
