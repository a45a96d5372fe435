/*
 * The kernels of one tier, and what each slot promises.
 *
 * Every kernel is serial, allocates nothing, prints nothing and never aborts; the exported function has checked its arguments. The
 * bodies are in kernels/<name>.inc and are compiled once per tier, in the words of its kernels/vec_<isa>.h.
 */
#ifndef A4J_KERNELS_H
#define A4J_KERNELS_H

#include <stdint.h>

#include "a4j.h"
#include "program.h"

enum {
  A4J_KEY_BLOCK = 64,                                    /* keys of one step of the online softmax */
  A4J_KEY_STRIP = 256,                                   /* keys that each tile of a group walks before the next tile does */
  A4J_STRIP_KEYS = A4J_KEY_STRIP + A4J_KEY_BLOCK,        /* and those of the blocks that begin among them */
  A4J_LANES_MIN = 4,                                     /* the fewest lanes of any tier */
  A4J_LINE_FLOATS = 16,                                  /* floats in a line of the cache */
  A4J_STORAGES = 6,                                      /* types of stored numbers, enum a4j_dtype */
  A4J_TILE_MAX = 48,                                     /* the most rows of any tier's attention tile */
  A4J_TILE_GROUP = 4,                                    /* the most tiles of a group */
  A4J_FEW_ROWS = 8,                                      /* the most rows of each map that attention_rows takes */
  A4J_RELATIVE_RING = 128,                               /* distances of relative positions that a tile keeps at a time */
  A4J_RELATIVE_ROWS = 2 * A4J_RELATIVE_RING + 3 * 8 + 2, /* rows of a tile's width that this takes */
  A4J_HELD_BLOCK_FLOATS = 12,                            /* floats of the list entry of a block in harden.inc */
  A4J_LINEAR_ROWS = 32,                                  /* the most rows of one call of linear */
  A4J_STATE_VECS = 4,   /* vectors of columns of a state that linear attention works on at a time */
  A4J_QUANTIZED_X = 16, /* columns of x that share a scale in products with quantised weights */
  A4J_PANEL_DEPTH = 512 /* how much of a panel of packed weights is in use at a time */
};

/* The arguments of one call of attention: the checked descriptor, its tensors, and the arrays of its tail (NULL for none). */
struct a4j_attention_call {
  const a4j_attention_desc *desc;
  const void *q, *k, *v;
  const float *k_scales, *v_scales;
  const int32_t *k_pages, *v_pages;
  const float *bias, *relative_keys, *relative_values, *noise, *lambda;
  const uint8_t *mask, *key_mask, *keep;
  void *out;
  float *lse, *weights, *scores;
  const int32_t *key_lengths, *row_offsets, *q_begins, *k_begins, *range_starts, *ranges;
  const float *slopes, *sinks;
  const struct a4j_program *mask_program, *score_program; /* or NULL */
};

/* Where rows are stored: the keys of one map of a head, one part of its values, or weights. Strides are in elements. */
struct a4j_rows {
  const void *first; /* row 0, of page 0 if there are pages */
  int64_t stride;
  int32_t storage;      /* enum a4j_dtype */
  int32_t page_rows;    /* rows of a page, or 0 */
  const int32_t *pages; /* the numbers of the pages, row 0 first */
  int64_t page_stride;
  const float *scales; /* of row 0 (of page 0), or NULL */
  int64_t scale_stride, scale_page_stride;
};

/*
 * Rows of q that share their keys and values: one unit of work of attention. With x = row_begin + r, lane r of the tile is row
 * x / stack of number x % stack of the heads and batches that are stacked, heads before batches.
 */
struct a4j_tile {
  const struct a4j_attention_call *call;
  struct a4j_rows k[2], v[2]; /* the keys of each map, the parts of the values */
  int64_t batch, head;        /* the first of the stack */
  int64_t stack, stack_heads; /* how many heads and batches are stacked; how many of them are heads of one batch */
  int64_t len_q, len_k;       /* rows and keys of the batch */
  int64_t q_begin;            /* its first row, in a packed batch */
  int64_t row_begin;          /* first row of the tile, counted over the stack */
  int32_t rows;               /* how many, at least 1 */
  int64_t key_begin, key_end; /* the keys to process: all, or a chunk */
  float *partial;             /* NULL, or where the result for a chunk goes; for x = map * rows + lane:
                                 { o[x][dim_v] sum of values, m[x] running maximum, l[x] sum } */
  int64_t work;               /* scores computed, added up here */
  int32_t *program_room;      /* for struct a4j_patch; NULL if the call has no program */
};

/* Floats in whole lines. */
static inline int64_t a4j_lines(int64_t floats) { return (floats + A4J_LINE_FLOATS - 1) / A4J_LINE_FLOATS * A4J_LINE_FLOATS; }

/* Whether q, k and v are rounded to bfloat16 before anything else. */
static inline int a4j_rounds(const a4j_attention_desc *d) { return d->arithmetic == A4J_ARITHMETIC_BF16; }

/* Whether tiles convert keys and values before they multiply them. */
static inline int a4j_converts(const a4j_attention_desc *d) { return d->k.dtype != A4J_F32 || a4j_rounds(d); }

/* Whether tiles may multiply pairs of bfloat16, on tiers that have dot products of them; a pair for two channels. */
static inline int a4j_may_pair(const a4j_attention_desc *d) { return d->k.dtype == A4J_BF16 || a4j_rounds(d); }
static inline int64_t a4j_pairs_of(int64_t dim) { return (dim + 1) / 2; }

/* Floats of scratch in which the tiles of a thread convert a strip of keys and values; and weights in pairs of keys. */
static inline int64_t a4j_room_floats(const a4j_attention_desc *d) {
  if (!a4j_converts(d)) return 0;
  return A4J_STRIP_KEYS * (d->maps * a4j_lines(d->dim_qk) + d->value_parts * a4j_lines(d->dim_v / d->value_parts));
}
static inline int64_t a4j_weight_pair_floats(const a4j_attention_desc *d) {
  return a4j_may_pair(d) ? A4J_TILE_MAX * A4J_KEY_BLOCK / 2 : 0;
}

/* The weights of a linear layer, from some row and column on. */
struct a4j_weights {
  struct a4j_rows rows;  /* quantised rows come in blocks of A4J_QUANTIZED_ROWS; the stride is then that of blocks, in bytes */
  a4j_storage quantized; /* the layout of a block, if they are quantised */
  int64_t dim;           /* columns, to the end of the rows */
};

/* The arguments of one call of area features. */
struct a4j_area_call {
  const a4j_area_desc *desc;
  const float *x, *noise;
  float *mean, *sum, *max, *deviation; /* NULL where not wanted */
  int64_t areas;                       /* of one head */
};

/* The arguments of one call of linear attention; decay and beta are NULL if the rule has none. */
struct a4j_linear_attention_call {
  const a4j_linear_attention_desc *desc;
  const float *q, *k, *v, *decay, *beta;
  float *state, *out;
};

/* What there is once for each storage of weights; see the slots. */
typedef void a4j_linear_fn(int64_t rows, int64_t cols, const float *x, int64_t x_stride_row, const struct a4j_weights *weights,
                           const float *bias, int accumulate, float *out, int64_t out_stride_row);
typedef void a4j_pack_fn(int64_t cols, int64_t depth, const struct a4j_weights *weights, float *panel);
typedef void a4j_quantized_fn(int64_t rows, int64_t cols, const void *x, int64_t x_bytes, const struct a4j_weights *weights,
                              const float *bias, int accumulate, float *out, int64_t out_stride_row);

/* `scratch` belongs to the calling thread, has the size that attention.c plans, and is aligned to 64 bytes. Slots
   that are arrays are indexed by storage, and NULL for a storage that they do not take. */
struct a4j_kernels {
  const char *isa;
  int32_t lanes;     /* floats in a vector */
  int32_t tile_rows; /* the most rows of a tile */
  /* Attention for up to A4J_TILE_GROUP tiles of the same keys and values, by their storage: to out, lse, weights and scores, or to
     partial. */
  void (*attention_tiles[A4J_STORAGES])(struct a4j_tile *tiles, int count, float *scratch);
  /* Replaces what is not finite in the output of a tile, and all outputs of the rows in `rows`, a bit a row: with q scaled before
     the products, and weights that are final before they meet the values. */
  void (*attention_again)(struct a4j_tile *tile, uint64_t rows, float *scratch);
  /* Attention for one tile of up to A4J_FEW_ROWS rows, always to partial; o is not written where no row sees any of the keys. */
  void (*attention_rows[A4J_STORAGES])(struct a4j_tile *tile, float *scratch);
  /* Adds `count` partial results of a tile, `stride` floats apart, in their order, and writes out and lse. */
  void (*merge_rows)(struct a4j_tile *tile, const float *partials, int64_t stride, int64_t count, float *scratch);

  /* numbers[j - j0] = word j % 4 of Philox4x32-10 for keys j of [j0, j0 + keys), its upper 24 bits as a number in [0, 1); the
     counter is (j / 4, counter[0], counter[1], counter[2]). */
  void (*uniform_numbers)(uint64_t seed, const uint32_t counter[3], int64_t j0, int64_t keys, float *numbers);

  /* score = program(score) on a patch, including the padding of its inner axis. */
  void (*program_score)(const struct a4j_program *program, const struct a4j_patch *patch);
  /* Removes from each row's set of keys, one bit for each key of the patch, those for which the program returns false. */
  void (*program_mask)(const struct a4j_program *program, const struct a4j_patch *patch, uint64_t *sets);

  /* out[r][c] = (accumulate ? out[r][c] : 0) + bias[c] + <x[r], weight[c]>; bias may be NULL. The bits of a result do not
     depend on the other rows and columns of the call. Weights are not quantised. */
  a4j_linear_fn *linear[A4J_STORAGES];
  /* panel[d][c] = weight[c][d] for d in [0, depth) and columns [0, cols), at most A4J_PANEL; 0 for the columns after them.
     Weights are not quantised. */
  a4j_pack_fn *pack_panel[A4J_STORAGES];
  /* out[r][c] = (accumulate ? out[r][c] : 0) + bias[c] + sum over d of x[r][d] * panel[d][c]; bias may be NULL. The same holds
     for its bits. The panel at `next` is prefetched meanwhile; it need not exist. */
  void (*panel_product)(int64_t rows, int64_t cols, int64_t depth, const float *x, int64_t x_stride_row, const float *panel,
                        const float *next, const float *bias, int accumulate, float *out, int64_t out_stride_row);
  /* The same with the inputs in pairs of bfloat16: panel[d / 2][c] is the pair of inputs d and d + 1, 0 beyond the last. */
  a4j_pack_fn *pack_pairs[A4J_STORAGES];
  /* The panel of floats that such a panel stands for. */
  void (*widen_pairs)(int64_t depth, const float *pairs, float *panel);
  /* panel_product with pairs in place of the floats of x and panel, which depth and x_stride_row count; NULL on tiers without dot
     products of pairs. */
  void (*pair_product)(int64_t rows, int64_t cols, int64_t depth, const float *x, int64_t x_stride_row, const float *panel,
                       const float *next, const float *bias, int accumulate, float *out, int64_t out_stride_row);
  /* Rounds a row of x to 16-bit integers, with a scale and a sum for each A4J_QUANTIZED_X columns, in the form that this tier
     multiplies by such weights, widened first or not: 2 * dim + 12 * (dim / A4J_QUANTIZED_X) bytes. Columns that are not finite have
     the scale NaN. */
  void (*quantize_row)(int64_t dim, const float *x, const a4j_storage *weights, int widened, void *row);
  /* out[r][c] = (accumulate ? out[r][c] : 0) + bias[c] + <x[r], weight[c]> for rows of x from quantize_row, x_bytes apart; bias may be
     NULL. The bits of a result do not depend on the other rows and columns of the call. */
  a4j_quantized_fn *quantized_product[A4J_STORAGES];
  /* out[r][c] = bias[c] + <x[r], weight[c]> with the same bits, for several rows and weights of any such storage, which are widened
     first. Whole blocks of columns are written. NULL on tiers with dot products of bytes. */
  void (*widened_product)(int64_t rows, int64_t cols, const void *x, int64_t x_bytes, const struct a4j_weights *weights,
                          const float *bias, float *out, int64_t out_stride_row);
  /* One row: out = x / sqrt(mean(x^2) + epsilon) * scale * weight; weight may be NULL, out may be x. */
  void (*rms_norm)(int64_t dim, const float *x, const float *weight, float epsilon, float scale, float *out);
  /* One row: out = (x - mean) * inv_std * weight + bias; weight and bias may be NULL, out may be x. */
  void (*layer_norm)(int64_t dim, const float *x, const float *weight, const float *bias, float epsilon, float *out,
                     float *mean, float *inv_std);
  /* The rotated channels of one row, 2 * pairs of them; out may be x. */
  void (*rope_half)(int64_t pairs, const float *x, const float *cos, const float *sin, float *out);
  void (*rope_interleaved)(int64_t pairs, const float *x, const float *cos, const float *sin, float *out);
  /* One row: out = a * weight_a + b * weight_b; out may be a. */
  void (*merge)(int64_t dim, const float *a, float weight_a, const float *b, float weight_b, float *out);

  /* scores[j] = <v, tanh(q + k[j])>, distances[j] = |scale * (q - k[j])|^2, for `keys` rows of k. */
  void (*additive_scores)(int64_t keys, int64_t dim, const float *q, const float *k, int64_t k_stride_row, const float *v,
                          float *scores);
  void (*square_distances)(int64_t keys, int64_t dim, const float *q, const float *k, int64_t k_stride_row, float scale,
                           float *distances);
  /* Converts `count` numbers of the types A4J_F32, A4J_BF16 and A4J_F16. */
  void (*convert)(int64_t count, int32_t from, const void *x, int32_t to, void *out);
  /* One row: out = combine(y, activation(x)), with A4J_ADD y + scale * activation(x); out may be x or y. A4J_SET does not
     use y. */
  void (*combine)(int64_t dim, int32_t activation, int32_t combine, float scale, const float *x, const float *y, float *out);
  /* One row: the gates of x[3 * dim] and u[3 * dim] applied to h; out may be h. */
  void (*gru)(int64_t dim, const float *x, const float *u, const float *h, float *out);

  /* The features of all areas whose top left corner is column x of line y, of head number `outer`, batches before heads. */
  void (*area_corner)(const struct a4j_area_call *call, int64_t outer, int64_t y, int64_t x);

  /* All tokens of key/value head number `outer`, batches before heads, for up to A4J_STATE_VECS vectors of columns of its state.
     scratch has room for dim_qk rows of them and dim_qk floats more. */
  void (*linear_attention)(const struct a4j_linear_attention_call *call, int64_t outer, int64_t column, int64_t columns,
                           float *scratch);
};

/* The tier in use; stays valid for the life of the process. */
const struct a4j_kernels *a4j_kernels_active(void);

/* The tables of the tiers; each architecture has those that dispatch.c lists. */
extern const struct a4j_kernels a4j_kernels_avx512bf16, a4j_kernels_avx512, a4j_kernels_avx2, a4j_kernels_neon,
    a4j_kernels_baseline;

#endif
