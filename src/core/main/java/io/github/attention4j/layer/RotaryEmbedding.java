package io.github.attention4j.layer;

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
 * Rotary position embedding (Su et al., "RoFormer", 2021): rotates each pair of channels of a query
 * or key by an angle proportional to its position, so that their product depends only on the
 * distance. Channels from {@code rotaryDim} on are copied unchanged.
 *
 * <pre>{@code
 * RotaryEmbedding rotary =
 *     RotaryEmbedding.builder().positions(4096).rotaryDim(64).base(10_000).build(arena);
 * rotary.forward(q, q, 0); // in place
 * }</pre>
 *
 * <p>Tables are {@link DType#F32}.
 *
 * <p>ONNX RotaryEmbedding computes the same. Apply {@link Tensor#splitHeads} to its input of rank
 * 3, {@code [batch, length, heads · dim]}; its tables without position ids have a row for each row
 * of {@code x}, for {@link RotaryTable#of} and {@link #forward(Tensor, Tensor)}.
 */
public final class RotaryEmbedding {
  /** Which channels are a pair. */
  public enum Style {
    /** Channels i and i + rotaryDim / 2: GPT-NeoX and Hugging Face's Llama. */
    HALF,

    /** Channels 2i and 2i + 1, as in the paper. */
    INTERLEAVED
  }

  private final RotaryTable table;
  private final Style style;

  private RotaryEmbedding(RotaryTable table, Style style) {
    this.table = table;
    this.style = style;
  }

  /**
   * Makes an embedding from a table of angles.
   *
   * @param table the angles; kept
   * @param style which channels are a pair
   * @return the embedding
   */
  public static RotaryEmbedding of(RotaryTable table, Style style) {
    return new RotaryEmbedding(
        Objects.requireNonNull(table, "table"), Objects.requireNonNull(style, "style"));
  }

  /**
   * Starts an embedding from sizes: base 10 000, {@link Style#HALF}, no scaling.
   *
   * @return a builder; positions and rotaryDim are required
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the table of angles.
   *
   * @return the table
   */
  public RotaryTable table() {
    return table;
  }

  /**
   * Rotates row i by row i of the table, of the same batch if the table has rows for each batch.
   *
   * @param x {@code [batch, heads, len, dim]} or {@code [batch, len, dim]}, rows contiguous. Not
   *     modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, long)}
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, out, 0);
  }

  /**
   * Rotates rows at consecutive positions: row i is at {@code start + i}.
   *
   * @param x {@code [batch, heads, len, dim]} or {@code [batch, len, dim]}, rows contiguous. Not
   *     modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @param start the position of the first row
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, rotaryDim
   *     is more than dim, a position is outside the table, or out is read-only or overlaps x
   *     without being x
   */
  public void forward(Tensor x, Tensor out, long start) {
    check(x, out);
    long len = x.size(-2);
    if (out.count() == 0) {
      return;
    }
    Checks.inRange("start", start, 0, Long.MAX_VALUE);
    if (len > table.positions() - start) {
      throw new IllegalArgumentException(
          "positions must lie in the table: start="
              + start
              + ", len="
              + len
              + ", table.positions="
              + table.positions());
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      if (table.isPerBatch()) {
        long batch = x.size(0);
        MemorySegment d = descriptor(lease, x, out, batch * len);
        Descriptor.positionStrideBatch(d, len);
        for (long b = 0; b < batch; b++) {
          putConsecutive(d, b, len, start);
        }
        run(d, x, out);
      } else {
        MemorySegment d = descriptor(lease, x, out, 0);
        Descriptor.positionStart(d, start);
        run(d, x, out);
      }
    }
  }

  /**
   * Rotates rows at consecutive positions, each batch from its own start: row i of batch b is at
   * {@code starts[b] + i}. The lengths of a {@link io.github.attention4j.KvCache} are such starts.
   *
   * @param x {@code [batch, heads, len, dim]} or {@code [batch, len, dim]}, rows contiguous. Not
   *     modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @param starts for each batch the position of its first row. Not modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, long)}, and if the number
   *     of starts is not the number of batches
   */
  public void forward(Tensor x, Tensor out, int[] starts) {
    Objects.requireNonNull(starts, "starts");
    check(x, out);
    long batch = x.size(0);
    long len = x.size(-2);
    Checks.equal("starts.length", starts.length, "x.batch", batch);
    if (out.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d = descriptor(lease, x, out, batch * len);
      Descriptor.positionStrideBatch(d, len);
      for (int b = 0; b < batch; b++) {
        Checks.inRange("starts[" + b + "]", starts[b], 0, table.positions() - len);
        putConsecutive(d, b, len, starts[b]);
      }
      run(d, x, out);
    }
  }

  /**
   * Rotates rows at given positions.
   *
   * @param x {@code [batch, heads, len, dim]} or {@code [batch, len, dim]}, rows contiguous. Not
   *     modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @param positions {@link DType#I32} or {@link DType#I64} {@code [batch, len]}, or {@code [len]}
   *     for all batches. Not modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, long)}
   */
  public void forward(Tensor x, Tensor out, Tensor positions) {
    Objects.requireNonNull(positions, "positions");
    check(x, out);
    Checks.input("positions", positions, positions.dtype() == DType.I64 ? DType.I64 : DType.I32);
    long batch = x.size(0);
    long len = x.size(-2);
    boolean shared = positions.rank() == 1;
    if (shared) {
      Checks.shape("positions", positions, "[len]", len);
    } else {
      Checks.shape("positions", positions, "[batch, len]", batch, len);
    }
    if (out.count() == 0) {
      return;
    }
    long lists = shared && !table.isPerBatch() ? 1 : batch;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d = descriptor(lease, x, out, lists * len);
      Descriptor.positionStrideBatch(d, lists == 1 ? 0 : len);
      for (long b = 0; b < lists; b++) {
        for (long i = 0; i < len; i++) {
          long position = position(positions, shared, b, i);
          if (position < 0 || position >= table.positions()) {
            Checks.inRange(
                "positions[" + (shared ? "" : b + ", ") + i + "]",
                position,
                0,
                table.positions() - 1);
          }
          Descriptor.position(d, b * len + i, tableRow(b, position));
        }
      }
      run(d, x, out);
    }
  }

  private static long position(Tensor positions, boolean shared, long b, long i) {
    if (positions.dtype() == DType.I32) {
      return shared ? positions.getInt(i) : positions.getInt(b, i);
    }
    long element = positions.offset() + i * positions.stride(-1);
    element += shared ? 0 : b * positions.stride(0);
    return positions.segment().get(ValueLayout.JAVA_LONG, element * Long.BYTES);
  }

  private void putConsecutive(MemorySegment d, long b, long len, long start) {
    for (long i = 0; i < len; i++) {
      Descriptor.position(d, b * len + i, tableRow(b, start + i));
    }
  }

  /** The index of a row among those of all batches. */
  private int tableRow(long b, long position) {
    long row = table.isPerBatch() ? b * table.positions() + position : position;
    if (row > Integer.MAX_VALUE) {
      Checks.inRange("the row of the table", row, 0, Integer.MAX_VALUE);
    }
    return (int) row;
  }

  private void check(Tensor x, Tensor out) {
    Checks.rankOf3Or4("x", Objects.requireNonNull(x, "x"));
    Checks.realInput("x", x);
    Checks.packedRows("x", x);
    Checks.realOutput("out", Objects.requireNonNull(out, "out"));
    Checks.shape("out", out, "the shape of x", x.shape());
    Checks.packedRows("out", out);
    if (table.isPerBatch()) {
      Checks.equal("table", "x", "batch", table.cos().size(0), x.size(0));
    }
    Checks.positive("x.dim", x.size(-1));
    if (x.size(-1) < table.rotaryDim()) {
      throw new IllegalArgumentException(
          "x.dim must be at least rotaryDim: x.dim="
              + x.size(-1)
              + ", rotaryDim="
              + table.rotaryDim()
              + " of a table of "
              + table.positions()
              + " positions");
    }
    Checks.sameOrDisjoint("out", out, "x", x);
    Checks.reachable("cos", table.cos());
    Checks.reachable("sin", table.sin());
    Checks.disjoint("out", out, "cos", table.cos());
    Checks.disjoint("out", out, "sin", table.sin());
  }

  private MemorySegment descriptor(Workspaces.Lease lease, Tensor x, Tensor out, long positions) {
    int option =
        switch (style) {
          case HALF -> Descriptor.ROPE_HALF;
          case INTERLEAVED -> Descriptor.ROPE_INTERLEAVED;
        };
    MemorySegment d =
        Descriptor.rotary(
            lease,
            A4j.threads(),
            x.dtype(),
            out.dtype(),
            option,
            table.rotaryDim(),
            table.rows(),
            positions);
    boolean heads = x.rank() == 4;
    Descriptor.rotarySizes(d, x.size(0), heads ? x.size(1) : 1, x.size(-2), x.size(-1));
    Descriptor.rotaryStridesX(d, x.stride(0), heads ? x.stride(1) : 0, x.stride(-2));
    Descriptor.rotaryStridesOut(d, out.stride(0), heads ? out.stride(1) : 0, out.stride(-2));
    return d;
  }

  private void run(MemorySegment d, Tensor x, Tensor out) {
    Downcalls.rotary(
        d,
        Checks.first(x),
        Checks.first(table.cos()),
        Checks.first(table.sin()),
        Checks.first(out));
  }

  /** Collects the sizes of a {@link RotaryEmbedding}. Not safe for several threads. */
  public static final class Builder {
    private int positions = -1;
    private int rotaryDim;
    private double base = 10_000;
    private Style style = Style.HALF;
    private RotaryScaling scaling = RotaryScaling.none();

    private Builder() {}

    /**
     * Sets the number of positions. Required.
     *
     * @param positions the length of the longest sequence, not negative
     * @return this builder
     * @throws IllegalArgumentException if positions is negative
     */
    public Builder positions(int positions) {
      Checks.inRange("positions", positions, 0, Integer.MAX_VALUE);
      this.positions = positions;
      return this;
    }

    /**
     * Sets the number of channels that are rotated, usually the width of a head. Required.
     *
     * @param rotaryDim even, at least 2
     * @return this builder
     * @throws IllegalArgumentException if rotaryDim is odd or less than 2
     */
    public Builder rotaryDim(int rotaryDim) {
      RotaryTable.checkRotaryDim(rotaryDim);
      this.rotaryDim = rotaryDim;
      return this;
    }

    /**
     * Sets the base of the frequencies ({@code rope_theta} of Hugging Face).
     *
     * @param base positive; the default is 10 000
     * @return this builder
     */
    public Builder base(double base) {
      this.base = base;
      return this;
    }

    /**
     * Sets which channels are a pair.
     *
     * @param style the default is {@link Style#HALF}
     * @return this builder
     */
    public Builder style(Style style) {
      this.style = Objects.requireNonNull(style, "style");
      return this;
    }

    /**
     * Sets how the frequencies are scaled for sequences longer than those of the training.
     *
     * @param scaling the default is {@link RotaryScaling#none()}
     * @return this builder
     */
    public Builder scaling(RotaryScaling scaling) {
      this.scaling = Objects.requireNonNull(scaling, "scaling");
      return this;
    }

    /**
     * Computes the table, and builds the embedding.
     *
     * @param arena supplies the memory of the table and decides how long it lives
     * @return the embedding
     * @throws IllegalStateException if positions or rotaryDim has not been set
     * @throws IllegalArgumentException as {@link RotaryTable#compute(Arena, int, int, double,
     *     RotaryScaling)}
     * @throws OutOfMemoryError if there is not enough memory
     */
    public RotaryEmbedding build(Arena arena) {
      if (positions < 0) {
        throw new IllegalStateException("positions must be set");
      }
      if (rotaryDim == 0) {
        throw new IllegalStateException("rotaryDim must be set");
      }
      return of(RotaryTable.compute(arena, positions, rotaryDim, base, scaling), style);
    }
  }
}
