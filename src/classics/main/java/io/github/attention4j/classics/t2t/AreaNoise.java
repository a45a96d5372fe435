package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * The normally distributed numbers by which {@link AreaAttention} moves the mean of each area in
 * training, where its key mode samples: {@code key = mean + deviation · noise}. Evaluation uses the
 * mean without noise, {@link #none()}.
 *
 * <p>The numbers are given as a tensor or drawn. A drawn number depends only on the seed and on its
 * own position, not on threads or on what else a call computes. The generator is Philox4x32-10
 * (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): its key is the seed (low
 * word, high word), its counter {@code (channel / 4, area, head, batch)}; of the four words of its
 * result, the first two make the numbers of channels 0 and 1 of these four, the others those of 2
 * and 3, by the method of Box and Muller: {@code sqrt(−2 ln u₁) · cos(2π u₂)} and {@code … · sin(2π
 * u₂)} with {@code u₁ = (word + 1) · 2⁻³²} and {@code u₂ = word · 2⁻³²}.
 */
public final class AreaNoise {
  private static final AreaNoise NONE = new AreaNoise(null, 0);

  private final Tensor given;
  private final long seed;

  private AreaNoise(Tensor given, long seed) {
    this.given = given;
    this.seed = seed;
  }

  /**
   * Asks for evaluation: no noise.
   *
   * @return no noise
   */
  public static AreaNoise none() {
    return NONE;
  }

  /**
   * Uses numbers that the caller has drawn.
   *
   * @param noise {@link io.github.attention4j.DType#F32} {@code [batch * heads, areas, dim]},
   *     contiguous. Kept, not modified.
   * @return this noise
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit
   */
  public static AreaNoise of(Tensor noise) {
    Checks.rank("noise", Objects.requireNonNull(noise, "noise"), 3);
    Checks.input("noise", noise);
    Checks.contiguous("noise", noise);
    return new AreaNoise(noise, 0);
  }

  /**
   * Draws numbers.
   *
   * @param seed another seed gives other numbers
   * @return this noise
   */
  public static AreaNoise seeded(long seed) {
    return new AreaNoise(null, seed);
  }

  /**
   * Writes the numbers that {@link #seeded} draws.
   *
   * @param seed the seed
   * @param noise {@code [batch, heads, areas, dim]}, contiguous. Modified.
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, or noise is
   *     read-only
   */
  public static void draw(long seed, Tensor noise) {
    Checks.rank("noise", Objects.requireNonNull(noise, "noise"), 4);
    Checks.output("noise", noise);
    Checks.contiguous("noise", noise);
    draw(seed, 0, 0, noise);
  }

  boolean isNone() {
    return this == NONE;
  }

  /** Given numbers must be for all heads of the call that computes these keys. */
  void check(Tensor areaKeys) {
    if (given != null) {
      Checks.shape(
          "noise",
          given,
          "[batch * heads, areas, dim]",
          areaKeys.size(0) * areaKeys.size(1),
          areaKeys.size(2),
          areaKeys.size(3));
      Checks.reachable("noise", given);
      Checks.disjoint("areaKeys", areaKeys, "noise", given);
    }
  }

  /**
   * The numbers for a part of a call's heads, of this shape: whole batches, or heads of one batch.
   *
   * @param batch the first one's batch
   * @param head the first one's number in it
   * @param heads how many heads each batch has
   */
  Tensor part(long batch, long head, long heads, Scratch scratch, long... shape) {
    if (given != null) {
      return given.slice(0, batch * heads + head, shape[0] * shape[1]).reshape(shape);
    }
    Tensor noise = scratch.floats(shape);
    draw(seed, batch, head, noise);
    return noise;
  }

  private static void draw(long seed, long firstBatch, long firstHead, Tensor noise) {
    MemorySegment to = Checks.first(noise);
    long dim = noise.size(3);
    int[] words = new int[4];
    float[] normals = new float[4];
    for (long row = 0; dim > 0 && row < noise.count() / dim; row++) {
      long area = row % noise.size(2);
      long head = row / noise.size(2) % noise.size(1) + firstHead;
      long batch = row / noise.size(2) / noise.size(1) + firstBatch;
      for (long c = 0; c < dim; c += 4) {
        words[0] = (int) (c / 4);
        words[1] = (int) area;
        words[2] = (int) head;
        words[3] = (int) batch;
        philox(seed, words);
        boxMuller(words, 0, normals);
        boxMuller(words, 2, normals);
        for (int n = 0; n < 4 && c + n < dim; n++) {
          to.setAtIndex(ValueLayout.JAVA_FLOAT, row * dim + c + n, normals[n]);
        }
      }
    }
  }

  private static void boxMuller(int[] words, int n, float[] normals) {
    double u1 = (Integer.toUnsignedLong(words[n]) + 1) * 0x1p-32;
    double angle = 2 * Math.PI * (Integer.toUnsignedLong(words[n + 1]) * 0x1p-32);
    double radius = Math.sqrt(-2 * StrictMath.log(u1));
    normals[n] = (float) (radius * StrictMath.cos(angle));
    normals[n + 1] = (float) (radius * StrictMath.sin(angle));
  }

  /** Replaces a counter by the generator's four words. */
  static void philox(long seed, int[] words) {
    int key0 = (int) seed;
    int key1 = (int) (seed >>> 32);
    for (int round = 0; round < 10; round++) {
      long product0 = Integer.toUnsignedLong(words[0]) * 0xd2511f53L;
      long product1 = Integer.toUnsignedLong(words[2]) * 0xcd9e8d57L;
      words[0] = (int) (product1 >>> 32) ^ words[1] ^ key0;
      words[2] = (int) (product0 >>> 32) ^ words[3] ^ key1;
      words[1] = (int) product1;
      words[3] = (int) product0;
      key0 += 0x9e3779b9;
      key1 += 0xbb67ae85;
    }
  }
}
