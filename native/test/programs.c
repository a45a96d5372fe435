#include "programs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int step(struct code *c, int op, int x, int y, int z, char type) {
  c->words[c->count++] = (int32_t)((uint32_t)op | (uint32_t)x << 8 | (uint32_t)y << 16 | (uint32_t)z << 24);
  c->types[c->values++] = type;
  return c->values - 1;
}

int literal_bits(struct code *c, int op, int32_t bits, char type) {
  const int value = step(c, op, 0, 0, 0, type);
  c->words[c->count++] = bits;
  return value;
}

int literal_int(struct code *c, int32_t x) { return literal_bits(c, A4J_OP_INT, x, 'I'); }

int literal_float(struct code *c, float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return literal_bits(c, A4J_OP_FLOAT, bits, 'F');
}

static int score_of(struct code *c) { return step(c, A4J_OP_SCORE, 0, 0, 0, 'F'); }
static int batch_of(struct code *c) { return step(c, A4J_OP_BATCH, 0, 0, 0, 'I'); }
static int head_of(struct code *c) { return step(c, A4J_OP_HEAD, 0, 0, 0, 'I'); }
static int query_of(struct code *c) { return step(c, A4J_OP_QUERY, 0, 0, 0, 'I'); }
static int place_of(struct code *c) { return step(c, A4J_OP_POSITION, 0, 0, 0, 'I'); }
static int key_of(struct code *c) { return step(c, A4J_OP_KEY, 0, 0, 0, 'I'); }
static int ints(struct code *c, int op, int x, int y) { return step(c, op, x, y, 0, 'I'); }
static int floats(struct code *c, int op, int x, int y) { return step(c, op, x, y, 0, 'F'); }
static int bools(struct code *c, int op, int x, int y) { return step(c, op, x, y, 0, 'B'); }

void with_score_code(struct problem *p, const struct code *c,
                     double (*meaning)(const void *, double, int64_t, int64_t, int64_t, int64_t)) {
  const int64_t at = append(p, c->words, 4 * (int64_t)c->count);
  p->d->score_program_offset = at;
  p->d->score_program_words = c->count;
  p->in.score_program = meaning;
  p->in.context = p;
}

void with_mask_code(struct problem *p, const struct code *c,
                    bool (*meaning)(const void *, int64_t, int64_t, int64_t, int64_t)) {
  const int64_t at = append(p, c->words, 4 * (int64_t)c->count);
  p->d->mask_program_offset = at;
  p->d->mask_program_words = c->count;
  p->in.mask_program = meaning;
  p->in.context = p;
}

void with_table(struct problem *p, int number, const void *words, int64_t count) {
  int64_t *const counts[] = {&p->d->table_0_count, &p->d->table_1_count, &p->d->table_2_count, &p->d->table_3_count};
  void *copy = malloc(4 * (size_t)count);
  if (copy == NULL) abort();
  p->in.tables[number] = p->tables[number] = memcpy(copy, words, 4 * (size_t)count);
  *counts[number] = count;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* ---- Scores: tables 0 and 1 --------------------------------------------------------------------------------------------- */

/* score + slopes[h] * (j - p) */
static double slanted(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j) {
  const struct problem *p = context;
  const float *slopes = p->tables[0];
  return score + (double)slopes[clamp(h, 0, p->d->table_0_count - 1)] * (double)(j - position_of(p->d, b, i));
}

static struct code slant(struct problem *p) {
  struct code c = {.count = 0};
  float slopes[3];
  for (int i = 0; i < 3; i++) slopes[i] = uniform() / 64;
  with_table(p, 0, slopes, 3);
  const int distance = ints(&c, A4J_OP_INT_SUB, key_of(&c), place_of(&c));
  const int slope = floats(&c, A4J_OP_LOAD_FLOAT, head_of(&c), 0);
  const int bias = floats(&c, A4J_OP_MUL, slope, step(&c, A4J_OP_TO_FLOAT, distance, 0, 0, 'F'));
  floats(&c, A4J_OP_ADD, score_of(&c), bias);
  return c;
}

/* -infinity where |i - j| > 40 */
static double near_the_diagonal(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)context, (void)b, (void)h;
  return llabs(i - j) <= 40 ? score : -INFINITY;
}

static struct code diagonal(void) {
  struct code c = {.count = 0};
  const int far = step(&c, A4J_OP_INT_ABS, ints(&c, A4J_OP_INT_SUB, query_of(&c), key_of(&c)), 0, 0, 'I');
  const int near = bools(&c, A4J_OP_INT_LESS_EQUAL, far, literal_int(&c, 40));
  step(&c, A4J_OP_SELECT, near, score_of(&c), literal_float(&c, -INFINITY), 'F');
  return c;
}

/* 3 tanh(score / 4) + biases[clamp(j - p + 5)], the table's ends standing for all beyond */
static double looked_up(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j) {
  const struct problem *p = context;
  const float *biases = p->tables[1];
  (void)h;
  return 3 * tanh(score / 4) + (double)biases[clamp(j - position_of(p->d, b, i) + 5, 0, p->d->table_1_count - 1)];
}

static struct code look_up(struct problem *p) {
  struct code c = {.count = 0};
  float biases[11];
  for (int i = 0; i < 11; i++) biases[i] = uniform();
  with_table(p, 1, biases, 11);
  const int shifted = ints(&c, A4J_OP_INT_ADD, ints(&c, A4J_OP_INT_SUB, key_of(&c), place_of(&c)), literal_int(&c, 5));
  const int bias = floats(&c, A4J_OP_LOAD_FLOAT, shifted, 1);
  const int small = floats(&c, A4J_OP_MUL, score_of(&c), literal_float(&c, 0.25f));
  const int capped = floats(&c, A4J_OP_MUL, step(&c, A4J_OP_TANH, small, 0, 0, 'F'), literal_float(&c, 3));
  floats(&c, A4J_OP_ADD, capped, bias);
  return c;
}

void with_score_program(struct problem *p, int number) {
  const struct code c = number == 0 ? slant(p) : number == 1 ? diagonal() : look_up(p);
  with_score_code(p, &c, number == 0 ? slanted : number == 1 ? near_the_diagonal : looked_up);
}

/* ---- Masks: tables 2 and 3 ---------------------------------------------------------------------------------------------- */

static int32_t entry(const struct problem *p, int table, int64_t count, int64_t at) {
  return ((const int32_t *)p->tables[table])[clamp(at, 0, count - 1)];
}

/* documents[p] = documents[j], or j = 0 */
static bool same_document(const void *context, int64_t b, int64_t h, int64_t i, int64_t j) {
  const struct problem *p = context;
  const int64_t count = p->d->table_2_count;
  (void)h;
  return entry(p, 2, count, position_of(p->d, b, i)) == entry(p, 2, count, j) || j == 0;
}

static struct code documents(struct problem *p) {
  struct code c = {.count = 0};
  int32_t numbers[3000], count = 0;
  for (int32_t number = 0; count < p->d->len_k + 1 && count < 2900; number++)
    for (int64_t n = 1 + up_to(90); n > 0; n--) numbers[count++] = number;
  with_table(p, 2, numbers, count);
  const int key = key_of(&c), its = ints(&c, A4J_OP_LOAD_INT, key, 2);
  const int mine = ints(&c, A4J_OP_LOAD_INT, place_of(&c), 2);
  const int same = bools(&c, A4J_OP_INT_EQUAL, mine, its), first = bools(&c, A4J_OP_INT_EQUAL, key, literal_int(&c, 0));
  bools(&c, A4J_OP_OR, same, first);
  return c;
}

/* (p - j) mod 3 = 0 */
static bool every_third(const void *context, int64_t b, int64_t h, int64_t i, int64_t j) {
  const struct problem *p = context;
  (void)h;
  return (position_of(p->d, b, i) - j) % 3 == 0;
}

static struct code third(void) {
  struct code c = {.count = 0};
  const int distance = ints(&c, A4J_OP_INT_SUB, place_of(&c), key_of(&c));
  bools(&c, A4J_OP_INT_EQUAL, ints(&c, A4J_OP_INT_MOD, distance, literal_int(&c, 3)), literal_int(&c, 0));
  return c;
}

/* j < 5 h - 3 b + i + 10 */
static bool bounded(const void *context, int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)context;
  return j < 5 * h - 3 * b + i + 10;
}

static struct code bound(void) {
  struct code c = {.count = 0};
  const int heads = ints(&c, A4J_OP_INT_MUL, head_of(&c), literal_int(&c, 5));
  const int batches = ints(&c, A4J_OP_INT_MUL, batch_of(&c), literal_int(&c, 3));
  const int sum = ints(&c, A4J_OP_INT_ADD, ints(&c, A4J_OP_INT_SUB, heads, batches), query_of(&c));
  bools(&c, A4J_OP_INT_LESS, key_of(&c), ints(&c, A4J_OP_INT_ADD, sum, literal_int(&c, 10)));
  return c;
}

/* not (floor(i / 7) odd) */
static bool even_sevens(const void *context, int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)context, (void)b, (void)h, (void)j;
  return i / 7 % 2 == 0;
}

static struct code sevens(void) {
  struct code c = {.count = 0};
  const int seven = ints(&c, A4J_OP_INT_DIV, query_of(&c), literal_int(&c, 7));
  const int rest = ints(&c, A4J_OP_INT_MOD, seven, literal_int(&c, 2));
  step(&c, A4J_OP_NOT, bools(&c, A4J_OP_INT_EQUAL, rest, literal_int(&c, 1)), 0, 0, 'B');
  return c;
}

/* shown[j] > 0 */
static bool shown(const void *context, int64_t b, int64_t h, int64_t i, int64_t j) {
  const struct problem *p = context;
  (void)b, (void)h, (void)i;
  return entry(p, 3, p->d->table_3_count, j) > 0;
}

static struct code shown_keys(struct problem *p) {
  struct code c = {.count = 0};
  int32_t table[100];
  for (int i = 0; i < 100; i++) table[i] = (int32_t)up_to(3);
  with_table(p, 3, table, 1 + up_to(99));
  bools(&c, A4J_OP_INT_LESS, literal_int(&c, 0), ints(&c, A4J_OP_LOAD_INT, key_of(&c), 3));
  return c;
}

void with_mask_program(struct problem *p, int number) {
  struct code c;
  switch (number) {
  case 0: c = documents(p), with_mask_code(p, &c, same_document); break;
  case 1: c = third(), with_mask_code(p, &c, every_third); break;
  case 2: c = bound(), with_mask_code(p, &c, bounded); break;
  case 3: c = sevens(), with_mask_code(p, &c, even_sevens); break;
  default: c = shown_keys(p), with_mask_code(p, &c, shown); break;
  }
}
