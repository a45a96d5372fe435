/* a4j_rope: checks of all positions, then rows dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "stored.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_rope_desc *desc;
  const int32_t *positions;
  const void *x;
  const float *cos, *sin;
  void *out;
};

typedef void turn_fn(int64_t pairs, const float *x, const float *cos, const float *sin, float *out);

/* Pairs that are widened and rounded at a time. */
enum { SHORT_PAIRS = 256 };

static int64_t position(const struct call *call, int64_t b, int64_t i) {
  const a4j_rope_desc *desc = call->desc;
  return call->positions != NULL ? call->positions[b * desc->positions_stride_batch + i] : desc->position_start + i;
}

/* A row that starts at element x_at, and one that starts at out_at, of which one or both have 16 bits; 2 * pairs of its channels. */
static void turn_short(const struct call *call, turn_fn *turn, int64_t pairs, int64_t x_at, int64_t out_at, int64_t angles) {
  const a4j_rope_desc *desc = call->desc;
  const int halves = desc->style == A4J_ROPE_HALF ? 2 : 1; /* pieces of a row that make pairs, `step` channels apart */
  const int64_t step = pairs * (2 / halves);
  float room[2 * SHORT_PAIRS], turned[2 * SHORT_PAIRS];
  for (int64_t p = 0; p < pairs; p += SHORT_PAIRS) {
    const int64_t n = pairs - p < SHORT_PAIRS ? pairs - p : SHORT_PAIRS, width = n * (2 / halves), at = p * (2 / halves);
    for (int h = 0; h < halves; h++) {
      const void *from = a4j_element(desc->dtype, call->x, x_at + h * step + at);
      call->kernels->convert(width, desc->dtype, from, A4J_F32, room + h * width);
    }
    turn(n, room, call->cos + angles + p, call->sin + angles + p, turned);
    for (int h = 0; h < halves; h++) {
      char *to = (char *)call->out + (out_at + h * step + at) * a4j_dtype_bytes(desc->out_dtype);
      call->kernels->convert(width, A4J_F32, turned + h * width, desc->out_dtype, to);
    }
  }
}

/* Rows are numbered (b, h, i), i fastest. */
static void turn_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_rope_desc *desc = call->desc;
  const int64_t pairs = desc->rotary_dim / 2, rest = desc->dim - desc->rotary_dim;
  const int same = desc->dtype == desc->out_dtype;
  turn_fn *turn = desc->style == A4J_ROPE_HALF ? call->kernels->rope_half : call->kernels->rope_interleaved;
  for (int64_t r = row; r < row_end; r++) {
    int64_t i = r % desc->len, h = r / desc->len % desc->heads, b = r / desc->len / desc->heads;
    const int64_t x_at = b * desc->x_stride_batch + h * desc->x_stride_head + i * desc->x_stride_row;
    const int64_t out_at = b * desc->out_stride_batch + h * desc->out_stride_head + i * desc->out_stride_row;
    const int64_t angles = position(call, b, i) * pairs;
    if (same && desc->dtype == A4J_F32)
      turn(pairs, (const float *)call->x + x_at, call->cos + angles, call->sin + angles, (float *)call->out + out_at);
    else
      turn_short(call, turn, pairs, x_at, out_at, angles);
    const void *from = a4j_element(desc->dtype, call->x, x_at + desc->rotary_dim);
    char *to = (char *)call->out + (out_at + desc->rotary_dim) * a4j_dtype_bytes(desc->out_dtype);
    if (from != to) call->kernels->convert(rest, desc->dtype, from, desc->out_dtype, to);
  }
}

static int32_t check_positions(const struct call *call) {
  const a4j_rope_desc *desc = call->desc;
  if (call->positions == NULL)
    return desc->position_start >= 0 && desc->len <= desc->table_rows && desc->position_start <= desc->table_rows - desc->len
               ? A4J_OK
               : A4J_BAD_POSITION;
  int64_t count = desc->positions_stride_batch == 0 ? desc->len : desc->batch * desc->len;
  for (int64_t i = 0; i < count; i++)
    if (call->positions[i] < 0 || call->positions[i] >= desc->table_rows) return A4J_BAD_POSITION;
  return A4J_OK;
}

int32_t a4j_rope(const a4j_rope_desc *desc, const void *x, const float *cos, const float *sin, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status == A4J_OK) status = a4j_check_layer(desc, desc->out_dtype);
  if (status != A4J_OK) return status;
  if (desc->style != A4J_ROPE_HALF && desc->style != A4J_ROPE_INTERLEAVED) return A4J_BAD_OPTION;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->len, desc->dim});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->table_rows, desc->rotary_dim});
  if (status != A4J_OK) return status;
  if (desc->rotary_dim > desc->dim || desc->rotary_dim % 2 != 0) return A4J_BAD_SIZE;
  if (desc->batch == 0 || desc->heads == 0 || desc->len == 0 || desc->dim == 0) return A4J_OK;

  struct call call = {.desc = desc, .x = x, .cos = cos, .sin = sin, .out = out};
  if (desc->positions_offset != 0 && desc->positions_stride_batch != 0 && desc->positions_stride_batch != desc->len)
    return A4J_BAD_SIZE;
  status = a4j_check_tail(desc, sizeof *desc, desc->positions_offset,
                          desc->positions_stride_batch == 0 ? desc->len : desc->batch * desc->len, &call.positions);
  if (status != A4J_OK) return status;
  if (x == NULL || out == NULL || (desc->rotary_dim > 0 && (cos == NULL || sin == NULL))) return A4J_NULL_POINTER;
  status = check_positions(&call);
  if (status != A4J_OK) return status;

  call.kernels = a4j_kernels_active();
  a4j_rows_run(desc->threads, desc->batch * desc->heads * desc->len, 10 + 0.15 * (double)desc->dim, turn_rows, &call);
  return A4J_OK;
}
