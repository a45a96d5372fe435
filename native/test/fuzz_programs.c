/*
 * libFuzzer on programs of scores and masks: each is refused, or runs and stays inside its tables.
 *
 * An input is which shape and which tables there are (1 byte), how many words are the score's program (1 byte), and the words of
 * the score's and the mask's program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a4j.h"
#include "problem.h"
#include "programs.h"

static int64_t program(struct problem *p, const uint8_t *words, int64_t count) {
  return count == 0 ? 0 : append(p, words, count * (int64_t)sizeof(int32_t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { HEAD = 2, MOST_WORDS = 2 * A4J_PROGRAM_MAX + 8 };
  if (size < HEAD + sizeof(int32_t)) return 0;
  int64_t words = (int64_t)((size - HEAD) / sizeof(int32_t));
  if (words > 2 * MOST_WORDS) words = 2 * MOST_WORDS;
  const int64_t of_score = data[1] < words ? data[1] : words;

  seed = 1;
  struct problem *p = make((struct shape){.batch = 2,
                                          .group = 2,
                                          .len_q = data[0] & 1 ? 2 : 17,
                                          .len_k = data[0] & 2 ? 5 : 37,
                                          .dim_qk = 2,
                                          .dim_v = 2,
                                          .maps = data[0] & 4 ? 2 : 1});
  for (int i = 0; i < 4; i++) {
    static const int32_t table[] = {7, -1, 0x3f800000, INT32_MIN, INT32_MAX};
    if (data[0] & 16 << i) with_table(p, i, table, 1 + i);
  }
  const int64_t score = program(p, data + HEAD, of_score);
  p->d->score_program_offset = score;
  p->d->score_program_words = (int32_t)of_score;
  const int64_t mask = program(p, data + HEAD + of_score * (int64_t)sizeof(int32_t), words - of_score);
  p->d->mask_program_offset = mask;
  p->d->mask_program_words = (int32_t)(words - of_score);
  const int32_t status = status_of(p);
  if (status != A4J_OK && status != A4J_BAD_PROGRAM) {
    fprintf(stderr, "%s\n", described(p, a4j_status_name(status)));
    abort();
  }
  release(p);
  return 0;
}
