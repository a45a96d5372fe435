package io.github.attention4j.classics.t2t;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.layer.Elementwise;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * The sinusoidal positions of tensor2tensor, its timing signals:
 *
 * <pre>
 *   n = channels / 2,   inverse_i = minTimescale · exp(-i · log(maxTimescale / minTimescale) / max(n - 1, 1))
 *   signal[p] = sin(p · inverse_0) … sin(p · inverse_{n-1}), cos(p · inverse_0) … cos(p · inverse_{n-1})
 * </pre>
 *
 * <pre>{@code
 * TimingSignal.standard().add1d(x, 0, x); // t2t's add_timing_signal_1d(x)
 * }</pre>
 *
 * <p>All sines come before all cosines, whereas the paper's {@link PositionalEncoding} alternates
 * them; and the last wavelength is maxTimescale itself. If the number of channels is odd, the last
 * one is 0. Angles are computed in double. With a single frequency, tensor2tensor divides by {@code
 * n - 1 = 0} if positions are given or have several dimensions, and returns NaN; here the rule
 * above always holds.
 */
public final class TimingSignal {
  private static final TimingSignal STANDARD = new TimingSignal(1, 1e4);

  private final double minTimescale;
  private final double maxTimescale;

  private TimingSignal(double minTimescale, double maxTimescale) {
    this.minTimescale = minTimescale;
    this.maxTimescale = maxTimescale;
  }

  /**
   * Returns the signal with tensor2tensor's default timescales, 1 to 10 000.
   *
   * @return the signal
   */
  public static TimingSignal standard() {
    return STANDARD;
  }

  /**
   * Makes a signal.
   *
   * @param minTimescale t2t's {@code min_timescale}, positive and finite; the fastest sinusoid is
   *     {@code sin(p · minTimescale)}, as in tensor2tensor
   * @param maxTimescale t2t's {@code max_timescale}, positive and finite
   * @return the signal
   * @throws IllegalArgumentException if one of them is not positive and finite
   */
  public static TimingSignal of(double minTimescale, double maxTimescale) {
    checkTimescale("minTimescale", minTimescale);
    checkTimescale("maxTimescale", maxTimescale);
    return new TimingSignal(minTimescale, maxTimescale);
  }

  private static void checkTimescale(String name, double timescale) {
    if (!(timescale > 0) || Double.isInfinite(timescale)) {
      throw new IllegalArgumentException(
          name + " must be positive and finite: " + name + "=" + timescale);
    }
  }

  // ---- One dimension ----

  /**
   * Computes the signal of consecutive positions ({@code get_timing_signal_1d}).
   *
   * @param arena supplies the memory of the result
   * @param length the number of positions
   * @param channels the width of the signal
   * @param startIndex the first position, t2t's {@code start_index}
   * @return {@link DType#F32} {@code [1, length, channels]}
   * @throws IllegalArgumentException if length or channels is negative
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor get1d(Arena arena, int length, int channels, int startIndex) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    Checks.inRange("channels", channels, 0, Integer.MAX_VALUE);
    Tensor signal = Tensor.allocate(arena, DType.F32, 1, length, channels);
    consecutive(signal.select(0, 0), startIndex);
    return signal;
  }

  /**
   * Adds the signal of consecutive positions ({@code add_timing_signal_1d}): {@code out = x +
   * signal}.
   *
   * @param x {@link DType#F32} {@code [batch, length, channels]}. Not modified, unless it is out.
   * @param startIndex the first position, t2t's {@code start_index}
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x without being the same view
   */
  public void add1d(Tensor x, int startIndex, Tensor out) {
    check(x, 3, out);
    try (Scratch scratch = new Scratch()) {
      Tensor signal = scratch.floats(x.size(1), x.size(2));
      consecutive(signal, startIndex);
      addToEach(x, signal, out);
    }
  }

  /**
   * Adds the signal of given positions ({@code add_timing_signal_1d_given_position}).
   *
   * @param x {@link DType#F32} {@code [batch, length, channels]}. Not modified, unless it is out.
   * @param position {@link DType#I32} or {@link DType#F32} {@code [batch, length]}. Not modified.
   * @param out of the same shape as x; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x without being the same view
   */
  public void add1dGivenPosition(Tensor x, Tensor position, Tensor out) {
    Objects.requireNonNull(position, "position");
    addGivenPositions(x, List.of(position), out);
  }

  // ---- Several dimensions ----

  /**
   * Adds the signals of several given positions ({@code add_timing_signals_given_positions}), each
   * on a share of {@code channels / (2 · positions)} frequencies, one after the other. The
   * remaining channels are unchanged.
   *
   * @param x {@link DType#F32} {@code [batch, length, channels]}. Not modified, unless it is out.
   * @param positions at least one, each {@link DType#I32} or {@link DType#F32} {@code [batch,
   *     length]}, or null for 0, 1, 2 …. Not modified.
   * @param out of the same shape as x; may be x. Modified.
   * @throws IllegalArgumentException if there are no positions, types, shapes, strides or alignment
   *     do not fit, or out is read-only or overlaps x without being the same view
   */
  public void addGivenPositions(Tensor x, List<Tensor> positions, Tensor out) {
    check(x, 3, out);
    int dims = Objects.requireNonNull(positions, "positions").size();
    Checks.positive("positions.size", dims);
    for (int n = 0; n < dims; n++) {
      checkPosition("positions[" + n + "]", positions.get(n), x);
    }
    int length = Checks.arrayLength("x.length", x.size(1));
    int channels = Checks.arrayLength("x.channels", x.size(2));
    float[] rows = new float[Checks.arrayLength("x.length * x.channels", (long) length * channels)];
    double[] inverse = inverseTimescales(channels / 2 / dims);
    try (Scratch scratch = new Scratch()) {
      Tensor signal = scratch.floats(length, channels);
      for (long b = 0; b < x.size(0); b++) {
        for (int n = 0; n < dims; n++) {
          Tensor position = positions.get(n);
          for (int i = 0; i < length; i++) {
            double p =
                position == null
                    ? i
                    : position.dtype() == DType.I32
                        ? position.getInt(b, i)
                        : position.getFloat(b, i);
            write(rows, i * channels + n * 2 * inverse.length, p, inverse);
          }
        }
        Elementwise.scaleAdd(x.select(0, b), 1, signal.copyFrom(rows), out.select(0, b));
      }
    }
  }

  /**
   * Adds the signals of the positions in a grid ({@code add_timing_signal_nd}): each of the n
   * dimensions has {@code channels / (2 · n)} frequencies, one after the other. The remaining
   * channels are unchanged.
   *
   * @param x {@link DType#F32} {@code [batch, d1, …, dn, channels]}. Not modified, unless it is
   *     out.
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x without being the same view
   */
  public void addNd(Tensor x, Tensor out) {
    if (Objects.requireNonNull(x, "x").rank() < 3) {
      throw new IllegalArgumentException(
          "x.rank must be at least 3 [batch, d1, ..., channels]: x.rank=" + x.rank());
    }
    check(x, x.rank(), out);
    int dims = x.rank() - 2;
    int channels = Checks.arrayLength("x.channels", x.size(-1));
    long[] grid = Arrays.copyOfRange(x.shape(), 1, x.rank());
    float[] rows =
        new float[Checks.arrayLength("d1 * ... * dn * channels", Checks.saturatedProduct(grid))];
    double[] inverse = inverseTimescales(channels / 2 / dims);
    try (Scratch scratch = new Scratch()) {
      Tensor signal = scratch.floats(grid);
      long inner = 1; // places for each step of the dimension
      for (int n = dims - 1; n >= 0; n--) {
        for (int row = 0; row * (long) channels < rows.length && channels > 0; row++) {
          double p = row / inner % grid[n];
          write(rows, row * channels + n * 2 * inverse.length, p, inverse);
        }
        inner *= grid[n];
      }
      addToEach(x, signal.copyFrom(rows), out);
    }
  }

  // ---- Layers ----

  /**
   * Computes the signal of a layer's index ({@code get_layer_timing_signal_sinusoid_1d}).
   *
   * @param arena supplies the memory of the result
   * @param channels the width of the signal
   * @param layer from 0 below numLayers
   * @param numLayers t2t's {@code num_layers}
   * @return {@link DType#F32} {@code [1, 1, channels]}
   * @throws IllegalArgumentException if channels is negative, or there is no such layer
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor getLayer(Arena arena, int channels, int layer, int numLayers) {
    Checks.inRange("layer", layer, 0, numLayers - 1L);
    return get1d(arena, 1, channels, layer);
  }

  /**
   * Adds the signal of a layer's index ({@code add_layer_timing_signal_sinusoid_1d}), the same at
   * every position.
   *
   * @param x {@link DType#F32} {@code [batch, length, channels]}. Not modified, unless it is out.
   * @param layer from 0 below numLayers
   * @param numLayers t2t's {@code num_layers}
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException if there is no such layer, types, shapes, strides or alignment
   *     do not fit, or out is read-only or overlaps x without being the same view
   */
  public void addLayer(Tensor x, int layer, int numLayers, Tensor out) {
    Checks.inRange("layer", layer, 0, numLayers - 1L);
    check(x, 3, out);
    try (Scratch scratch = new Scratch()) {
      Tensor signal = scratch.floats(1, x.size(2));
      consecutive(signal, layer);
      addRow(x, signal, 1, out);
    }
  }

  /**
   * Adds a layer's learned embedding ({@code add_layer_timing_signal_learned_1d}), the same at
   * every position: {@code out = x + layerEmbedding[layer] · sqrt(channels)}.
   *
   * @param x {@link DType#F32} {@code [batch, length, channels]}. Not modified, unless it is out.
   * @param layerEmbedding {@link DType#F32} {@code [numLayers, 1, 1, channels]}, t2t's variable
   *     {@code layer_embedding}. Not modified.
   * @param layer from 0 below numLayers
   * @param out of the same shape as x; may be x. Modified.
   * @throws IllegalArgumentException if there is no such layer, types, shapes, strides or alignment
   *     do not fit, or out is read-only or overlaps x without being the same view
   */
  public static void addLayerLearned(Tensor x, Tensor layerEmbedding, int layer, Tensor out) {
    check(x, 3, out);
    Checks.rank("layerEmbedding", Objects.requireNonNull(layerEmbedding, "layerEmbedding"), 4);
    Checks.input("layerEmbedding", layerEmbedding);
    long numLayers = layerEmbedding.size(0);
    Checks.shape(
        "layerEmbedding",
        layerEmbedding,
        "[numLayers, 1, 1, x.channels]",
        numLayers,
        1,
        1,
        x.size(2));
    Checks.inRange("layer", layer, 0, numLayers - 1);
    addRow(x, layerEmbedding.select(0, layer).select(0, 0), Math.sqrt(x.size(2)), out);
  }

  // ---- What all have in common ----

  private double[] inverseTimescales(int count) {
    double step = Math.log(maxTimescale / minTimescale) / Math.max(count - 1, 1);
    double[] inverse = new double[count];
    Arrays.setAll(inverse, i -> minTimescale * Math.exp(-i * step));
    return inverse;
  }

  /** Sines and then cosines of one position. */
  private static void write(float[] rows, int at, double position, double[] inverse) {
    for (int i = 0; i < inverse.length; i++) {
      rows[at + i] = (float) Math.sin(position * inverse[i]);
      rows[at + inverse.length + i] = (float) Math.cos(position * inverse[i]);
    }
  }

  /** Fills [length, channels] with positions from `start` on. */
  private void consecutive(Tensor signal, int start) {
    int channels = Checks.arrayLength("channels", signal.size(1));
    double[] inverse = inverseTimescales(channels / 2);
    float[] row = new float[channels];
    for (int i = 0; i < signal.size(0); i++) {
      write(row, 0, (double) start + i, inverse);
      signal.select(0, i).copyFrom(row);
    }
  }

  private static void addToEach(Tensor x, Tensor signal, Tensor out) {
    for (long b = 0; b < x.size(0); b++) {
      Elementwise.scaleAdd(x.select(0, b), 1, signal, out.select(0, b));
    }
  }

  /** out = x + scale · row, for each row of x. */
  private static void addRow(Tensor x, Tensor row, double scale, Tensor out) {
    float[] values = row.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] *= (float) scale;
    }
    try (Scratch scratch = new Scratch()) {
      Tensor signal = scratch.floats(x.size(1), x.size(2));
      for (long i = 0; i < x.size(1); i++) {
        signal.select(0, i).copyFrom(values);
      }
      addToEach(x, signal, out);
    }
  }

  private static void checkPosition(String name, Tensor position, Tensor x) {
    if (position == null) {
      return;
    }
    if (position.dtype() != DType.I32) {
      Checks.input(name, position);
    }
    Checks.reachable(name, position);
    Checks.shape(name, position, "[x.batch, x.length]", x.size(0), x.size(1));
  }

  private static void check(Tensor x, int rank, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), rank);
    Objects.requireNonNull(out, "out");
    Checks.shape("out", out, "the shape of x", x.shape());
    Checks.input("x", x);
    Checks.output("out", out);
    Checks.packedRows("x", x);
    Checks.packedRows("out", out);
    Checks.sameOrDisjoint("out", out, "x", x);
  }
}
