/*
 * libFuzzer on every function that takes a descriptor: whatever is in it, the answer is a status of the header.
 *
 * An input is the number of the function (1 byte), the seed of what is drawn (8 bytes), and the descriptor, which is in a block
 * of exactly its size and says so. So is the version of the header: inputs outlive it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a4j.h"
#include "descriptor_calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { HEAD = 1 + 8, LEAST = 2 * sizeof(int32_t) };
  if (size < HEAD + LEAST) return 0;
  const struct descriptor_call *of = &descriptor_calls[data[0] % descriptor_call_count];
  memcpy(&descriptor_draws, data + 1, sizeof descriptor_draws);
  const int32_t head[] = {(int32_t)(size - HEAD), A4J_ABI_VERSION};
  char *desc = malloc(size - HEAD);
  if (desc == NULL) abort();
  memcpy(desc, data + HEAD, size - HEAD);
  memcpy(desc, head, sizeof head);
  const int64_t status = of->call(desc);
  if (status < 0 || status > INT32_MAX || strcmp(a4j_status_name((int32_t)status), "A4J_UNKNOWN_STATUS") == 0) {
    fprintf(stderr, "%s answers %lld\n", of->name, (long long)status);
    abort();
  }
  free(desc);
  return 0;
}
