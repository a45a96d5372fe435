package io.github.attention4j.classics.t2t;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * All rectangles of a memory up to a size, and the features of each (Li et al., "Area Attention",
 * ICML 2019), {@code compute_area_features}, {@code basic_pool} and {@code lengths_to_area_mask} of
 * tensor2tensor's {@code area_attention.py}. A sequence of some length is a memory of {@code
 * memoryHeight} lines of {@code length / memoryHeight} items each, line after line; a text is a
 * memory of one line.
 *
 * <pre>
 *   a memory of 2 x 3 items     areas of up to 2 x 2, by height, then width, then top left corner
 *
 *     0  1  2                   1 x 1:  0 | 1 | 2 | 3 | 4 | 5
 *     3  4  5                   1 x 2:  0 1 | 1 2 | 3 4 | 4 5
 *                               2 x 1:  0 3 | 1 4 | 2 5
 *                               2 x 2:  0 1 3 4 | 1 2 4 5
 * </pre>
 *
 * <p>Areas larger than the memory do not exist, which is not an error: a memory of 3 items has the
 * same areas for every {@code maxWidth} of 3 or more.
 *
 * <p>The features of an area, channel by channel, are mean, sum, maximum and standard deviation
 * {@code sqrt(|variance| + epsilon)}. NaN and infinity affect only the areas that contain them.
 * tensor2tensor subtracts cumulative sums of everything above and to the left, which spreads NaN
 * and loses precision.
 *
 * <p>Names there: {@code max_area_width}, {@code max_area_height} and {@code memory_height} (or
 * {@code height}).
 *
 * @param memoryHeight the number of lines of the memory, 1 for a text
 * @param maxHeight the most lines of an area
 * @param maxWidth the most columns of an area
 */
public record Areas(long memoryHeight, long maxHeight, long maxWidth) {
  /** Added to each variance: 10⁻⁶, as in tensor2tensor. */
  public static final double DEFAULT_EPSILON = 1e-6;

  /**
   * Checks the sizes.
   *
   * @throws IllegalArgumentException if a size is less than 1
   */
  public Areas {
    Checks.positive("memoryHeight", memoryHeight);
    Checks.positive("maxHeight", maxHeight);
    Checks.positive("maxWidth", maxWidth);
  }

  /**
   * Makes the areas of a memory of one line: its runs of up to so many items.
   *
   * @param maxWidth the most items of an area
   * @return the areas
   * @throws IllegalArgumentException if maxWidth is less than 1
   */
  public static Areas of(long maxWidth) {
    return new Areas(1, 1, maxWidth);
  }

  /**
   * Counts the areas of a memory.
   *
   * @param length the number of its items; may be 0
   * @return the number of areas
   * @throws IllegalArgumentException if the length is negative or not a multiple of memoryHeight,
   *     or the number passes 63 bits
   */
  public long count(long length) {
    return count("length", length);
  }

  private long count(String name, long length) {
    Checks.inRange(name, length, 0, Long.MAX_VALUE);
    Checks.multiple(name, length, "memoryHeight", memoryHeight);
    long width = length / memoryHeight;
    try {
      return Math.multiplyExact(
          places(memoryHeight, highest()), places(width, Math.min(maxWidth, width)));
    } catch (ArithmeticException tooMany) {
      throw new IllegalArgumentException(
          "the number of areas must fit in 63 bits: " + this + ", " + name + "=" + length, tooMany);
    }
  }

  /** The number of intervals of 1 to `most` items on an axis. */
  private static long places(long axis, long most) {
    return Math.multiplyExact(most, axis) - Math.multiplyExact(most, most - 1) / 2;
  }

  /** The height of the highest area that exists. */
  long highest() {
    return Math.min(maxHeight, memoryHeight);
  }

  // ---- Sizes and masks ----

  /**
   * Returns the height of each area, {@code area_heights}.
   *
   * @param arena supplies the memory of the result
   * @param length the number of items of the memory
   * @return {@link DType#I32} {@code [areas]}
   * @throws IllegalArgumentException if the length is negative or not a multiple of memoryHeight
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor heights(Arena arena, long length) {
    return sizes(arena, length, true);
  }

  /**
   * Returns the width of each area, {@code area_widths}.
   *
   * @param arena supplies the memory of the result
   * @param length the number of items of the memory
   * @return {@link DType#I32} {@code [areas]}
   * @throws IllegalArgumentException if the length is negative or not a multiple of memoryHeight
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor widths(Arena arena, long length) {
    return sizes(arena, length, false);
  }

  private Tensor sizes(Arena arena, long length, boolean heights) {
    Tensor sizes =
        Tensor.allocate(Objects.requireNonNull(arena, "arena"), DType.I32, count(length));
    MemorySegment ints = sizes.segment();
    forEachSize(
        length,
        (h, w, first, count) -> {
          for (long n = first; n < first + count; n++) {
            ints.setAtIndex(ValueLayout.JAVA_INT, n, (int) (heights ? h : w));
          }
        });
    return sizes;
  }

  /**
   * Tells which areas contain only valid items of their sequence, {@code lengths_to_area_mask}
   * (which knows memories of one line only): those whose last item, the one at the bottom right,
   * comes before the sequence's length.
   *
   * @param arena supplies the memory of the result
   * @param lengths {@link DType#I32} {@code [batch]}, how many items are valid, from the first on;
   *     a number beyond the length means all, a negative one none. Not modified.
   * @param length the number of items of the memory
   * @return {@link DType#BOOL} {@code [batch, areas]}
   * @throws IllegalArgumentException if type or rank does not fit, or the length is negative or not
   *     a multiple of memoryHeight
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor lengthsMask(Arena arena, Tensor lengths, long length) {
    Objects.requireNonNull(arena, "arena");
    Checks.rank("lengths", Objects.requireNonNull(lengths, "lengths"), 1);
    Checks.input("lengths", lengths, DType.I32);
    long areas = count(length);
    int[] valid = lengths.toIntArray();
    Tensor mask = Tensor.allocate(arena, DType.BOOL, valid.length, areas);
    MemorySegment bytes = mask.segment();
    long width = length / memoryHeight;
    for (int b = 0; b < valid.length; b++) {
      long row = b * areas;
      long items = valid[b];
      forEachSize(
          length,
          (h, w, first, count) -> {
            long columns = width - w + 1;
            for (long n = 0; n < count; n++) {
              long last = (n / columns + h - 1) * width + n % columns + w - 1;
              bytes.set(ValueLayout.JAVA_BYTE, row + first + n, (byte) (last < items ? 1 : 0));
            }
          });
    }
    return mask;
  }

  /** What {@link #forEachSize} calls: areas [first, first + count) have this size. */
  @FunctionalInterface
  interface Size {
    void accept(long h, long w, long first, long count);
  }

  /** Walks through the sizes that areas of a memory have, in the order of the areas. */
  void forEachSize(long length, Size size) {
    long width = length / memoryHeight;
    long first = 0;
    for (long h = 1; h <= highest(); h++) {
      for (long w = 1; w <= Math.min(maxWidth, width); w++) {
        long count = (memoryHeight - h + 1) * (width - w + 1);
        size.accept(h, w, first, count);
        first += count;
      }
    }
  }

  // ---- Features ----

  /**
   * Computes the mean of each area, {@code area_mean}.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param mean {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}. Modified.
   * @throws IllegalArgumentException as {@link #features(Tensor, Tensor, Tensor, Tensor, Tensor)}
   */
  public void mean(Tensor features, Tensor mean) {
    features(features, Objects.requireNonNull(mean, "mean"), null, null, null);
  }

  /**
   * Computes the standard deviation of each area, {@code area_std}, with {@link #DEFAULT_EPSILON}.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param deviation {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}. Modified.
   * @throws IllegalArgumentException as {@link #features(Tensor, Tensor, Tensor, Tensor, Tensor)}
   */
  public void deviation(Tensor features, Tensor deviation) {
    features(features, null, Objects.requireNonNull(deviation, "deviation"), null, null);
  }

  /**
   * Computes the sum of each area, {@code area_sum}.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param sum {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}. Modified.
   * @throws IllegalArgumentException as {@link #features(Tensor, Tensor, Tensor, Tensor, Tensor)}
   */
  public void sum(Tensor features, Tensor sum) {
    features(features, null, null, Objects.requireNonNull(sum, "sum"), null);
  }

  /**
   * Computes the largest element of each area, {@code basic_pool} with {@code reduce_max}; NaN
   * where the area holds one.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param max {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}. Modified.
   * @throws IllegalArgumentException as {@link #features(Tensor, Tensor, Tensor, Tensor, Tensor)}
   */
  public void max(Tensor features, Tensor max) {
    features(features, null, null, null, Objects.requireNonNull(max, "max"));
  }

  /**
   * Computes several features of each area at once, with {@link #DEFAULT_EPSILON}.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param mean {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}, equally spaced
   *     rows, like those of the next three; or null if not needed. Modified.
   * @param deviation the standard deviation, or null. Modified.
   * @param sum the sum, or null. Modified.
   * @param max the largest element, or null. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, the
   *     length is not a multiple of memoryHeight, or an output is read-only or overlaps the
   *     features or another output
   */
  public void features(Tensor features, Tensor mean, Tensor deviation, Tensor sum, Tensor max) {
    features(features, DEFAULT_EPSILON, mean, deviation, sum, max);
  }

  /**
   * Computes several features of each area at once.
   *
   * @param features {@code [batch, heads, length, dim]} or {@code [batch, length, dim]}. Not
   *     modified.
   * @param epsilon what is added to the variance, finite and not negative
   * @param mean {@code [batch, heads, areas, dim]} or {@code [batch, areas, dim]}, equally spaced
   *     rows, like those of the next three; or null if not needed. Modified.
   * @param deviation the standard deviation, or null. Modified.
   * @param sum the sum, or null. Modified.
   * @param max the largest element, or null. Modified.
   * @throws IllegalArgumentException as {@link #features(Tensor, Tensor, Tensor, Tensor, Tensor)},
   *     and if epsilon is negative or not finite
   */
  public void features(
      Tensor features, double epsilon, Tensor mean, Tensor deviation, Tensor sum, Tensor max) {
    compute(features, Checks.epsilon(epsilon), null, new Tensor[] {mean, deviation, sum, max});
  }

  /** The mean, moved by noise {@code [batch, heads, areas, dim]} times the standard deviation. */
  void sample(Tensor features, Tensor noise, Tensor out) {
    compute(features, (float) DEFAULT_EPSILON, noise, new Tensor[] {out, null, null, null});
  }

  private static final String[] OUTPUTS = {"mean", "deviation", "sum", "max"};

  /** Noise may be null; the outputs are those of {@code OUTPUTS}, null where not wanted. */
  private void compute(Tensor features, float epsilon, Tensor noise, Tensor[] outputs) {
    Checks.rankOf3Or4("features", Objects.requireNonNull(features, "features"));
    Checks.input("features", features);
    Checks.packedRows("features", features);
    long[] shape = features.shape();
    final long length = features.size(-2);
    final long dim = features.size(-1);
    shape[shape.length - 2] = count("features.length", length);
    final long[] strides = new long[outputs.length];
    long elements = 0;
    for (int i = 0; i < outputs.length; i++) {
      if (outputs[i] == null) {
        continue;
      }
      Checks.output(OUTPUTS[i], outputs[i]);
      String dims = shape.length == 4 ? "[batch, heads, areas, dim]" : "[batch, areas, dim]";
      Checks.shape(OUTPUTS[i], outputs[i], dims, shape);
      Checks.disjoint(OUTPUTS[i], outputs[i], "features", features);
      for (int other = 0; other < i; other++) {
        if (outputs[other] != null) {
          Checks.disjoint(OUTPUTS[i], outputs[i], OUTPUTS[other], outputs[other]);
        }
      }
      strides[i] = outputs[i].count() == 0 ? dim : Checks.rowStride(OUTPUTS[i], outputs[i]);
      elements = outputs[i].count();
    }
    if (elements == 0) {
      return;
    }
    boolean headed = features.rank() == 4;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.areas(
              lease, A4j.threads(), epsilon, features.size(0), headed ? features.size(1) : 1, dim);
      Descriptor.areaSizes(d, memoryHeight, length / memoryHeight, maxHeight, maxWidth);
      Descriptor.areaStridesX(
          d, features.stride(0), headed ? features.stride(1) : 0, features.stride(-2));
      Descriptor.areaStridesOut(d, strides[0], strides[2], strides[3], strides[1]);
      Downcalls.areaFeatures(
          d,
          Checks.first(features),
          Checks.firstOrNull(noise),
          Checks.firstOrNull(outputs[0]),
          Checks.firstOrNull(outputs[2]),
          Checks.firstOrNull(outputs[3]),
          Checks.firstOrNull(outputs[1]));
    }
  }
}
