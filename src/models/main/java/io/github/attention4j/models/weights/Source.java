package io.github.attention4j.models.weights;

import io.github.attention4j.Tensor;
import java.util.Objects;
import java.util.function.UnaryOperator;

/**
 * Where a weight comes from: a tensor of the checkpoint, and how to rearrange it if the interpreter
 * needs its elements in another order.
 *
 * @param name the tensor's name in the checkpoint
 * @param shape the shape it must have there
 * @param view rearranges the tensor without copying it; null to leave it as it is
 */
@SuppressWarnings("ArrayRecordComponent") // Sources are never compared.
public record Source(String name, long[] shape, UnaryOperator<Tensor> view) {
  public Source {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(shape, "shape");
  }

  /** A tensor used in the order in which it is stored. */
  public static Source of(String name, long... shape) {
    return new Source(name, shape, null);
  }

  /** A matrix stored as {@code [in, out]}, used as {@code [out, in]}. */
  public static Source transposed(String name, long dimIn, long dimOut) {
    return new Source(name, new long[] {dimIn, dimOut}, tensor -> tensor.transpose(0, 1));
  }

  /**
   * Some of the rows of a matrix, or of the values of a vector.
   *
   * @param shape of the whole tensor
   */
  public static Source rows(String name, long first, long count, long... shape) {
    return new Source(name, shape, tensor -> tensor.slice(0, first, count));
  }

  /**
   * Rows stored head by head, the queries, keys and values of head 0 first; used as all queries,
   * then all keys, then all values.
   *
   * @param heads the number of heads
   * @param dim the width of a head
   * @param rest the sizes after the rows: the input width of a matrix, nothing for a bias
   */
  public static Source headByHead(String name, long heads, long dim, long... rest) {
    long[] shape = new long[1 + rest.length];
    long[] split = new long[3 + rest.length];
    shape[0] = 3 * heads * dim;
    split[0] = heads;
    split[1] = 3;
    split[2] = dim;
    System.arraycopy(rest, 0, shape, 1, rest.length);
    System.arraycopy(rest, 0, split, 3, rest.length);
    return new Source(name, shape, tensor -> tensor.reshape(split).transpose(0, 1));
  }
}
