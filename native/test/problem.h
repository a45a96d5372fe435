/*
 * Problems for a4j_attention: seeded random inputs in any layout, options that are added one by one, outputs between guard zones, and
 * the comparison with the textbook formula.
 *
 * Memory that a problem's tensors do not address is NaN in inputs and must stay untouched in outputs. Every buffer ends with its last
 * element, so that AddressSanitizer detects any access beyond it.
 */
#ifndef A4J_PROBLEM_H
#define A4J_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "a4j.h"
#include "reference.h"

/* Splitmix64, the only source of randomness in a test. */
extern uint64_t seed;
uint64_t next(void);
int64_t up_to(int64_t n); /* 0 to n */
float uniform(void);      /* -1 to 1 */
static inline bool one_in(int64_t n) { return up_to(n - 1) == 0; }

/* Guard floats before and after each output. */
enum { GUARD = 64 };

/* A field that is 0 means 1, except len_q, len_k, gap and the flags. */
struct shape {
  int64_t batch, heads_kv, group, len_q, len_k, dim_qk, dim_v;
  int maps, value_parts;
  float range;      /* of q and k: they are in [-range, range] */
  int64_t gap;      /* floats between rows that nobody may touch */
  bool shared_keys; /* all batches read the same keys and values (stride 0) */
  bool one_key;     /* both maps read the same keys (stride 0): Differential Transformer V2 */
  bool backwards;   /* keys and values run backwards in memory */
  const int32_t *q_lens,
      *k_lens; /* a packed batch: `batch` sequences of these lengths; len_q and len_k are set to the largest */
};

struct problem {
  struct attention_call in;
  a4j_attention_desc *d; /* in.d, to change; adding an array to its tail moves it */
  float *q, *k, *v, *lambda, *bias;
  uint8_t *mask, *key_mask, *keep;
  float *relative_keys, *relative_values, *noise;
  void *tables[4];                                                         /* of programs (programs.h) */
  int64_t q_count, k_count, v_count, lambda_count, bias_count, mask_count; /* elements in memory */
  int64_t relative_keys_count, relative_values_count;
  int64_t k_shift, v_shift;            /* from there to the first key of the first batch */
  float *out, *lse, *weights, *scores; /* each with GUARD floats before and after; the last two NULL if not requested */
  int64_t out_count, lse_count, weights_count, scores_count;
  int64_t work;
  uint64_t seed; /* what it was made from */
  /* How q, k and v, and out are stored when it runs (stored.c); the arrays above hold their values as floats. */
  int q_storage, kv_storage, out_storage;
  float *k_scales, *v_scales; /* of A4J_I8: laid out as k and v, each row's at its first element */
  int64_t page_rows;          /* 0: k and v are not paged */
  bool without_lse;
  /* Of the last comparison: the largest error of out, that of the float formula, and the largest number wanted. */
  double error, plain_error, largest_out;
};

struct problem *make(struct shape shape);
void release(struct problem *p);

/* Along which dimensions a mask, bias or keep is broadcast, and whether rows are the innermost dimension in memory. */
enum spread { OVER_BATCH = 1, OVER_HEADS = 2, OVER_ROWS = 4, OVER_KEYS = 8, TRANSPOSED = 16, SPREADS = 31 };

enum pattern {
  SPECKLED,   /* a random quarter hidden */
  SCARCE,     /* nearly all hidden */
  PATCHES,    /* whole patches of some dozens of rows and keys hidden */
  SECOND_HALF /* the second half of the keys hidden */
};

/* Options, in problem.c like everything above. with_key_limit must precede masks and bias, whose width it sets. */
void with_lengths(struct problem *p);
void with_row_lengths(struct problem *p, bool shared);
void with_offsets(struct problem *p);
void with_key_limit(struct problem *p, int64_t limit);
void with_ranges(struct problem *p, int64_t range_rows, bool each_batch, bool each_head);
/* One list of these ranges, for all rows. */
void with_one_list(struct problem *p, int count, const int32_t (*ranges)[2]);
void with_mask(struct problem *p, int spread, enum pattern pattern);
void with_key_mask(struct problem *p, bool shared, enum pattern pattern);
/* hide: whether hidden keys get -infinity. */
void with_bias(struct problem *p, int spread, bool hide, enum pattern pattern);
void with_keep(struct problem *p, int spread);
void with_dropout(struct problem *p);
/* Hardening of some kind, some k, with or without noise; maps is 1. */
void with_hardening(struct problem *p);
void with_alibi(struct problem *p);
/* Tables of up to `rows` relative positions, of keys, values or both; maps is 1. */
void with_relative(struct problem *p, int64_t rows);
void with_sinks(struct problem *p);
void with_weights(struct problem *p);
void with_scores(struct problem *p, int stage);
/* logsumexp as [maps, heads, batch, len] with a gap after each row, instead of [batch, heads, maps, len]. */
void with_lse_turned(struct problem *p);

/* Storage, in stored.c: rounds the numbers to those that the type can represent. Pages and packed keys exclude each other. */
void with_query_storage(struct problem *p, int q_storage, int out_storage);
void with_kv_storage(struct problem *p, int storage);
void with_pages(struct problem *p, int64_t page_rows);
/* A4J_ARITHMETIC_BF16: the formula then takes q, k and v rounded to bfloat16. */
void with_bf16_products(struct problem *p);
/* Rounds what is finite to a storage of 16 bits. */
void round_all(int storage, float *x, int64_t count);

/* Appends an array to the descriptor's tail and returns its offset. */
int64_t append(struct problem *p, const void *array, int64_t bytes);

/* ---- Random problems: random_problem.c ---- */

/* Lengths of `count` packed sequences: none, one, a few, or up to `most`. */
void random_lens(int32_t *lens, int64_t count, int64_t most);

/* Any combination of options, of sizes that reach every path and cost the reference little. All in float32. */
struct problem *random_problem(void);

/* ---- Running and checking: problem_checks.c ---- */

/* Fills with NaN and infinities every row of k, v and the tables of relative positions, and every bias, that no row sees, and
   each row of q that sees nothing. */
void poison(struct problem *p);

/* Puts one NaN that some row sees into q, k, v, bias or relative positions. */
void put_nan(struct problem *p);

/* a4j_attention with fresh outputs and a workspace full of NaN; -1 if a4j_attention_workspace_bytes refuses for another
   reason. */
int32_t status_of(struct problem *p);

/* A sentence of `what` and of the problem's seed, sizes and options. Valid until the next call. */
const char *described(const struct problem *p, const char *what);

/*
 * Runs and compares: NULL, or a sentence that says what is wrong and names seed and options. Valid until the next call.
 *
 * Where the tier multiplies pairs of bfloat16, each number of the output may also be off by 2^-8 of the sum of w |v|, and logits
 * by what 16 bits of q leave out.
 */
const char *fault_of(struct problem *p);

/*
 * NULL, or what is wrong with the count of work of the last run: less than the scores that are seen, or more than what whole
 * tiles of 48 rows and whole blocks of 64 keys need that hold at least one of them.
 */
const char *work_fault_of(const struct problem *p);

/* a4j_attention_full over copies of q, k and v as they are stored, in stored.c; out, lse, weights and scores as status_of has
   them. */
int32_t run_stored(struct problem *p, float *out, float *lse, float *weights, float *scores);

/* A hash of all bits of all outputs. */
uint64_t hash_of(const struct problem *p);

float out_at(const struct problem *p, int64_t b, int64_t h, int64_t i, int64_t e);
float lse_at(const struct problem *p, int64_t b, int64_t h, int m, int64_t i);

#endif
