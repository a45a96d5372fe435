package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import java.lang.foreign.Arena;

/**
 * Rotary positions with tables that grow with the longest text so far. Safe for any number of
 * threads.
 */
final class Positions {
  private static final int FIRST_ROWS = 512;

  private final Specification.Rotary rotary;
  private final int context;
  private final Arena arena;

  private volatile RotaryEmbedding plain;
  private volatile RotaryEmbedding stretched;

  /**
   * @param context the most positions
   * @param arena shared, for the tables
   */
  Positions(Specification.Rotary rotary, int context, Arena arena) {
    this.rotary = rotary;
    this.context = context;
    this.arena = arena;
  }

  /** Whether a text's keys differ between two lengths of the text. */
  boolean change(int from, int to) {
    return isStretched(to) && !isStretched(from) && from > 0;
  }

  private boolean isStretched(int length) {
    return rotary.longFrequencies() != null && length > rotary.original();
  }

  /**
   * Rotates rows at consecutive positions, in place.
   *
   * @param x {@code [1, heads, rows, dim]}
   * @param start the position of the first row
   * @param length of the text, including these rows
   */
  void forward(Tensor x, long start, int length) {
    boolean stretch = isStretched(length);
    RotaryEmbedding embedding = stretch ? stretched : plain;
    if (embedding == null || embedding.table().positions() < start + x.size(2)) {
      embedding = grown(stretch, Math.toIntExact(start + x.size(2)));
    }
    embedding.forward(x, x, start);
  }

  private synchronized RotaryEmbedding grown(boolean stretch, int needed) {
    RotaryEmbedding old = stretch ? stretched : plain;
    if (old != null && old.table().positions() >= needed) {
      return old;
    }
    int rows = FIRST_ROWS;
    while (rows < needed) {
      rows = (int) Math.min(2L * rows, Integer.MAX_VALUE);
    }
    RotaryEmbedding embedding =
        RotaryEmbedding.of(
            table(
                stretch ? rotary.longFrequencies() : rotary.frequencies(),
                Math.max(needed, Math.min(rows, context))),
            rotary.style());
    if (stretch) {
      stretched = embedding;
    } else {
      plain = embedding;
    }
    return embedding;
  }

  /** Angles are computed in double, as in {@link RotaryTable#compute}. */
  private RotaryTable table(double[] frequencies, int rows) {
    Tensor cos = Tensor.allocate(arena, DType.F32, rows, frequencies.length);
    Tensor sin = Tensor.allocate(arena, DType.F32, rows, frequencies.length);
    float[] cosRow = new float[frequencies.length];
    float[] sinRow = new float[frequencies.length];
    for (int p = 0; p < rows; p++) {
      for (int i = 0; i < frequencies.length; i++) {
        cosRow[i] = (float) (rotary.magnitude() * Math.cos(p * frequencies[i]));
        sinRow[i] = (float) (rotary.magnitude() * Math.sin(p * frequencies[i]));
      }
      cos.select(0, p).copyFrom(cosRow);
      sin.select(0, p).copyFrom(sinRow);
    }
    return RotaryTable.of(cos, sin);
  }
}
