package io.github.attention4j.internal;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;

/** Reads projections as the layers of each world name them. */
public final class Linears {
  private Linears() {}

  /**
   * Reads as "Dive into Deep Learning" has it: {@code name.weight} and {@code name.bias}, or the
   * parameters {@code name} and {@code biasName}; without bias where there is none.
   */
  public static Linear read(Weights weights, String name, String biasName) {
    var weight = weights.getStored(name + ".weight", name);
    return weights.has(name + ".bias", biasName)
        ? Linear.of(weight, weights.get(name + ".bias", biasName))
        : Linear.of(weight);
  }

  /**
   * Reads {@code name + "kernel"}, {@code [in, out]} as TensorFlow keeps it, which is transposed
   * into the arena, and {@code name + "bias"}; without bias where there is none.
   *
   * @param names what the tensor's name begins with in one world or another
   */
  public static Linear readKernel(Weights weights, Arena arena, String... names) {
    Tensor kernel = weights.get(with(names, "kernel"));
    Checks.rank("kernel", kernel, 2);
    Tensor weight = kernel.transpose(0, 1).toF32(arena);
    String[] bias = with(names, "bias");
    return weights.has(bias) ? Linear.of(weight, weights.get(bias)) : Linear.of(weight);
  }

  private static String[] with(String[] names, String end) {
    return Arrays.stream(names).map(name -> name + end).toArray(String[]::new);
  }
}
