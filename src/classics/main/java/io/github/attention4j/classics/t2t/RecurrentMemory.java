package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;

/**
 * What attention remembers of the earlier chunks of a sequence, {@code
 * transformer_memory.RecurrentMemory} of tensor2tensor. {@link Tensor2TensorAttention} calls it
 * before and after each chunk.
 *
 * <p>Not safe for several threads: a memory belongs to one stream of chunks.
 */
public interface RecurrentMemory {
  /**
   * Begins a chunk, {@code pre_attention}.
   *
   * @param arena supplies memory for what the chunk needs until it is finished
   * @param chunkNumber {@code segment}: for each batch the number of its chunk, 0 if a new sequence
   *     begins
   * @param queryAntecedent the chunk, {@code [batch, len, channels]}. Not modified.
   * @param bias what is added to the logits within the chunk, {@code [batch or 1, 1, len or 1,
   *     len]}; null if the memory does not need it. Not modified.
   * @return the chunk as attention should see it
   * @throws IllegalArgumentException if the chunk does not fit the memory
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  Chunk preAttention(Arena arena, int[] chunkNumber, Tensor queryAntecedent, Tensor bias);

  /** A chunk between {@code pre_attention} and {@code post_attention}. */
  interface Chunk {
    /**
     * Returns what the chunk attends to.
     *
     * @return {@code memory_antecedent} {@code [batch, lenM, channels]}, whose last rows are the
     *     chunk's own; null if it attends only to itself
     */
    Tensor memoryAntecedent();

    /**
     * Returns what is added to the logits.
     *
     * @return {@code [batch or 1, 1, len or 1, lenM]}, or null
     */
    Tensor bias();

    /**
     * Finishes the chunk, {@code post_attention}: the memory stores what it should remember.
     *
     * @param x the layer's result {@code [batch, len, channels]}. Modified by memories that mix
     *     what they know into it.
     * @throws IllegalArgumentException if the result does not fit the memory
     */
    void postAttention(Tensor x);
  }
}
