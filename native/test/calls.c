#include "calls.h"

#include <stdlib.h>
#include <string.h>

#include "a4j.h"
#include "problem.h"
#include "programs.h"

static void *memory(int64_t bytes) {
  void *block = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)(bytes + 63) / 64 * 64 + 64);
  if (block == NULL) abort();
  return block;
}

/* ---- Attention ---- */

static void *prefill(void) {
  struct problem *p =
      make((struct shape){.heads_kv = 2, .group = 2, .len_q = 150, .len_k = 300, .dim_qk = 64, .dim_v = 64, .range = 2});
  return p;
}

static void *decode(void) {
  struct problem *p = make(
      (struct shape){.batch = 2, .heads_kv = 4, .group = 4, .len_q = 1, .len_k = 1500, .dim_qk = 64, .dim_v = 64, .range = 2});
  with_lengths(p);
  return p;
}

static void *with_all_outputs(void) {
  struct problem *p = make((struct shape){.heads_kv = 4, .len_q = 90, .len_k = 200, .dim_qk = 40, .dim_v = 72, .range = 2});
  with_mask(p, OVER_HEADS, SPECKLED);
  with_bias(p, OVER_BATCH, true, PATCHES);
  with_alibi(p);
  with_sinks(p);
  with_weights(p);
  with_scores(p, A4J_STAGE_LOGITS);
  return p;
}

static void *differential(void) {
  return make((struct shape){
      .heads_kv = 4, .maps = 2, .value_parts = 2, .len_q = 80, .len_k = 250, .dim_qk = 32, .dim_v = 64, .range = 2});
}

static void *relative(void) {
  struct problem *p = make((struct shape){.heads_kv = 4, .len_q = 100, .len_k = 100, .dim_qk = 32, .dim_v = 32, .range = 2});
  with_relative(p, 40);
  return p;
}

static void *hardened(void) {
  struct problem *p = make((struct shape){.heads_kv = 4, .len_q = 60, .len_k = 200, .dim_qk = 32, .dim_v = 32, .range = 2});
  with_hardening(p);
  return p;
}

static void *programmed(void) {
  struct problem *p =
      make((struct shape){.batch = 2, .heads_kv = 2, .len_q = 100, .len_k = 200, .dim_qk = 32, .dim_v = 32, .range = 2});
  with_mask_program(p, 0);
  with_score_program(p, 0);
  with_dropout(p);
  return p;
}

static void *programmed_decode(void) {
  struct problem *p =
      make((struct shape){.heads_kv = 2, .group = 2, .len_q = 1, .len_k = 900, .dim_qk = 64, .dim_v = 64, .range = 2});
  with_mask_program(p, 2);
  with_score_program(p, 1);
  return p;
}

static void *stored_prefill(void) {
  struct problem *p = prefill();
  with_query_storage(p, A4J_BF16, A4J_BF16);
  with_kv_storage(p, A4J_I8);
  return p;
}

static void *stored_decode(void) {
  struct problem *p = decode();
  with_kv_storage(p, A4J_F16);
  with_pages(p, 64);
  return p;
}

static void *bf16_products(void) {
  struct problem *p = prefill();
  with_kv_storage(p, A4J_BF16);
  with_bf16_products(p);
  return p;
}

static int32_t run_attention(void *call, int32_t threads) {
  struct problem *p = call;
  p->d->threads = threads;
  return status_of(p);
}

static uint64_t hash_attention(const void *call) { return hash_of(call); }

static void free_attention(void *call) { release(call); }

/* ---- Layers ---- */

enum { ROWS = 1200, DIM = 96, WIDE = 3 * DIM, COUNT = ROWS * WIDE };

struct layer {
  float *x, *y, *z, *out, *second;
  uint8_t *bytes;
};

static void *layer(void) {
  struct layer *l = memory(sizeof *l);
  float **inputs[] = {&l->x, &l->y, &l->z};
  seed = 20;
  for (int n = 0; n < 3; n++) {
    *inputs[n] = memory(COUNT * (int64_t)sizeof(float));
    /* A few subnormal numbers, which flush-to-zero would lose. */
    for (int64_t i = 0; i < COUNT; i++) (*inputs[n])[i] = one_in(50) ? uniform() * 1e-39f : uniform() * 2;
  }
  l->out = memory(COUNT * (int64_t)sizeof(float));
  l->second = memory(COUNT * (int64_t)sizeof(float));
  l->bytes = memory(COUNT);
  return l;
}

static void free_layer(void *call) {
  struct layer *l = call;
  void *all[] = {l->x, l->y, l->z, l->out, l->second, l->bytes, l};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static uint64_t hash_layer(const void *call) {
  const struct layer *l = call;
  uint64_t hash = 14695981039346656037u;
  for (int64_t i = 0; i < COUNT; i++) {
    uint32_t bits[2];
    memcpy(&bits[0], l->out + i, sizeof bits[0]);
    memcpy(&bits[1], l->second + i, sizeof bits[1]);
    hash = (((hash ^ bits[0]) * 0x100000001b3u ^ bits[1]) * 0x100000001b3u ^ l->bytes[i]) * 0x100000001b3u;
  }
  return hash;
}

static void clear(struct layer *l) {
  memset(l->out, 0, COUNT * sizeof(float));
  memset(l->second, 0, COUNT * sizeof(float));
  memset(l->bytes, 0, COUNT);
}

#define HEAD(type) .size_bytes = sizeof(type), .abi_version = A4J_ABI_VERSION, .dtype = A4J_F32, .threads = threads

static int32_t linear(struct layer *l, int32_t threads, int64_t rows, int product) {
  clear(l);
  const a4j_linear_desc d = {
      HEAD(a4j_linear_desc), .product = product,        .rows = rows,         .dim_in = WIDE, .dim_out = DIM,
      .x_stride_row = WIDE,  .weight_stride_row = WIDE, .out_stride_row = DIM};
  const int64_t bytes = a4j_linear_workspace_bytes(&d);
  if (bytes < 0) return (int32_t)-bytes;
  void *workspace = memory(bytes), *packed = memory(A4J_PANEL * WIDE * ((DIM - 1) / A4J_PANEL + 1) * (int64_t)sizeof(float));
  int32_t status = product == A4J_PRODUCT_PACKED ? a4j_linear_pack(&d, l->y, packed) : A4J_OK;
  if (status == A4J_OK)
    status = a4j_linear(&d, l->x, product == A4J_PRODUCT_PACKED ? packed : l->y, l->z, l->out, workspace, bytes);
  free(workspace), free(packed);
  return status;
}

static int32_t few_rows(void *call, int32_t threads) { return linear(call, threads, 3, A4J_PRODUCT_OWN); }
static int32_t many_rows(void *call, int32_t threads) { return linear(call, threads, ROWS, A4J_PRODUCT_OWN); }
static int32_t packed_rows(void *call, int32_t threads) { return linear(call, threads, 5, A4J_PRODUCT_PACKED); }

static int32_t quantized_rows(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_storage storage = {A4J_I4, 32, A4J_F16, 1};
  const a4j_quantized_desc q = {HEAD(a4j_quantized_desc), .storage = storage, .rows = DIM, .dim = WIDE, .stride_row = WIDE};
  const a4j_linear_desc d = {HEAD(a4j_linear_desc), .weight = storage,    .rows = ROWS,         .dim_in = WIDE,
                             .dim_out = DIM,        .x_stride_row = WIDE, .out_stride_row = DIM};
  const int64_t bytes = a4j_linear_workspace_bytes(&d);
  if (bytes < 0) return (int32_t)-bytes;
  void *workspace = memory(bytes), *packed = memory(a4j_quantized_bytes(&q));
  int32_t status = a4j_quantize(&q, l->y, packed);
  if (status == A4J_OK) status = a4j_linear(&d, l->x, packed, l->z, l->out, workspace, bytes);
  if (status == A4J_OK) status = a4j_dequantize(&q, packed, l->second);
  free(workspace), free(packed);
  return status;
}

static int32_t rms_norm(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_rms_norm_desc d = {HEAD(a4j_rms_norm_desc), .rows = ROWS,     .dim = WIDE,  .x_stride_row = WIDE,
                               .out_stride_row = WIDE,  .epsilon = 1e-6f, .scale = 0.7f};
  return a4j_rms_norm(&d, l->x, l->y, l->out);
}

static int32_t layer_norm(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_layer_norm_desc d = {HEAD(a4j_layer_norm_desc), .rows = ROWS,           .dim = WIDE,
                                 .x_stride_row = WIDE,      .out_stride_row = WIDE, .epsilon = 1e-6f};
  return a4j_layer_norm(&d, l->x, l->y, l->z, l->out, l->second, l->second + ROWS);
}

/* Rows of BF16, the widest that fit a stack of 64 KB together with everything else on it. */
enum { SHORT_ROWS = 20, SHORT_DIM = 14336 };

/* BF16 rows of x, in l->second, which is then a part of what is compared. */
static int32_t shorten(struct layer *l, int32_t threads) {
  clear(l);
  const a4j_convert_desc d = {HEAD(a4j_convert_desc),    .rows = SHORT_ROWS,          .dim = SHORT_DIM,
                              .x_stride_row = SHORT_DIM, .out_stride_row = SHORT_DIM, .out_dtype = A4J_BF16};
  return a4j_convert(&d, l->x, l->second);
}

static int32_t short_rms_norm(void *call, int32_t threads) {
  struct layer *l = call;
  const int32_t status = shorten(l, threads);
  a4j_rms_norm_desc d = {HEAD(a4j_rms_norm_desc),     .rows = SHORT_ROWS, .dim = SHORT_DIM, .x_stride_row = SHORT_DIM,
                         .out_stride_row = SHORT_DIM, .epsilon = 1e-6f,   .scale = 0.7f};
  d.dtype = d.out_dtype = A4J_BF16;
  return status != A4J_OK ? status : a4j_rms_norm(&d, l->second, l->y, l->out);
}

static int32_t short_layer_norm(void *call, int32_t threads) {
  struct layer *l = call;
  const int32_t status = shorten(l, threads);
  a4j_layer_norm_desc d = {HEAD(a4j_layer_norm_desc), .rows = SHORT_ROWS,          .dim = SHORT_DIM,
                           .x_stride_row = SHORT_DIM, .out_stride_row = SHORT_DIM, .epsilon = 1e-6f};
  d.dtype = d.out_dtype = A4J_BF16;
  return status != A4J_OK ? status : a4j_layer_norm(&d, l->second, l->y, l->z, l->out, NULL, NULL);
}

static int32_t rope(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_rope_desc d = {
      HEAD(a4j_rope_desc),   .batch = 1,         .heads = 3,           .len = ROWS,          .dim = DIM,
      .rotary_dim = DIM,     .table_rows = ROWS, .x_stride_head = DIM, .x_stride_row = WIDE, .out_stride_head = DIM,
      .out_stride_row = WIDE};
  return a4j_rope(&d, l->x, l->y, l->z, l->out);
}

static int32_t pair_scores(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_pair_scores_desc d = {HEAD(a4j_pair_scores_desc), .batch = 1,         .len_q = 100, .len_k = 80, .dim = DIM,
                                  .q_stride_row = DIM,        .k_stride_row = DIM};
  return a4j_pair_scores(&d, l->x, l->y, l->z, l->out);
}

static int32_t elements(struct layer *l, int32_t threads, int activation, int combine) {
  clear(l);
  const a4j_elementwise_desc d = {
      HEAD(a4j_elementwise_desc), .activation = activation, .combine = combine,    .scale = 0.3f, .rows = ROWS, .dim = WIDE,
      .x_stride_row = WIDE,       .y_stride_row = WIDE,     .out_stride_row = WIDE};
  return a4j_elementwise(&d, l->x, l->y, l->out);
}

static int32_t scale_add(void *call, int32_t threads) { return elements(call, threads, A4J_IDENTITY, A4J_ADD); }
static int32_t gate(void *call, int32_t threads) { return elements(call, threads, A4J_GELU, A4J_MULTIPLY); }

static int32_t convert(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_convert_desc d = {HEAD(a4j_convert_desc), .rows = ROWS,           .dim = WIDE,
                              .x_stride_row = WIDE,   .out_stride_row = WIDE, .out_dtype = A4J_BF16};
  return a4j_convert(&d, l->x, l->out);
}

static int32_t gru(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_gru_desc d = {HEAD(a4j_gru_desc),   .rows = ROWS,        .dim = DIM,           .x_stride_row = WIDE,
                          .u_stride_row = WIDE, .h_stride_row = DIM, .out_stride_row = DIM};
  return a4j_gru(&d, l->x, l->y, l->z, l->out);
}

static int32_t areas(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_area_desc d = {HEAD(a4j_area_desc),
                           .epsilon = 1e-6f,
                           .batch = 1,
                           .heads = 2,
                           .height = 10,
                           .width = 12,
                           .dim = DIM,
                           .max_height = 3,
                           .max_width = 2,
                           .x_stride_head = 120 * DIM,
                           .x_stride_row = DIM,
                           .mean_stride_row = DIM,
                           .deviation_stride_row = DIM};
  return a4j_area_features(&d, l->x, NULL, l->out, NULL, NULL, l->second);
}

static int32_t linear_attention(void *call, int32_t threads) {
  enum { LEN = 200, HEADS = 3, DIM_V = 80 };
  struct layer *l = call;
  clear(l);
  const a4j_linear_attention_desc d = {HEAD(a4j_linear_attention_desc),
                                       .update = A4J_UPDATE_GATED_DELTA,
                                       .scale = 0.1f,
                                       .batch = 1,
                                       .heads_q = 2 * HEADS,
                                       .heads_kv = HEADS,
                                       .len = LEN,
                                       .dim_qk = 32,
                                       .dim_v = DIM_V,
                                       .decay_dim = 32,
                                       .q_stride_head = 32,
                                       .q_stride_row = 2 * HEADS * 32,
                                       .k_stride_head = 32,
                                       .k_stride_row = HEADS * 32,
                                       .v_stride_head = DIM_V,
                                       .v_stride_row = HEADS * DIM_V,
                                       .decay_stride_head = 32,
                                       .decay_stride_row = HEADS * 32,
                                       .beta_stride_head = 1,
                                       .beta_stride_row = HEADS,
                                       .state_stride_head = 32 * DIM_V,
                                       .state_stride_row = DIM_V,
                                       .out_stride_head = DIM_V,
                                       .out_stride_row = 2 * HEADS * DIM_V};
  const int64_t bytes = a4j_linear_attention_workspace_bytes(&d);
  if (bytes < 0) return (int32_t)-bytes;
  void *workspace = memory(bytes);
  const int32_t status =
      a4j_linear_attention(&d, l->x, l->y, l->z, l->y + COUNT / 2, l->z + COUNT / 2, l->second, l->out, workspace, bytes);
  free(workspace);
  return status;
}

static int32_t dropout(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_dropout_desc d = {HEAD(a4j_dropout_desc), .rate = 0.3f, .seed = 7, .batch = 2, .heads = 3,
                              .len_q = 100,           .len_k = 200};
  return a4j_dropout(&d, l->bytes);
}

static int32_t merge(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  const a4j_merge_desc d = {HEAD(a4j_merge_desc), .batch = 1,           .heads = 1,           .len = ROWS,
                            .dim = WIDE,          .a_stride_row = WIDE, .b_stride_row = WIDE, .out_stride_row = WIDE};
  return a4j_merge(&d, l->x, l->z, l->y, l->z + ROWS, l->out, l->second);
}

static int32_t append_rows(void *call, int32_t threads) {
  struct layer *l = call;
  clear(l);
  struct {
    a4j_kv_append_desc d;
    int32_t lengths[2];
  } block = {{HEAD(block), .batch = 2, .heads = 1, .len_new = 200, .capacity = 500, .dim = DIM, .rows_stride_batch = 200 * DIM,
              .rows_stride_row = DIM, .cache.stride_batch = 500 * DIM, .cache.stride_row = DIM,
              .lengths_offset = sizeof(a4j_kv_append_desc)},
             {3, 100}};
  return a4j_kv_append(&block.d, l->x, l->out, NULL, NULL);
}

/* HotSpot guarantees a thread some 80 KB when it calls native code. */
enum { STACK = 64 * 1024 };

const struct call_kind call_kinds[] = {
    {"attention: prefill", STACK, prefill, run_attention, hash_attention, free_attention},
    {"attention: decode", STACK, decode, run_attention, hash_attention, free_attention},
    {"attention: mask, bias, slopes, sinks, weights, scores", STACK, with_all_outputs, run_attention, hash_attention,
     free_attention},
    {"attention: differential", STACK, differential, run_attention, hash_attention, free_attention},
    {"attention: relative positions", STACK, relative, run_attention, hash_attention, free_attention},
    {"attention: hardened weights", STACK, hardened, run_attention, hash_attention, free_attention},
    {"attention: programs and dropout", STACK, programmed, run_attention, hash_attention, free_attention},
    {"attention: programs in decode", STACK, programmed_decode, run_attention, hash_attention, free_attention},
    {"attention: keys and values of 8 bits", STACK, stored_prefill, run_attention, hash_attention, free_attention},
    {"attention: pages of F16 in decode", STACK, stored_decode, run_attention, hash_attention, free_attention},
    {"attention: products of BF16", STACK, bf16_products, run_attention, hash_attention, free_attention},
    {"linear: few rows", STACK, layer, few_rows, hash_layer, free_layer},
    {"linear: many rows", STACK, layer, many_rows, hash_layer, free_layer},
    {"linear: packed weights", STACK, layer, packed_rows, hash_layer, free_layer},
    {"linear: quantised weights", STACK, layer, quantized_rows, hash_layer, free_layer},
    {"rms_norm", STACK, layer, rms_norm, hash_layer, free_layer},
    {"layer_norm", STACK, layer, layer_norm, hash_layer, free_layer},
    {"rms_norm: BF16", STACK, layer, short_rms_norm, hash_layer, free_layer},
    {"layer_norm: BF16", STACK, layer, short_layer_norm, hash_layer, free_layer},
    {"rope", STACK, layer, rope, hash_layer, free_layer},
    {"pair_scores", STACK, layer, pair_scores, hash_layer, free_layer},
    {"elementwise: scale and add", STACK, layer, scale_add, hash_layer, free_layer},
    {"convert", STACK, layer, convert, hash_layer, free_layer},
    {"elementwise: gate", STACK, layer, gate, hash_layer, free_layer},
    {"gru", STACK, layer, gru, hash_layer, free_layer},
    {"area_features", STACK, layer, areas, hash_layer, free_layer},
    {"linear_attention", STACK, layer, linear_attention, hash_layer, free_layer},
    {"dropout", STACK, layer, dropout, hash_layer, free_layer},
    {"merge", STACK, layer, merge, hash_layer, free_layer},
    {"kv_append", STACK, layer, append_rows, hash_layer, free_layer},
};

const int call_kind_count = sizeof call_kinds / sizeof *call_kinds;
