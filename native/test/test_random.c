/*
 * Random numbers, on every tier that this machine runs: the known answers of Random123, and the mask of dropout as the header
 * describes it.
 */
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "kernels.h"
#include "reference.h"
#include "tiers.h"

/* kat_vectors of Random123 1.14: counter, key, words. */
static const uint32_t answers[][10] = {
    {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
    {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
    {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};

static void shouldGiveTheKnownAnswersOfPhilox(void) {
  for (int n = 0; n < 3; n++) {
    const uint32_t *a = answers[n];
    uint32_t words[4];
    float numbers[4];
    philox_words(a, a + 4, words);
    a4j_kernels_active()->uniform_numbers((uint64_t)a[5] << 32 | a[4], a + 1, 4 * (int64_t)a[0], 4, numbers);
    for (int x = 0; x < 4; x++) {
      CHECK(words[x] == a[6 + x], "vector %d, word %d: wanted %x, got %x", n, x, a[6 + x], words[x]);
      CHECK(numbers[x] == (float)(a[6 + x] >> 8) * 0x1p-24f, "vector %d, word %d: got %g", n, x, numbers[x]);
    }
  }
}

/* Any part of a row is what it is in the whole row. */
static void shouldDrawEachKeyByItself(void) {
  enum { KEYS = 200 };
  const uint32_t counter[3] = {3, 2, 1};
  float whole[KEYS], part[KEYS];
  a4j_kernels_active()->uniform_numbers(99, counter, 0, KEYS, whole);
  for (int j0 = 0; j0 < 80; j0++)
    for (int keys = 0; j0 + keys <= KEYS; keys += 1 + keys / 9) {
      part[keys == KEYS ? 0 : keys] = -1;
      a4j_kernels_active()->uniform_numbers(99, counter, j0, keys, part);
      for (int j = 0; j < keys; j++) CHECK(part[j] == whole[j0 + j], "key %d of %d from %d on", j, keys, j0);
      CHECK(keys == KEYS || part[keys] == -1, "%d keys from %d on: one more was written", keys, j0);
    }
}

static void shouldWriteTheMaskOfDropout(void) {
  enum { BATCH = 2, HEADS = 3, LEN_Q = 5, LEN_K = 300, ALL = BATCH * HEADS * LEN_Q * LEN_K };
  static uint8_t keep[ALL + 1];
  for (int shared = 0; shared < 16; shared++) {
    a4j_attention_desc attention = {.dropout = 1, .dropout_rate = 0.3f, .dropout_seed = -5, .dropout_shared = shared};
    const struct attention_call call = {.d = &attention};
    a4j_dropout_desc d = {.size_bytes = sizeof d, .abi_version = A4J_ABI_VERSION, .threads = 1 + shared % 3};
    d.shared = shared;
    d.rate = 0.3f;
    d.seed = -5;
    d.batch = BATCH;
    d.heads = HEADS;
    d.len_q = LEN_Q;
    d.len_k = LEN_K;
    keep[ALL] = 77;
    CHECK_INT(a4j_dropout(&d, keep), A4J_OK);
    CHECK_INT(keep[ALL], 77);
    for (int64_t x = 0; x < ALL; x++)
      CHECK_INT(keep[x], keeps(&call, x / LEN_K / LEN_Q / HEADS, x / LEN_K / LEN_Q % HEADS, x / LEN_K % LEN_Q, x % LEN_K));
  }
}

static void shouldRefuseWhatIsNoDropout(void) {
  uint8_t keep;
  a4j_dropout_desc d = {.size_bytes = sizeof d, .abi_version = A4J_ABI_VERSION, .threads = 1, .rate = 1};
  CHECK_INT(a4j_dropout(&d, &keep), A4J_BAD_OPTION);
  d.rate = NAN;
  CHECK_INT(a4j_dropout(&d, &keep), A4J_BAD_OPTION);
  d.rate = 0;
  d.shared = 16;
  CHECK_INT(a4j_dropout(&d, &keep), A4J_BAD_OPTION);
  d.shared = 0;
  CHECK_INT(a4j_dropout(&d, NULL), A4J_OK);
  d.batch = d.heads = d.len_q = d.len_k = 1;
  CHECK_INT(a4j_dropout(&d, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_dropout(&d, &keep), A4J_OK);
  CHECK_INT(keep, 1);
}

int main(void) {
  FOR_EACH_TIER (i) {
    printf("tier %s\n", a4j_isa_name(i));
    RUN(shouldGiveTheKnownAnswersOfPhilox);
    RUN(shouldDrawEachKeyByItself);
    RUN(shouldWriteTheMaskOfDropout);
    RUN(shouldRefuseWhatIsNoDropout);
  }
  return CHECK_RESULT();
}
