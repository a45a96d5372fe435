/**
 * Attention on the JVM: off-heap tensors, and the operations that read and write them in native
 * code.
 *
 * <p>What we want from this library, in order; where two of them conflict, the earlier one wins:
 *
 * <ol>
 *   <li><b>Correct.</b> Every operation has a written definition and a textbook reference that it
 *       is tested against, corner cases included. A faster wrong answer is worth nothing.
 *   <li><b>Safe.</b> No argument crashes the JVM. What can be refused is refused before native code
 *       runs, by an exception that names what was wanted and what was given.
 *   <li><b>Clear.</b> A call reads like the formula, and the code below it can be followed from top
 *       to bottom.
 *   <li><b>Fast.</b> The speed of the machine, shown by measurement.
 *   <li><b>Small.</b> Nothing beyond the JDK, and nothing that is not needed.
 * </ol>
 *
 * <p>Memory belongs to the caller: a {@link io.github.attention4j.Tensor} is a view of a {@link
 * java.lang.foreign.MemorySegment} and lives as long as the {@link java.lang.foreign.Arena} that
 * supplied it. Unless a method says otherwise, passing {@code null} throws {@link
 * NullPointerException}.
 *
 * <p>The first call that computes loads the native library. If that fails, for whatever reason,
 * this call and each one after it throws {@link io.github.attention4j.AttentionException} with the
 * cause.
 *
 * <p>A call occupies its thread until the result is there. A virtual thread is pinned to its
 * carrier meanwhile, as in every native call; where calls are long, run them on an executor with as
 * many platform threads as there are cores, and let virtual threads wait for its futures.
 */
package io.github.attention4j;
