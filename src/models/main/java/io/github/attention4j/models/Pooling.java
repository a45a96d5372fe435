package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.models.encoder.Rows;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/**
 * Ways to turn a text's hidden states into one vector, with the names of sentence-transformers.
 * Sums are computed in double precision. Safe for any number of threads.
 */
public enum Pooling {
  /** The first token: {@code pooling_mode_cls_token}. */
  CLS("cls"),

  /** The maximum of each element: {@code pooling_mode_max_tokens}. */
  MAX("max"),

  /** The average: {@code pooling_mode_mean_tokens}. */
  MEAN("mean"),

  /** The sum divided by √n: {@code pooling_mode_mean_sqrt_len_tokens}. */
  MEAN_SQRT_LEN("mean_sqrt_len_tokens"),

  /**
   * {@code Σ (i + 1) x[i] / Σ (i + 1)}, with i from 0 at the text's first token: {@code
   * pooling_mode_weightedmean_tokens}.
   */
  WEIGHTED_MEAN("weightedmean"),

  /** The last token: {@code pooling_mode_lasttoken}. */
  LAST_TOKEN("lasttoken");

  private final String word;

  Pooling(String word) {
    this.word = word;
  }

  /** The name in newer files. */
  String word() {
    return word;
  }

  /**
   * Pools each of several concatenated texts.
   *
   * @param arena supplies the memory of the result
   * @param hidden {@link DType#F32} {@code [tokens of all texts, width]}, contiguous. Not modified.
   * @param sequences the lengths of the texts, each at least 1
   * @return {@code [texts, width]}
   * @throws IllegalArgumentException if type, shape or layout is wrong, or a text is empty
   */
  public Tensor forward(Arena arena, Tensor hidden, Sequences sequences) {
    check(hidden, sequences);
    int width = Checks.arrayLength("hidden.width", hidden.size(1));
    Tensor out = Tensor.allocate(arena, DType.F32, sequences.count(), width);
    float[] vector = new float[width];
    int row = 0;
    for (int s = 0; s < sequences.count(); s++) {
      pool(hidden, row, sequences.length(s), 0, vector, 0);
      for (int i = 0; i < width; i++) {
        out.segment().setAtIndex(ValueLayout.JAVA_FLOAT, (long) s * width + i, vector[i]);
      }
      row += sequences.length(s);
    }
    return out;
  }

  /** Refuses hidden states that do not match the texts. */
  static void check(Tensor hidden, Sequences sequences) {
    Objects.requireNonNull(hidden, "hidden");
    Objects.requireNonNull(sequences, "sequences");
    if (hidden.dtype() != DType.F32 || hidden.rank() != 2 || !hidden.isContiguous()) {
      throw new IllegalArgumentException(
          "hidden must be F32 [tokens, width] and contiguous: hidden=" + hidden.layout());
    }
    if (hidden.size(0) != sequences.total()) {
      throw new IllegalArgumentException(
          "hidden must have a row for each token: hidden.rows="
              + hidden.size(0)
              + ", sequences.total="
              + sequences.total());
    }
    for (int s = 0; s < sequences.count(); s++) {
      if (sequences.length(s) == 0) {
        throw new IllegalArgumentException(
            "each text must have at least 1 token: length[" + s + "]=0");
      }
    }
  }

  /**
   * Pools one text.
   *
   * @param row its first row
   * @param length its number of tokens
   * @param skip how many of its first tokens to leave out, those of a prompt
   */
  void pool(Tensor hidden, int row, int length, int skip, float[] out, int offset) {
    int width = (int) hidden.size(1);
    switch (this) {
      case CLS -> take(hidden, row + skip, width, out, offset);
      case LAST_TOKEN -> take(hidden, row + length - 1, width, out, offset);
      case MAX -> {
        Arrays.fill(out, offset, offset + width, Float.NEGATIVE_INFINITY);
        for (int t = skip; t < length; t++) {
          for (int i = 0; i < width; i++) {
            out[offset + i] = Math.max(out[offset + i], at(hidden, row + t, i));
          }
        }
      }
      default -> {
        double[] sums = new double[width];
        double weights = 0;
        for (int t = skip; t < length; t++) {
          double weight = this == WEIGHTED_MEAN ? t + 1 : 1;
          weights += weight;
          Rows.addTo(sums, hidden, row + (long) t, weight);
        }
        double divisor = this == MEAN_SQRT_LEN ? Math.sqrt(weights) : weights;
        for (int i = 0; i < width; i++) {
          out[offset + i] = (float) (sums[i] / divisor);
        }
      }
    }
  }

  private static void take(Tensor hidden, int row, int width, float[] out, int offset) {
    for (int i = 0; i < width; i++) {
      out[offset + i] = at(hidden, row, i);
    }
  }

  private static float at(Tensor hidden, long row, int i) {
    return hidden
        .segment()
        .getAtIndex(ValueLayout.JAVA_FLOAT, hidden.offset() + row * hidden.size(1) + i);
  }

  /**
   * Divides a vector by its Euclidean norm, or by 1e-12 if that is larger, as
   * sentence-transformers' {@code Normalize} does.
   *
   * @param vector is divided by its norm. Modified.
   */
  public static void normalize(float[] vector) {
    double sum = 0;
    for (float each : vector) {
      sum += (double) each * each;
    }
    double norm = Math.max(Math.sqrt(sum), 1e-12);
    for (int i = 0; i < vector.length; i++) {
      vector[i] = (float) (vector[i] / norm);
    }
  }
}
