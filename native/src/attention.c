/*
 * a4j_attention: checks, the plan, and the walk over batches, heads and tiles.
 *
 * Two kernels share the work. Many rows are cut into tiles, each of which walks all of its keys (kernels/attention.inc). A few rows
 * are a question of memory bandwidth: their keys are cut into chunks, each gives a partial result, and a second round merges them
 * (kernels/decode.inc). All cuts are made by shape alone, so results do not depend on threads.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "kernels.h"
#include "team.h"

/* Keys of a chunk: long against the merging of its result, short enough to feed many threads. */
#define CHUNK_KEYS 512

/*
 * When tiles walk the keys together: k and v of a head are beyond half of a 1 MiB L2, and as many as leave the other half to the
 * strip of keys.
 */
#define KEYS_FLOATS (128 * 1024)
#define TILES_FLOATS (64 * 1024)

struct plan {
  const struct a4j_kernels *kernels;
  const int32_t *key_lengths; /* [batch], or NULL */
  int64_t group;              /* query heads that share a key/value head */
  int64_t stack;              /* of them, how many lie side by side in one tile */
  int64_t stacks;             /* tiles' heads: heads_q / stack */
  int64_t rows;               /* rows of a stack: len_q * stack */
  int64_t tiles;              /* tiles of a stack */
  int64_t together;           /* how many of them walk the keys together */
  int few;                    /* whether rows are few enough for chunks of keys */
  int64_t chunks;             /* chunks of a stack's keys */
  int64_t partial_floats;     /* the partial result of one chunk */
  int64_t scratch_floats;     /* for each thread, behind all partial results */
  int32_t threads;
  int32_t room; /* threads that the workspace has scratch for */
};

static int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

/* What one tile keeps along its way: running maximum and sum, Q and O of each map. */
static int64_t tile_floats(const a4j_attention_desc *d) {
  const int64_t part = d->dim_v / d->value_parts;
  return A4J_TILE_MAX * d->maps * (2 + d->dim_qk + d->value_parts * ((part + 7) / 8 * 8));
}

/*
 * Scratch for one thread, enough for either kernel and for every tier: a workspace stays large enough when another tier is selected
 * or weights are asked for. Tiles: four blocks (logits, bias, keep, weights) and what each tile keeps. Few rows: logits and q of
 * each map and row, one output row.
 */
static int64_t scratch_floats(const a4j_attention_desc *d, int64_t tiles) {
  const int64_t tile = A4J_TILE_MAX * 4 * A4J_KEY_BLOCK + tiles * tile_floats(d);
  const int64_t few = 2 * A4J_FEW_ROWS * (A4J_KEY_BLOCK + whole_lines(d->dim_qk)) + d->dim_v;
  return whole_lines(tile > few ? tile : few);
}

static int32_t check(const a4j_attention_desc *d, struct plan *p) {
  int32_t status = a4j_check_head(d, sizeof *d);
  if (status != A4J_OK) return status;
  if (d->maps < 1 || d->maps > 2 || d->value_parts < 1 || d->value_parts > 2 || d->align < A4J_ALIGN_TOP_LEFT ||
      d->align > A4J_ALIGN_OFFSETS || d->key_map < A4J_KEY_PAIRS || d->key_map > A4J_KEY_HEADS || !isfinite(d->scale))
    return A4J_BAD_OPTION;
  const int64_t sizes[][5] = {{d->batch, d->heads_q, d->maps, d->len_q, d->dim_qk},
                              {d->batch, d->heads_kv, d->maps, d->len_k, d->dim_qk},
                              {d->batch, d->heads_kv, 1, d->len_k, d->dim_v},
                              {d->batch, d->heads_q, 1, d->len_q, d->dim_v},
                              {d->batch, d->heads_q, 1, d->len_q, d->len_k}};
  for (int i = 0; i < 5; i++)
    if ((status = a4j_check_sizes(5, sizes[i])) != A4J_OK) return status;
  if (d->dim_v % d->value_parts != 0) return A4J_BAD_SIZE;
  if (d->dim_qk > INT32_MAX || d->dim_v > INT32_MAX) return A4J_SIZE_OVERFLOW;
  if (d->heads_q > 0 && (d->heads_kv == 0 || d->heads_q % d->heads_kv != 0)) return A4J_BAD_SIZE;
  status = a4j_check_tail(d, sizeof *d, d->key_lengths_offset, d->batch, &p->key_lengths);
  if (status != A4J_OK) return status;
  for (int64_t b = 0; p->key_lengths != NULL && b < d->batch; b++)
    if (p->key_lengths[b] < 0 || p->key_lengths[b] > d->len_k) return A4J_BAD_SIZE;
  return A4J_OK;
}

static int32_t make_plan(const a4j_attention_desc *d, struct plan *p) {
  int32_t status = check(d, p);
  if (status != A4J_OK) return status;
  p->kernels = a4j_kernels_active();
  p->group = d->heads_q == 0 ? 1 : d->heads_q / d->heads_kv;
  /* Few rows leave lanes empty: let the heads of a group fill them, where they read the same keys. */
  const int same_keys = d->maps == 1 || d->key_map == A4J_KEY_PAIRS;
  p->stack = same_keys && d->len_q < p->kernels->tile_rows ? p->group : 1;
  p->stacks = d->heads_q / p->stack;
  p->rows = d->len_q * p->stack;
  const int64_t vecs = (p->rows + p->kernels->lanes - 1) / p->kernels->lanes;
  const int64_t vecs_of_tile = p->kernels->tile_rows / p->kernels->lanes;
  p->tiles = (vecs + vecs_of_tile - 1) / vecs_of_tile;
  p->few = p->rows <= A4J_FEW_ROWS;
  p->chunks = p->few ? (d->len_k + CHUNK_KEYS - 1) / CHUNK_KEYS : 0;
  p->partial_floats = whole_lines(d->maps * p->rows * (2 + d->dim_v));
  p->together = 1;
  while (p->together < A4J_TILE_GROUP && p->together * A4J_TILE_MAX < d->len_q * p->group &&
         (p->together + 1) * tile_floats(d) <= TILES_FLOATS && d->len_k * (d->maps * d->dim_qk + d->dim_v) > KEYS_FLOATS)
    p->together++;
  p->scratch_floats = scratch_floats(d, p->together);
  /* What one thread takes, in nanoseconds: multiply-adds at the rate of the vectors, keys and values at the rate of memory. */
  const double widths = (double)d->batch * (double)d->len_k * (double)(d->maps * d->dim_qk + d->dim_v);
  const double compute = widths * (double)d->heads_q * (double)d->len_q * 0.13; /* with one lane */
  const double memory = p->few ? widths * (double)d->heads_kv * 0.1 : 0;
  p->threads = a4j_team_paying(d->threads, compute / p->kernels->lanes + memory);
  p->room = a4j_team_paying(d->threads, compute / A4J_LANES_MIN + memory);
  return A4J_OK;
}

/*
 * Tile i of `tiles` takes these rows of `rows`: whole vectors, spread evenly, so that no tile is left with a single one (64
 * vectors are 20 tiles of 3 and 2 of 2, not 21 of 3 and 1 of 1). The cut depends on the shape alone.
 */
static void tile_rows(const struct plan *p, int64_t i, int64_t *begin, int32_t *count) {
  const int64_t lanes = p->kernels->lanes, vecs = (p->rows + lanes - 1) / lanes;
  const int64_t small = vecs / p->tiles, large = vecs % p->tiles;
  const int64_t first = i * small + (i < large ? i : large), n = small + (i < large);
  const int64_t end = (first + n) * lanes;
  *begin = first * lanes;
  *count = (int32_t)((end < p->rows ? end : p->rows) - *begin);
}

static int64_t tile_groups(const struct plan *p) { return (p->tiles + p->together - 1) / p->together; }

struct call {
  const struct plan *plan;
  const a4j_attention_desc *desc;
  const float *q, *k, *v, *bias, *lambda;
  const uint8_t *mask, *keep;
  float *out, *lse, *weights, *workspace;
  void (*task)(const struct call *c, int64_t number, float *scratch);
  int64_t tasks;
  _Atomic int64_t next;
};

/* All rows of stack `number` (batch-major), as one tile. */
static struct a4j_tile tile_of(const struct call *c, int64_t number) {
  const struct plan *p = c->plan;
  const a4j_attention_desc *d = c->desc;
  const int64_t b = number / p->stacks, h = number % p->stacks * p->stack, h_kv = h / p->group;
  struct a4j_tile t = {.desc = d, .stack = p->stack, .row_begin = 0, .rows = (int32_t)p->rows};
  t.q = c->q + b * d->q_stride_batch + h * d->q_stride_head;
  for (int m = 0; m < d->maps; m++) {
    int64_t head = h_kv, map = m;
    if (d->maps == 2 && d->key_map == A4J_KEY_HEADS) {
      const int64_t x = (2 * h + m) / p->group;
      head = x / 2;
      map = x % 2;
    }
    t.k[m] = c->k + b * d->k_stride_batch + head * d->k_stride_head + map * d->k_stride_map;
  }
  t.v = c->v + b * d->v_stride_batch + h_kv * d->v_stride_head;
  t.mask = c->mask == NULL ? NULL : c->mask + b * d->mask_stride_batch + h * d->mask_stride_head;
  t.bias = c->bias == NULL ? NULL : c->bias + b * d->bias_stride_batch + h * d->bias_stride_head;
  t.keep = c->keep == NULL ? NULL : c->keep + b * d->keep_stride_batch + h * d->keep_stride_head;
  t.lambda = c->lambda == NULL ? NULL : c->lambda + b * d->lambda_stride_batch + h * d->lambda_stride_head;
  t.out = c->out + b * d->out_stride_batch + h * d->out_stride_head;
  t.lse = c->lse == NULL ? NULL : c->lse + (b * d->heads_q + h) * d->maps * d->len_q;
  t.weights = c->weights == NULL ? NULL : c->weights + (b * d->heads_q + h) * d->len_q * d->len_k;
  t.keys = p->key_lengths == NULL ? d->len_k : p->key_lengths[b];
  t.causal = d->window_right != A4J_UNBOUNDED;
  t.causal_shift = d->window_right + (d->align == A4J_ALIGN_BOTTOM_RIGHT ? t.keys - d->len_q : 0);
  return t;
}

/*
 * Heads are taken one after the other, so that the keys and values in use are one head's and stay in the caches (8 heads of 4096
 * keys took 1.25 times as long with the heads in turn). Within a head the last tiles come first: under a causal mask they are the
 * long ones, and short ones are left to even out the end.
 */
static void tile_task(const struct call *c, int64_t number, float *scratch) {
  const struct plan *p = c->plan;
  const int64_t groups = tile_groups(p), head = number / groups, group = groups - 1 - number % groups;
  struct a4j_tile tiles[A4J_TILE_GROUP];
  int count = 0;
  for (int64_t i = group * p->together; i < p->tiles && count < p->together; i++, count++) {
    tiles[count] = tile_of(c, head);
    tile_rows(p, i, &tiles[count].row_begin, &tiles[count].rows);
  }
  p->kernels->attention_tiles(tiles, count, scratch);
}

static void chunk_task(const struct call *c, int64_t number, float *scratch) {
  const struct plan *p = c->plan;
  const struct a4j_tile t = tile_of(c, number / p->chunks);
  const int64_t begin = number % p->chunks * CHUNK_KEYS, end = begin + CHUNK_KEYS;
  p->kernels->attention_rows(&t, begin, end < t.keys ? end : t.keys, scratch, c->workspace + number * p->partial_floats);
}

static void merge_task(const struct call *c, int64_t number, float *scratch) {
  const struct plan *p = c->plan;
  const struct a4j_tile t = tile_of(c, number);
  p->kernels->merge_rows(&t, c->workspace + number * p->chunks * p->partial_floats, p->partial_floats, p->chunks, scratch);
}

static void run(void *context, int32_t thread, int32_t threads) {
  struct call *c = context;
  const struct plan *p = c->plan;
  const int64_t partials = p->chunks * p->stacks * c->desc->batch * p->partial_floats;
  float *scratch = c->workspace + partials + thread * p->scratch_floats;
  (void)threads;
  for (;;) {
    const int64_t number = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);
    if (number >= c->tasks) return;
    c->task(c, number, scratch);
  }
}

/* Gives `tasks` tasks to the team. */
static void run_all(struct call *c, void (*task)(const struct call *, int64_t, float *), int64_t tasks, int32_t threads) {
  c->task = task;
  c->tasks = tasks;
  atomic_store_explicit(&c->next, 0, memory_order_relaxed);
  a4j_team_run(tasks < threads ? (int32_t)tasks : threads, run, c);
}

static int32_t workspace_bytes(const a4j_attention_desc *d, const struct plan *p, int64_t *bytes) {
  int64_t partials, scratch;
  if (__builtin_mul_overflow(p->chunks, p->partial_floats, &partials) ||
      __builtin_mul_overflow(partials, d->batch * p->stacks, &partials) ||
      __builtin_mul_overflow(p->scratch_floats, p->room, &scratch) || __builtin_add_overflow(partials, scratch, &partials) ||
      __builtin_mul_overflow(partials, (int64_t)sizeof(float), bytes))
    return A4J_SIZE_OVERFLOW;
  return A4J_OK;
}

int64_t a4j_attention_workspace_bytes(const a4j_attention_desc *desc) {
  struct plan plan;
  int64_t bytes;
  int32_t status = make_plan(desc, &plan);
  if (status == A4J_OK) status = workspace_bytes(desc, &plan, &bytes);
  return status == A4J_OK ? bytes : -(int64_t)status;
}

int32_t a4j_attention(const a4j_attention_desc *desc, const void *q, const void *k, const void *v, const uint8_t *mask,
                      const uint8_t *key_mask, const float *bias, const uint8_t *keep, const float *lambda, const void *table_0,
                      const void *table_1, const void *table_2, const void *table_3, void *out, float *lse, float *weights,
                      float *scores, int64_t *work, void *workspace, int64_t bytes) {
  (void)key_mask;
  (void)table_0;
  (void)table_1;
  (void)table_2;
  (void)table_3;
  (void)scores;
  (void)work;
  struct plan plan;
  int64_t needed;
  int32_t status = make_plan(desc, &plan);
  if (status == A4J_OK) status = workspace_bytes(desc, &plan, &needed);
  if (status != A4J_OK) return status;
  if (desc->batch == 0 || plan.rows == 0) return A4J_OK;
  if (q == NULL || out == NULL || workspace == NULL || (desc->len_k > 0 && (k == NULL || v == NULL)) ||
      (desc->maps == 2 && lambda == NULL))
    return A4J_NULL_POINTER;
  if ((uintptr_t)workspace % A4J_WORKSPACE_ALIGNMENT != 0) return A4J_MISALIGNED;
  if (bytes < needed) return A4J_SMALL_WORKSPACE;
  if (keep != NULL && !isfinite(desc->keep_scale)) return A4J_BAD_OPTION;
  struct call call = {.plan = &plan,
                      .desc = desc,
                      .q = q,
                      .k = k,
                      .v = v,
                      .bias = bias,
                      .lambda = lambda,
                      .mask = mask,
                      .keep = keep,
                      .out = out,
                      .lse = lse,
                      .weights = weights,
                      .workspace = workspace};
  const int64_t heads = desc->batch * plan.stacks;
  if (plan.few && weights == NULL) {
    run_all(&call, chunk_task, heads * plan.chunks, plan.threads);
    run_all(&call, merge_task, heads, plan.threads);
  } else {
    run_all(&call, tile_task, heads * tile_groups(&plan), plan.threads);
  }
  return A4J_OK;
}
