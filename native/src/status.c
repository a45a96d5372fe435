/* Every status: its name and its sentence. */
#include <stddef.h>

#include "a4j.h"

struct status {
  int32_t code;
  const char *name, *message;
};

/* Each code is written once. */
#define STATUS(code, message)                                                                                                  \
  { code, #code, message }

static const struct status statuses[] = {
    STATUS(A4J_OK, "The call succeeded."),
    STATUS(A4J_NULL_POINTER, "A pointer that the call needs is NULL."),
    STATUS(A4J_BAD_DESCRIPTOR, "The descriptor's size_bytes, or an offset into its tail, does not fit its struct."),
    STATUS(A4J_BAD_ABI, "The descriptor was written for another version of the library's interface."),
    STATUS(A4J_BAD_SIZE, "A size is negative, or sizes do not fit one another."),
    STATUS(A4J_BAD_OPTION, "An option has a value that is not defined, or options exclude one another."),
    STATUS(A4J_SIZE_OVERFLOW, "A product of sizes does not fit in 63 bits."),
    STATUS(A4J_SMALL_WORKSPACE, "The workspace is smaller than the call needs."),
    STATUS(A4J_MISALIGNED, "The workspace is not aligned as it must be."),
    STATUS(A4J_BAD_POSITION,
           "A position lies outside the table or the cache, or an entry of the descriptor's tail outside its bounds."),
    STATUS(A4J_BAD_PROGRAM, "A score or mask program is not well formed."),
    STATUS(A4J_BAD_VALUE, "A number is NaN, infinite or too large to be quantised."),
    STATUS(A4J_UNSUPPORTED_DTYPE, "The operation does not support this element type."),
    STATUS(A4J_ISA_UNKNOWN, "No kernel tier of this name was compiled."),
    STATUS(A4J_ISA_UNAVAILABLE, "This processor or operating system cannot run the kernel tier."),
    STATUS(A4J_NO_BLAS, "A matrix product was asked for before a BLAS was registered."),
};

static const struct status unknown = {-1, "A4J_UNKNOWN_STATUS", "The library has no status of this number."};

static const struct status *find(int32_t code) {
  for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
    if (statuses[i].code == code) return &statuses[i];
  return &unknown;
}

const char *a4j_status_name(int32_t status) { return find(status)->name; }

const char *a4j_status_message(int32_t status) { return find(status)->message; }
