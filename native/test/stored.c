/* Problems whose tensors are stored in fewer bits or in pages: the floats are copied for each run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "problem.h"

static void *memory(int64_t bytes) {
  void *p = malloc(bytes == 0 ? 1 : (size_t)bytes);
  if (p == NULL) abort();
  return p;
}

static int64_t bytes_of(int storage) { return storage == A4J_F32 ? 4 : storage == A4J_I8 ? 1 : 2; }

static uint16_t half_of(int storage, float x) {
  return isnan(x) ? (storage == A4J_BF16 ? 0x7fc1 : 0x7e01) : half_nearest(storage, x);
}

void round_all(int storage, float *x, int64_t count) {
  for (int64_t i = 0; i < count && storage != A4J_F32; i++)
    if (isfinite(x[i])) x[i] = (float)half_value(storage, half_nearest(storage, x[i]));
}

void with_query_storage(struct problem *p, int q_storage, int out_storage) {
  p->q_storage = q_storage;
  p->out_storage = out_storage;
  round_all(q_storage, p->q, p->q_count);
}

/* Calls fn with the offset of every row of a view. */
static void each_row(const a4j_attention_desc *d, const a4j_view *view, int maps, int64_t shift,
                     void (*fn)(void *context, int64_t at), void *context) {
  for (int64_t b = 0; b < d->batch; b++)
    for (int64_t h = 0; h < d->heads_kv; h++)
      for (int map = 0; map < maps; map++)
        for (int64_t j = 0; j < keys_of(d, b).count; j++)
          fn(context, shift + b * view->stride_batch + h * view->stride_head + map * view->stride_map +
                          (keys_of(d, b).begin + j) * view->stride_row);
}

struct scaling {
  float *x, *scales, range;
  int64_t width;
};

/* A scale of few bits, so that its products with 8-bit integers are exact in float. */
static void scale_row(void *context, int64_t at) {
  const struct scaling *s = context;
  if (s->scales[at] != 0) return; /* a row that several heads or batches share */
  s->scales[at] = s->range * (float)(1 + up_to(7)) / 1024;
  for (int64_t e = 0; e < s->width; e++) s->x[at + e] = s->scales[at] * (float)(up_to(254) - 127);
}

void with_kv_storage(struct problem *p, int storage) {
  a4j_attention_desc *d = p->d;
  p->kv_storage = storage;
  if (storage != A4J_I8) {
    round_all(storage, p->k, p->k_count);
    round_all(storage, p->v, p->v_count);
    return;
  }
  p->k_scales = calloc((size_t)p->k_count + 1, sizeof(float));
  p->v_scales = calloc((size_t)p->v_count + 1, sizeof(float));
  each_row(d, &d->k, d->maps, p->k_shift, scale_row, &(struct scaling){p->k, p->k_scales, 1, d->dim_qk});
  each_row(d, &d->v, d->value_parts, p->v_shift, scale_row, &(struct scaling){p->v, p->v_scales, 1, d->dim_v / d->value_parts});
}

void with_pages(struct problem *p, int64_t page_rows) { p->page_rows = page_rows; }

void with_bf16_products(struct problem *p) { p->d->arithmetic = A4J_ARITHMETIC_BF16; }

/* Stores x at element `at` of an array of this storage. */
static void store(int storage, void *to, int64_t at, float x, float scale) {
  if (storage == A4J_F32)
    ((float *)to)[at] = x;
  else if (storage == A4J_I8)
    ((int8_t *)to)[at] = isfinite(x) && scale != 0 ? (int8_t)lrintf(x / scale) : 1;
  else
    ((uint16_t *)to)[at] = half_of(storage, x);
}

/* k or v as it is stored, and its view in the descriptor. */
struct copy {
  int storage;
  const float *from, *scales;
  int64_t count, shift, width;
  int maps;
  a4j_view *view;
  void *memory;
  float *scale_memory;
  int32_t *pages;
  int64_t first; /* element of row 0 */
};

/* A row that is poisoned is 1 times its poison. */
static float scale_of_row(const struct copy *c, int64_t at) { return isfinite(c->from[at]) ? c->scales[at] : c->from[at]; }

/* In the same places. */
static void copy_dense(struct copy *c) {
  c->memory = memory(c->count * bytes_of(c->storage));
  c->scale_memory = memory(c->count * 4);
  float scale = 1;
  for (int64_t i = 0; i < c->count; i++) {
    if (c->scales != NULL) {
      if (c->scales[i] != 0) scale = c->scales[i]; /* it holds up to the next row */
      c->scale_memory[i] = c->scales[i] != 0 ? scale_of_row(c, i) : NAN;
    }
    store(c->storage, c->memory, i, c->from[i], scale);
  }
  c->first = c->shift;
  c->view->scale_stride_batch = c->view->stride_batch;
  c->view->scale_stride_head = c->view->stride_head;
  c->view->scale_stride_map = c->view->stride_map;
  c->view->scale_stride_row = c->view->stride_row;
}

/* In pages in a random order, [page][row][head][map][dim], with gaps; what no row needs is NaN, or 127 times NaN. */
static void copy_pages(const a4j_attention_desc *d, struct copy *c, int64_t page_rows) {
  const int64_t each = (d->len_k + page_rows - 1) / page_rows, used = d->batch * each, count = used + 3;
  const a4j_view old = *c->view;
  a4j_view *view = c->view;
  view->page_rows = (int32_t)page_rows;
  view->stride_map = c->width;
  view->stride_head = c->maps * c->width;
  view->stride_row = d->heads_kv * c->maps * c->width + 1;
  view->stride_batch = page_rows * view->stride_row + 5;
  view->scale_stride_map = 1;
  view->scale_stride_head = c->maps;
  view->scale_stride_row = d->heads_kv * c->maps;
  view->scale_stride_batch = page_rows * view->scale_stride_row;
  view->pages = count;
  view->pages_stride_batch = each + 1;
  const int64_t elements = count * view->stride_batch, scales = count * view->scale_stride_batch;
  c->memory = memory(elements * bytes_of(c->storage));
  c->scale_memory = memory(scales * 4);
  for (int64_t i = 0; i < elements; i++) store(c->storage, c->memory, i, c->storage == A4J_I8 ? 127 : NAN, 1);
  for (int64_t i = 0; i < scales; i++) c->scale_memory[i] = NAN;
  int32_t *order = memory((count + 1) * 4);
  for (int64_t i = 0; i < count; i++) order[i] = (int32_t)i;
  for (int64_t i = count - 1; i > 0; i--) {
    const int64_t x = up_to(i);
    const int32_t page = order[i];
    order[i] = order[x];
    order[x] = page;
  }
  c->pages = memory((d->batch * (each + 1) + 1) * 4);
  for (int64_t b = 0; b < d->batch; b++) {
    for (int64_t i = 0; i < each; i++) c->pages[b * (each + 1) + i] = order[b * each + i];
    c->pages[b * (each + 1) + each] = -1; /* not read */
    for (int64_t h = 0; h < d->heads_kv; h++)
      for (int map = 0; map < c->maps; map++)
        for (int64_t j = 0; j < d->len_k; j++) {
          const int64_t from =
              c->shift + b * old.stride_batch + h * old.stride_head + map * old.stride_map + j * old.stride_row;
          const int64_t page = c->pages[b * (each + 1) + j / page_rows], row = j % page_rows;
          const int64_t to =
              page * view->stride_batch + row * view->stride_row + h * view->stride_head + map * view->stride_map;
          const float scale = c->scales == NULL ? 1 : c->scales[from];
          for (int64_t e = 0; e < c->width; e++) store(c->storage, c->memory, to + e, c->from[from + e], scale);
          if (c->scales != NULL)
            c->scale_memory[page * view->scale_stride_batch + row * view->scale_stride_row + h * view->scale_stride_head +
                            map] = scale_of_row(c, from);
        }
  }
  free(order);
}

/* 16 bits that no kernel writes: a NaN with a special payload. */
static uint16_t untouched(int storage) { return storage == A4J_BF16 ? 0x7fa5 : 0x7da5; }

/* The call, with a workspace of the size that it asks for. */
static int32_t run(struct problem *p, const a4j_attention_desc *d, const void *q, const void *k, const void *v,
                   const float *k_scales, const float *v_scales, const int32_t *k_pages, const int32_t *v_pages, void *out,
                   float *lse, float *weights, float *scores) {
  const struct attention_call *c = &p->in;
  const int64_t answer = a4j_attention_workspace_bytes(d), bytes = answer < 0 ? 0 : answer;
  void *workspace = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)(bytes + 63) / 64 * 64 + 64);
  if (workspace == NULL) abort();
  /* Nothing may be read there before it is written. */
  memset(workspace, 0xff, (size_t)bytes);
  const int32_t status =
      a4j_attention_full(d, q, k, v, k_scales, v_scales, k_pages, v_pages, c->mask, c->key_mask, c->bias, c->keep,
                         c->relative_keys, c->relative_values, c->noise, c->lambda, c->tables[0], c->tables[1], c->tables[2],
                         c->tables[3], out, lse, weights, scores, &p->work, workspace, bytes);
  free(workspace);
  return answer < 0 && status != -answer ? -1 : status;
}

int32_t run_stored(struct problem *p, float *out, float *lse, float *weights, float *scores) {
  if (p->q_storage == A4J_F32 && p->kv_storage == A4J_F32 && p->out_storage == A4J_F32 && p->page_rows == 0)
    return run(p, p->d, p->in.q, p->in.k, p->in.v, NULL, NULL, NULL, NULL, out, p->without_lse ? NULL : lse, weights, scores);
  a4j_attention_desc *d = memory(p->d->size_bytes);
  memcpy(d, p->d, (size_t)p->d->size_bytes);
  d->q.dtype = p->q_storage;
  d->k.dtype = d->v.dtype = p->kv_storage;
  d->out.dtype = p->out_storage;
  void *q = memory(p->q_count * 4);
  for (int64_t i = 0; i < p->q_count; i++) store(p->q_storage, q, i, p->q[i], 1);
  struct copy k = {.storage = p->kv_storage, .from = p->k, .scales = p->k_scales, .count = p->k_count, .shift = p->k_shift};
  struct copy v = {.storage = p->kv_storage, .from = p->v, .scales = p->v_scales, .count = p->v_count, .shift = p->v_shift};
  k.width = d->dim_qk, k.maps = d->maps, k.view = &d->k;
  v.width = d->dim_v / d->value_parts, v.maps = d->value_parts, v.view = &d->v;
  struct copy *copies[] = {&k, &v};
  for (int i = 0; i < 2; i++) {
    if (p->page_rows > 0)
      copy_pages(p->d, copies[i], p->page_rows);
    else
      copy_dense(copies[i]);
  }
  uint16_t *narrow = memory(p->out_count * 2);
  for (int64_t i = 0; i < p->out_count; i++) narrow[i] = untouched(p->out_storage);

  const int32_t status =
      run(p, d, q, (char *)k.memory + k.first * bytes_of(k.storage), (char *)v.memory + v.first * bytes_of(v.storage),
          k.scales == NULL ? NULL : k.scale_memory + k.first, v.scales == NULL ? NULL : v.scale_memory + v.first, k.pages,
          v.pages, p->out_storage == A4J_F32 ? (void *)out : (void *)narrow, p->without_lse ? NULL : lse, weights, scores);
  for (int64_t i = 0; i < p->out_count && p->out_storage != A4J_F32; i++)
    if (narrow[i] != untouched(p->out_storage)) out[i] = (float)half_value(p->out_storage, narrow[i]);
  for (int i = 0; i < 2; i++) free(copies[i]->memory), free(copies[i]->scale_memory), free(copies[i]->pages);
  free(narrow), free(q), free(d);
  return status;
}
