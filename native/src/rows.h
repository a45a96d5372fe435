/* Rows of output dealt to the team. */
#ifndef A4J_ROWS_H
#define A4J_ROWS_H

#include <stdint.h>

/*
 * Calls fn(context, row, row_end) until all of [0, rows) is covered, each row once, on at most `threads` threads, and only
 * on the caller's if the work, rows * nanos_per_row on one thread, is too little to pay for the others. How rows are cut depends on
 * the thread count, so a row must not depend on its neighbours.
 */
void a4j_rows_run(int32_t threads, int64_t rows, double nanos_per_row,
                  void (*fn)(const void *context, int64_t row, int64_t row_end), const void *context);

#endif
