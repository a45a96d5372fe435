package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/** A table of vectors, one for each token: {@code out[b, i] = weight[tokens[b, i]]}. */
public final class Embedding {
  private final Tensor weight;

  private Embedding(Tensor weight) {
    this.weight = weight;
  }

  /**
   * Makes an embedding from its table.
   *
   * @param weight {@code [vocabulary, dim]} of F32, BF16 or F16, contiguous. Kept, not modified.
   * @return the embedding
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit
   */
  public static Embedding of(Tensor weight) {
    Checks.rank("weight", Objects.requireNonNull(weight, "weight"), 2);
    Checks.realInput("weight", weight);
    Checks.contiguous("weight", weight);
    return new Embedding(weight);
  }

  /**
   * Makes an embedding with random vectors, for tests and experiments: uniform in [−√3, √3), which
   * has variance 1.
   *
   * @param arena supplies the memory of the table
   * @param vocabulary the number of tokens, not negative
   * @param dim the width of a vector, not negative
   * @param seed the same seed gives the same vectors
   * @return the embedding
   * @throws IllegalArgumentException if a size is negative
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Embedding random(Arena arena, long vocabulary, long dim, long seed) {
    return of(new RandomWeights(arena, seed).uniform(Math.sqrt(3), vocabulary, dim));
  }

  /**
   * Returns the number of tokens.
   *
   * @return the number of rows
   */
  public long vocabulary() {
    return weight.size(0);
  }

  /**
   * Returns the width of a row.
   *
   * @return the dimension of the result
   */
  public long dim() {
    return weight.size(1);
  }

  /**
   * Looks up tokens.
   *
   * @param tokens {@link DType#I32} {@code [batch, len]}, each in [0, vocabulary). Not modified.
   * @param out {@code [batch, len, dim]} of F32, BF16 or F16, contiguous; rounded if that is
   *     shorter than the table. Modified.
   * @throws IllegalArgumentException if types, shapes or strides do not fit, a token is not in the
   *     vocabulary, or out is read-only or overlaps the weight
   */
  public void forward(Tensor tokens, Tensor out) {
    Checks.rank("tokens", Objects.requireNonNull(tokens, "tokens"), 2);
    Objects.requireNonNull(out, "out");
    Checks.dtype("tokens", tokens, DType.I32);
    Checks.realOutput("out", out);
    Checks.contiguous("out", out);
    Checks.shape("out", out, "[batch, len, dim]", tokens.size(0), tokens.size(1), dim());
    Checks.reachable("weight", weight);
    Checks.disjoint("out", out, "weight", weight);
    int[] numbers = tokens.toIntArray();
    for (int i = 0; i < numbers.length; i++) {
      if (numbers[i] < 0 || numbers[i] >= vocabulary()) {
        String name = "tokens[" + i / tokens.size(1) + ", " + i % tokens.size(1) + "]";
        throw new IllegalArgumentException(
            name
                + " must be in the vocabulary: "
                + name
                + "="
                + numbers[i]
                + ", vocabulary="
                + vocabulary());
      }
    }
    if (weight.dtype() == out.dtype()) {
      copy(numbers, out);
    } else {
      Tensor rows = out.reshape(numbers.length, dim());
      for (int i = 0; i < numbers.length; i++) {
        rows.select(0, i).copyFrom(weight.select(0, numbers[i]));
      }
    }
  }

  private void copy(int[] numbers, Tensor out) {
    MemorySegment from = Checks.first(weight);
    MemorySegment to = Checks.first(out);
    long bytes = dim() * weight.dtype().bytes();
    for (int i = 0; i < numbers.length; i++) {
      MemorySegment.copy(from, numbers[i] * bytes, to, i * bytes, bytes);
    }
  }
}
