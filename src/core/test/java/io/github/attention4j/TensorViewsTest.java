package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/**
 * Compares random chains of views with an independent model: the positions of all elements in
 * row-major order. A view of a tensor that contains 0, 1, 2, … must read exactly these positions,
 * and a reshape must be refused exactly if no strides can express it.
 */
class TensorViewsTest {
  private static final int CHAINS = 3000;
  private static final int VIEWS_IN_CHAIN = 6;

  /** The expected content of a view. */
  @SuppressWarnings("ArrayRecordComponent") // Models are never compared.
  private record Model(long[] shape, int[] positions) {
    /** The model of another shape; {@code toOld} maps its indices to those of this. */
    Model map(long[] newShape, UnaryOperator<long[]> toOld) {
      int[] mapped = new int[count(newShape)];
      for (int i = 0; i < mapped.length; i++) {
        mapped[i] = positions[flatten(toOld.apply(unflatten(i, newShape)), shape)];
      }
      return new Model(newShape, mapped);
    }

    /** Whether some strides visit the positions in row-major order of a shape. */
    boolean canBe(long[] newShape) {
      long[] strides = new long[newShape.length];
      for (int d = 0; d < newShape.length; d++) {
        if (newShape[d] > 1) {
          long[] neighbour = new long[newShape.length];
          neighbour[d] = 1;
          strides[d] = (long) positions[flatten(neighbour, newShape)] - positions[0];
        }
      }
      for (int i = 0; i < positions.length; i++) {
        long[] index = unflatten(i, newShape);
        long position = positions[0];
        for (int d = 0; d < index.length; d++) {
          position += index[d] * strides[d];
        }
        if (position != positions[i]) {
          return false;
        }
      }
      return true;
    }

    boolean isContiguous() {
      return IntStream.range(1, positions.length)
          .allMatch(i -> positions[i] == positions[i - 1] + 1);
    }
  }

  @Test
  void shouldAgreeWithTheModelAfterAnyChainOfViews() {
    int refusals = 0;
    for (int seed = 0; seed < CHAINS; seed++) {
      Random random = new Random(seed);
      try (Arena arena = Arena.ofConfined()) {
        long[] shape = random.longs(random.nextInt(5), 1, 5).toArray();
        float[] values = new float[count(shape)];
        for (int i = 0; i < values.length; i++) {
          values[i] = i;
        }
        Tensor view = Tensor.of(arena, values, shape);
        Model model = new Model(shape, IntStream.range(0, values.length).toArray());
        StringBuilder chain = new StringBuilder("seed " + seed + ": " + view);
        for (int i = 0; i < VIEWS_IN_CHAIN; i++) {
          if (random.nextInt(3) == 0) {
            long[] wanted = randomFactors(random, model.positions.length);
            chain.append(" reshaped to ").append(Arrays.toString(wanted));
            if (model.canBe(wanted)) {
              view = view.reshape(wanted);
              model = new Model(wanted, model.positions);
            } else {
              Tensor refusing = view;
              assertThrows(
                  IllegalArgumentException.class, () -> refusing.reshape(wanted), chain::toString);
              refusals++;
            }
          } else {
            Model before = model;
            int kind = random.nextInt(5);
            int dim = random.nextInt(Math.max(1, view.rank()));
            long a = random.nextInt(5);
            long b = random.nextInt(5);
            Tensor next = view(view, kind, dim, a, b);
            if (next != null) {
              view = next;
              model = model(before, kind, dim, a, b);
            }
          }
          chain.append(" -> ").append(view);
          check(arena, view, model, chain.toString());
        }
      }
    }
    assertTrue(refusals > CHAINS / 10, "reshapes refused: " + refusals);
  }

  /** Applies a view, or returns null if it does not apply. */
  private static Tensor view(Tensor tensor, int kind, int dim, long a, long b) {
    int rank = tensor.rank();
    if (kind == 3) {
      return rank < 5 ? tensor.unsqueeze(dim) : null;
    }
    if (rank == 0) {
      return null;
    }
    long size = tensor.size(dim);
    return switch (kind) {
      case 0 -> a + b <= size && b > 0 ? tensor.slice(dim - rank, a, b) : null;
      case 1 -> a < size ? tensor.select(dim, a) : null;
      case 2 -> tensor.transpose(dim, (int) (a % rank));
      default -> size == 1 && b > 0 ? tensor.expand(dim, b) : null;
    };
  }

  private static Model model(Model old, int kind, int dim, long a, long b) {
    long[] shape = old.shape;
    int rank = shape.length;
    return switch (kind) {
      case 0 -> old.map(replace(shape, dim, b), at -> replace(at, dim, at[dim] + a));
      case 1 -> old.map(remove(shape, dim), at -> insert(at, dim, a));
      case 2 -> {
        int other = (int) (a % rank);
        yield old.map(swap(shape, dim, other), at -> swap(at, dim, other));
      }
      case 3 -> old.map(insert(shape, dim, 1), at -> remove(at, dim));
      default -> old.map(replace(shape, dim, b), at -> replace(at, dim, 0));
    };
  }

  private static void check(Arena arena, Tensor view, Model model, String chain) {
    assertArrayEquals(model.shape, view.shape(), chain);
    assertEquals(model.positions.length, view.count(), chain);
    assertEquals(model.isContiguous(), view.isContiguous(), chain);
    float[] read = view.toFloatArray();
    float[] copied = view.toF32(arena).toFloatArray();
    Tensor turned = Tensor.allocate(arena, DType.F32, reversed(model.shape));
    reversed(turned).copyFrom(view);
    for (int i = 0; i < read.length; i++) {
      assertEquals(model.positions[i], read[i], chain);
      assertEquals(model.positions[i], copied[i], chain);
      long[] index = unflatten(i, model.shape);
      assertEquals(model.positions[i], view.getFloat(index), chain);
      assertEquals(model.positions[i], turned.getFloat(reversed(index)), chain);
    }
  }

  private static long[] randomFactors(Random random, int product) {
    long[] factors = new long[0];
    int rest = product;
    while (factors.length < 4 && (rest > 1 || random.nextInt(3) == 0)) {
      int factor = 1 + random.nextInt(rest);
      while (rest % factor != 0) {
        factor--;
      }
      factors = insert(factors, random.nextInt(factors.length + 1), factor);
      rest /= factor;
    }
    return rest == 1 ? factors : insert(factors, 0, rest);
  }

  private static Tensor reversed(Tensor tensor) {
    Tensor view = tensor;
    for (int d = 0; d < tensor.rank() / 2; d++) {
      view = view.transpose(d, -1 - d);
    }
    return view;
  }

  private static long[] reversed(long[] values) {
    return IntStream.range(0, values.length)
        .mapToLong(i -> values[values.length - 1 - i])
        .toArray();
  }

  private static int count(long[] shape) {
    return (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
  }

  private static int flatten(long[] index, long[] shape) {
    int flat = 0;
    for (int d = 0; d < shape.length; d++) {
      flat = (int) (flat * shape[d] + index[d]);
    }
    return flat;
  }

  private static long[] unflatten(int flat, long[] shape) {
    long[] index = new long[shape.length];
    long rest = flat;
    for (int d = shape.length - 1; d >= 0; d--) {
      index[d] = rest % shape[d];
      rest /= shape[d];
    }
    return index;
  }

  private static long[] replace(long[] values, int i, long value) {
    long[] result = values.clone();
    result[i] = value;
    return result;
  }

  private static long[] swap(long[] values, int i, int j) {
    return replace(replace(values, i, values[j]), j, values[i]);
  }

  private static long[] insert(long[] values, int i, long value) {
    return IntStream.rangeClosed(0, values.length)
        .mapToLong(k -> k < i ? values[k] : k == i ? value : values[k - 1])
        .toArray();
  }

  private static long[] remove(long[] values, int i) {
    return IntStream.range(0, values.length)
        .filter(k -> k != i)
        .mapToLong(k -> values[k])
        .toArray();
  }
}
