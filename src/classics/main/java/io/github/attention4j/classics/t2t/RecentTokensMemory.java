package io.github.attention4j.classics.t2t;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * Remembers the features of earlier chunks, {@code transformer_memory.RecentTokensMemory} of
 * tensor2tensor; with as many items as a chunk has tokens, this is the recurrence of Transformer-XL
 * (Dai et al., 2019).
 *
 * <p>It determines what a layer of attention reads and with which bias, and keeps what the next
 * chunk will read. The layer, of any type, comes between:
 *
 * <pre>{@code
 * RecurrentMemory.Chunk chunk = memory.preAttention(arena, chunkNumber, x, causalBias);
 * // queries of x; keys and values of chunk.memoryAntecedent(); logits under chunk.bias()
 * chunk.postAttention(result);
 * }</pre>
 *
 * <pre>
 *   memoryAntecedent   [ the last numMemoryItems features of earlier chunks | the chunk ]
 *   bias               [ 0, or −10⁹ where nothing is remembered             | the chunk's own ]
 *
 *   keys:  | m0 | m1 | m2 | x0 | x1 | x2 |      a query at x1 is at key numMemoryItems + 1
 * </pre>
 *
 * A sequence whose segment is 0 starts afresh: another −10⁹ is added to the bias of its memory. As
 * in the original every chunk has the same length; a bias of the chunk that hides a key from all
 * queries hides it in the memory too; and rows of the memory's batch that a call lacks remember
 * zeros.
 *
 * <p><b>Threads.</b> Holds state: one thread at a time. The memory belongs to the arena's owner.
 */
public final class RecentTokensMemory implements RecurrentMemory {
  private final Tensor values;
  private final Tensor rememberedBias;
  private final long chunkLength;
  private final int[] segments;

  /** Changes whenever the memory does, so that a chunk is remembered once and in order. */
  private long version;

  private RecentTokensMemory(Tensor values, Tensor bias, long chunkLength) {
    this.values = values;
    this.rememberedBias = bias;
    this.chunkLength = chunkLength;
    this.segments = new int[(int) values.size(0)];
    reset();
  }

  /**
   * Allocates an empty memory with as many items as a chunk has tokens.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the most sequences of a call, {@code recurrent_memory_batch_size}
   * @param chunkLength the tokens of every chunk, {@code split_targets_chunk_length}
   * @param channels the width of a feature, {@code hidden_size}
   * @return an empty memory
   * @throws IllegalArgumentException if a size is less than 1, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static RecentTokensMemory allocate(
      Arena arena, long batch, long chunkLength, long channels) {
    return allocate(arena, batch, chunkLength, chunkLength, channels);
  }

  /**
   * Allocates an empty memory.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the most sequences of a call, {@code recurrent_memory_batch_size}
   * @param chunkLength the tokens of every chunk, {@code split_targets_chunk_length}
   * @param numMemoryItems how many features are remembered, {@code num_memory_items}
   * @param channels the width of a feature, {@code hidden_size}
   * @return an empty memory
   * @throws IllegalArgumentException if a size is less than 1, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static RecentTokensMemory allocate(
      Arena arena, long batch, long chunkLength, long numMemoryItems, long channels) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("batch", batch, 1, Checks.MAX_ARRAY_LENGTH);
    Checks.positive("chunkLength", chunkLength);
    Checks.positive("numMemoryItems", numMemoryItems);
    Checks.positive("channels", channels);
    return new RecentTokensMemory(
        Tensor.allocate(arena, DType.F32, batch, numMemoryItems, channels),
        Tensor.allocate(arena, DType.F32, batch, 1, 1, numMemoryItems),
        chunkLength);
  }

  /** A chunk together with what was remembered before it. */
  private final class Remembering implements Chunk {
    private final Tensor memoryAntecedent;
    private final Tensor bias;
    private final Tensor ownBias;
    private final int[] segments;
    private final long madeAt;

    private Remembering(Tensor memoryAntecedent, Tensor bias, Tensor ownBias, int[] segments) {
      this.memoryAntecedent = memoryAntecedent;
      this.bias = bias;
      this.ownBias = ownBias;
      this.segments = segments;
      this.madeAt = version;
    }

    @Override
    public Tensor memoryAntecedent() {
      return memoryAntecedent;
    }

    @Override
    public Tensor bias() {
      return bias;
    }

    @Override
    public void postAttention(Tensor x) {
      remember(this);
    }
  }

  // ---- What it holds ----

  /**
   * Returns the features that the next chunk will read.
   *
   * @return a read-only view {@code [batch, numMemoryItems, channels]}, which reflects what is
   *     remembered
   */
  public Tensor values() {
    return values.asReadOnly();
  }

  /**
   * Returns the bias of what is remembered: 0, or −10⁹ and less for hidden items.
   *
   * @return a read-only view {@code [batch, 1, 1, numMemoryItems]}, which reflects what is
   *     remembered
   */
  public Tensor bias() {
    return rememberedBias.asReadOnly();
  }

  /**
   * Returns the segments of the last chunk that was remembered.
   *
   * @return a copy, one number for each sequence; 0 at first
   */
  public int[] segments() {
    return segments.clone();
  }

  // ---- Around attention ----

  /**
   * Puts the memory before a chunk. The memory itself does not change until {@link
   * Chunk#postAttention}, which ignores the layer's result.
   *
   * @param arena supplies the memory of the chunk
   * @param chunkNumber for each sequence the number of its chunk, 0 if one begins. Copied.
   * @param queryAntecedent the chunk's features, {@link DType#F32} {@code [batch, chunkLength,
   *     channels]}, batch at most the memory's. Copied.
   * @param bias what is added to the logits within the chunk, −10⁹ for hidden keys: {@code [1 or
   *     batch, 1, chunkLength or 1, chunkLength]}. Copied.
   * @return what attention reads; {@link Chunk#postAttention} throws {@link IllegalStateException}
   *     if the memory has changed since, for example because the chunk has already been remembered
   * @throws IllegalArgumentException if types, shapes or alignment do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  @Override
  public Chunk preAttention(Arena arena, int[] chunkNumber, Tensor queryAntecedent, Tensor bias) {
    Objects.requireNonNull(arena, "arena");
    int[] own = Objects.requireNonNull(chunkNumber, "chunkNumber").clone();
    Checks.rank("queryAntecedent", Objects.requireNonNull(queryAntecedent, "queryAntecedent"), 3);
    Checks.input("queryAntecedent", queryAntecedent);
    Checks.rank("bias", Objects.requireNonNull(bias, "bias"), 4);
    Checks.input("bias", bias);
    long batch = queryAntecedent.size(0);
    long items = values.size(1);
    Checks.inRange("queryAntecedent.batch", batch, 0, values.size(0));
    Checks.equal("queryAntecedent.len", queryAntecedent.size(1), "chunkLength", chunkLength);
    Checks.equal("queryAntecedent.dim", queryAntecedent.size(2), "channels", values.size(2));
    Checks.equal("chunkNumber.length", own.length, "queryAntecedent.batch", batch);
    if (bias.size(0) != 1) {
      Checks.equal("bias", "queryAntecedent", "batch", bias.size(0), batch);
    }
    Checks.equal("bias.heads", bias.size(1), "the memory's heads", 1);
    if (bias.size(2) != 1) {
      Checks.equal("bias.lenQ", bias.size(2), "chunkLength", chunkLength);
    }
    Checks.equal("bias.lenK", bias.size(3), "chunkLength", chunkLength);
    Checks.reachable("values", values);

    Tensor antecedent =
        Tensor.allocate(arena, DType.F32, batch, items + chunkLength, values.size(2));
    antecedent.slice(1, 0, items).copyFrom(values.slice(0, 0, batch));
    antecedent.slice(1, items, chunkLength).copyFrom(queryAntecedent);
    Tensor ownBias = bias.toF32(arena);
    Tensor whole = Tensor.allocate(arena, DType.F32, batch, 1, chunkLength, items + chunkLength);
    Tensor within = (bias.size(0) == 1 ? ownBias.expand(0, batch) : ownBias).expand(2, chunkLength);
    whole.slice(3, items, chunkLength).copyFrom(within);
    for (int b = 0; b < batch; b++) {
      Tensor remembered = whole.select(0, b).slice(2, 0, items);
      for (long j = 0; j < items; j++) {
        remembered.select(2, j).fill(biasOf(b, j, own[b]));
      }
    }
    return new Remembering(antecedent, whole, ownBias, own);
  }

  private float biasOf(int batch, long item, int segment) {
    return rememberedBias.getFloat(batch, 0, 0, item) + (segment == 0 ? AttentionBias.HIDDEN : 0);
  }

  /** The chunk's last features replace the oldest. */
  private void remember(Remembering chunk) {
    if (chunk.madeAt != version) {
      throw new IllegalStateException(
          "chunk must be finished before the memory changes: changes then="
              + chunk.madeAt
              + ", now="
              + version);
    }
    Checks.reachable("chunk.memoryAntecedent", chunk.memoryAntecedent);
    int batch = chunk.segments.length;
    long items = values.size(1);
    values.slice(0, 0, batch).copyFrom(chunk.memoryAntecedent.slice(1, chunkLength, items));
    long kept = Math.max(items - chunkLength, 0);
    for (int b = 0; b < segments.length; b++) {
      boolean present = b < batch;
      segments[b] = present ? chunk.segments[b] : 0;
      if (!present) {
        Tensor own = values.select(0, b);
        own.slice(0, 0, kept).copyFrom(own.slice(0, items - kept, kept));
        own.slice(0, kept, items - kept).fill(0);
      }
      for (long j = 0; j < items; j++) {
        long from = j + chunkLength;
        rememberedBias.setFloat(
            from < items ? biasOf(b, from, segments[b]) : least(chunk, b, from - items),
            b,
            0,
            0,
            j);
      }
    }
    version++;
  }

  /** The bias of a chunk's key for the query from which it is least hidden. */
  private static float least(Remembering chunk, int batch, long key) {
    Tensor own = chunk.ownBias;
    if (own.size(0) != 1 && batch >= own.size(0)) {
      return AttentionBias.HIDDEN;
    }
    float largest = Float.NEGATIVE_INFINITY;
    for (long i = 0; i < own.size(2); i++) {
      largest = Math.max(largest, own.getFloat(own.size(0) == 1 ? 0 : batch, 0, i, key));
    }
    return largest;
  }

  /** Forgets everything: all items are 0 and hidden. */
  public void reset() {
    values.fill(0);
    rememberedBias.fill(AttentionBias.HIDDEN);
    Arrays.fill(segments, 0);
    version++;
  }
}
