/*
 * The caller's programs: every instruction against an interpreter that takes one element at a time, random programs along both
 * axes of a patch, and words that are not a program. Whole calls of attention: test_attention_options.c.
 */
#include <stdlib.h>

#include "check.h"
#include "kernels.h"
#include "problem.h"
#include "program.h"
#include "programs.h"
#include "tiers.h"

static _Alignas(64) int32_t program_room[A4J_PROGRAM_ROOM];

/* ---- An interpreter of its own: one row and one key at a time ------------------------------------------------------------ */

union value {
  float f;
  int32_t i;
};

static float tables_f[4][7] = {{0.5f, -1, 3, 0, 1e20f, -2.5f, 7},
                               {1, 2, 4, 8, 16, 32, 64},
                               {-1, NAN, 1, INFINITY, 0.25f, -INFINITY, 1e-20f},
                               {9, 8, 7, 6, 5, 4, 3}};
static const int64_t counts[4] = {7, 7, 7, 7};

static float load_f(int table, int32_t index) { return tables_f[table][index < 0 ? 0 : index > 6 ? 6 : index]; }
static int32_t load_i(int table, int32_t index) {
  int32_t bits;
  const float *from = tables_f[table];
  memcpy(&bits, from + (index < 0 ? 0 : index > 6 ? 6 : index), sizeof bits);
  return bits;
}

static const void *const run_tables[4] = {tables_f[0], tables_f[1], tables_f[2], tables_f[3]};

static int64_t floor_of(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

struct place {
  float score;
  int32_t batch, head, query, position, key;
};

static union value interpret(const int32_t *words, int count, struct place at) {
  union value v[A4J_PROGRAM_MAX] = {{0}};
  int n = 0;
  for (int w = 0; w < count; w++, n++) {
    const uint32_t word = (uint32_t)words[w];
    const int op = word & 255, x = word >> 8 & 255, y = word >> 16 & 255, z = word >> 24;
    const union value a = v[x % 64], b = v[y % 64], c = v[z % 64];
    union value *r = &v[n];
    switch ((enum a4j_op)op) {
    case A4J_OP_SCORE: r->f = at.score; break;
    case A4J_OP_BATCH: r->i = at.batch; break;
    case A4J_OP_HEAD: r->i = at.head; break;
    case A4J_OP_QUERY: r->i = at.query; break;
    case A4J_OP_POSITION: r->i = at.position; break;
    case A4J_OP_KEY: r->i = at.key; break;
    case A4J_OP_FLOAT:
    case A4J_OP_INT: r->i = words[++w]; break;
    case A4J_OP_LOAD_FLOAT: r->f = load_f(y, a.i); break;
    case A4J_OP_LOAD_INT: r->i = load_i(y, a.i); break;
    case A4J_OP_TO_FLOAT: r->f = (float)a.i; break;
    case A4J_OP_TO_INT:
      r->i = isnan(a.f) ? 0 : a.f >= 2147483648.0f ? INT32_MAX : a.f < -2147483648.0f ? INT32_MIN : (int32_t)a.f;
      break;
    case A4J_OP_NEG: r->f = -a.f; break;
    case A4J_OP_ABS: r->f = fabsf(a.f); break;
    case A4J_OP_EXP: r->f = (float)exp((double)a.f); break;
    case A4J_OP_LOG: r->f = logf(a.f); break;
    case A4J_OP_TANH: r->f = (float)tanh((double)a.f); break;
    case A4J_OP_SQRT: r->f = sqrtf(a.f); break;
    case A4J_OP_ADD: r->f = a.f + b.f; break;
    case A4J_OP_SUB: r->f = a.f - b.f; break;
    case A4J_OP_MUL: r->f = a.f * b.f; break;
    case A4J_OP_DIV: r->f = a.f / b.f; break;
    case A4J_OP_MIN: r->f = isnan(a.f) || isnan(b.f) ? NAN : fminf(a.f, b.f); break;
    case A4J_OP_MAX: r->f = isnan(a.f) || isnan(b.f) ? NAN : fmaxf(a.f, b.f); break;
    case A4J_OP_INT_NEG: r->i = (int32_t) - (int64_t)a.i; break;
    case A4J_OP_INT_ABS: r->i = (int32_t)llabs(a.i); break;
    case A4J_OP_INT_ADD: r->i = (int32_t)((int64_t)a.i + b.i); break;
    case A4J_OP_INT_SUB: r->i = (int32_t)((int64_t)a.i - b.i); break;
    case A4J_OP_INT_MUL: r->i = (int32_t)((int64_t)a.i * b.i); break;
    case A4J_OP_INT_DIV: r->i = b.i == 0 ? 0 : (int32_t)floor_of(a.i, b.i); break;
    case A4J_OP_INT_MOD: r->i = b.i == 0 ? 0 : (int32_t)(a.i - b.i * floor_of(a.i, b.i)); break;
    case A4J_OP_INT_MIN: r->i = a.i < b.i ? a.i : b.i; break;
    case A4J_OP_INT_MAX: r->i = a.i > b.i ? a.i : b.i; break;
    case A4J_OP_LESS: r->i = a.f < b.f; break;
    case A4J_OP_LESS_EQUAL: r->i = a.f <= b.f; break;
    case A4J_OP_EQUAL: r->i = a.f == b.f; break;
    case A4J_OP_INT_LESS: r->i = a.i < b.i; break;
    case A4J_OP_INT_LESS_EQUAL: r->i = a.i <= b.i; break;
    case A4J_OP_INT_EQUAL: r->i = a.i == b.i; break;
    case A4J_OP_AND: r->i = a.i && b.i; break;
    case A4J_OP_OR: r->i = a.i || b.i; break;
    case A4J_OP_NOT: r->i = !a.i; break;
    case A4J_OP_SELECT: r->f = a.i ? b.f : c.f; break;
    case A4J_OP_INT_SELECT: r->i = a.i ? b.i : c.i; break;
    }
  }
  return v[n - 1];
}

/* ---- Random programs ------------------------------------------------------------------------------------------------------ */

/* Result type and operand types of every op, once more: F, I, B, or T for the number of a table. */
static const struct {
  int op;
  const char *form;
} forms[] = {{A4J_OP_SCORE, "F"},        {A4J_OP_BATCH, "I"},        {A4J_OP_HEAD, "I"},       {A4J_OP_QUERY, "I"},
             {A4J_OP_POSITION, "I"},     {A4J_OP_KEY, "I"},          {A4J_OP_FLOAT, "F"},      {A4J_OP_INT, "I"},
             {A4J_OP_LOAD_FLOAT, "FIT"}, {A4J_OP_LOAD_INT, "IIT"},   {A4J_OP_TO_FLOAT, "FI"},  {A4J_OP_TO_INT, "IF"},
             {A4J_OP_NEG, "FF"},         {A4J_OP_ABS, "FF"},         {A4J_OP_LOG, "FF"},       {A4J_OP_SQRT, "FF"},
             {A4J_OP_ADD, "FFF"},        {A4J_OP_SUB, "FFF"},        {A4J_OP_MUL, "FFF"},      {A4J_OP_DIV, "FFF"},
             {A4J_OP_MIN, "FFF"},        {A4J_OP_MAX, "FFF"},        {A4J_OP_INT_NEG, "II"},   {A4J_OP_INT_ABS, "II"},
             {A4J_OP_INT_ADD, "III"},    {A4J_OP_INT_SUB, "III"},    {A4J_OP_INT_MUL, "III"},  {A4J_OP_INT_DIV, "III"},
             {A4J_OP_INT_MOD, "III"},    {A4J_OP_INT_MIN, "III"},    {A4J_OP_INT_MAX, "III"},  {A4J_OP_LESS, "BFF"},
             {A4J_OP_LESS_EQUAL, "BFF"}, {A4J_OP_EQUAL, "BFF"},      {A4J_OP_INT_LESS, "BII"}, {A4J_OP_INT_LESS_EQUAL, "BII"},
             {A4J_OP_INT_EQUAL, "BII"},  {A4J_OP_AND, "BBB"},        {A4J_OP_OR, "BBB"},       {A4J_OP_NOT, "BB"},
             {A4J_OP_SELECT, "FBFF"},    {A4J_OP_INT_SELECT, "IBII"}};
enum { FORMS = sizeof forms / sizeof *forms };

/* A value of this type among those that there are, or -1; the last ones more often. */
static int pick(const struct code *c, char type) {
  for (int tries = 0; tries < 20; tries++) {
    const int x = (int)(one_in(2) ? up_to(c->values - 1) : c->values - 1 - up_to(c->values > 4 ? 3 : c->values - 1));
    if (c->types[x] == type) return x;
  }
  return -1;
}

static int32_t some_literal(int op) {
  static const float floats[] = {0,    -0.0f, 1, -1, 0.5f, 3, 1e30f, -INFINITY, INFINITY, NAN, 2147483648.0f, -2147483648.0f,
                                 1e-3f};
  static const int32_t ints[] = {0, 1, -1, 2, -3, 7, 31, 64, INT32_MAX, INT32_MIN, 1000, -1000, 5};
  int32_t bits = ints[up_to(12)];
  if (op == A4J_OP_FLOAT) memcpy(&bits, &floats[up_to(12)], sizeof bits);
  return bits;
}

/* One more instruction of this form, if there are operands for it. */
static int emit_form(struct code *c, int form, int is_mask) {
  const char *types = forms[form].form;
  const int op = forms[form].op;
  int x[3] = {0, 0, 0};
  if (is_mask && op == A4J_OP_SCORE) return 0;
  if (op == A4J_OP_FLOAT || op == A4J_OP_INT) {
    literal_bits(c, op, some_literal(op), types[0]);
    return 1;
  }
  for (int i = 0; types[i + 1] != 0; i++) {
    x[i] = types[i + 1] == 'T' ? (int)up_to(3) : c->values == 0 ? -1 : pick(c, types[i + 1]);
    if (x[i] < 0) return 0;
  }
  step(c, op, x[0], x[1], x[2], types[0]);
  return 1;
}

/* Up to `length` instructions, the last but for what its type needs of the given form. */
static struct code random_code(int length, int last_form, int is_mask) {
  struct code c = {.count = 0};
  while (c.values < length) emit_form(&c, (int)up_to(FORMS - 1), is_mask);
  int emitted = emit_form(&c, last_form, is_mask);
  for (int tries = 0; !emitted && tries < 30; tries++) { /* wait for operands */
    emit_form(&c, (int)up_to(FORMS - 1), is_mask);
    emitted = emit_form(&c, last_form, is_mask);
  }
  const int result = c.values - 1;
  const char type = c.types[result];
  if (is_mask && type == 'F') step(&c, A4J_OP_LESS, result, result, 0, 'B');
  if (is_mask && type == 'I') step(&c, A4J_OP_INT_LESS, result, pick(&c, 'I'), 0, 'B');
  if (!is_mask && type == 'I') step(&c, A4J_OP_TO_FLOAT, result, 0, 0, 'F');
  if (!is_mask && type == 'B') {
    int32_t bits;
    const float seven = 7;
    memcpy(&bits, &seven, sizeof bits);
    literal_bits(&c, A4J_OP_FLOAT, bits, 'F');
    literal_bits(&c, A4J_OP_FLOAT, some_literal(A4J_OP_FLOAT), 'F');
    step(&c, A4J_OP_SELECT, result, c.values - 2, c.values - 1, 'F');
  }
  return c;
}

static int same(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

/* A random patch: runs the program on every tier's slot and compares with the interpreter. */
static void compare(const struct code *c, int is_mask) {
  enum { ROOM = A4J_PATCH_SIDE };
  static int32_t batch[ROOM], head[ROOM], query[ROOM], position[ROOM], key[ROOM];
  static float before[ROOM][ROOM], score[ROOM][ROOM];
  struct a4j_program program;
  const int32_t status = a4j_program_prepare(c->words, c->count, is_mask, run_tables, counts, &program);
  CHECK_INT(status, A4J_OK);
  if (status != A4J_OK) return;
  const int inner = 1 + (int)up_to(ROOM - 1), outer = 1 + (int)up_to(one_in(2) ? 7 : ROOM - 1), rows_inner = one_in(2);
  const int rows = rows_inner ? inner : outer, keys = rows_inner ? outer : inner;
  for (int r = 0; r < ROOM; r++) {
    batch[r] = (int32_t)up_to(3);
    head[r] = (int32_t)up_to(7);
    query[r] = (int32_t)(100 + r);
    position[r] = (int32_t)(r - 20);
    key[r] = (int32_t)(90 + r);
    for (int i = 0; i < ROOM; i++) before[r][i] = one_in(50) ? NAN : one_in(50) ? -INFINITY : 10 * uniform();
  }
  uint64_t sets[ROOM];
  memcpy(score, before, sizeof score);
  for (int r = 0; r < ROOM; r++) sets[r] = one_in(4) ? next() : ~(uint64_t)0;
  uint64_t sets_before[ROOM];
  memcpy(sets_before, sets, sizeof sets);
  const struct a4j_patch patch = {.room = program_room,
                                  .inner = inner,
                                  .outer = outer,
                                  .rows_inner = rows_inner,
                                  .batch = batch,
                                  .head = head,
                                  .query = query,
                                  .position = position,
                                  .key = key,
                                  .score = &score[0][0],
                                  .stride = ROOM};
  if (is_mask)
    a4j_kernels_active()->program_mask(&program, &patch, sets);
  else
    a4j_kernels_active()->program_score(&program, &patch);
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < keys; j++) {
      const int o = rows_inner ? j : r, i = rows_inner ? r : j;
      const struct place at = {before[o][i], batch[r], head[r], query[r], position[r], key[j]};
      const union value wanted = interpret(c->words, c->count, at);
      if (is_mask) {
        const int got = (int)(sets[r] >> j & 1), want = (int)(sets_before[r] >> j & 1) && wanted.i;
        if (got == want) continue;
        CHECK(0, "mask of %d instructions, last op %d, tier %s: row %d, key %d: wanted %d, got %d", program.count,
              program.code[program.count - 1].op, a4j_isa_active(), r, j, want, got);
        return;
      }
      if (same(score[o][i], wanted.f)) continue;
      CHECK(0, "score of %d instructions, last op %d, tier %s: row %d, key %d: wanted %g, got %g", program.count,
            program.code[program.count - 1].op, a4j_isa_active(), r, j, (double)wanted.f, (double)score[o][i]);
      return;
    }
}

static void shouldComputeEveryInstructionAsTheInterpreterDoes(void) {
  for (int form = 0; form < FORMS; form++)
    for (int is_mask = 0; is_mask < 2; is_mask++)
      for (int times = 0; times < 30; times++) {
        const struct code c = random_code(1 + (int)up_to(9), form, is_mask);
        compare(&c, is_mask);
      }
}

static void shouldComputeLongProgramsAsTheInterpreterDoes(void) {
  for (int times = 0; times < 500; times++) {
    const struct code c = random_code(10 + (int)up_to(15), (int)up_to(FORMS - 1), one_in(2));
    compare(&c, c.types[c.values - 1] == 'B');
  }
}

/* op(score) for scores all over the range of floats. */
static void check_function(int op, double (*function)(double), double tolerance, double smallest, float from, float to) {
  struct code c = {.count = 0};
  step(&c, A4J_OP_SCORE, 0, 0, 0, 'F');
  step(&c, op, 0, 0, 0, 'F');
  struct a4j_program program;
  CHECK_INT(a4j_program_prepare(c.words, c.count, 0, NULL, counts, &program), A4J_OK);
  float score[64];
  const struct a4j_patch patch = {.room = program_room, .inner = 64, .outer = 1, .rows_inner = 1, .score = score, .stride = 64};
  double worst = 0;
  for (int times = 0; times < 2000; times++) {
    float x[64];
    for (int i = 0; i < 64; i++) x[i] = score[i] = from + (to - from) * (0.5f + 0.5f * uniform());
    if (times % 2 == 0)
      for (int i = 0; i < 64; i++) x[i] = score[i] = x[i] * powf(10, -8 * fabsf(uniform()));
    a4j_kernels_active()->program_score(&program, &patch);
    for (int i = 0; i < 64; i++) {
      const double exact = function((double)x[i]);
      if (fabs(exact) < smallest) continue;
      const double error = fabs((double)score[i] / exact - 1);
      if (!(error <= worst)) worst = error;
    }
  }
  CHECK(worst <= tolerance, "op %d on %s: largest relative error %g", op, a4j_isa_active(), worst);
}

static void shouldGiveFunctionsToTheirLastBits(void) {
  check_function(A4J_OP_EXP, exp, 3e-7, 1.2e-38, -100, 88);
  check_function(A4J_OP_TANH, tanh, 3e-7, 1e-37, -12, 12);
  check_function(A4J_OP_LOG, log, 2e-7, 1e-3, 1e-6f, 1e9f);
  struct code c = {.count = 0};
  step(&c, A4J_OP_SCORE, 0, 0, 0, 'F');
  step(&c, A4J_OP_EXP, 0, 0, 0, 'F');
  struct a4j_program program;
  CHECK_INT(a4j_program_prepare(c.words, c.count, 0, NULL, counts, &program), A4J_OK);
  float score[64] = {0, -INFINITY, INFINITY, NAN, 200, -200, 89, -104};
  const struct a4j_patch patch = {.room = program_room, .inner = 8, .outer = 1, .rows_inner = 1, .score = score, .stride = 64};
  a4j_kernels_active()->program_score(&program, &patch);
  CHECK(score[0] == 1 && score[1] == 0 && score[2] == INFINITY && isnan(score[3]) && score[4] == INFINITY && score[5] == 0 &&
            score[6] == INFINITY && score[7] < 1e-44f,
        "%g %g %g %g %g %g %g %g", (double)score[0], (double)score[1], (double)score[2], (double)score[3], (double)score[4],
        (double)score[5], (double)score[6], (double)score[7]);
}

/* ---- Words that mean nothing ---------------------------------------------------------------------------------------------- */

static int32_t status_of_code(const struct code *c, int is_mask) {
  struct a4j_program program;
  return a4j_program_prepare(c->words, c->count, is_mask, run_tables, counts, &program);
}

#define REFUSES(is_mask, ...)                                                                                                  \
  do {                                                                                                                         \
    struct code c = {.count = 0};                                                                                              \
    __VA_ARGS__;                                                                                                               \
    CHECK_INT(status_of_code(&c, is_mask), A4J_BAD_PROGRAM);                                                                   \
  } while (0)

static void shouldRefuseProgramsThatAreNotWellFormed(void) {
  REFUSES(0, (void)c);
  REFUSES(0, step(&c, 0, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, 45, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, 255, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_KEY, 0, 0, 0, 'I'));
  REFUSES(1, step(&c, A4J_OP_KEY, 0, 0, 0, 'I'));
  REFUSES(0, step(&c, A4J_OP_SCORE, 1, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_NEG, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_SCORE, 0, 0, 0, 'F'); step(&c, A4J_OP_NEG, 1, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_KEY, 0, 0, 0, 'I'); step(&c, A4J_OP_NEG, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_SCORE, 0, 0, 0, 'F'); step(&c, A4J_OP_NEG, 0, 0, 1, 'F'));
  REFUSES(0, step(&c, A4J_OP_FLOAT, 0, 0, 0, 'F'));
  REFUSES(0, step(&c, A4J_OP_KEY, 0, 0, 0, 'I'); step(&c, A4J_OP_LOAD_FLOAT, 0, 4, 0, 'F'));
  REFUSES(1, step(&c, A4J_OP_SCORE, 0, 0, 0, 'F'); step(&c, A4J_OP_LESS, 0, 0, 0, 'B'));
  REFUSES(
      0, for (int i = 0; i <= A4J_PROGRAM_MAX; i++) {
        c.values = 0;
        step(&c, A4J_OP_SCORE, 0, 0, 0, 'F');
      });
  /* One value more than may wait: as many keys, then their sum. */
  for (int more = 0; more < 2; more++) {
    struct code c = {.count = 0};
    const int waiting = A4J_PROGRAM_LIVE + more;
    for (int i = 0; i < waiting; i++) step(&c, A4J_OP_SCORE, 0, 0, 0, 'F');
    step(&c, A4J_OP_ADD, 0, 1, 0, 'F');
    for (int i = 2; i < waiting && c.values < A4J_PROGRAM_MAX; i++) step(&c, A4J_OP_ADD, i, c.values - 1, 0, 'F');
    const int all = c.values == 2 * waiting - 1;
    CHECK_INT(status_of_code(&c, 0), more && all ? A4J_BAD_PROGRAM : A4J_OK);
  }
  struct code c = {.count = 0};
  struct a4j_program program;
  step(&c, A4J_OP_KEY, 0, 0, 0, 'I');
  step(&c, A4J_OP_LOAD_FLOAT, 0, 2, 0, 'F');
  const int64_t none[4] = {7, 7, 0, 7};
  const void *const missing[4] = {tables_f[0], tables_f[1], NULL, tables_f[3]};
  CHECK_INT(a4j_program_prepare(c.words, c.count, 0, run_tables, none, &program), A4J_BAD_PROGRAM);
  CHECK_INT(a4j_program_prepare(c.words, c.count, 0, missing, counts, &program), A4J_NULL_POINTER);
  CHECK_INT(a4j_program_prepare(c.words, c.count, 0, NULL, counts, &program), A4J_OK);
}

/* Well-formed programs with one word spoiled: refused, or run without harm (the sanitizers' part). */
static void shouldStandSpoiledWords(void) {
  int32_t ints[A4J_PATCH_SIDE] = {0};
  static float score[A4J_PATCH_SIDE][A4J_PATCH_SIDE];
  int refused = 0;
  for (int times = 0; times < 20000; times++) {
    const int is_mask = one_in(2);
    struct code c = random_code(1 + (int)up_to(8), (int)up_to(FORMS - 1), is_mask);
    const int at = (int)up_to(c.count - 1);
    c.words[at] = one_in(3) ? (int32_t)next() : c.words[at] ^ (int32_t)(1u << up_to(31));
    if (one_in(5)) c.count = (int)up_to(c.count);
    int32_t *words = malloc(sizeof(int32_t) * (size_t)(c.count + (c.count == 0)));
    memcpy(words, c.words, sizeof(int32_t) * (size_t)c.count);
    struct a4j_program program;
    const int32_t status = a4j_program_prepare(words, c.count, is_mask, run_tables, counts, &program);
    CHECK(status == A4J_OK || status == A4J_BAD_PROGRAM, "status %d", status);
    refused += status != A4J_OK;
    free(words);
    if (status != A4J_OK) continue;
    uint64_t sets[A4J_PATCH_SIDE] = {0};
    const struct a4j_patch patch = {.room = program_room,
                                    .inner = 17,
                                    .outer = 3,
                                    .rows_inner = one_in(2),
                                    .batch = ints,
                                    .head = ints,
                                    .query = ints,
                                    .position = ints,
                                    .key = ints,
                                    .score = &score[0][0],
                                    .stride = A4J_PATCH_SIDE};
    if (is_mask)
      a4j_kernels_active()->program_mask(&program, &patch, sets);
    else
      a4j_kernels_active()->program_score(&program, &patch);
  }
  CHECK(refused > 2000 && refused < 19000, "%d of 20000 refused", refused);
}

static void shouldRefuseProgramsInDescriptors(void) {
  struct problem *p = make((struct shape){.len_q = 3, .len_k = 5, .dim_qk = 4, .dim_v = 4});
  struct code slant = {.count = 0};
  step(&slant, A4J_OP_SCORE, 0, 0, 0, 'F');
  step(&slant, A4J_OP_HEAD, 0, 0, 0, 'I');
  step(&slant, A4J_OP_LOAD_FLOAT, 1, 0, 0, 'F');
  step(&slant, A4J_OP_MUL, 0, 2, 0, 'F');
  literal_float(&slant, 2);
  step(&slant, A4J_OP_ADD, 3, 4, 0, 'F');
  with_score_code(p, &slant, NULL);
  CHECK_INT(status_of(p), A4J_BAD_PROGRAM); /* its table has no elements */
  p->d->table_0_count = 7;
  CHECK_INT(status_of(p), A4J_NULL_POINTER);
  p->in.tables[0] = tables_f[1];
  CHECK_INT(status_of(p), A4J_OK);
  p->d->score_program_words = 0;
  CHECK_INT(status_of(p), A4J_BAD_PROGRAM);
  p->d->score_program_words = slant.count - 2; /* ends with a constant without its bits */
  CHECK_INT(status_of(p), A4J_BAD_PROGRAM);
  p->d->score_program_words = slant.count + 1;
  CHECK_INT(status_of(p), A4J_BAD_DESCRIPTOR);
  p->d->score_program_offset = 0;
  CHECK_INT(status_of(p), A4J_BAD_DESCRIPTOR);
  p->d->score_program_words = 0;
  CHECK_INT(status_of(p), A4J_OK);
  release(p);
}

int main(void) {
  FOR_EACH_TIER (i) {
    seed = 1;
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_name(i), seed);
    RUN(shouldComputeEveryInstructionAsTheInterpreterDoes);
    RUN(shouldComputeLongProgramsAsTheInterpreterDoes);
    RUN(shouldGiveFunctionsToTheirLastBits);
    RUN(shouldStandSpoiledWords);
  }
  RUN(shouldRefuseProgramsThatAreNotWellFormed);
  RUN(shouldRefuseProgramsInDescriptors);
  return CHECK_RESULT();
}
