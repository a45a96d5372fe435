package io.github.attention4j.layer;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.util.Arrays;

/** The first dimension of the rows of a norm, and the views that follow from it. */
final class NormAxis {
  private NormAxis() {}

  /** Checks a weight or bias, whose rank is the number of dimensions of a row. */
  static void checkParameter(String name, Tensor parameter) {
    Checks.hasRows(name, parameter);
    Checks.input(name, parameter);
    Checks.contiguous(name, parameter);
  }

  /** The index of the first dimension of a row; a negative axis counts from the end. */
  static int first(int axis, Tensor x) {
    int rank = x.rank();
    if (axis < -rank || axis >= rank) {
      throw new IllegalArgumentException(
          "axis must lie in [-x.rank, x.rank): axis=" + axis + ", x.rank=" + rank);
    }
    return axis < 0 ? axis + rank : axis;
  }

  /** The parameter has the shape of one row of x. */
  static void checkFits(String name, Tensor parameter, Tensor x, int first) {
    if (parameter.rank() == 1 && first == x.rank() - 1) {
      Checks.equal(name, "x", "dim", parameter.size(0), x.size(-1));
      return;
    }
    long[] row = Arrays.copyOfRange(x.shape(), first, x.rank());
    if (!Arrays.equals(parameter.shape(), row)) {
      Checks.shape(name, parameter, "the shape of x from dimension " + first + " on", row);
    }
  }

  /** Merges the dimensions of a row. */
  static Tensor flat(String name, Tensor tensor, int first) {
    int last = tensor.rank() - 1;
    if (first == last) {
      return tensor;
    }
    long width = 1;
    for (int i = last; i >= first; i--) {
      if (tensor.size(i) != 1 && tensor.stride(i) != width) {
        throw new IllegalArgumentException(
            name
                + " must have contiguous elements from dimension "
                + first
                + " on: shape="
                + Arrays.toString(tensor.shape())
                + ", strides="
                + Arrays.toString(tensor.strides()));
      }
      width *= tensor.size(i);
    }
    long[] shape = Arrays.copyOf(tensor.shape(), first + 1);
    shape[first] = width;
    return tensor.reshape(shape);
  }
}
