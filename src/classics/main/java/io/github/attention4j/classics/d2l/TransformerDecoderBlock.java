package io.github.attention4j.classics.d2l;

import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * A block of the decoder of "Attention Is All You Need" (Vaswani et al., 2017), {@code
 * TransformerDecoderBlock} of "Dive into Deep Learning" (chapter 11.7), post-norm:
 *
 * <pre>
 *   y   = addnorm1(x, attention1(x, all x so far))          each position up to its own
 *   z   = addnorm2(y, attention2(y, encoder's outputs, validLens))
 *   out = addnorm3(z, ffn(z))
 * </pre>
 *
 * A {@link State} holds what a sequence has seen so far: processing a sequence at once or token by
 * token gives the same rows. (The book keeps the block's inputs there and projects them again at
 * each step; here their keys and values are kept.)
 *
 * <p>All tensors are {@link DType#F32}. The block is immutable and safe for any number of threads;
 * a state belongs to one thread at a time.
 */
public final class TransformerDecoderBlock {
  private final MultiHeadAttention attention1;
  private final AddNorm addNorm1;
  private final MultiHeadAttention attention2;
  private final AddNorm addNorm2;
  private final PositionwiseFfn ffn;
  private final AddNorm addNorm3;

  private TransformerDecoderBlock(
      MultiHeadAttention attention1,
      AddNorm addNorm1,
      MultiHeadAttention attention2,
      AddNorm addNorm2,
      PositionwiseFfn ffn,
      AddNorm addNorm3) {
    this.attention1 = attention1;
    this.addNorm1 = addNorm1;
    this.attention2 = attention2;
    this.addNorm2 = addNorm2;
    this.ffn = ffn;
    this.addNorm3 = addNorm3;
  }

  /**
   * Makes a block of its parts.
   *
   * @param attention1 self-attention
   * @param addNorm1 after the attention
   * @param attention2 attention to the encoder's outputs
   * @param addNorm2 after that
   * @param ffn applied to each position
   * @param addNorm3 after the network
   * @return the block
   */
  public static TransformerDecoderBlock of(
      MultiHeadAttention attention1,
      AddNorm addNorm1,
      MultiHeadAttention attention2,
      AddNorm addNorm2,
      PositionwiseFfn ffn,
      AddNorm addNorm3) {
    return new TransformerDecoderBlock(
        Objects.requireNonNull(attention1, "attention1"),
        Objects.requireNonNull(addNorm1, "addNorm1"),
        Objects.requireNonNull(attention2, "attention2"),
        Objects.requireNonNull(addNorm2, "addNorm2"),
        Objects.requireNonNull(ffn, "ffn"),
        Objects.requireNonNull(addNorm3, "addNorm3"));
  }

  /**
   * Reads {@code attention1}, {@code addnorm1}, {@code attention2}, {@code addnorm2}, {@code ffn}
   * and {@code addnorm3}, each by the book's names.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "decoder.blks.block0."}
   * @param numHeads the book's {@code num_heads}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the block
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other or the number of heads
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static TransformerDecoderBlock load(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    TransformerDecoderBlock block =
        of(
            MultiHeadAttention.load(file, weights.part("attention1"), numHeads, arena),
            AddNorm.load(file, weights.part("addnorm1"), arena),
            MultiHeadAttention.load(file, weights.part("attention2"), numHeads, arena),
            AddNorm.load(file, weights.part("addnorm2"), arena),
            PositionwiseFfn.load(file, weights.part("ffn"), arena),
            AddNorm.load(file, weights.part("addnorm3"), arena));
    weights.requireAllRead();
    return block;
  }

  /**
   * Starts sequences that attend to an encoder's outputs.
   *
   * @param arena supplies the memory of the state and decides how long it lives
   * @param encOutputs {@code [batch, lenEnc, dim]}, read here and not needed afterwards. Not
   *     modified.
   * @param encValidLens how many of the encoder's positions are valid
   * @param capacity the most positions of a sequence
   * @return the state before the first position
   * @throws IllegalArgumentException if type, rank, sizes, strides or alignment do not fit, or
   *     capacity is negative
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public State newState(Arena arena, Tensor encOutputs, ValidLens encValidLens, long capacity) {
    Objects.requireNonNull(encValidLens, "encValidLens");
    KvCache memory = attention2.layer().readMemory(arena, encOutputs);
    KvCache seen = attention1.layer().allocateCache(arena, encOutputs.size(0), capacity);
    return new State(seen, memory, encValidLens);
  }

  /** The state of a batch of sequences, and the encoder's outputs that they attend to. */
  public static final class State {
    private final KvCache seen;
    private final KvCache memory;
    private final ValidLens validLens;

    private State(KvCache seen, KvCache memory, ValidLens validLens) {
      this.seen = seen;
      this.memory = memory;
      this.validLens = validLens;
    }

    /**
     * Returns how many positions the sequences have.
     *
     * @return the number of positions that have been read
     */
    public int length() {
      return seen.longest();
    }

    /** Forgets the positions from a length on. */
    void truncate(int length) {
      seen.truncate(length);
    }

    /** Continues sequence i from the state of sequence {@code parents[i]}. */
    void reorder(int[] parents) {
      seen.reorder(parents);
    }
  }

  /**
   * Applies the block to the next positions of each sequence. If it throws, the state has the
   * positions that it had before.
   *
   * @param x {@code [batch, len, dim]}. Not modified.
   * @param state of these sequences. Modified.
   * @param out of the same shape. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws IllegalStateException if the state has no room
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void forward(Tensor x, State state, Tensor out) {
    forward(x, state, out, null, null);
  }

  /**
   * Applies the block to the next positions of each sequence, and returns the weights of both
   * attentions. If it throws, the state has the positions that it had before.
   *
   * @param x {@code [batch, len, dim]}. Not modified.
   * @param state of these sequences. Modified.
   * @param out of the same shape. Modified.
   * @param selfWeights {@code [batch, heads, len, positions so far]}, contiguous; or null.
   *     Modified.
   * @param crossWeights {@code [batch, heads, len, lenEnc]}, contiguous; or null. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, State, Tensor)}, and if weights do
   *     not fit
   * @throws IllegalStateException if the state has no room
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void forward(Tensor x, State state, Tensor out, Tensor selfWeights, Tensor crossWeights) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Checks.shape("out", Objects.requireNonNull(out, "out"), "the shape of x", x.shape());
    Checks.output("out", out);
    Checks.disjoint("out", out, "x", x);
    Objects.requireNonNull(state, "state");
    Extras extras = selfWeights == null ? Extras.none() : Extras.none().weights(selfWeights);
    try (Scratch scratch = new Scratch()) {
      Tensor y = scratch.room(x.shape());
      Tensor z = scratch.room(x.shape());
      int length = state.length();
      boolean done = false;
      try {
        attention1.layer().forward(x, state.seen, y, extras);
        addNorm1.forward(x, y, y);
        attention2.forwardMemory(y, state.memory, state.validLens, z, crossWeights);
        addNorm2.forward(y, z, z);
        ffn.forward(z, out);
        addNorm3.forward(z, out, out);
        done = true;
      } finally {
        if (!done) {
          state.truncate(length);
        }
      }
    }
  }
}
