package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Arrays;
import java.util.Objects;

/**
 * Which keys each block of rows sees, as lists of ranges: the general form of block-sparse,
 * block-local, dilated and tree-shaped patterns. Work and memory are proportional to the number of
 * keys in the ranges, not to the length.
 *
 * <p>Rows are grouped into blocks of {@code rowsPerBlock}; block x starts at row {@code x ·
 * rowsPerBlock}, and the last block may be shorter. A list gives the keys that the rows of its
 * block may see; causal, windows and all other parts of a {@link Mask} still apply within it. Lists
 * apply to all batches and heads unless they are combined by {@link #perHead} and {@link
 * #perBatch}.
 *
 * <pre>{@code
 * KeyRanges local = KeyRanges.of(64, new int[] {0, 1, 2}, new int[][] {{0, 64}, {0, 128}});
 * Mask mask = Mask.keyRanges(local).and(Mask.causal(Alignment.TOP_LEFT));
 * }</pre>
 *
 * <p>An immutable value, safe for any number of threads.
 */
public final class KeyRanges {
  private final int rowsPerBlock;
  private final int blocks;
  private final int batches;
  private final int heads;

  /** List x is the ranges from {@code starts[x]} to {@code starts[x + 1]}. */
  private final int[] starts;

  /** The begin and end of each range, in turn. */
  private final int[] bounds;

  private final int lastKey;

  private KeyRanges(
      int rowsPerBlock, int blocks, int batches, int heads, int[] starts, int[] bounds) {
    this.rowsPerBlock = rowsPerBlock;
    this.blocks = blocks;
    this.batches = batches;
    this.heads = heads;
    this.starts = starts;
    this.bounds = bounds;
    int last = 0;
    for (int i = 1; i < bounds.length; i += 2) {
      last = Math.max(last, bounds[i]);
    }
    this.lastKey = last;
  }

  // ---- Making them ----

  /**
   * Makes key ranges from the lists of all blocks, in the manner of compressed sparse rows.
   *
   * @param rowsPerBlock the number of rows in a block, at least 1
   * @param starts for each block the index in {@code ranges} at which its list begins, and finally
   *     the number of ranges; ascending from 0. Not modified.
   * @param ranges pairs {@code {begin, end}} of keys, end exclusive; ascending and disjoint within
   *     a list. Adjacent ranges are joined. Not modified.
   * @return the ranges
   * @throws IllegalArgumentException if rowsPerBlock is less than 1, starts do not ascend from 0 to
   *     the number of ranges, or a range is not a pair, empty, negative, or begins before the end
   *     of the previous one in its list
   */
  public static KeyRanges of(int rowsPerBlock, int[] starts, int[][] ranges) {
    Checks.positive("rowsPerBlock", rowsPerBlock);
    Objects.requireNonNull(starts, "starts");
    Objects.requireNonNull(ranges, "ranges");
    Checks.positive("starts.length", starts.length);
    Checks.equal("starts[0]", starts[0], "the first range", 0);
    int blocks = starts.length - 1;
    Checks.equal("starts[" + blocks + "]", starts[blocks], "ranges.length", ranges.length);
    Lists lists = new Lists(blocks, ranges.length);
    for (int x = 0; x < blocks; x++) {
      if (starts[x + 1] < starts[x]) {
        throw new IllegalArgumentException(
            "starts must ascend: starts[%d]=%d, starts[%d]=%d"
                .formatted(x, starts[x], x + 1, starts[x + 1]));
      }
      for (int i = starts[x]; i < Math.min(starts[x + 1], ranges.length); i++) {
        checkRange(x, i - starts[x], Objects.requireNonNull(ranges[i], "ranges[" + i + "]"));
        if (i > starts[x] && ranges[i][0] < ranges[i - 1][1]) {
          throw new IllegalArgumentException(
              "ranges of a list must ascend without overlap: list %d has [%d, %d) before [%d, %d)"
                  .formatted(x, ranges[i - 1][0], ranges[i - 1][1], ranges[i][0], ranges[i][1]));
        }
        lists.add(ranges[i][0], ranges[i][1]);
      }
      lists.end();
    }
    return lists.ranges(rowsPerBlock, blocks, 1, 1);
  }

  private static void checkRange(int list, int number, int[] range) {
    if (range.length != 2) {
      throw new IllegalArgumentException(
          "a range must be a pair {begin, end}: range %d of list %d has length %d"
              .formatted(number, list, range.length));
    }
    if (range[0] < 0 || range[1] <= range[0]) {
      throw new IllegalArgumentException(
          "a range must have 0 <= begin < end: range %d of list %d is [%d, %d)"
              .formatted(number, list, range[0], range[1]));
    }
  }

  /**
   * Makes key ranges from a matrix that says which block of rows sees which block of keys, the form
   * of BigBird's and FlexAttention's patterns.
   *
   * @param rowsPerBlock the number of rows in a block, at least 1
   * @param keysPerBlock the number of keys in a block, at least 1
   * @param lenK the number of keys; the last block may be shorter
   * @param seen for each block of rows and each block of keys whether the rows see the keys. Not
   *     modified.
   * @return the ranges
   * @throws IllegalArgumentException if a block size is less than 1, lenK negative, or a row of
   *     {@code seen} does not have one entry for each block of keys
   */
  public static KeyRanges ofBlocks(int rowsPerBlock, int keysPerBlock, int lenK, boolean[][] seen) {
    Checks.positive("rowsPerBlock", rowsPerBlock);
    Checks.positive("keysPerBlock", keysPerBlock);
    Checks.inRange("lenK", lenK, 0, Integer.MAX_VALUE);
    int blocksK = Math.ceilDiv(lenK, keysPerBlock);
    Lists lists = new Lists(Objects.requireNonNull(seen, "seen").length, 0);
    for (int x = 0; x < seen.length; x++) {
      boolean[] row = Objects.requireNonNull(seen[x], "seen[" + x + "]");
      Checks.equal("seen[" + x + "].length", row.length, "ceil(lenK / keysPerBlock)", blocksK);
      for (int y = 0; y < blocksK; y++) {
        if (row[y]) {
          int begin = y * keysPerBlock;
          lists.add(begin, begin + Math.min(keysPerBlock, lenK - begin));
        }
      }
      lists.end();
    }
    return lists.ranges(rowsPerBlock, seen.length, 1, 1);
  }

  /**
   * Makes the mask of a tree of draft tokens, which speculative decoding verifies in one call (Miao
   * et al., "SpecInfer", 2023): each token sees the prefix, its ancestors and itself. The keys are
   * those of the prefix, then those of the tokens.
   *
   * @param prefixLength the number of keys before the tokens
   * @param parents for each token the index of its parent, which is smaller than its own, or -1 if
   *     it follows the prefix. Not modified.
   * @return the ranges, with one row per block
   * @throws IllegalArgumentException if prefixLength is negative, or the parent of token i is not
   *     in [-1, i - 1]
   */
  public static KeyRanges tree(int prefixLength, int... parents) {
    Objects.requireNonNull(parents, "parents");
    Checks.inRange("prefixLength", prefixLength, 0, Integer.MAX_VALUE - parents.length);
    Lists lists = new Lists(parents.length, parents.length);
    int[] path = new int[parents.length];
    for (int i = 0; i < parents.length; i++) {
      Checks.inRange("parents[" + i + "]", parents[i], -1, i - 1);
      int depth = 0;
      for (int ancestor = i; ancestor >= 0; ancestor = parents[ancestor]) {
        path[depth++] = ancestor;
      }
      if (prefixLength > 0) {
        lists.add(0, prefixLength);
      }
      while (depth > 0) {
        int key = prefixLength + path[--depth];
        lists.add(key, key + 1);
      }
      lists.end();
    }
    return lists.ranges(1, parents.length, 1, 1);
  }

  /**
   * Gives each head its own lists.
   *
   * @param heads for each head its ranges, all with the same blocks of rows
   * @return the ranges of all heads
   * @throws IllegalArgumentException if heads is empty, one of them is for several batches or heads
   *     already, or their blocks differ
   */
  public static KeyRanges perHead(KeyRanges... heads) {
    requireSome("heads", heads);
    for (int h = 0; h < heads.length; h++) {
      if (heads[h].heads != 1 || heads[h].batches != 1) {
        throw new IllegalArgumentException(
            "heads[%d] must be for one head and batch: heads=%d, batches=%d"
                .formatted(h, heads[h].heads, heads[h].batches));
      }
    }
    return joined("heads", heads, 1, heads.length);
  }

  /**
   * Gives each batch its own lists.
   *
   * @param batches for each batch its ranges, all with the same blocks of rows and the same number
   *     of heads
   * @return the ranges of all batches
   * @throws IllegalArgumentException if batches is empty, one of them is for several batches
   *     already, or their blocks or heads differ
   */
  public static KeyRanges perBatch(KeyRanges... batches) {
    requireSome("batches", batches);
    for (int b = 0; b < batches.length; b++) {
      if (batches[b].batches != 1) {
        throw new IllegalArgumentException(
            "batches[%d] must be for one batch: batches=%d".formatted(b, batches[b].batches));
      }
      Checks.equal(
          "batches[" + b + "].heads", batches[b].heads, "batches[0].heads", batches[0].heads);
    }
    return joined("batches", batches, batches.length, batches[0].heads);
  }

  private static void requireSome(String name, KeyRanges[] parts) {
    Checks.positive(name + ".length", Objects.requireNonNull(parts, name).length);
    for (int i = 0; i < parts.length; i++) {
      Objects.requireNonNull(parts[i], name + "[" + i + "]");
    }
  }

  private static KeyRanges joined(String name, KeyRanges[] parts, int batches, int heads) {
    KeyRanges first = parts[0];
    long ranges = Arrays.stream(parts).mapToLong(KeyRanges::count).sum();
    Lists lists = new Lists((long) parts.length * first.lists(), ranges);
    for (int i = 0; i < parts.length; i++) {
      KeyRanges part = parts[i];
      String part0 = name + "[0]";
      String partI = name + "[" + i + "]";
      Checks.equal(partI, part0, "rowsPerBlock", part.rowsPerBlock, first.rowsPerBlock);
      Checks.equal(partI, part0, "blocks", part.blocks, first.blocks);
      for (int x = 0; x < part.lists(); x++) {
        for (int r = part.starts[x]; r < part.starts[x + 1]; r++) {
          lists.add(part.bounds[2 * r], part.bounds[2 * r + 1]);
        }
        lists.end();
      }
    }
    return lists.ranges(first.rowsPerBlock, first.blocks, batches, heads);
  }

  // ---- What they are ----

  /**
   * Returns the number of rows in a block.
   *
   * @return at least 1
   */
  public int rowsPerBlock() {
    return rowsPerBlock;
  }

  /**
   * Returns the number of blocks of rows.
   *
   * @return the number of lists for each batch and head
   */
  public int blocks() {
    return blocks;
  }

  /**
   * Returns the number of ranges in all lists, after adjacent ones have been joined.
   *
   * @return the number of ranges
   */
  public int count() {
    return bounds.length / 2;
  }

  /** 1 if all batches share the lists. */
  int batches() {
    return batches;
  }

  /** 1 if all heads share the lists. */
  int heads() {
    return heads;
  }

  /** The largest end of all ranges. */
  int lastKey() {
    return lastKey;
  }

  int lists() {
    return starts.length - 1;
  }

  /** Must not be modified. */
  int[] starts() {
    return starts;
  }

  /** The begin and end of each range, in turn. Must not be modified. */
  int[] bounds() {
    return bounds;
  }

  // ---- Intersecting ----

  KeyRanges and(KeyRanges other) {
    if (rowsPerBlock != other.rowsPerBlock || blocks != other.blocks) {
      throw new IllegalArgumentException(
          "key ranges must have the same blocks of rows to be intersected: "
              + describe()
              + " and "
              + other.describe());
    }
    int allBatches = common("batches", batches, other.batches);
    int allHeads = common("heads", heads, other.heads);
    Lists lists =
        new Lists(
            Checks.saturatedProduct(allBatches, allHeads, blocks),
            Math.max(count(), other.count()));
    for (int b = 0; b < allBatches; b++) {
      for (int h = 0; h < allHeads; h++) {
        for (int x = 0; x < blocks; x++) {
          addIntersection(lists, list(b, h, x), other, other.list(b, h, x));
          lists.end();
        }
      }
    }
    return lists.ranges(rowsPerBlock, blocks, allBatches, allHeads);
  }

  private String describe() {
    return blocks + " blocks of " + rowsPerBlock;
  }

  private static int common(String what, int a, int b) {
    if (a != b && a != 1 && b != 1) {
      throw new IllegalArgumentException(
          "key ranges must have the same number of %s to be intersected: %d and %d"
              .formatted(what, a, b));
    }
    return Math.max(a, b);
  }

  private int list(int batch, int head, int block) {
    return ((batches == 1 ? 0 : batch) * heads + (heads == 1 ? 0 : head)) * blocks + block;
  }

  private void addIntersection(Lists lists, int list, KeyRanges other, int otherList) {
    int i = starts[list];
    int j = other.starts[otherList];
    while (i < starts[list + 1] && j < other.starts[otherList + 1]) {
      int begin = Math.max(bounds[2 * i], other.bounds[2 * j]);
      int end = Math.min(bounds[2 * i + 1], other.bounds[2 * j + 1]);
      if (begin < end) {
        lists.add(begin, end);
      }
      if (bounds[2 * i + 1] < other.bounds[2 * j + 1]) {
        i++;
      } else {
        j++;
      }
    }
  }

  /** Builds lists, and joins adjacent ranges. */
  private static final class Lists {
    /** Each range takes two numbers of an array. */
    private static final int MOST = Checks.MAX_ARRAY_LENGTH / 2;

    private final int[] starts;
    private int[] bounds;
    private int list;
    private int count;

    Lists(long lists, long expectedRanges) {
      Checks.inRange("the number of lists of key ranges", lists, 0, MOST);
      Checks.inRange("the number of key ranges", expectedRanges, 0, MOST);
      starts = new int[(int) lists + 1];
      bounds = new int[(int) Math.max(16, 2 * expectedRanges)];
    }

    void add(int begin, int end) {
      if (count > starts[list] && bounds[2 * count - 1] == begin) {
        bounds[2 * count - 1] = end;
        return;
      }
      if (2 * count == bounds.length) {
        Checks.inRange("the number of key ranges", count + 1L, 0, MOST);
        bounds = Arrays.copyOf(bounds, (int) Math.min(2L * bounds.length, 2L * MOST));
      }
      bounds[2 * count] = begin;
      bounds[2 * count + 1] = end;
      count++;
    }

    void end() {
      starts[++list] = count;
    }

    KeyRanges ranges(int rowsPerBlock, int blocks, int batches, int heads) {
      int[] used = Arrays.copyOf(bounds, 2 * count);
      return new KeyRanges(rowsPerBlock, blocks, batches, heads, starts, used);
    }
  }
}
