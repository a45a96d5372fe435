/**
 * Attention on the JVM: off-heap tensors, and operations on them in native code.
 *
 * <p>Our priorities; if two of them conflict, the earlier one wins:
 *
 * <ol>
 *   <li><b>Correct.</b> Every operation has a written definition and is tested against a textbook
 *       reference, including corner cases. A faster wrong answer is worth nothing.
 *   <li><b>Safe.</b> No argument crashes the JVM. Bad arguments are refused before native code
 *       runs, by an exception that says what was expected and what was given.
 *   <li><b>Clear.</b> A call reads like the formula, and the code below it reads from top to
 *       bottom.
 *   <li><b>Fast.</b> The speed of the machine, shown by measurement.
 *   <li><b>Small.</b> No dependencies but the JDK, and nothing that is not needed.
 * </ol>
 *
 * <p>The rules below hold for every package of the library and are not repeated on each method.
 *
 * <p><b>Memory</b> belongs to the caller: a {@link io.github.attention4j.Tensor} is a view of a
 * {@link java.lang.foreign.MemorySegment} and lives as long as the {@link java.lang.foreign.Arena}
 * that supplied it. Tensor parameters are marked <i>Modified</i> or <i>Not modified</i>; a modified
 * one must not overlap another unless its method allows it.
 *
 * <p><b>Exceptions.</b> Unless a method says otherwise:
 *
 * <ul>
 *   <li>{@code null} throws {@link java.lang.NullPointerException} with the parameter's name;
 *   <li>an argument of the wrong type, shape, layout or value throws {@link
 *       java.lang.IllegalArgumentException};
 *   <li>a tensor whose arena is closed or confined to another thread throws {@link
 *       java.lang.IllegalStateException}; an arena from which a method takes memory throws what
 *       {@link java.lang.foreign.Arena#allocate(long, long)} says;
 *   <li>the first method that needs native code loads the native library. If it cannot be loaded,
 *       that method and every later one throws {@link io.github.attention4j.AttentionException},
 *       whose cause is the reason.
 * </ul>
 *
 * <p><b>Threads.</b> A call blocks its thread until the result is complete, and pins a virtual
 * thread to its carrier, as every native call does. Run long calls on an executor with as many
 * platform threads as there are cores, and let virtual threads wait for its futures.
 */
package io.github.attention4j;
