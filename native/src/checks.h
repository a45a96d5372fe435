/* What every exported function checks first, and checks that products of sizes do not overflow. */
#ifndef A4J_CHECKS_H
#define A4J_CHECKS_H

#include <stddef.h>
#include <stdint.h>

#include "a4j.h"

/* The first fields of every descriptor; attention, whose tensors have types of their own, has another field for dtype. */
struct a4j_desc_head {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype;
  int32_t threads;
};

/* The head of a descriptor whose struct has struct_bytes: its size, version and thread count. */
static inline int32_t a4j_check_version(const void *desc, size_t struct_bytes) {
  const struct a4j_desc_head *head = desc;
  if (head == NULL) return A4J_NULL_POINTER;
  if (head->size_bytes < (int32_t)sizeof *head) return A4J_BAD_DESCRIPTOR;
  if (head->abi_version != A4J_ABI_VERSION) return A4J_BAD_ABI;
  if ((size_t)head->size_bytes < struct_bytes) return A4J_BAD_DESCRIPTOR;
  if (head->threads < 1) return A4J_BAD_OPTION;
  return A4J_OK;
}

/* Whether a dtype is a floating-point type. */
static inline int a4j_is_float(int32_t dtype) { return dtype >= A4J_F32 && dtype <= A4J_F16; }

/* The types of what a layer reads and writes; the version was checked, so that there is an out_dtype. */
static inline int32_t a4j_check_layer(const void *desc, int32_t out_dtype) {
  const struct a4j_desc_head *head = desc;
  return a4j_is_float(head->dtype) && a4j_is_float(out_dtype) ? A4J_OK : A4J_UNSUPPORTED_DTYPE;
}

/* The head, and the element type of an operation that only has float32. */
static inline int32_t a4j_check_head(const void *desc, size_t struct_bytes) {
  const int32_t status = a4j_check_version(desc, struct_bytes);
  if (status != A4J_OK) return status;
  return ((const struct a4j_desc_head *)desc)->dtype == A4J_F32 ? A4J_OK : A4J_UNSUPPORTED_DTYPE;
}

/* Points *array at count int32_t of the tail, or sets it to NULL if offset is 0. */
static inline int32_t a4j_check_tail(const void *desc, size_t struct_bytes, int64_t offset, int64_t count,
                                     const int32_t **array) {
  const struct a4j_desc_head *head = desc;
  *array = NULL;
  if (offset == 0) return A4J_OK;
  if (offset < (int64_t)struct_bytes || offset % 4 != 0 || offset > head->size_bytes || count > (head->size_bytes - offset) / 4)
    return A4J_BAD_DESCRIPTOR;
  *array = (const int32_t *)((const char *)desc + offset);
  return A4J_OK;
}

/*
 * A4J_BAD_SIZE if one of n sizes is negative, A4J_SIZE_OVERFLOW if their product in bytes of float passes 63 bits. A zero
 * counts as one, so that the product of any of them fits too, whatever the others are.
 */
static inline int32_t a4j_check_sizes(int n, const int64_t *sizes) {
  int64_t product = (int64_t)sizeof(float);
  for (int i = 0; i < n; i++)
    if (sizes[i] < 0) return A4J_BAD_SIZE;
  for (int i = 0; i < n; i++)
    if (sizes[i] > 0 && __builtin_mul_overflow(product, sizes[i], &product)) return A4J_SIZE_OVERFLOW;
  return A4J_OK;
}

#endif
