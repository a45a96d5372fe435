/*
 * a4j_attention: checks the arguments, plans, and runs the tasks of all batches, heads and tiles.
 *
 * There are two kernels. Many rows are split into tiles, each of which walks all of its keys (kernels/attention.inc). If the
 * rows that share their keys and values fit one tile, that is too little work for several threads, so their keys are split into
 * chunks; each chunk gives a partial result, and a second round merges them (flash-decoding). A few rows are limited by memory
 * bandwidth and have their own kernel (kernels/decode.inc). The shape alone determines all splits, so results do not depend on
 * the number of threads.
 */
#include <math.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "sizes.h"
#include "team.h"

/*
 * Keys per chunk: starting a chunk and merging its result costs 3 to 4 % with 512 keys and half a percent with 4096, but many
 * threads need many chunks. Within these bounds a chunk has as many keys as leave CHUNKS_TOGETHER chunks per batch. A stack has
 * at most CHUNKS of them, so memory does not grow with the keys.
 */
#define CHUNK_KEYS_LEAST 512
#define CHUNK_KEYS_MOST 4096
#define CHUNKS_TOGETHER 32
#define CHUNKS 1024

/*
 * Tiles walk the keys together if k and v of a head exceed half of a 1 MiB second-level cache. Their number leaves the other
 * half to the strip of keys.
 */
#define KEYS_FLOATS (128 * 1024)
#define TILES_FLOATS (64 * 1024)
/* Keys and values that have to be converted are converted once for all tiles of a group, as long as so many tasks are left. */
#define TASKS_LEFT 32

/* How the rows and keys of one batch are split. In a packed batch each sequence has its own split. */
struct cut {
  int64_t len_q, len_k;
  int64_t stack_heads;    /* heads of a group that share one tile */
  int64_t stack;          /* rows stacked: of these heads, and of all batches if those share keys and values */
  int64_t stacks;         /* of a batch: heads_q / stack_heads */
  int64_t rows;           /* rows of a stack: len_q * stack */
  int64_t block_rows;     /* rows of a block that no tile crosses: those of a list of key ranges, of a chunk, or all */
  int64_t block_tiles;    /* tiles of such a block */
  int64_t tile_vecs;      /* vectors in each of its first tiles */
  int64_t large_tiles;    /* how many of its tiles, the last ones, have one vector more */
  int64_t tiles;          /* tiles of a stack */
  int64_t together;       /* how many of them walk the keys together */
  int few;                /* whether rows are few enough for attention_rows */
  int64_t chunk_keys;     /* keys of a chunk */
  int64_t chunks;         /* chunks of keys, merged at the end; 0 if each tile walks all keys */
  int64_t units;          /* tasks of a stack */
  int64_t partial_floats; /* the partial result of a stack over one chunk */
};

struct plan {
  const struct a4j_kernels *kernels;
  struct a4j_attention_call call; /* arrays of the descriptor's tail; the caller adds the tensors */
  int packed;
  int whole;              /* whether some output needs whole rows, which rules out chunks of keys */
  int64_t group;          /* query heads that share a key/value head */
  int64_t batches;        /* processed one by one: 1 if all are stacked */
  struct cut cut;         /* of every batch; if they differ, of one with the most rows and the most keys */
  int64_t batch_tasks;    /* the most tasks of a batch */
  int64_t batch_partials; /* floats for the partial results of a batch */
  int merges;             /* whether some batch has partial results */
  int64_t scratch_floats; /* for each thread, after all partial results */
  int64_t program_floats; /* how many of these, the first ones, are for programs */
  int32_t threads;
  int32_t room;                                   /* threads that the workspace has scratch for */
  struct a4j_program mask_program, score_program; /* count 0 if there is none */
};

/* What a tile keeps throughout its walk: running maximum and sum, Q and O of each map, products and weights by distance. In
   pairs also: the sum of the rounded weights, Q in pairs, and what all values have in common. */
static int64_t tile_floats(const a4j_attention_desc *d) {
  const int64_t part = d->dim_v / d->value_parts, relative = d->relative_rows > 0 ? A4J_RELATIVE_ROWS : 0;
  const int64_t pairs = a4j_may_pair(d) ? 1 + 2 * a4j_pairs_of(d->dim_qk) : 0;
  const int64_t common = a4j_may_pair(d) ? 2 * d->value_parts * a4j_lines(part) : 0;
  return A4J_TILE_MAX * (d->maps * (2 + d->dim_qk + pairs + d->value_parts * ((part + 7) / 8 * 8)) + relative) + common;
}

/*
 * What a tile that holds whole rows needs in addition (kernels/harden.inc): its logits with room for a group after them, and a
 * list of their blocks, each of which has at least one key.
 */
static int held_floats(const a4j_attention_desc *d, int64_t *floats) {
  *floats = 0;
  if (d->harden == A4J_HARDEN_NONE) return 1;
  return !__builtin_mul_overflow(d->len_k + 16, A4J_TILE_MAX + A4J_HELD_BLOCK_FLOATS, floats);
}

/*
 * Scratch for one thread, enough for either kernel and for every tier: a workspace stays large enough when another tier is
 * selected or weights are requested. Tiles: four blocks (logits, bias, keep, weights), weights in pairs, room to convert keys and
 * values, what each tile keeps, and the rows that it holds. Few rows: logits and q of each map and row, and the same room.
 * Merging: two output rows. The room for programs comes on top.
 */
static int32_t scratch_floats(const a4j_attention_desc *d, int64_t tiles, int64_t program, int64_t *floats) {
  const int64_t blocks = A4J_TILE_MAX * 4 * A4J_KEY_BLOCK + a4j_weight_pair_floats(d);
  const int64_t tile = blocks + a4j_room_floats(d) + tiles * tile_floats(d);
  const int64_t few = 2 * A4J_FEW_ROWS * (A4J_KEY_BLOCK + a4j_lines(d->dim_qk)) + a4j_room_floats(d);
  int64_t held;
  if (!held_floats(d, &held) ||
      __builtin_add_overflow(held, a4j_lines(larger(larger(tile, few), 2 * d->dim_v)) + program + 16, &held))
    return A4J_SIZE_OVERFLOW;
  *floats = held / 16 * 16;
  return A4J_OK;
}

/* ---- Checks ----------------------------------------------------------------------------------------------------------- */

/* Whether the options for hardening, noise, drawn dropout and relative positions are valid and go together. */
static int options_of_weights(const a4j_attention_desc *d) {
  const int known = d->beyond >= A4J_BEYOND_CLIP && d->beyond <= A4J_BEYOND_ZERO && d->harden >= A4J_HARDEN_NONE &&
                    d->harden <= A4J_HARDEN_SUBTRACT && d->noisy >= 0 && d->noisy <= 1 && d->dropout >= 0 && d->dropout <= 1;
  if (!known || (d->maps != 1 && (d->harden != A4J_HARDEN_NONE || d->relative_rows != 0))) return 0;
  if (d->harden != A4J_HARDEN_NONE && d->harden_k < 1) return 0;
  if (d->noisy && (d->harden == A4J_HARDEN_NONE || !isfinite(d->noise_weight))) return 0;
  return !d->dropout || (d->dropout_rate >= 0 && d->dropout_rate < 1 && d->dropout_shared >= 0 &&
                         d->dropout_shared <= (A4J_SHARED_BATCH | A4J_SHARED_HEAD | A4J_SHARED_ROW | A4J_SHARED_KEY));
}

static int32_t check_options(const a4j_attention_desc *d) {
  const int valid = d->arithmetic >= A4J_ARITHMETIC_EXACT && d->arithmetic <= A4J_ARITHMETIC_BF16 && d->maps >= 1 &&
                    d->maps <= 2 && d->value_parts >= 1 && d->value_parts <= 2 && d->align >= A4J_ALIGN_TOP_LEFT &&
                    d->align <= A4J_ALIGN_OFFSETS && d->key_map >= A4J_KEY_PAIRS && d->key_map <= A4J_KEY_HEADS &&
                    d->lambda_form >= A4J_LAMBDA_AS_GIVEN && d->lambda_form <= A4J_LAMBDA_SIGMOID &&
                    d->scores_stage >= A4J_STAGE_SCALED && d->scores_stage <= A4J_STAGE_LOGITS &&
                    d->window_left >= A4J_UNBOUNDED && d->window_right >= A4J_UNBOUNDED &&
                    (d->align != A4J_ALIGN_OFFSETS || d->row_offsets_offset != 0) && isfinite(d->scale) &&
                    isfinite(d->softcap) && d->softcap >= 0;
  return valid && options_of_weights(d) ? A4J_OK : A4J_BAD_OPTION;
}

/* The types must be ones that the kernels read and write; keys and values have pages of the same size, or none. */
static int32_t check_views(const a4j_attention_desc *d) {
  const int stored = (a4j_is_float(d->k.dtype) || d->k.dtype == A4J_I8) && d->k.dtype == d->v.dtype;
  if (!a4j_is_float(d->q.dtype) || !a4j_is_float(d->out.dtype) || !stored) return A4J_UNSUPPORTED_DTYPE;
  if (a4j_rounds(d) && d->k.dtype == A4J_I8) return A4J_BAD_OPTION;
  const int paged = d->k.page_rows > 0;
  if (d->q.page_rows != 0 || d->out.page_rows != 0 || d->k.page_rows < 0 || d->k.page_rows != d->v.page_rows ||
      d->k.page_rows % A4J_PAGE_ROWS != 0 || (paged && d->k_begins_offset != 0))
    return A4J_BAD_OPTION;
  return d->k.pages < 0 || d->v.pages < 0 ? A4J_BAD_SIZE : A4J_OK;
}

/*
 * Every page that holds keys of a batch must exist. Keys beyond a batch's length are not read unless the scores of all keys are
 * requested.
 */
static int32_t check_pages(const struct a4j_attention_call *c, const a4j_view *view, const int32_t *pages) {
  const a4j_attention_desc *d = c->desc;
  const int each_key = c->scores != NULL && d->scores_stage != A4J_STAGE_LOGITS;
  for (int64_t b = 0; b < d->batch && view->page_rows > 0; b++) {
    const int short_batch = !each_key && c->key_lengths != NULL && d->key_lengths_stride_row == 0;
    const int64_t keys = short_batch ? c->key_lengths[b * d->key_lengths_stride_batch] : d->len_k;
    for (int64_t i = 0; i * view->page_rows < keys; i++) {
      const int32_t page = pages[b * view->pages_stride_batch + i];
      if (page < 0 || page >= view->pages) return A4J_BAD_POSITION;
    }
  }
  return A4J_OK;
}

static int32_t check_shape(const a4j_attention_desc *d) {
  const int64_t sizes[][5] = {{d->batch, d->heads_q, d->maps, d->len_q, d->dim_qk},
                              {d->batch, d->heads_kv, d->maps, d->len_k, d->dim_qk},
                              {d->batch, d->heads_kv, 1, d->len_k, d->dim_v},
                              {d->batch, d->heads_q, 1, d->len_q, d->dim_v},
                              {d->batch, d->heads_q, d->maps, d->len_q, d->len_k}};
  for (int i = 0; i < 5; i++) {
    const int32_t status = a4j_check_sizes(5, sizes[i]);
    if (status != A4J_OK) return status;
  }
  if (d->chunk < 0 || d->range_rows < 0 || d->relative_rows < 0 || d->dim_v % d->value_parts != 0 || d->key_limit < 0 ||
      d->key_limit > d->len_k)
    return A4J_BAD_SIZE;
  if (d->dim_qk > INT32_MAX || d->dim_v > INT32_MAX) return A4J_SIZE_OVERFLOW;
  if (d->heads_q > 0 && (d->heads_kv == 0 || d->heads_q % d->heads_kv != 0)) return A4J_BAD_SIZE;
  return A4J_OK;
}

/* Whether keys and values have no elements or all share the same ones. Memory then sets no limit to their number. */
static int keys_without_memory(const a4j_attention_desc *d) {
  return d->k.page_rows == 0 && (d->dim_qk == 0 || d->k.stride_row == 0) && (d->dim_v == 0 || d->v.stride_row == 0);
}

/* Starts of packed sequences: ascending from 0, with no sequence longer than `longest`. */
static int32_t check_begins(const int32_t *begins, int64_t batch, int64_t longest) {
  if (begins == NULL) return A4J_OK;
  if (begins[0] != 0) return A4J_BAD_POSITION;
  for (int64_t b = 0; b < batch; b++)
    if (begins[b + 1] < begins[b] || (int64_t)begins[b + 1] - begins[b] > longest) return A4J_BAD_POSITION;
  return A4J_OK;
}

static int32_t check_lengths(const a4j_attention_desc *d, struct a4j_attention_call *c) {
  if (d->key_lengths_offset == 0) return A4J_OK;
  if (d->key_lengths_stride_batch < 0 || d->key_lengths_stride_row < 0 || d->key_lengths_stride_row > 1) return A4J_BAD_OPTION;
  if (d->key_lengths_stride_row == 1 && (d->q_begins_offset != 0 || d->k_begins_offset != 0)) return A4J_BAD_OPTION;
  const int64_t rows = d->key_lengths_stride_row == 1 ? d->len_q : 1;
  int64_t count = 0;
  if (d->batch > 0 && rows > 0 &&
      (__builtin_mul_overflow(d->batch - 1, d->key_lengths_stride_batch, &count) ||
       __builtin_add_overflow(count, rows, &count)))
    return A4J_SIZE_OVERFLOW;
  const int32_t status = a4j_check_tail(d, sizeof *d, d->key_lengths_offset, count, &c->key_lengths);
  if (status != A4J_OK) return status;
  if (count == 0) return A4J_OK; /* no rows, however many batches */
  const int64_t batches = d->key_lengths_stride_batch == 0 && c->k_begins == NULL ? smaller(d->batch, 1) : d->batch;
  for (int64_t b = 0; b < batches; b++)
    for (int64_t i = 0; i < rows; i++) {
      const int32_t length = c->key_lengths[b * d->key_lengths_stride_batch + i];
      if (length < 0 || length > (c->k_begins == NULL ? d->len_k : c->k_begins[b + 1] - c->k_begins[b]))
        return A4J_BAD_POSITION;
    }
  return A4J_OK;
}

/* Lists of key ranges: one for every block of rows, each ascending and within the keys. */
static int32_t check_ranges(const a4j_attention_desc *d, struct a4j_attention_call *c) {
  if (d->range_rows == 0) return A4J_OK;
  if (d->range_lists < 0 || d->range_stride_batch < 0 || d->range_stride_head < 0) return A4J_BAD_POSITION;
  if (d->range_starts_offset == 0 || d->range_lists == INT64_MAX) return A4J_BAD_DESCRIPTOR;
  int32_t status = a4j_check_tail(d, sizeof *d, d->range_starts_offset, d->range_lists + 1, &c->range_starts);
  if (status != A4J_OK) return status;
  const int32_t *starts = c->range_starts;
  if (starts[0] != 0) return A4J_BAD_POSITION;
  for (int64_t i = 0; i < d->range_lists; i++)
    if (starts[i + 1] < starts[i]) return A4J_BAD_POSITION;
  if (d->ranges_offset == 0 && starts[d->range_lists] > 0) return A4J_BAD_DESCRIPTOR;
  status = a4j_check_tail(d, sizeof *d, d->ranges_offset, 2 * (int64_t)starts[d->range_lists], &c->ranges);
  if (status != A4J_OK) return status;
  if (c->ranges == NULL) c->ranges = starts; /* never read, as every list is empty; NULL would mean that no lists are given */
  for (int64_t i = 0; i < d->range_lists; i++)
    for (int64_t x = starts[i]; x < starts[i + 1]; x++) {
      const int32_t *range = c->ranges + 2 * x;
      if (range[0] < (x == starts[i] ? 0 : range[-1]) || range[0] >= range[1] || range[1] > d->len_k) return A4J_BAD_POSITION;
    }
  int64_t by_batch, by_head, last;
  if (d->batch == 0 || d->heads_q == 0 || d->len_q == 0) return A4J_OK;
  if (__builtin_mul_overflow(d->batch - 1, d->range_stride_batch, &by_batch) ||
      __builtin_mul_overflow(d->heads_q - 1, d->range_stride_head, &by_head) ||
      __builtin_add_overflow(by_batch, by_head, &last) || __builtin_add_overflow(last, (d->len_q - 1) / d->range_rows, &last))
    return A4J_SIZE_OVERFLOW;
  return last < d->range_lists ? A4J_OK : A4J_BAD_POSITION;
}

static int32_t check_floats(const a4j_attention_desc *d, int64_t offset, int64_t count, const float **floats) {
  const int32_t *words = NULL;
  const int32_t status = a4j_check_tail(d, sizeof *d, offset, count, &words);
  *floats = (const float *)words;
  return status;
}

/* One finite slope for each head, or for each head of each batch. */
static int32_t check_slopes(const a4j_attention_desc *d, struct a4j_attention_call *c) {
  if (d->slopes_offset == 0) return A4J_OK;
  if (d->slopes_stride_batch != 0 && d->slopes_stride_batch != d->heads_q) return A4J_BAD_OPTION;
  const int64_t batches = d->slopes_stride_batch == 0 ? 1 : d->batch;
  if (d->heads_q > 0 && batches > INT64_MAX / d->heads_q) return A4J_SIZE_OVERFLOW;
  const int32_t status = check_floats(d, d->slopes_offset, batches * d->heads_q, &c->slopes);
  if (status != A4J_OK) return status;
  for (int64_t n = 0; n < batches * d->heads_q; n++)
    if (!isfinite(c->slopes[n])) return A4J_BAD_POSITION;
  return A4J_OK;
}

/* Decodes one program of the tail. */
static int32_t check_program(const a4j_attention_desc *d, int64_t offset, int64_t words, int is_mask, const void *const *tables,
                             struct a4j_program *program) {
  const int64_t counts[] = {d->table_0_count, d->table_1_count, d->table_2_count, d->table_3_count};
  const int32_t *code;
  program->count = 0;
  if (offset == 0) return words == 0 ? A4J_OK : A4J_BAD_DESCRIPTOR;
  if (words < 1) return A4J_BAD_PROGRAM;
  if (d->batch > INT32_MAX || d->heads_q > INT32_MAX || d->len_q > INT32_MAX || d->len_k > INT32_MAX) return A4J_SIZE_OVERFLOW;
  const int32_t status = a4j_check_tail(d, sizeof *d, offset, words, &code);
  return status != A4J_OK ? status : a4j_program_prepare(code, words, is_mask, tables, counts, program);
}

static int32_t check_programs(const a4j_attention_desc *d, const void *const *tables, struct plan *p) {
  const int32_t status = check_program(d, d->mask_program_offset, d->mask_program_words, 1, tables, &p->mask_program);
  if (status != A4J_OK) return status;
  return check_program(d, d->score_program_offset, d->score_program_words, 0, tables, &p->score_program);
}

static int32_t check(const a4j_attention_desc *d, struct plan *p) {
  struct a4j_attention_call *c = &p->call;
  int32_t status = a4j_check_version(d, sizeof *d);
  if (status == A4J_OK) status = check_options(d);
  if (status == A4J_OK) status = check_views(d);
  if (status == A4J_OK) status = check_shape(d);
  if (status != A4J_OK) return status;
  c->desc = d;
  status = a4j_check_tail(d, sizeof *d, d->row_offsets_offset, d->batch, &c->row_offsets);
  if (status == A4J_OK) status = a4j_check_tail(d, sizeof *d, d->q_begins_offset, d->batch + 1, &c->q_begins);
  if (status == A4J_OK) status = a4j_check_tail(d, sizeof *d, d->k_begins_offset, d->batch + 1, &c->k_begins);
  if (status == A4J_OK) status = check_begins(c->q_begins, d->batch, d->len_q);
  if (status == A4J_OK) status = check_begins(c->k_begins, d->batch, d->len_k);
  if (status == A4J_OK) status = check_lengths(d, c);
  if (status == A4J_OK) status = check_ranges(d, c);
  if (status == A4J_OK) status = check_slopes(d, c);
  if (status == A4J_OK) status = check_floats(d, d->sinks_offset, d->heads_q * d->maps, &c->sinks);
  if (status == A4J_OK) status = check_programs(d, NULL, p);
  p->packed = c->q_begins != NULL || c->k_begins != NULL;
  if (status == A4J_OK && p->packed && d->harden != A4J_HARDEN_NONE) status = A4J_BAD_OPTION;
  return status;
}

/* ---- The plan --------------------------------------------------------------------------------------------------------- */

/* Whether all batches read the same keys and values and are short enough to be stacked. */
static int batches_share_keys(const a4j_attention_desc *d, const struct plan *p) {
  return d->batch > 1 && !p->packed && d->k.page_rows == 0 && d->k.stride_batch == 0 && d->v.stride_batch == 0 &&
         d->len_q * p->group < A4J_TILE_MAX;
}

static void make_cut(const a4j_attention_desc *d, const struct plan *p, int64_t len_q, int64_t len_k, struct cut *c) {
  const int64_t lanes = p->kernels->lanes, tile_vecs = p->kernels->tile_rows / lanes;
  /* Few rows leave lanes empty, so the heads of a group fill them if they read the same keys. */
  const int same_keys = d->maps == 1 || d->key_map == A4J_KEY_PAIRS;
  /* Relative positions need tiles of consecutive rows of one head. */
  const int stacks = same_keys && d->relative_rows == 0;
  c->len_q = len_q;
  c->len_k = len_k;
  c->stack_heads = stacks && len_q < A4J_TILE_MAX ? p->group : 1;
  c->stack = c->stack_heads * (stacks && batches_share_keys(d, p) ? d->batch : 1);
  c->stacks = d->heads_q / c->stack_heads;
  c->rows = len_q * c->stack;
  /* Rows that see other keys than the rows before them start a new tile. */
  const int64_t block = d->range_rows > 0 ? d->range_rows : d->align == A4J_ALIGN_TOP_LEFT ? d->chunk : 0;
  c->block_rows = block >= lanes && block < c->rows && c->stack == 1 ? block : c->rows;
  const int64_t vecs = ceil_div(c->block_rows, lanes);
  c->block_tiles = ceil_div(vecs, tile_vecs);
  c->tile_vecs = vecs / larger(c->block_tiles, 1);
  c->large_tiles = vecs - c->tile_vecs * c->block_tiles;
  c->tiles = c->rows == 0 ? 0 : ceil_div(c->rows, c->block_rows) * c->block_tiles;
  const int64_t shared = ceil_div(len_k, CHUNKS_TOGETHER) * smaller(c->stacks, CHUNKS_TOGETHER);
  const int64_t chunk_keys = larger(smaller(larger(shared, CHUNK_KEYS_LEAST), CHUNK_KEYS_MOST), ceil_div(len_k, CHUNKS));
  c->chunk_keys = ceil_div(chunk_keys, A4J_KEY_BLOCK) * A4J_KEY_BLOCK;
  c->few = c->rows <= A4J_FEW_ROWS && d->relative_rows == 0 && !p->whole;
  c->chunks = c->few || (c->rows <= A4J_TILE_MAX && len_k > c->chunk_keys && !p->whole) ? ceil_div(len_k, c->chunk_keys) : 0;
  const int beyond = len_k * (d->maps * d->dim_qk + d->dim_v) > KEYS_FLOATS, converts = a4j_converts(d);
  c->together = 1;
  while (c->chunks == 0 && !p->whole && c->together < A4J_TILE_GROUP && c->together * A4J_TILE_MAX < c->rows &&
         (c->together + 1) * tile_floats(d) <= TILES_FLOATS &&
         (beyond || (converts && ceil_div(c->tiles, c->together + 1) * c->stacks >= ceil_div(TASKS_LEFT, larger(d->batch, 1)))))
    c->together++;
  c->units = c->few ? c->chunks : c->chunks > 0 ? c->tiles * c->chunks : ceil_div(c->tiles, c->together);
  c->partial_floats = c->chunks == 0 ? 0 : a4j_lines(d->maps * c->rows * (2 + d->dim_v));
}

/*
 * Whether partial results wait until all chunks of a stack are there. A single chunk is finished by the task that computed it, and
 * few rows without a key have no task but the merge.
 */
static int needs_merge(const struct cut *c) { return c->chunks > 1 || (c->few && c->chunks == 0); }

/* How batch b is split; `own` is room for a split that only this batch has. */
static const struct cut *cut_of(const struct plan *p, int64_t b, struct cut *own) {
  if (!p->packed) return &p->cut;
  const a4j_attention_desc *d = p->call.desc;
  const int32_t *q = p->call.q_begins, *k = p->call.k_begins;
  make_cut(d, p, q == NULL ? d->len_q : q[b + 1] - q[b], k == NULL ? d->len_k : k[b + 1] - k[b], own);
  return own;
}

/* An upper bound on the keys that a row sees, from the options alone. */
static double keys_of_a_row(const a4j_attention_desc *d, const struct a4j_attention_call *c) {
  double keys = (double)d->key_limit;
  if (d->window_left >= 0 && d->window_right >= 0) keys = fmin(keys, (double)d->window_left + (double)d->window_right + 1);
  if (d->chunk > 0) keys = fmin(keys, (double)d->chunk);
  if (c->range_starts != NULL && d->range_lists > 0) {
    double all = 0;
    for (int64_t x = 0; x < c->range_starts[d->range_lists]; x++) all += c->ranges[2 * x + 1] - c->ranges[2 * x];
    keys = fmin(keys, all / (double)d->range_lists);
  }
  return keys;
}

/* Splits every batch and finds the workspace of the largest one. */
static int32_t make_cuts(struct plan *p) {
  const a4j_attention_desc *d = p->call.desc;
  make_cut(d, p, d->len_q, d->len_k, &p->cut);
  p->batches = p->cut.stack > p->cut.stack_heads ? 1 : d->batch;
  p->batch_tasks = p->batch_partials = 0;
  p->merges = 0;
  int64_t together = 1;
  for (int64_t b = 0; b < (p->packed ? d->batch : 1); b++) {
    struct cut own;
    const struct cut *cut = cut_of(p, b, &own);
    int64_t partials;
    if (__builtin_mul_overflow(cut->stacks * cut->chunks, cut->partial_floats, &partials)) return A4J_SIZE_OVERFLOW;
    p->batch_tasks = larger(p->batch_tasks, cut->stacks * cut->units);
    p->batch_partials = larger(p->batch_partials, partials);
    p->merges |= needs_merge(cut);
    together = larger(together, cut->together);
  }
  p->program_floats = p->mask_program.count > 0 || p->score_program.count > 0 ? A4J_PROGRAM_ROOM : 0;
  return scratch_floats(d, together, p->program_floats, &p->scratch_floats);
}

static int32_t make_plan(const a4j_attention_desc *d, struct plan *p) {
  memset(p, 0, offsetof(struct plan, mask_program)); /* programs are large, and set their count themselves */
  p->kernels = a4j_kernels_active();
  int32_t status = check(d, p);
  if (status != A4J_OK) return status;
  p->group = d->heads_q == 0 ? 1 : d->heads_q / d->heads_kv;
  p->whole = d->harden != A4J_HARDEN_NONE;
  status = make_cuts(p);
  /* Nanoseconds for one thread: multiply-adds at the speed of the vectors, keys and values at the speed of memory. */
  const double keys = keys_of_a_row(d, &p->call), relative = fmin(keys, (double)d->relative_rows);
  const double widths = (double)d->batch * keys * (double)(d->maps * d->dim_qk + d->dim_v);
  const double more = (double)d->batch * relative * (double)(d->dim_qk + d->dim_v);
  const double compute = (widths + more) * (double)d->heads_q * (double)d->len_q * 0.13; /* with one lane */
  const double memory = p->cut.few ? widths * (double)d->heads_kv * 0.1 : 0;
  p->threads = a4j_team_paying(d->threads, compute / p->kernels->lanes + memory);
  p->room = a4j_team_paying(d->threads, compute / A4J_LANES_MIN + memory);
  return status;
}

static int32_t workspace_bytes(const struct plan *p, int64_t *bytes) {
  int64_t partials, scratch;
  if (__builtin_mul_overflow(p->batches, p->batch_partials, &partials) ||
      __builtin_mul_overflow(p->scratch_floats, p->room, &scratch) || __builtin_add_overflow(partials, scratch, &partials) ||
      __builtin_mul_overflow(partials, (int64_t)sizeof(float), bytes))
    return A4J_SIZE_OVERFLOW;
  return A4J_OK;
}

int64_t a4j_attention_workspace_bytes(const a4j_attention_desc *desc) {
  A4J_DEFAULT_FLOATS;
  struct plan plan;
  int64_t bytes;
  int32_t status = make_plan(desc, &plan);
  if (status == A4J_OK) status = workspace_bytes(&plan, &bytes);
  return status == A4J_OK ? bytes : -(int64_t)status;
}

/* ---- Tasks ------------------------------------------------------------------------------------------------------------ */

/*
 * The rows of tile i of a stack: whole vectors, spread evenly over a block of rows, so no tile is left with a single vector (64
 * vectors are 2 tiles of 2 and 20 of 3, not 21 of 3 and 1 of 1). The smaller tiles come first, where a causal mask shows the
 * fewest keys. 0 rows if the last block is too short to reach the tile.
 */
static void tile_rows(const struct plan *p, const struct cut *c, int64_t i, int64_t *begin, int32_t *count) {
  const int64_t lanes = p->kernels->lanes, small_tiles = c->block_tiles - c->large_tiles;
  const int64_t block = i / c->block_tiles * c->block_rows, place = i % c->block_tiles;
  const int64_t first = place * c->tile_vecs + larger(place - small_tiles, 0);
  const int64_t end = first + c->tile_vecs + (place >= small_tiles);
  *begin = block + first * lanes;
  *count = (int32_t)larger(smaller(smaller(block + end * lanes, block + c->block_rows), c->rows) - *begin, 0);
}

struct run {
  const struct plan *plan;
  float *workspace;
  int64_t (*task)(const struct run *run, int64_t batch, int64_t number, float *scratch); /* returns the scores computed */
  int64_t batch_tasks, tasks;
  alignas(64) _Atomic int64_t next; /* not in a cache line with fields that are only read */
  _Atomic int64_t work;
};

/* The rows of one head of keys or values, from row `begin` on. */
static struct a4j_rows rows_of(const a4j_view *view, const void *tensor, const float *scales, const int32_t *pages, int64_t b,
                               int64_t head, int64_t map, int64_t begin) {
  const int64_t bytes = a4j_dtype_bytes(view->dtype);
  int64_t at = head * view->stride_head + map * view->stride_map + begin * view->stride_row;
  int64_t scale_at = head * view->scale_stride_head + map * view->scale_stride_map + begin * view->scale_stride_row;
  if (view->page_rows == 0) {
    at += b * view->stride_batch;
    scale_at += b * view->scale_stride_batch;
  }
  return (struct a4j_rows){.first = (const char *)tensor + at * bytes,
                           .stride = view->stride_row,
                           .storage = view->dtype,
                           .page_rows = view->page_rows,
                           .pages = view->page_rows == 0 ? NULL : pages + b * view->pages_stride_batch,
                           .page_stride = view->stride_batch,
                           .scales = scales == NULL ? NULL : scales + scale_at,
                           .scale_stride = view->scale_stride_row,
                           .scale_page_stride = view->scale_stride_batch};
}

/* One tile with all rows and keys of a stack of a batch. */
static void find_tile(const struct plan *p, const struct cut *cut, int64_t b, int64_t stack, struct a4j_tile *t) {
  const struct a4j_attention_call *c = &p->call;
  const a4j_attention_desc *d = c->desc;
  const int64_t h = stack * cut->stack_heads, h_kv = h / p->group, k_begin = c->k_begins == NULL ? 0 : c->k_begins[b];
  *t = (struct a4j_tile){.call = c,
                         .batch = b,
                         .head = h,
                         .stack = cut->stack,
                         .stack_heads = cut->stack_heads,
                         .len_q = cut->len_q,
                         .len_k = cut->len_k,
                         .q_begin = c->q_begins == NULL ? 0 : c->q_begins[b],
                         .rows = (int32_t)cut->rows,
                         .key_end = cut->len_k};
  for (int m = 0; m < d->maps; m++) {
    int64_t head = h_kv, map = m;
    if (d->maps == 2 && d->key_map == A4J_KEY_HEADS) {
      const int64_t x = (2 * h + m) / p->group;
      head = x / 2;
      map = x % 2;
    }
    t->k[m] = rows_of(&d->k, c->k, c->k_scales, c->k_pages, b, head, map, k_begin);
  }
  for (int part = 0; part < d->value_parts; part++)
    t->v[part] = rows_of(&d->v, c->v, c->v_scales, c->v_pages, b, h_kv, part, k_begin);
}

/* Gives a tile its room for programs, and returns the scratch after it. */
static float *take_program_room(const struct plan *p, struct a4j_tile *t, float *scratch) {
  t->program_room = p->program_floats > 0 ? (int32_t *)(void *)scratch : NULL;
  return scratch + p->program_floats;
}

static float *partial_of(const struct run *r, const struct cut *cut, int64_t b, int64_t stack, int64_t chunk) {
  return r->workspace + b * r->plan->batch_partials + (stack * cut->chunks + chunk) * cut->partial_floats;
}

/* Where the results of the rows from `row` on begin in a partial result of a stack. */
static int64_t partial_offset(const a4j_attention_desc *d, int64_t row) { return d->maps * row * (2 + d->dim_v); }

/*
 * Heads are processed one after the other, so the keys and values of one head stay in the caches (with the heads interleaved, 8
 * heads of 4096 keys took 1.25 times as long). Within a head the last tiles come first: under a causal mask they are the long
 * ones, which leaves the short ones to balance the threads at the end.
 */
static int64_t tiles_task(const struct run *r, const struct cut *cut, int64_t b, int64_t stack, int64_t unit, float *scratch) {
  const struct plan *p = r->plan;
  struct a4j_tile tiles[A4J_TILE_GROUP];
  int count = 0;
  for (int64_t i = (cut->units - 1 - unit) * cut->together; i < cut->tiles && count < cut->together; i++) {
    find_tile(p, cut, b, stack, &tiles[count]);
    tile_rows(p, cut, i, &tiles[count].row_begin, &tiles[count].rows);
    if (tiles[count].rows > 0) count++;
  }
  float *own = scratch;
  for (int i = 0; i < count; i++) own = take_program_room(p, &tiles[i], scratch); /* tiles run in turn and share it */
  if (count > 0) p->kernels->attention_tiles[p->call.desc->k.dtype](tiles, count, own);
  int64_t work = 0;
  for (int i = 0; i < count; i++) work += tiles[i].work;
  return work;
}

/* One chunk of the keys for one tile of a stack. */
static int64_t chunk_task(const struct run *r, const struct cut *cut, int64_t b, int64_t stack, int64_t unit, float *scratch) {
  const struct plan *p = r->plan;
  const int64_t chunk = unit % cut->chunks;
  struct a4j_tile t;
  find_tile(p, cut, b, stack, &t);
  if (!cut->few) tile_rows(p, cut, unit / cut->chunks, &t.row_begin, &t.rows);
  t.key_begin = chunk * cut->chunk_keys;
  t.key_end = smaller(t.key_begin + cut->chunk_keys, t.len_k);
  t.partial = partial_of(r, cut, b, stack, chunk) + partial_offset(p->call.desc, t.row_begin);
  scratch = take_program_room(p, &t, scratch);
  if (cut->few)
    p->kernels->attention_rows[p->call.desc->k.dtype](&t, scratch);
  else
    p->kernels->attention_tiles[p->call.desc->k.dtype](&t, 1, scratch);
  if (!needs_merge(cut)) {
    const float *partial = t.partial;
    t.partial = NULL;
    p->kernels->merge_rows(&t, partial, cut->partial_floats, 1, scratch);
  }
  return t.work;
}

static int64_t compute_task(const struct run *r, int64_t b, int64_t number, float *scratch) {
  struct cut own;
  const struct cut *cut = cut_of(r->plan, b, &own);
  if (number >= cut->stacks * cut->units) return 0;
  return (cut->chunks > 0 ? chunk_task : tiles_task)(r, cut, b, number / cut->units, number % cut->units, scratch);
}

static int64_t merge_task(const struct run *r, int64_t b, int64_t number, float *scratch) {
  const struct plan *p = r->plan;
  struct cut own;
  const struct cut *cut = cut_of(p, b, &own);
  if (number >= cut->stacks || !needs_merge(cut)) return 0;
  for (int64_t i = 0; i < (cut->few ? 1 : cut->tiles); i++) {
    struct a4j_tile t;
    find_tile(p, cut, b, number, &t);
    if (!cut->few) tile_rows(p, cut, i, &t.row_begin, &t.rows);
    const float *partials = partial_of(r, cut, b, number, 0) + partial_offset(p->call.desc, t.row_begin);
    float *own = take_program_room(p, &t, scratch);
    if (t.rows > 0) p->kernels->merge_rows(&t, partials, cut->partial_floats, cut->chunks, own);
  }
  return 0;
}

/*
 * Takes the next tasks, from *begin up to the number returned: many while many are left, fewer towards the end, so threads
 * rarely contend for them and finish together.
 */
static int64_t take(struct run *r, int32_t threads, int64_t *begin) {
  int64_t next = atomic_load_explicit(&r->next, memory_order_relaxed), end;
  do {
    end = smaller(next + larger((r->tasks - next) / (4 * threads), 1), r->tasks);
  } while (next < end &&
           !atomic_compare_exchange_weak_explicit(&r->next, &next, end, memory_order_relaxed, memory_order_relaxed));
  *begin = next;
  return end;
}

static void work_on(void *context, int32_t thread, int32_t threads) {
  struct run *r = context;
  const struct plan *p = r->plan;
  float *scratch = r->workspace + p->batches * p->batch_partials + thread * p->scratch_floats;
  int64_t work = 0, number, end;
  while (end = take(r, threads, &number), number < end)
    for (; number < end; number++) work += r->task(r, number / r->batch_tasks, number % r->batch_tasks, scratch);
  atomic_fetch_add_explicit(&r->work, work, memory_order_relaxed);
}

/* Gives `batch_tasks` tasks of every batch to the team. */
static void run_all(struct run *r, int64_t (*task)(const struct run *, int64_t, int64_t, float *), int64_t batch_tasks) {
  r->task = task;
  r->batch_tasks = batch_tasks;
  r->tasks = r->plan->batches * batch_tasks;
  atomic_store_explicit(&r->next, 0, memory_order_relaxed);
  a4j_team_run((int32_t)smaller(r->tasks, r->plan->threads), work_on, r);
}

int32_t a4j_attention_full(const a4j_attention_desc *desc, const void *q, const void *k, const void *v, const float *k_scales,
                           const float *v_scales, const int32_t *k_pages, const int32_t *v_pages, const uint8_t *mask,
                           const uint8_t *key_mask, const float *bias, const uint8_t *keep, const float *relative_keys,
                           const float *relative_values, const float *noise, const float *lambda, const void *table_0,
                           const void *table_1, const void *table_2, const void *table_3, void *out, float *lse, float *weights,
                           float *scores, int64_t *work, void *workspace, int64_t bytes) {
  A4J_DEFAULT_FLOATS;
  struct plan plan;
  int64_t needed;
  int32_t status = make_plan(desc, &plan);
  if (status == A4J_OK) status = workspace_bytes(&plan, &needed);
  if (status != A4J_OK) return status;
  if (work != NULL) *work = 0;
  if (desc->batch == 0 || desc->heads_q == 0 || desc->len_q == 0) return A4J_OK;
  if (q == NULL || out == NULL || workspace == NULL || (desc->len_k > 0 && (k == NULL || v == NULL)) ||
      (desc->maps == 2 && lambda == NULL))
    return A4J_NULL_POINTER;
  if ((uintptr_t)workspace % A4J_WORKSPACE_ALIGNMENT != 0) return A4J_MISALIGNED;
  if (bytes < needed) return A4J_SMALL_WORKSPACE;
  if ((keep != NULL || desc->dropout) && !(desc->keep_scale > 0 && isfinite(desc->keep_scale))) return A4J_BAD_OPTION;
  if (keep != NULL && desc->dropout) return A4J_BAD_OPTION;
  const int scaled = desc->k.dtype == A4J_I8, paged = desc->k.page_rows > 0;
  if ((!scaled && (k_scales != NULL || v_scales != NULL)) || (!paged && (k_pages != NULL || v_pages != NULL)))
    return A4J_BAD_OPTION;
  if (desc->len_k > 0 &&
      ((scaled && (k_scales == NULL || v_scales == NULL)) || (paged && (k_pages == NULL || v_pages == NULL))))
    return A4J_NULL_POINTER;
  if (plan.packed && (mask != NULL || key_mask != NULL || bias != NULL || keep != NULL || weights != NULL || scores != NULL))
    return A4J_BAD_OPTION;
  const void *const tables[] = {table_0, table_1, table_2, table_3};
  status = check_programs(desc, tables, &plan);
  if (status != A4J_OK) return status;
  plan.call.mask_program = plan.mask_program.count > 0 ? &plan.mask_program : NULL;
  plan.call.score_program = plan.score_program.count > 0 ? &plan.score_program : NULL;
  plan.call.q = q;
  plan.call.k = k;
  plan.call.v = v;
  plan.call.mask = mask;
  plan.call.key_mask = key_mask;
  plan.call.bias = bias;
  plan.call.keep = keep;
  plan.call.relative_keys = relative_keys;
  plan.call.relative_values = relative_values;
  plan.call.noise = noise;
  plan.call.lambda = lambda;
  plan.call.out = out;
  plan.call.lse = lse;
  plan.call.weights = weights;
  plan.call.scores = scores;
  plan.call.k_scales = k_scales;
  plan.call.v_scales = v_scales;
  plan.call.k_pages = k_pages;
  plan.call.v_pages = v_pages;
  status = check_pages(&plan.call, &desc->k, k_pages);
  if (status == A4J_OK) status = check_pages(&plan.call, &desc->v, v_pages);
  if (status != A4J_OK) return status;
  if (!plan.whole && (weights != NULL || scores != NULL)) {
    plan.whole = 1;
    status = make_cuts(&plan);
  }
  if (status != A4J_OK) return status;
  if (desc->dim_v == 0 && lse == NULL && weights == NULL && scores == NULL) return A4J_OK; /* no output has an element */
  if (keys_without_memory(desc) && desc->len_k > INT32_MAX) return A4J_BAD_SIZE;
  struct run run = {.plan = &plan, .workspace = workspace};
  if (plan.batch_tasks > 0) run_all(&run, compute_task, plan.batch_tasks);
  if (plan.merges) run_all(&run, merge_task, plan.packed ? desc->heads_q : plan.cut.stacks);
  if (work != NULL) *work = atomic_load_explicit(&run.work, memory_order_relaxed);
  return A4J_OK;
}

int32_t a4j_attention(const a4j_attention_desc *desc, const void *q, const void *k, const void *v, void *out, void *workspace,
                      int64_t bytes) {
  return a4j_attention_full(desc, q, k, v, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                            NULL, NULL, out, NULL, NULL, NULL, NULL, workspace, bytes);
}
