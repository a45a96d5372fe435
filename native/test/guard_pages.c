/*
 * Every block of memory ends at an inaccessible page (linked with --wrap=malloc and so on, see CMakeLists.txt). A kernel that reads or
 * writes one byte beyond a buffer crashes, at full speed and with the same vector loads as the released library, unlike a build with
 * AddressSanitizer. A write before a block is detected when the block is freed.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 65536 }; /* a multiple of every page size that we meet */

/* Precedes the block, unaligned. */
struct head {
  uint64_t magic;
  void *base;
  size_t mapped, bytes;
};

static const uint64_t MAGIC = UINT64_C(0x5ca1ab1e0ddba11);

static void *guarded(size_t bytes, size_t alignment) {
  if (bytes > SIZE_MAX / 4) return NULL;
  const size_t room = (sizeof(struct head) + alignment + bytes + PAGE - 1) / PAGE * PAGE, mapped = room + PAGE;
  char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || mprotect(base + room, PAGE, PROT_NONE) != 0) return NULL;
  char *block = base + room - bytes;
  block -= (uintptr_t)block % alignment;
  const struct head head = {MAGIC, base, mapped, bytes};
  memcpy(block - sizeof head, &head, sizeof head);
  return block;
}

static struct head head_of(const void *block) {
  struct head head;
  memcpy(&head, (const char *)block - sizeof head, sizeof head);
  if (head.magic != MAGIC) {
    fprintf(stderr, "the memory before %p was written to\n", block);
    abort();
  }
  return head;
}

void *__wrap_malloc(size_t bytes) {
  void *block = guarded(bytes, 1);
  if (block != NULL) memset(block, 0xff, bytes); /* NaN */
  return block;
}

void *__wrap_calloc(size_t count, size_t bytes) {
  size_t all;
  return __builtin_mul_overflow(count, bytes, &all) ? NULL : guarded(all, 1);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) { return guarded(bytes, alignment); }

void __wrap_free(void *block) {
  if (block == NULL) return;
  const struct head head = head_of(block);
  munmap(head.base, head.mapped);
}

void *__wrap_realloc(void *block, size_t bytes) {
  void *moved = __wrap_malloc(bytes);
  if (moved == NULL || block == NULL) return moved;
  const size_t had = head_of(block).bytes;
  memcpy(moved, block, had < bytes ? had : bytes);
  __wrap_free(block);
  return moved;
}
