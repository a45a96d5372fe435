package io.github.attention4j.classics.t2t;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.KeyRanges;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;

/**
 * The masks of local (block-local) and dilated attention, by the names that tensor2tensor gives
 * them as {@code attention_type}: which keys a query sees depends on its block. None of them is a
 * matrix, and attention costs only as much as the visible keys.
 *
 * <pre>{@code
 * Mask local = LocalMasks.localUnmasked(k, 128, 100); // or (length, 128, 100), see below
 * Attention.builder().mask(local).scale(1).build().forward(q, k, v, out);
 * }</pre>
 *
 * <p>They are for self-attention: queries and keys have one length, and query i is at key i. Blocks
 * start at 0; the last one may be shorter, and a pattern sees no keys beyond either end of the
 * sequence. tensor2tensor's functions take scaled queries, which corresponds to {@code scale(1)}.
 *
 * <p><b>Keys that are zero.</b> tensor2tensor pads its blocks with zeros and recognises padding by
 * its zeros, so it also treats a caller's key as padding if all of its elements are exactly 0. The
 * methods that take {@code k} do the same: they read the keys, mostly the first element of each,
 * when the mask is made. Where tensor2tensor adds −10⁹ to the score of such a key, it is hidden
 * here, which is the same to the last bit as long as another key is seen. Where <em>all</em> the
 * keys that a block of queries sees are zero, their scores are all −10⁹ there and 0 here, so in
 * both the weights are the same for all of them: {@code 1 / n}, the plain average of their values.
 * (In blocks at the ends of a sequence, tensor2tensor's n includes its own padding, whose value is
 * 0; here n counts the keys that exist.)
 */
public final class LocalMasks {
  private LocalMasks() {}

  /**
   * Which keys a block of queries sees: its own and some before and after it, then further blocks
   * with gaps between them.
   *
   * @param rows the queries of a block, which has as many keys
   * @param around how many keys are seen on both sides of the own block
   * @param before how many more keys are seen before it
   * @param size the keys of a further block
   * @param gap the keys between two blocks
   * @param left how many further blocks are seen on the left
   * @param right how many on the right
   */
  private record Pattern(
      int rows, long around, long before, long size, long gap, int left, int right) {
    static Pattern near(int rows, int around, int before) {
      return new Pattern(rows, around, before, 1, 0, 0, 0);
    }
  }

  // ---- Local ----

  /**
   * Shows each query the keys of its own block up to itself ({@code
   * masked_within_block_local_attention_1d}).
   *
   * @param blockLength the queries and keys of a block, t2t's {@code block_length}, at least 1
   * @return the mask, for any length
   * @throws IllegalArgumentException if blockLength is less than 1
   */
  public static Mask localWithinBlockMaskRight(int blockLength) {
    Checks.positive("blockLength", blockLength);
    return Mask.chunks(blockLength, Alignment.TOP_LEFT).and(Mask.causal(Alignment.TOP_LEFT));
  }

  /**
   * Shows each query the keys of the block before its own and those of its own up to itself ({@code
   * masked_local_attention_1d}). A sequence shorter than two blocks counts as one block, which
   * makes it plain causal. {@code local_relative_mask_right} sees the same keys.
   *
   * @param length the number of queries, and of keys
   * @param blockLength the queries and keys of a block, t2t's {@code block_length}, at least 1
   * @return the mask, for this length
   * @throws IllegalArgumentException if length is negative, or blockLength less than 1
   */
  public static Mask localMaskRight(int length, int blockLength) {
    checkLength(length);
    Checks.positive("blockLength", blockLength);
    Mask causal = Mask.causal(Alignment.TOP_LEFT);
    if (length < 2L * blockLength) {
      return causal;
    }
    return causal.and(mask(Pattern.near(blockLength, 0, blockLength), length));
  }

  /**
   * Shows each query the keys of its own block, and {@code filterWidth} keys on both sides of it
   * ({@code local_attention_1d}); if no key is zero.
   *
   * @param length the number of queries, and of keys
   * @param blockLength the queries and keys of a block, t2t's {@code block_length}, at least 1
   * @param filterWidth how many keys are seen on both sides of the block, t2t's {@code
   *     filter_width} or {@code block_width}
   * @return the mask, for this length
   * @throws IllegalArgumentException if length or filterWidth is negative, or blockLength less than
   *     1
   */
  public static Mask localUnmasked(int length, int blockLength, int filterWidth) {
    checkLength(length);
    return mask(unmasked(blockLength, filterWidth), length);
  }

  /**
   * Shows each query the keys of its own block, and {@code filterWidth} keys on both sides of it
   * ({@code local_attention_1d}), except keys that are zero.
   *
   * <p>This is the window that tensor2tensor documents. Where {@code filter_width} is a multiple of
   * {@code block_length}, its code pads the keys by one block too many, so that the window is one
   * block too far to the left; that bug is not reproduced here.
   *
   * @param k the keys {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}, with as
   *     many heads as the queries; read now. Not modified.
   * @param blockLength the queries and keys of a block, t2t's {@code block_length}, at least 1
   * @param filterWidth how many keys are seen on both sides of the block, t2t's {@code
   *     filter_width} or {@code block_width}
   * @return the mask, for this batch and length
   * @throws IllegalArgumentException if k's type, rank or alignment does not fit, its length does
   *     not fit an int, filterWidth is negative, or blockLength less than 1
   */
  public static Mask localUnmasked(Tensor k, int blockLength, int filterWidth) {
    checkKeys(k);
    return mask(unmasked(blockLength, filterWidth), k, true);
  }

  private static Pattern unmasked(int blockLength, int filterWidth) {
    Checks.positive("blockLength", blockLength);
    Checks.inRange("filterWidth", filterWidth, 0, Integer.MAX_VALUE);
    return Pattern.near(blockLength, filterWidth, 0);
  }

  // ---- Dilated ----

  /**
   * Shows each query the keys of its own block up to itself, and blocks of keys to the left with
   * gaps between them ({@code masked_dilated_self_attention_1d}); if no key is zero.
   *
   * <pre>
   *   block t of those to the left, t = 0, 1, …: memoryBlockSize keys from
   *   s − (t + 1) · (memoryBlockSize + gapSize) on, where s is the first query of the own block
   * </pre>
   *
   * @param length the number of queries, and of keys
   * @param queryBlockSize the queries of a block, t2t's {@code query_block_size} or {@code
   *     block_length}, at least 1
   * @param memoryBlockSize the keys of a block on the left, t2t's {@code memory_block_size} or
   *     {@code block_width}, at least 1
   * @param gapSize the keys between two blocks, t2t's {@code gap_size}
   * @param numMemoryBlocks how many blocks on the left, t2t's {@code num_memory_blocks}
   * @return the mask, for this length
   * @throws IllegalArgumentException if a block size is less than 1, or another number negative
   */
  public static Mask maskedDilated1d(
      int length, int queryBlockSize, int memoryBlockSize, int gapSize, int numMemoryBlocks) {
    checkLength(length);
    Pattern pattern = dilated(queryBlockSize, memoryBlockSize, gapSize, numMemoryBlocks, 0);
    return Mask.causal(Alignment.TOP_LEFT).and(mask(pattern, length));
  }

  /**
   * Shows each query the keys of its own block up to itself, and blocks of keys to the left with
   * gaps between them ({@code masked_dilated_self_attention_1d}), except those on the left that are
   * zero. In the own block a key that is zero is a key like any other, as in tensor2tensor.
   *
   * @param k the keys {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}, with as
   *     many heads as the queries; read now. Not modified.
   * @param queryBlockSize the queries of a block, t2t's {@code query_block_size} or {@code
   *     block_length}, at least 1
   * @param memoryBlockSize the keys of a block on the left, t2t's {@code memory_block_size} or
   *     {@code block_width}, at least 1
   * @param gapSize the keys between two blocks, t2t's {@code gap_size}
   * @param numMemoryBlocks how many blocks on the left, t2t's {@code num_memory_blocks}
   * @return the mask, for this batch and length
   * @throws IllegalArgumentException if k's type, rank or alignment does not fit, its length does
   *     not fit an int, a block size is less than 1, or another number negative
   */
  public static Mask maskedDilated1d(
      Tensor k, int queryBlockSize, int memoryBlockSize, int gapSize, int numMemoryBlocks) {
    checkKeys(k);
    Pattern pattern = dilated(queryBlockSize, memoryBlockSize, gapSize, numMemoryBlocks, 0);
    return Mask.causal(Alignment.TOP_LEFT).and(mask(pattern, k, false));
  }

  /**
   * Shows each query the keys of its own block, and blocks of keys on both sides with gaps between
   * them ({@code dilated_self_attention_1d}); if no key is zero.
   *
   * <pre>
   *   block t on the left:  memoryBlockSize keys from s − (t + 1) · (memoryBlockSize + gapSize) on
   *   block t on the right: memoryBlockSize keys from e + gapSize + t · (memoryBlockSize + gapSize) on
   *                         where s is the first query of the own block and e = s + queryBlockSize
   * </pre>
   *
   * @param length the number of queries, and of keys
   * @param queryBlockSize the queries of a block, t2t's {@code query_block_size} or {@code
   *     block_length}, at least 1
   * @param memoryBlockSize the keys of a block on either side, t2t's {@code memory_block_size} or
   *     {@code block_width}, at least 1
   * @param gapSize the keys between two blocks, t2t's {@code gap_size}
   * @param numMemoryBlocks how many blocks on each side, t2t's {@code num_memory_blocks}
   * @return the mask, for this length
   * @throws IllegalArgumentException if a block size is less than 1, or another number negative
   */
  public static Mask unmaskedDilated1d(
      int length, int queryBlockSize, int memoryBlockSize, int gapSize, int numMemoryBlocks) {
    checkLength(length);
    return mask(
        dilated(queryBlockSize, memoryBlockSize, gapSize, numMemoryBlocks, numMemoryBlocks),
        length);
  }

  /**
   * Shows each query the keys of its own block, and blocks of keys on both sides with gaps between
   * them ({@code dilated_self_attention_1d}), except those that are zero.
   *
   * @param k the keys {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}, with as
   *     many heads as the queries; read now. Not modified.
   * @param queryBlockSize the queries of a block, t2t's {@code query_block_size} or {@code
   *     block_length}, at least 1
   * @param memoryBlockSize the keys of a block on either side, t2t's {@code memory_block_size} or
   *     {@code block_width}, at least 1
   * @param gapSize the keys between two blocks, t2t's {@code gap_size}
   * @param numMemoryBlocks how many blocks on each side, t2t's {@code num_memory_blocks}
   * @return the mask, for this batch and length
   * @throws IllegalArgumentException if k's type, rank or alignment does not fit, its length does
   *     not fit an int, a block size is less than 1, or another number negative
   */
  public static Mask unmaskedDilated1d(
      Tensor k, int queryBlockSize, int memoryBlockSize, int gapSize, int numMemoryBlocks) {
    checkKeys(k);
    return mask(
        dilated(queryBlockSize, memoryBlockSize, gapSize, numMemoryBlocks, numMemoryBlocks),
        k,
        true);
  }

  private static Pattern dilated(int rows, int size, int gap, int left, int right) {
    Checks.positive("queryBlockSize", rows);
    Checks.positive("memoryBlockSize", size);
    Checks.inRange("gapSize", gap, 0, Integer.MAX_VALUE);
    Checks.inRange("numMemoryBlocks", left, 0, Integer.MAX_VALUE);
    return new Pattern(rows, 0, 0, size, gap, left, right);
  }

  // ---- Patterns as lists of ranges ----

  private static Mask mask(Pattern pattern, int length) {
    return Mask.keyRanges(ranges(pattern, length, new BitSet(), false));
  }

  /** One list for all batches and heads whose zero keys are the same, mostly none. */
  private static Mask mask(Pattern pattern, Tensor k, boolean ownToo) {
    Tensor keys = k.rank() == 3 ? k.unsqueeze(1) : k;
    int batches = Checks.arrayLength("k.batch", keys.size(0));
    int heads = Checks.arrayLength("k.heads", keys.size(1));
    int length = (int) keys.size(2);
    Checks.arrayLength("k.batch * k.heads", (long) batches * heads);
    BitSet[][] zero = new BitSet[batches][heads];
    boolean alike = true;
    boolean headsAlike = true;
    for (int b = 0; b < batches; b++) {
      for (int h = 0; h < heads; h++) {
        zero[b][h] = zeroKeys(keys, b, h);
        headsAlike &= zero[b][h].equals(zero[b][0]);
        alike &= zero[b][h].equals(zero[0][0]);
      }
    }
    if (alike) {
      BitSet all = batches == 0 || heads == 0 ? new BitSet() : zero[0][0];
      return Mask.keyRanges(ranges(pattern, length, all, ownToo));
    }
    KeyRanges[] perBatch = new KeyRanges[batches];
    for (int b = 0; b < batches; b++) {
      KeyRanges[] perHead = new KeyRanges[headsAlike ? 1 : heads];
      for (int h = 0; h < perHead.length; h++) {
        perHead[h] = ranges(pattern, length, zero[b][h], ownToo);
      }
      perBatch[b] = KeyRanges.perHead(perHead);
    }
    return Mask.keyRanges(KeyRanges.perBatch(perBatch));
  }

  /**
   * @param ownToo whether zero keys are also hidden in the query's own block and next to it
   */
  private static KeyRanges ranges(Pattern pattern, int length, BitSet zero, boolean ownToo) {
    int blocks = Math.ceilDiv(length, pattern.rows);
    int[] starts = new int[Checks.arrayLength("the number of blocks + 1", blocks + 1L)];
    List<int[]> ranges = new ArrayList<>();
    for (int x = 0; x < blocks; x++) {
      addList(pattern, (long) x * pattern.rows, length, zero, ownToo, ranges);
      if (ranges.size() == starts[x]) { // all keys that it could see are zero
        addList(pattern, (long) x * pattern.rows, length, new BitSet(), ownToo, ranges);
      }
      starts[x + 1] = ranges.size();
    }
    return KeyRanges.of(pattern.rows, starts, ranges.toArray(int[][]::new));
  }

  /** What the block of queries that begins at {@code own} sees, from left to right. */
  private static void addList(
      Pattern pattern, long own, int length, BitSet zero, boolean ownToo, List<int[]> ranges) {
    long step = pattern.size + pattern.gap;
    long end = own + pattern.rows;
    // Block t on the left ends at own - gap - t * step, which must be after 0.
    for (long t = Math.min(pattern.left, Math.ceilDiv(own - pattern.gap, step)) - 1; t >= 0; t--) {
      long begin = own - (t + 1) * step;
      addRange(begin, begin + pattern.size, length, zero, ranges);
    }
    addRange(
        own - pattern.around - pattern.before,
        end + pattern.around,
        length,
        ownToo ? zero : new BitSet(),
        ranges);
    for (long t = 0; t < pattern.right && end + pattern.gap + t * step < length; t++) {
      long begin = end + pattern.gap + t * step;
      addRange(begin, begin + pattern.size, length, zero, ranges);
    }
  }

  /** The keys of a range that exist and are not zero. */
  private static void addRange(long begin, long end, int length, BitSet zero, List<int[]> ranges) {
    int last = (int) Math.min(end, length);
    int j = zero.nextClearBit((int) Math.max(begin, 0));
    while (j < last) {
      int next = zero.nextSetBit(j);
      int stop = next < 0 ? last : Math.min(next, last);
      ranges.add(new int[] {j, stop});
      j = zero.nextClearBit(stop);
    }
  }

  /** The keys of a head whose elements are all exactly 0. */
  private static BitSet zeroKeys(Tensor k, int batch, int head) {
    BitSet zero = new BitSet();
    MemorySegment floats = k.segment();
    long first = k.offset() + batch * k.stride(0) + head * k.stride(1);
    long dim = k.size(3);
    for (int j = 0; j < k.size(2); j++) {
      long at = first + j * k.stride(2);
      long i = 0;
      while (i < dim
          && floats.get(ValueLayout.JAVA_FLOAT, (at + i * k.stride(3)) * Float.BYTES) == 0) {
        i++;
      }
      if (i == dim) {
        zero.set(j);
      }
    }
    return zero;
  }

  private static void checkLength(int length) {
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
  }

  private static void checkKeys(Tensor k) {
    Checks.rankOf3Or4("k", Objects.requireNonNull(k, "k"));
    Checks.input("k", k, DType.F32);
    Checks.inRange("k.batch", k.size(0), 0, Integer.MAX_VALUE);
    Checks.inRange("k.len", k.size(-2), 0, Integer.MAX_VALUE);
  }
}
