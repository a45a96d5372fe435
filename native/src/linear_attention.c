/* a4j_linear_attention: checks, workspace, and blocks of columns of the states dealt to the team. */
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "sizes.h"
#include "team.h"

struct run {
  struct a4j_linear_attention_call call;
  const struct a4j_kernels *kernels;
  float *workspace;
  int64_t columns, blocks, units; /* columns of a block, blocks of a head, blocks of all heads */
  _Atomic int64_t next;
};

static int decays(const a4j_linear_attention_desc *desc) {
  return desc->update == A4J_UPDATE_GATED || desc->update == A4J_UPDATE_GATED_DELTA;
}

static int has_beta(const a4j_linear_attention_desc *desc) {
  return desc->update == A4J_UPDATE_DELTA || desc->update == A4J_UPDATE_GATED_DELTA;
}

static int32_t check(const a4j_linear_attention_desc *desc) {
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (desc->update < A4J_UPDATE_LINEAR || desc->update > A4J_UPDATE_GATED_DELTA || !isfinite(desc->scale))
    return A4J_BAD_OPTION;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads_q, desc->len, desc->dim_qk});
  if (status == A4J_OK) status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads_q, desc->len, desc->dim_v});
  if (status == A4J_OK) status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads_kv, desc->dim_qk, desc->dim_v});
  if (status != A4J_OK) return status;
  if (desc->heads_kv == 0 ? desc->heads_q != 0 : desc->heads_q % desc->heads_kv != 0) return A4J_BAD_SIZE;
  if (decays(desc) && desc->decay_dim != 1 && desc->decay_dim != desc->dim_qk) return A4J_BAD_SIZE;
  return A4J_OK;
}

static int is_empty(const a4j_linear_attention_desc *desc) {
  return desc->batch == 0 || desc->heads_q == 0 || desc->len == 0 || desc->dim_v == 0;
}

static int64_t columns_of(const struct a4j_kernels *kernels) { return (int64_t)A4J_STATE_VECS * kernels->lanes; }

/* The floats of one thread, a multiple of the alignment, or -1 if their bytes for all threads pass 63 bits. */
static int64_t scratch_floats(const a4j_linear_attention_desc *desc, const struct a4j_kernels *kernels) {
  const int64_t align = A4J_WORKSPACE_ALIGNMENT / (int64_t)sizeof(float);
  int64_t floats, bytes;
  if (__builtin_mul_overflow(desc->dim_qk, columns_of(kernels) + 1, &floats) ||
      __builtin_add_overflow(floats, align - 1, &floats))
    return -1;
  floats = floats / align * align;
  if (__builtin_mul_overflow(floats, (int64_t)desc->threads * (int64_t)sizeof(float), &bytes)) return -1;
  return floats;
}

int64_t a4j_linear_attention_workspace_bytes(const a4j_linear_attention_desc *desc) {
  const int32_t status = check(desc);
  if (status != A4J_OK) return -(int64_t)status;
  if (is_empty(desc)) return 0;
  const int64_t floats = scratch_floats(desc, a4j_kernels_active());
  return floats < 0 ? -(int64_t)A4J_SIZE_OVERFLOW : floats * desc->threads * (int64_t)sizeof(float);
}

static void run_units(void *context, int32_t thread, int32_t threads) {
  struct run *run = context;
  const a4j_linear_attention_desc *desc = run->call.desc;
  float *scratch = run->workspace + thread * scratch_floats(desc, run->kernels);
  (void)threads;
  for (;;) {
    const int64_t unit = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
    if (unit >= run->units) return;
    const int64_t column = unit % run->blocks * run->columns, rest = desc->dim_v - column;
    run->kernels->linear_attention(&run->call, unit / run->blocks, column, rest < run->columns ? rest : run->columns, scratch);
  }
}

int32_t a4j_linear_attention(const a4j_linear_attention_desc *desc, const void *q, const void *k, const void *v,
                             const float *decay, const float *beta, float *state, void *out, void *workspace,
                             int64_t workspace_bytes) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = check(desc);
  if (status != A4J_OK) return status;
  if (is_empty(desc)) return A4J_OK;
  if (q == NULL || k == NULL || v == NULL || state == NULL || out == NULL) return A4J_NULL_POINTER;
  if ((decays(desc) && decay == NULL) || (has_beta(desc) && beta == NULL)) return A4J_NULL_POINTER;

  const struct a4j_kernels *kernels = a4j_kernels_active();
  const int64_t floats = scratch_floats(desc, kernels), columns = columns_of(kernels);
  if (floats < 0) return A4J_SIZE_OVERFLOW;
  if (workspace_bytes < floats * desc->threads * (int64_t)sizeof(float)) return A4J_SMALL_WORKSPACE;
  if (floats > 0 && workspace == NULL) return A4J_NULL_POINTER;
  if ((uintptr_t)workspace % A4J_WORKSPACE_ALIGNMENT != 0) return A4J_MISALIGNED;

  struct run run = {.call = {desc, q, k, v, decay, beta, state, out},
                    .kernels = kernels,
                    .workspace = workspace,
                    .columns = columns,
                    .blocks = ceil_div(desc->dim_v, columns)};
  run.units = desc->batch * desc->heads_kv * run.blocks;
  /* On a Zen 5 core with AVX-512 a vector of a row of the state takes about 0.6 ns a token, and 0.25 for each further query head. */
  const double vectors = (double)desc->dim_qk * (double)desc->dim_v / kernels->lanes + 10;
  const double group = (double)(desc->heads_q / desc->heads_kv);
  const double nanos = (double)(desc->batch * desc->heads_kv) * (double)desc->len * vectors * (0.35 + 0.25 * group);
  int32_t threads = a4j_team_paying(desc->threads, nanos);
  if (threads > run.units) threads = (int32_t)run.units;
  a4j_team_run(threads, run_units, &run);
  return A4J_OK;
}
