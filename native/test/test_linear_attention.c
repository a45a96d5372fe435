/* Linear attention against the textbook formulas in double: rules, shapes, strides, sequences cut into calls, threads, refusals. */
#include "layer_cases.h"
#include "reference_layers.h"

enum { QUERY, KEY, VALUE, DECAY, BETA, STATE, OUT, TENSORS };

/* One call and its tensors, rows of each head apart by a gap. */
struct scene {
  a4j_linear_attention_desc d;
  struct tensor t[TENSORS];
};

static struct scene scene(int32_t update, int64_t batch, int64_t heads_kv, int64_t group, int64_t len, int64_t dim_qk,
                          int64_t dim_v, int per_channel) {
  struct scene s = {.d = {DESC(a4j_linear_attention_desc), .update = update, .scale = 0.6f, .batch = batch,
                          .heads_q = heads_kv * group, .heads_kv = heads_kv, .len = len, .dim_qk = dim_qk, .dim_v = dim_v,
                          .decay_dim = per_channel ? dim_qk : 1}};
  const int64_t rows_q = batch * heads_kv * group * len, rows_kv = batch * heads_kv * len;
  /* Keys of about length 1, as a delta rule needs them to stay bounded. */
  s.t[QUERY] = tensor(rows_q, dim_qk, up_to(3), 1);
  s.t[KEY] = tensor(rows_kv, dim_qk, up_to(3), (float)sqrt(3.0 / (double)(dim_qk > 0 ? dim_qk : 1)));
  s.t[VALUE] = tensor(rows_kv, dim_v, up_to(3), 2);
  s.t[DECAY] = tensor(rows_kv, s.d.decay_dim, up_to(2), 1);
  s.t[BETA] = tensor(rows_kv, 1, up_to(2), 1);
  s.t[STATE] = tensor(batch * heads_kv * dim_qk, dim_v, up_to(5), 1);
  s.t[OUT] = tensor(rows_q, dim_v, up_to(4), 0);
  for (int64_t r = 0; r < rows_kv; r++) {
    for (int64_t i = 0; i < s.d.decay_dim; i++) {
      float *g = s.t[DECAY].data + r * s.t[DECAY].stride + i;
      *g = up_to(20) == 0 ? -30.0f : *g * 0.5f - 0.5f;
    }
    float *beta = s.t[BETA].data + r * s.t[BETA].stride;
    *beta = (*beta + 1) / 2;
  }
#define STRIDES(name, index, heads)                                                                                            \
  (s.d.name##_stride_row = s.t[index].stride, s.d.name##_stride_head = len * s.t[index].stride,                                \
   s.d.name##_stride_batch = (heads)*len * s.t[index].stride)
  STRIDES(q, QUERY, heads_kv * group);
  STRIDES(k, KEY, heads_kv);
  STRIDES(v, VALUE, heads_kv);
  STRIDES(decay, DECAY, heads_kv);
  STRIDES(beta, BETA, heads_kv);
  STRIDES(out, OUT, heads_kv * group);
  s.d.state_stride_row = s.t[STATE].stride;
  s.d.state_stride_head = dim_qk * s.t[STATE].stride;
  s.d.state_stride_batch = heads_kv * dim_qk * s.t[STATE].stride;
  return s;
}

static void release(struct scene *s) {
  for (int i = 0; i < TENSORS; i++) free(s->t[i].base);
}

static int gated(const struct scene *s) { return s->d.update == A4J_UPDATE_GATED || s->d.update == A4J_UPDATE_GATED_DELTA; }
static int delta(const struct scene *s) { return s->d.update == A4J_UPDATE_DELTA || s->d.update == A4J_UPDATE_GATED_DELTA; }

/* Tokens [from, from + len), as a call of their own. */
static int32_t run(const struct scene *s, int64_t from, int64_t len, int32_t threads) {
  a4j_linear_attention_desc d = s->d;
  d.len = len;
  d.threads = threads;
  const int64_t bytes = a4j_linear_attention_workspace_bytes(&d);
  CHECK(bytes >= 0, "workspace_bytes gave %" PRId64, bytes);
  void *workspace = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)(bytes + 63) / 64 * 64 + 64);
#define FROM(index) (s->t[index].data + from * s->t[index].stride)
  int32_t status = a4j_linear_attention(&d, FROM(QUERY), FROM(KEY), FROM(VALUE), gated(s) ? FROM(DECAY) : NULL,
                                        delta(s) ? FROM(BETA) : NULL, s->t[STATE].data, FROM(OUT), workspace, bytes);
  free(workspace);
  return status;
}

/* ---- The formulas ---- */

static void compare(struct scene *s) {
  const int64_t states = s->t[STATE].rows * s->t[STATE].width, outs = s->t[OUT].rows * s->t[OUT].width;
  double *state = malloc(sizeof(double) * (size_t)(states + 1)), *out = malloc(sizeof(double) * (size_t)(outs + 1));
  float *plain_state = malloc(sizeof(float) * (size_t)(states + 1)), *plain = malloc(sizeof(float) * (size_t)(outs + 1));
  for (int64_t i = 0; i < states; i++)
    state[i] = plain_state[i] = s->t[STATE].data[i / s->d.dim_v * s->t[STATE].stride + i % s->d.dim_v];
  reference_linear_attention_f64(&s->d, s->t[QUERY].data, s->t[KEY].data, s->t[VALUE].data, s->t[DECAY].data, s->t[BETA].data,
                                 state, out);
  reference_linear_attention_f32(&s->d, s->t[QUERY].data, s->t[KEY].data, s->t[VALUE].data, s->t[DECAY].data, s->t[BETA].data,
                                 plain_state, plain);
  CHECK_INT(run(s, 0, s->d.len, 1), A4J_OK);
  check_error(&s->t[OUT], out, plain, 1, "out");
  check_error(&s->t[STATE], state, plain_state, 1, "state");
  check_guards(&s->t[OUT], "out");
  check_guards(&s->t[STATE], "state");
  free(state), free(out), free(plain_state), free(plain);
}

static void rulesOnThisTier(void) {
  /* Columns: less than a vector of any tier, whole vectors, four vectors, and more with a part of a vector after them. */
  static const int64_t widths[] = {1, 3, 8, 16, 31, 64, 65, 100, 128};
  for (int32_t update = A4J_UPDATE_LINEAR; update <= A4J_UPDATE_GATED_DELTA; update++)
    for (int i = 0; i < (int)(sizeof widths / sizeof *widths); i++)
      for (int per_channel = 0; per_channel < 2; per_channel++) {
        struct scene s =
            scene(update, 1 + up_to(1), 1 + up_to(2), 1 + up_to(2), up_to(12), 1 + up_to(40), widths[i], per_channel);
        compare(&s);
        release(&s);
      }
}
static void shouldFollowTheFormulasOfEveryRule(void) { on_every_tier(rulesOnThisTier); }

/* A slow decay multiplies the error of its exponential by the number of tokens. */
static void longSequence(void) {
  for (int32_t update = A4J_UPDATE_LINEAR; update <= A4J_UPDATE_GATED_DELTA; update++) {
    struct scene s = scene(update, 1, 2, 1, 3000, 16, 24, 1);
    for (int64_t r = 0; r < s.t[DECAY].rows; r++)
      for (int64_t i = 0; i < 16; i++) s.t[DECAY].data[r * s.t[DECAY].stride + i] = -0.0009f * (float)(i + 1);
    compare(&s);
    release(&s);
  }
}
static void shouldStayAccurateOverThousandsOfTokens(void) { on_every_tier(longSequence); }

static void decaysOnThisTier(void) {
  /* One row, one column: the state is exp(decay), after a key of 0. */
  for (int i = 0; i < 4000; i++) {
    const float g = i < 8 ? (float[]){0, -1e-9f, -87.3f, -104, -200, -INFINITY, 88.7f, 0.5f}[i] : uniform() * 80;
    const float zero = 0, one = 1;
    float state = 1, out;
    a4j_linear_attention_desc d = {DESC(a4j_linear_attention_desc),
                                   .update = A4J_UPDATE_GATED,
                                   .scale = 1,
                                   .batch = 1,
                                   .heads_q = 1,
                                   .heads_kv = 1,
                                   .len = 1,
                                   .dim_qk = 1,
                                   .dim_v = 1,
                                   .decay_dim = 1};
    _Alignas(A4J_WORKSPACE_ALIGNMENT) char workspace[1024];
    CHECK_INT(a4j_linear_attention(&d, &one, &zero, &zero, &g, NULL, &state, &out, workspace, sizeof workspace), A4J_OK);
    const double wanted = exp((double)g);
    CHECK_NEAR(state, wanted, wanted * 0x1p-23 + 2e-38);
    CHECK(g != 0 || state == 1, "exp(0) = %.9g", (double)state);
  }
}
static void shouldDecayByAnAccurateExponential(void) { on_every_tier(decaysOnThisTier); }

/* ---- Bits ---- */

static void cutsOnThisTier(void) {
  for (int32_t update = A4J_UPDATE_LINEAR; update <= A4J_UPDATE_GATED_DELTA; update++) {
    struct scene whole = scene(update, 1, 1, 1 + up_to(1), 23, 20, 70, 1), cut = whole;
    /* Batch and heads of 1 let a call begin at any token. */
    whole.d.heads_q = cut.d.heads_q = whole.d.heads_kv = cut.d.heads_kv = 1;
    cut.t[STATE] = copy_of(&whole.t[STATE]);
    cut.t[OUT] = copy_of(&whole.t[OUT]);
    CHECK_INT(run(&whole, 0, 23, 1), A4J_OK);
    for (int64_t from = 0, len; from < 23; from += len) {
      len = 1 + up_to(22 - from < 6 ? 22 - from : 6);
      CHECK_INT(run(&cut, from, len, 1), A4J_OK);
    }
    CHECK(same(&whole.t[OUT], &cut.t[OUT]), "rule %d: other bits in pieces", (int)update);
    CHECK(same(&whole.t[STATE], &cut.t[STATE]), "rule %d: another state in pieces", (int)update);
    free(cut.t[STATE].base), free(cut.t[OUT].base);
    release(&whole);
  }
}
static void shouldHaveTheSameBitsInChunksAndStepsAsInOneCall(void) { on_every_tier(cutsOnThisTier); }

static void threadsOnThisTier(void) {
  struct scene first = scene(A4J_UPDATE_GATED_DELTA, 2, 2, 2, 300, 48, 150, 1);
  struct tensor before = copy_of(&first.t[STATE]);
  CHECK_INT(run(&first, 0, 300, 1), A4J_OK);
  for (int32_t threads = 2; threads <= 5; threads++) {
    struct scene other = first;
    other.t[STATE] = copy_of(&before);
    other.t[OUT] = copy_of(&first.t[OUT]);
    fill(&other.t[OUT], NAN);
    CHECK_INT(run(&other, 0, 300, threads), A4J_OK);
    CHECK(same(&first.t[OUT], &other.t[OUT]), "other bits on %d threads", (int)threads);
    CHECK(same(&first.t[STATE], &other.t[STATE]), "another state on %d threads", (int)threads);
    free(other.t[STATE].base), free(other.t[OUT].base);
  }
  free(before.base);
  release(&first);
}
static void shouldHaveTheSameBitsForEveryThreadCount(void) { on_every_tier(threadsOnThisTier); }

/* ---- Refusals ---- */

static void shouldRefuseWhatADescriptorCannotMean(void) {
  float x[512] = {0}, state[64] = {3}, out[64] = {5};
  _Alignas(A4J_WORKSPACE_ALIGNMENT) char workspace[4096];
  const a4j_linear_attention_desc good = {DESC(a4j_linear_attention_desc),
                                          .update = A4J_UPDATE_GATED_DELTA,
                                          .scale = 1,
                                          .batch = 1,
                                          .heads_q = 4,
                                          .heads_kv = 2,
                                          .len = 2,
                                          .dim_qk = 4,
                                          .dim_v = 4,
                                          .decay_dim = 4,
                                          .state_stride_head = 16,
                                          .state_stride_row = 4,
                                          .out_stride_head = 8,
                                          .out_stride_row = 4};
  a4j_linear_attention_desc d;
#define REFUSED(change, status)                                                                                                \
  do {                                                                                                                         \
    d = good;                                                                                                                  \
    change;                                                                                                                    \
    CHECK_INT(a4j_linear_attention(&d, x, x, x, x, x, state, out, workspace, sizeof workspace), status);                       \
    CHECK_INT(a4j_linear_attention_workspace_bytes(&d), -(int64_t)(status));                                                   \
  } while (0)
  REFUSED(d.update = 4, A4J_BAD_OPTION);
  REFUSED(d.update = -1, A4J_BAD_OPTION);
  REFUSED(d.scale = INFINITY, A4J_BAD_OPTION);
  REFUSED(d.scale = NAN, A4J_BAD_OPTION);
  REFUSED(d.threads = 0, A4J_BAD_OPTION);
  REFUSED(d.heads_q = 3, A4J_BAD_SIZE);
  REFUSED(d.heads_kv = 0, A4J_BAD_SIZE);
  REFUSED(d.decay_dim = 2, A4J_BAD_SIZE);
  REFUSED(d.len = -1, A4J_BAD_SIZE);
  REFUSED(d.dim_v = -4, A4J_BAD_SIZE);
  REFUSED(d.len = INT64_MAX / 8, A4J_SIZE_OVERFLOW);
  REFUSED((d.dim_qk = INT64_MAX / 64, d.decay_dim = 1), A4J_SIZE_OVERFLOW);
  REFUSED(d.dtype = 77, A4J_UNSUPPORTED_DTYPE);
  REFUSED(d.abi_version = 0, A4J_BAD_ABI);
  REFUSED(d.size_bytes = 40, A4J_BAD_DESCRIPTOR);
  d = good;
#define CALL(q, k, v, decay, beta, s, o, w, bytes) a4j_linear_attention(&d, q, k, v, decay, beta, s, o, w, bytes)
  CHECK_INT(CALL(NULL, x, x, x, x, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, NULL, x, x, x, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, NULL, x, x, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, NULL, x, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, x, NULL, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, x, x, NULL, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, x, x, state, NULL, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, x, x, state, out, NULL, sizeof workspace), A4J_NULL_POINTER);
  CHECK_INT(CALL(x, x, x, x, x, state, out, workspace + 4, sizeof workspace - 4), A4J_MISALIGNED);
  CHECK_INT(CALL(x, x, x, x, x, state, out, workspace, a4j_linear_attention_workspace_bytes(&d) - 1), A4J_SMALL_WORKSPACE);
  CHECK_INT(a4j_linear_attention(NULL, x, x, x, x, x, state, out, workspace, sizeof workspace), A4J_NULL_POINTER);
  CHECK(state[0] == 3 && out[0] == 5, "a refused call wrote: state %g, out %g", (double)state[0], (double)out[0]);

  d.len = 0;
  CHECK_INT(a4j_linear_attention_workspace_bytes(&d), 0);
  CHECK_INT(CALL(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0), A4J_OK);
  d = good;
  d.update = A4J_UPDATE_LINEAR;
  CHECK_INT(CALL(x, x, x, NULL, NULL, state, out, workspace, sizeof workspace), A4J_OK);
}

int main(void) {
  seed = check_seed();
  RUN(shouldFollowTheFormulasOfEveryRule);
  RUN(shouldStayAccurateOverThousandsOfTokens);
  RUN(shouldDecayByAnAccurateExponential);
  RUN(shouldHaveTheSameBitsInChunksAndStepsAsInOneCall);
  RUN(shouldHaveTheSameBitsForEveryThreadCount);
  RUN(shouldRefuseWhatADescriptorCannotMean);
  return CHECK_RESULT();
}
