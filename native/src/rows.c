/* Deals rows to the team, a block at a time. */
#include "rows.h"

#include <stdatomic.h>

#include "team.h"

/* Blocks that a thread takes on average: more even out what threads do, fewer keep neighbouring rows together. */
static const int64_t BLOCKS_PER_THREAD = 4;

struct run {
  void (*fn)(const void *context, int64_t row, int64_t row_end);
  const void *context;
  int64_t rows, blocks;
  _Atomic int64_t next;
};

static int64_t first_row(const struct run *run, int64_t block) {
  int64_t size = run->rows / run->blocks, larger = run->rows % run->blocks;
  return block * size + (block < larger ? block : larger);
}

static void run_blocks(void *context, int32_t thread, int32_t threads) {
  struct run *run = context;
  (void)thread, (void)threads;
  for (;;) {
    int64_t block = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
    if (block >= run->blocks) return;
    run->fn(run->context, first_row(run, block), first_row(run, block + 1));
  }
}

void a4j_rows_run(int32_t threads, int64_t rows, double nanos_per_row,
                  void (*fn)(const void *context, int64_t row, int64_t row_end), const void *context) {
  if (rows <= 0) return;
  threads = a4j_team_paying(threads, (double)rows * nanos_per_row);
  if (threads > rows) threads = (int32_t)rows;
  if (threads <= 1) {
    fn(context, 0, rows);
    return;
  }
  struct run run = {.fn = fn, .context = context, .rows = rows, .blocks = threads * BLOCKS_PER_THREAD};
  if (run.blocks > rows) run.blocks = rows;
  a4j_team_run(threads, run_blocks, &run);
}
