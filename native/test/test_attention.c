/*
 * a4j_attention against the textbook formula in double, on every tier that this machine runs: sizes at the edges of the code
 * paths, numbers at the edges of float, threads, workspaces, and what is refused. Its options: test_attention_options.c.
 */
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "problem.h"
#include "tiers.h"

static void check(struct problem *p, const char *what) {
  const char *fault = fault_of(p);
  CHECK(fault == NULL, "%s: %s", what, fault);
}

static void shouldMatchTheFormulaAtTheEdgesOfTilesAndBlocks(void) {
  /* rows: one lane, whole vectors and tiles of each tier, and one more or less; keys: groups of 4 and 8, blocks of 64 */
  static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 11, 12, 13, 15, 16, 17, 24, 25, 32, 33, 47, 48, 49, 64, 65, 97};
  static const int64_t keys[] = {1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 131, 200};
  static const int64_t dims[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 20, 33, 64, 80};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
      for (int causal = 0; causal < 3; causal++) {
        struct problem *p = make((struct shape){
            .group = 1 + up_to(2), .len_q = rows[r], .len_k = keys[k], .dim_qk = dims[up_to(12)], .dim_v = dims[up_to(12)]});
        set_causal(p->d, causal);
        check(p, "edges");
        release(p);
      }
}

static void shouldMatchTheFormulaForWideHeads(void) {
  static const int64_t dims[] = {96, 128, 255, 256, 512};
  for (size_t i = 0; i < 5; i++) {
    struct problem *p = make((struct shape){.group = 2, .len_q = 50, .len_k = 70, .dim_qk = dims[i], .dim_v = dims[4 - i]});
    check(p, "wide head");
    release(p);
  }
}

/* A few rows, whole vectors: which of q and O are held in registers depends on both. Blocks of 64 keys, whole and masked. */
static void shouldMatchTheFormulaForAFewRowsOfWholeVectors(void) {
  static const int64_t dims[] = {32, 64, 96, 128, 256, 272}, keys[] = {1, 63, 64, 65, 200, 700};
  for (int i = 0; i < 6; i++)
    for (int64_t group = 1; group < 10; group++)
      for (int k = 0; k < 6; k++) {
        struct problem *p = make((struct shape){.heads_kv = 2,
                                                .group = group,
                                                .len_q = 1,
                                                .len_k = keys[k],
                                                .dim_qk = dims[i],
                                                .dim_v = dims[one_in(2) ? i : up_to(5)],
                                                .maps = one_in(4) ? 2 : 1,
                                                .gap = 4 * up_to(1)});
        if (one_in(3)) with_lengths(p);
        if (one_in(3)) set_causal(p->d, 2);
        check(p, "few rows of whole vectors");
        release(p);
      }
}

static void shouldStandLogitsThatOverflowTheExponential(void) {
  struct problem *p = make((struct shape){.len_q = 40, .len_k = 90, .dim_qk = 8, .dim_v = 8, .range = 60});
  with_weights(p);
  check(p, "huge logits");
  for (int64_t i = 0; i < p->q_count; i++) p->q[i] = 1e19f;
  for (int64_t i = 0; i < p->k_count; i++) p->k[i] = i / 8 % 2 ? 1e18f : -1e18f;
  CHECK_INT(status_of(p), A4J_OK);
  for (int64_t i = 0; i < 40; i++) CHECK(isfinite(out_at(p, 0, 0, i, 0)), "row %d of equal huge logits", (int)i);
  release(p);
}

/* The running maximum lags a little: some steps never exceed it, some exceed it in each block, some only in part of the lanes. */
static void shouldFollowLogitsThatRiseFromKeyToKey(void) {
  for (int rise = 0; rise < 8; rise++)
    for (int64_t rows = 2; rows <= 50; rows += 48) {
      struct problem *p = make((struct shape){.len_q = rows, .len_k = 700, .dim_qk = 8, .dim_v = 12});
      if (rows == 50) with_weights(p);
      for (int64_t i = 0; i < rows; i++) p->q[i * 8] = (float)(rows == 2 ? 19 * i : i % 20);
      for (int64_t j = 0; j < 700; j++) p->k[j * 8] = (float)j * 0.001f * (float)(1 << rise) * (rise % 2 ? -1 : 1);
      check(p, "rising logits");
      release(p);
    }
}

static void shouldShowNanInTheRowsThatItTouchesAndInNoOthers(void) {
  for (int64_t len = 3; len < 140; len += 17) {
    struct problem *p = make((struct shape){.len_q = len, .len_k = len, .dim_qk = 16, .dim_v = 16});
    const int64_t bad = len / 2;
    set_causal(p->d, 1);
    p->k[bad * 16 + 3] = NAN;
    CHECK_INT(status_of(p), A4J_OK);
    for (int64_t i = 0; i < len; i++)
      CHECK(isnan(out_at(p, 0, 0, i, 5)) == (i >= bad), "NaN in key %d, row %d of %d", (int)bad, (int)i, (int)len);
    p->k[bad * 16 + 3] = 0;
    p->q[bad * 16 + 3] = NAN;
    CHECK_INT(status_of(p), A4J_OK);
    for (int64_t i = 0; i < len; i++)
      CHECK(isnan(out_at(p, 0, 0, i, 5)) == (i == bad), "NaN in query %d, row %d of %d", (int)bad, (int)i, (int)len);
    p->q[bad * 16 + 3] = 0;
    p->v[bad * 16 + 3] = NAN;
    CHECK_INT(status_of(p), A4J_OK);
    for (int64_t i = 0; i < len; i++) {
      CHECK(isnan(out_at(p, 0, 0, i, 3)) == (i >= bad), "NaN in value %d, row %d of %d", (int)bad, (int)i, (int)len);
      CHECK(isfinite(out_at(p, 0, 0, i, 5)), "NaN in another channel, row %d of %d", (int)i, (int)len);
    }
    release(p);
  }
}

static void shouldWriteZerosWhereNothingIsSeen(void) {
  struct problem *p = make((struct shape){.heads_kv = 2, .len_q = 20, .len_k = 10, .dim_qk = 8, .dim_v = 8});
  with_weights(p);
  set_causal(p->d, 2);
  check(p, "rows that see no key");
  for (int64_t i = 0; i < 10; i++) {
    CHECK(out_at(p, 0, 0, i, 0) == 0, "row %d is %g", (int)i, out_at(p, 0, 0, i, 0));
    CHECK(lse_at(p, 0, 0, 0, i) == -INFINITY, "lse %d is %g", (int)i, lse_at(p, 0, 0, 0, i));
  }
  release(p);
}

/* Another thread may select another tier between the two calls. */
static void shouldPlanTheSameWorkspaceForEveryTier(void) {
  static const int64_t rows[] = {1, 3, 8, 13, 30, 60, 200, 700};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int64_t keys = 20; keys < 20000; keys *= 7)
      for (int64_t dim = 16; dim <= 128; dim *= 2) {
        struct problem *p = make((struct shape){.group = 3, .len_q = rows[i], .len_k = 1, .dim_qk = dim, .dim_v = dim});
        p->d->len_k = p->d->key_limit = keys;
        p->d->threads = 16;
        int64_t first = -1;
        FOR_EACH_TIER (tier) {
          const int64_t bytes = a4j_attention_workspace_bytes(p->d);
          if (first < 0) first = bytes;
          CHECK(bytes == first, "len_q=%d len_k=%d dim=%d on %s: wanted %" PRId64 " bytes, got %" PRId64, (int)rows[i],
                (int)keys, (int)dim, a4j_isa_name(tier), first, bytes);
        }
        release(p);
      }
}

static void shouldNeedNoMoreThan4MiBAThreadHoweverLongTheSequence(void) {
  for (int threads = 1; threads <= 16; threads *= 2) {
    struct problem *p = make((struct shape){.len_q = 1, .len_k = 1, .dim_qk = 64, .dim_v = 64});
    p->d->len_q = p->d->len_k = p->d->key_limit = 131072;
    p->d->threads = threads;
    set_causal(p->d, 1);
    const int64_t bytes = a4j_attention_workspace_bytes(p->d);
    CHECK(bytes > 0 && bytes <= (int64_t)threads << 22, "%d threads need %" PRId64 " bytes", threads, bytes);
    release(p);
  }
}

/* ---- Strides of a dimension of one -------------------------------------------------------------------------------------- */

/* Sets the strides of all dimensions of one. Such a dimension has no second element, so its stride may be any number. */
static void set_unused_strides(struct problem *p, int64_t x) {
  a4j_attention_desc *d = p->d;
  a4j_view *views[] = {&d->q, &d->out, &d->k, &d->v};
  const int64_t lens[] = {d->len_q, d->len_q, d->len_k, d->len_k}, maps[] = {d->maps, 1, d->maps, d->value_parts};
  for (int i = 0; i < 4; i++) {
    views[i]->stride_batch = views[i]->stride_head = x;
    if (maps[i] == 1) views[i]->stride_map = x;
    if (lens[i] == 1) views[i]->stride_row = x;
  }
  d->lse_stride_batch = d->lse_stride_head = x;
  d->mask_stride_batch = d->mask_stride_head = d->key_mask_stride_batch = x;
  d->bias_stride_batch = d->bias_stride_head = d->keep_stride_batch = d->keep_stride_head = x;
  d->noise_stride_batch = d->noise_stride_head = d->lambda_stride_batch = d->lambda_stride_head = x;
  d->relative_keys_stride_head = d->relative_values_stride_head = x;
  if (d->maps == 1) d->lse_stride_map = x;
  if (d->relative_rows == 1) d->relative_keys_stride_row = d->relative_values_stride_row = x;
  if (d->len_q == 1)
    d->mask_stride_row = d->bias_stride_row = d->keep_stride_row = d->noise_stride_row = d->lambda_stride_row = x;
  if (d->len_k == 1) d->mask_stride_key = d->bias_stride_key = d->keep_stride_key = d->noise_stride_key = x;
}

static void no_more(struct problem *p) { (void)p; }
static void masks(struct problem *p) { with_mask(p, 0, SPECKLED), with_bias(p, 0, true, SPECKLED), with_keep(p, 0); }
static void mask_of_keys(struct problem *p) { with_key_mask(p, true, SPECKLED), with_weights(p); }
static void relative(struct problem *p) { with_relative(p, 1); }
static void hardened(struct problem *p) { with_hardening(p); }
static void bf16(struct problem *p) { with_kv_storage(p, A4J_BF16), with_query_storage(p, A4J_BF16, A4J_F16); }
static void i8(struct problem *p) { with_kv_storage(p, A4J_I8); }

static void shouldTakeAnyStrideOfADimensionOfOne(void) {
  static const int64_t strides[] = {(int64_t)1 << 60, -((int64_t)1 << 60), INT64_MAX, INT64_MIN};
  static const int64_t lens[][2] = {{1, 1}, {1, 70}, {1, 1500}, {3, 1}, {60, 1}};
  static void (*const options[])(struct problem *) = {no_more, masks, mask_of_keys, relative, hardened, bf16, i8};
  for (int l = 0; l < 5; l++)
    for (int maps = 1; maps < 3; maps++)
      for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
        if (maps == 2 && (options[o] == relative || options[o] == hardened)) continue;
        struct problem *p = make((struct shape){.len_q = lens[l][0],
                                                .len_k = lens[l][1],
                                                .dim_qk = o % 2 ? 64 : 20,
                                                .dim_v = o % 2 ? 20 : 64,
                                                .maps = maps,
                                                .value_parts = maps});
        options[o](p);
        CHECK_INT(status_of(p), A4J_OK);
        const uint64_t wanted = hash_of(p);
        for (int s = 0; s < 4; s++) {
          set_unused_strides(p, strides[s]);
          CHECK_INT(status_of(p), A4J_OK);
          CHECK(hash_of(p) == wanted, "option %d, %d maps, %d rows, %d keys, stride %" PRId64 ": other bits", (int)o, maps,
                (int)lens[l][0], (int)lens[l][1], strides[s]);
        }
        release(p);
      }
}

/* ---- Refusals ----------------------------------------------------------------------------------------------------------- */

static struct problem *plain(void) {
  return make((struct shape){.heads_kv = 2, .group = 2, .len_q = 4, .len_k = 4, .dim_qk = 8, .dim_v = 8});
}

static struct problem *pair(void) { return make((struct shape){.len_q = 4, .len_k = 4, .dim_qk = 8, .dim_v = 8, .maps = 2}); }

static struct problem *packed(void) {
  static const int32_t lens[] = {2, 0, 4};
  return make((struct shape){.batch = 3, .q_lens = lens, .k_lens = lens, .dim_qk = 8, .dim_v = 8});
}

/* Element i of an array in the tail. */
static int32_t *entry(struct problem *p, int64_t offset, int i) { return (int32_t *)((char *)p->d + offset) + i; }

#define REFUSE(status, made, ...)                                                                                              \
  do {                                                                                                                         \
    struct problem *p = made;                                                                                                  \
    __VA_ARGS__;                                                                                                               \
    CHECK_TEXT(a4j_status_name(status_of(p)), #status);                                                                        \
    release(p);                                                                                                                \
  } while (0)

static void shouldRefuseWhatTheDescriptorCannotMean(void) {
  REFUSE(A4J_OK, plain(), (void)p);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), p->d->size_bytes = 8);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), p->d->size_bytes -= 4);
  REFUSE(A4J_BAD_ABI, plain(), p->d->abi_version++);
  REFUSE(A4J_UNSUPPORTED_DTYPE, plain(), p->d->k.dtype = 9);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->threads = 0);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->maps = 3);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->align = 7);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->scale = NAN);
  REFUSE(A4J_BAD_OPTION, pair(), p->d->key_map = 2);
  REFUSE(A4J_BAD_SIZE, plain(), p->d->len_k = -1);
  REFUSE(A4J_BAD_SIZE, plain(), p->d->heads_q = 3);
  REFUSE(A4J_BAD_SIZE, plain(), p->d->value_parts = 2; p->d->dim_v = 7);
  REFUSE(A4J_SIZE_OVERFLOW, plain(), p->d->len_q = INT64_MAX / 4);
}

static void shouldRefuseOptionsThatThisHeaderDoesNotName(void) {
  REFUSE(A4J_BAD_OPTION, pair(), p->d->lambda_form = 2);
  REFUSE(A4J_BAD_OPTION, plain(), with_scores(p, 3));
  REFUSE(A4J_BAD_OPTION, plain(), p->d->window_left = -2);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->window_right = -2);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->softcap = -1);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->softcap = NAN);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->softcap = INFINITY);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->beyond = 2);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->harden = 3);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->harden = A4J_HARDEN_TOP_K);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->noisy = 1);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->dropout = 2);
  REFUSE(A4J_BAD_OPTION, plain(), (p->d->dropout = 1, p->d->dropout_rate = 1));
  REFUSE(A4J_BAD_OPTION, plain(), (p->d->dropout = 1, p->d->dropout_shared = 16));
  REFUSE(A4J_BAD_SIZE, plain(), p->d->relative_rows = -1);
  REFUSE(A4J_BAD_OPTION, plain(), with_keep(p, 0); p->d->keep_scale = NAN);
  REFUSE(A4J_BAD_OPTION, plain(), with_keep(p, 0); p->d->keep_scale = -1);
  REFUSE(A4J_OK, plain(), p->d->keep_scale = NAN);
  REFUSE(A4J_BAD_OPTION, plain(), p->d->align = A4J_ALIGN_OFFSETS);
  REFUSE(A4J_BAD_OPTION, plain(), with_row_lengths(p, false); p->d->key_lengths_stride_row = 2);
  REFUSE(A4J_BAD_SIZE, plain(), p->d->chunk = -1);
  REFUSE(A4J_BAD_SIZE, plain(), with_key_limit(p, -1));
  REFUSE(A4J_BAD_SIZE, plain(), with_key_limit(p, 5));
}

static void shouldRefuseTailsThatAreWrong(void) {
  /* lengths */
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), p->d->key_lengths_offset = 4);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), p->d->key_lengths_offset = p->d->size_bytes);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_lengths(p); p->d->key_lengths_offset += 2);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_row_lengths(p, false); p->d->key_lengths_offset += 4);
  REFUSE(A4J_BAD_POSITION, plain(), with_lengths(p); *entry(p, p->d->key_lengths_offset, 0) = 5);
  REFUSE(A4J_BAD_POSITION, plain(), with_lengths(p); *entry(p, p->d->key_lengths_offset, 0) = -1);
  REFUSE(A4J_BAD_POSITION, plain(), with_row_lengths(p, true); *entry(p, p->d->key_lengths_offset, 3) = 5);
  REFUSE(A4J_OK, plain(), with_row_lengths(p, false); p->d->len_q = 0; p->d->batch = (int64_t)1 << 50);
  /* offsets, slopes, sinks */
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_offsets(p); p->d->row_offsets_offset += 4);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_alibi(p); p->d->slopes_offset += 4);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_sinks(p); p->d->sinks_offset += 4);
  REFUSE(A4J_BAD_POSITION, plain(), with_alibi(p); *entry(p, p->d->slopes_offset, 3) = 0x7f800000);
  REFUSE(A4J_BAD_OPTION, plain(), with_alibi(p); p->d->slopes_stride_batch = 3);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), with_alibi(p); p->d->slopes_stride_batch = p->d->heads_q; p->d->batch = 100);
  /* ranges */
  static const int32_t ranges[][2] = {{0, 1}, {2, 4}};
#define LIST with_one_list(p, 2, ranges)
  REFUSE(A4J_OK, plain(), LIST);
  REFUSE(A4J_BAD_SIZE, plain(), LIST; p->d->range_rows = -1);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), LIST; p->d->range_starts_offset = 0);
  REFUSE(A4J_BAD_DESCRIPTOR, plain(), LIST; p->d->ranges_offset += 4);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; p->d->range_rows = 1);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; p->d->range_stride_head = 1);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; p->d->range_stride_head = -1);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->range_starts_offset, 0) = -1);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->range_starts_offset, 0) = 3);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->ranges_offset, 0) = -1);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->ranges_offset, 1) = 0);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->ranges_offset, 1) = 3);
  REFUSE(A4J_BAD_POSITION, plain(), LIST; *entry(p, p->d->ranges_offset, 3) = 5);
#undef LIST
}

static void shouldRefusePackedBatchesThatAreWrong(void) {
  REFUSE(A4J_OK, packed(), (void)p);
  REFUSE(A4J_BAD_DESCRIPTOR, packed(), p->d->q_begins_offset = p->d->size_bytes);
  REFUSE(A4J_BAD_POSITION, packed(), *entry(p, p->d->q_begins_offset, 0) = 1);
  REFUSE(A4J_BAD_POSITION, packed(), *entry(p, p->d->q_begins_offset, 1) = 3);
  REFUSE(A4J_BAD_POSITION, packed(), *entry(p, p->d->k_begins_offset, 3) = 7);
  REFUSE(A4J_BAD_POSITION, packed(), p->d->len_q = 3);
  REFUSE(A4J_BAD_OPTION, packed(), with_mask(p, 0, SPECKLED));
  REFUSE(A4J_BAD_OPTION, packed(), with_key_mask(p, false, SPECKLED));
  REFUSE(A4J_BAD_OPTION, packed(), with_bias(p, 0, false, SPECKLED));
  REFUSE(A4J_BAD_OPTION, packed(), with_keep(p, 0));
  REFUSE(A4J_BAD_OPTION, packed(), with_weights(p));
  REFUSE(A4J_BAD_OPTION, packed(), with_scores(p, A4J_STAGE_SCALED));
  REFUSE(A4J_BAD_OPTION, packed(), with_row_lengths(p, false));
}

static void shouldRefuseWhatIsNotThere(void) {
  REFUSE(A4J_NULL_POINTER, plain(), p->in.q = NULL);
  REFUSE(A4J_NULL_POINTER, plain(), p->in.k = NULL);
  REFUSE(A4J_NULL_POINTER, plain(), p->in.v = NULL);
  REFUSE(A4J_NULL_POINTER, pair(), p->in.lambda = NULL);
  struct problem *p = plain();
  const struct attention_call *c = &p->in;
  const int64_t bytes = a4j_attention_workspace_bytes(p->d);
  char *workspace = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
#define STATUS(desc, out, workspace, bytes) a4j_attention(desc, c->q, c->k, c->v, out, workspace, bytes)
  CHECK_INT(STATUS(p->d, p->out, workspace, bytes), A4J_OK);
  CHECK_INT(STATUS(NULL, p->out, workspace, bytes), A4J_NULL_POINTER);
  CHECK_INT(STATUS(p->d, NULL, workspace, bytes), A4J_NULL_POINTER);
  CHECK_INT(STATUS(p->d, p->out, NULL, bytes), A4J_NULL_POINTER);
  CHECK_INT(STATUS(p->d, p->out, workspace, bytes - 1), A4J_SMALL_WORKSPACE);
  CHECK_INT(STATUS(p->d, p->out, workspace + 4, bytes), A4J_MISALIGNED);
  free(workspace);
  release(p);
}

/* Keys without width take no memory, so a call may have any number of them. */
static void shouldReturnAtOnceIfNoOutputHasAnElement(void) {
  struct problem *p = plain();
  p->d->batch = p->d->heads_q = p->d->heads_kv = p->d->len_q = 1;
  p->d->dim_qk = p->d->dim_v = 0;
  p->d->len_k = p->d->key_limit = (int64_t)1 << 56;
  const int64_t bytes = a4j_attention_workspace_bytes(p->d);
  CHECK(bytes > 0 && bytes < 1 << 20, "%" PRId64 " bytes of workspace", bytes);
  char *workspace = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
  CHECK_INT(a4j_attention(p->d, p->in.q, p->in.k, p->in.v, p->out, workspace, bytes), A4J_OK);
  free(workspace);
  release(p);
}

static int32_t status_with_lse(struct problem *p, float *lse) {
  const int64_t bytes = a4j_attention_workspace_bytes(p->d);
  char *workspace = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
  const int32_t status =
      a4j_attention_full(p->d, p->in.q, p->in.k, p->in.v, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                         NULL, NULL, NULL, NULL, NULL, p->out, lse, NULL, NULL, NULL, workspace, bytes);
  free(workspace);
  return status;
}

/* The logarithm of how many keys there are takes an exponential for each. */
static void shouldRefuseMoreKeysWithoutMemoryThanItCanCount(void) {
  float lse = NAN;
  struct problem *p = make((struct shape){.len_q = 1, .len_k = 1, .dim_qk = 4, .dim_v = 4});
  p->d->len_k = p->d->key_limit = (int64_t)1 << 56;
  p->d->k.stride_row = p->d->v.stride_row = 0;
  CHECK_INT(status_with_lse(p, &lse), A4J_BAD_SIZE);
  p->d->dim_qk = p->d->dim_v = 0;
  CHECK_INT(status_with_lse(p, &lse), A4J_BAD_SIZE);
  p->d->len_k = p->d->key_limit = 100000;
  CHECK_INT(status_with_lse(p, &lse), A4J_OK);
  CHECK_NEAR(lse, log(100000), 1e-5);
  release(p);
}

int main(void) {
  FOR_EACH_TIER (i) {
    seed = 1;
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_name(i), seed);
    RUN(shouldMatchTheFormulaAtTheEdgesOfTilesAndBlocks);
    RUN(shouldMatchTheFormulaForWideHeads);
    RUN(shouldMatchTheFormulaForAFewRowsOfWholeVectors);
    RUN(shouldStandLogitsThatOverflowTheExponential);
    RUN(shouldFollowLogitsThatRiseFromKeyToKey);
    RUN(shouldShowNanInTheRowsThatItTouchesAndInNoOthers);
    RUN(shouldWriteZerosWhereNothingIsSeen);
    RUN(shouldTakeAnyStrideOfADimensionOfOne);
  }
  RUN(shouldPlanTheSameWorkspaceForEveryTier);
  RUN(shouldNeedNoMoreThan4MiBAThreadHoweverLongTheSequence);
  RUN(shouldRefuseWhatTheDescriptorCannotMean);
  RUN(shouldRefuseOptionsThatThisHeaderDoesNotName);
  RUN(shouldRefuseTailsThatAreWrong);
  RUN(shouldRefusePackedBatchesThatAreWrong);
  RUN(shouldRefuseWhatIsNotThere);
  RUN(shouldReturnAtOnceIfNoOutputHasAnElement);
  RUN(shouldRefuseMoreKeysWithoutMemoryThanItCanCount);
  return CHECK_RESULT();
}
