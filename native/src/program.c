/*
 * Checks and decodes programs. Nothing in the words is trusted: an operand is an earlier instruction of the right
 * type, a table one that has elements.
 */
#include "program.h"

#include <stddef.h>
#include <string.h>

enum { F = A4J_FLOAT_VALUE, I = A4J_INT_VALUE, B = A4J_BOOL_VALUE };

/* Result type, number of operands that are values, their types. An op that is not listed has result 0: there is none. */
static const struct form {
  uint8_t known, result, arity, operands[3];
} forms[] = {
    [A4J_OP_SCORE] = {1, F, 0, {0}},         [A4J_OP_BATCH] = {1, I, 0, {0}},
    [A4J_OP_HEAD] = {1, I, 0, {0}},          [A4J_OP_QUERY] = {1, I, 0, {0}},
    [A4J_OP_POSITION] = {1, I, 0, {0}},      [A4J_OP_KEY] = {1, I, 0, {0}},
    [A4J_OP_FLOAT] = {1, F, 0, {0}},         [A4J_OP_INT] = {1, I, 0, {0}},
    [A4J_OP_LOAD_FLOAT] = {1, F, 1, {I}},    [A4J_OP_LOAD_INT] = {1, I, 1, {I}},
    [A4J_OP_TO_FLOAT] = {1, F, 1, {I}},      [A4J_OP_TO_INT] = {1, I, 1, {F}},
    [A4J_OP_NEG] = {1, F, 1, {F}},           [A4J_OP_ABS] = {1, F, 1, {F}},
    [A4J_OP_EXP] = {1, F, 1, {F}},           [A4J_OP_LOG] = {1, F, 1, {F}},
    [A4J_OP_TANH] = {1, F, 1, {F}},          [A4J_OP_SQRT] = {1, F, 1, {F}},
    [A4J_OP_ADD] = {1, F, 2, {F, F}},        [A4J_OP_SUB] = {1, F, 2, {F, F}},
    [A4J_OP_MUL] = {1, F, 2, {F, F}},        [A4J_OP_DIV] = {1, F, 2, {F, F}},
    [A4J_OP_MIN] = {1, F, 2, {F, F}},        [A4J_OP_MAX] = {1, F, 2, {F, F}},
    [A4J_OP_INT_NEG] = {1, I, 1, {I}},       [A4J_OP_INT_ABS] = {1, I, 1, {I}},
    [A4J_OP_INT_ADD] = {1, I, 2, {I, I}},    [A4J_OP_INT_SUB] = {1, I, 2, {I, I}},
    [A4J_OP_INT_MUL] = {1, I, 2, {I, I}},    [A4J_OP_INT_DIV] = {1, I, 2, {I, I}},
    [A4J_OP_INT_MOD] = {1, I, 2, {I, I}},    [A4J_OP_INT_MIN] = {1, I, 2, {I, I}},
    [A4J_OP_INT_MAX] = {1, I, 2, {I, I}},    [A4J_OP_LESS] = {1, B, 2, {F, F}},
    [A4J_OP_LESS_EQUAL] = {1, B, 2, {F, F}}, [A4J_OP_EQUAL] = {1, B, 2, {F, F}},
    [A4J_OP_INT_LESS] = {1, B, 2, {I, I}},   [A4J_OP_INT_LESS_EQUAL] = {1, B, 2, {I, I}},
    [A4J_OP_INT_EQUAL] = {1, B, 2, {I, I}},  [A4J_OP_AND] = {1, B, 2, {B, B}},
    [A4J_OP_OR] = {1, B, 2, {B, B}},         [A4J_OP_NOT] = {1, B, 1, {B}},
    [A4J_OP_SELECT] = {1, F, 3, {B, F, F}},  [A4J_OP_INT_SELECT] = {1, I, 3, {B, I, I}},
};

int a4j_program_arity(int op) { return forms[op].arity; }

/* What an instruction without operands varies with. */
static int source_varies(int op) {
  switch (op) {
  case A4J_OP_SCORE: return A4J_VARIES_BY_BOTH;
  case A4J_OP_BATCH:
  case A4J_OP_HEAD:
  case A4J_OP_QUERY:
  case A4J_OP_POSITION: return A4J_VARIES_BY_ROW;
  case A4J_OP_KEY: return A4J_VARIES_BY_KEY;
  default: return 0;
  }
}

/* One instruction, from its word. */
static int32_t decode(uint32_t word, int number, int is_mask, const void *const *tables, const int64_t *counts,
                      struct a4j_program *p) {
  struct a4j_instruction *x = &p->code[number];
  x->op = (uint8_t)word;
  for (int i = 0; i < 3; i++) x->operands[i] = (uint8_t)(word >> (8 + 8 * i));
  if (x->op >= sizeof forms / sizeof *forms || !forms[x->op].known) return A4J_BAD_PROGRAM;
  if (is_mask && x->op == A4J_OP_SCORE) return A4J_BAD_PROGRAM;
  const struct form *form = &forms[x->op];
  x->type = form->result;
  x->varies = (uint8_t)source_varies(x->op);
  for (int i = 0; i < form->arity; i++) {
    if (x->operands[i] >= number || p->code[x->operands[i]].type != form->operands[i]) return A4J_BAD_PROGRAM;
    x->varies |= p->code[x->operands[i]].varies;
  }
  int fields = form->arity;
  if (x->op == A4J_OP_LOAD_FLOAT || x->op == A4J_OP_LOAD_INT) {
    const int table = x->operands[1];
    if (table > 3 || counts[table] <= 0) return A4J_BAD_PROGRAM;
    p->last[table] = counts[table] > INT32_MAX ? INT32_MAX : (int32_t)(counts[table] - 1);
    if (tables != NULL && tables[table] == NULL) return A4J_NULL_POINTER;
    if (tables != NULL) p->tables[table] = tables[table];
    fields = 2;
  }
  for (int i = fields; i < 3; i++)
    if (x->operands[i] != 0) return A4J_BAD_PROGRAM;
  return A4J_OK;
}

/* Marks what the result needs, and gives each of those values a slot that is free from its last use on. */
static int32_t assign_slots(struct a4j_program *p) {
  uint8_t last_use[A4J_PROGRAM_MAX] = {0};
  const int result = p->count - 1;
  p->code[result].needed = 1;
  last_use[result] = (uint8_t)p->count;
  for (int n = result; n >= 0; n--) {
    if (!p->code[n].needed) continue;
    for (int i = 0; i < forms[p->code[n].op].arity; i++) {
      const int operand = p->code[n].operands[i];
      p->code[operand].needed = 1;
      if (last_use[operand] == 0) last_use[operand] = (uint8_t)n;
    }
  }
  uint8_t busy_until[A4J_PROGRAM_LIVE] = {
      0}; /* a slot may be written by the instruction that reads it last: element by element */
  for (int n = 0; n < p->count; n++) {
    if (!p->code[n].needed) continue;
    int slot = 0;
    while (slot < A4J_PROGRAM_LIVE && busy_until[slot] > n) slot++;
    if (slot == A4J_PROGRAM_LIVE) return A4J_BAD_PROGRAM;
    busy_until[slot] = last_use[n];
    p->code[n].slot = (uint8_t)slot;
  }
  return A4J_OK;
}

int32_t a4j_program_prepare(const int32_t *words, int64_t count, int is_mask, const void *const *tables, const int64_t *counts,
                            struct a4j_program *p) {
  memset(p, 0, sizeof *p);
  for (int64_t at = 0; at < count; at++) {
    if (p->count == A4J_PROGRAM_MAX) return A4J_BAD_PROGRAM;
    const int32_t status = decode((uint32_t)words[at], p->count, is_mask, tables, counts, p);
    if (status != A4J_OK) return status;
    struct a4j_instruction *x = &p->code[p->count++];
    if (x->op != A4J_OP_FLOAT && x->op != A4J_OP_INT) continue;
    if (++at == count) return A4J_BAD_PROGRAM;
    x->literal = words[at];
  }
  if (p->count == 0 || p->code[p->count - 1].type != (is_mask ? B : F)) return A4J_BAD_PROGRAM;
  return assign_slots(p);
}
