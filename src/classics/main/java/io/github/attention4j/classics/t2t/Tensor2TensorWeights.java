package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;

/**
 * The variables of one {@code multihead_attention}, by the names of TensorFlow's scopes. Kernels
 * are {@code [in, out]} there, and are transposed only here.
 */
final class Tensor2TensorWeights {
  private final Weights weights;
  private final Arena arena;
  private final boolean vars3d;
  private final long numHeads;

  Tensor2TensorWeights(
      SafeTensors file, String prefix, Arena arena, boolean vars3d, long numHeads) {
    this.weights = new Weights(file, prefix, arena);
    this.arena = arena;
    this.vars3d = vars3d;
    this.numHeads = numHeads;
  }

  void requireAllRead() {
    weights.requireAllRead();
  }

  // ---- Projections ----

  /**
   * Reads one of q, k and v.
   *
   * @param widthName the caller's name for the filter's width
   */
  Projection projection(String name, String widthName, int width, Conv1d.Padding padding) {
    if (width > 1) {
      return convolution(name, widthName, width, padding);
    }
    if (!vars3d) {
      return Projection.of(dense(weights.get(name + "/kernel", name), name + "/kernel"));
    }
    Tensor kernel = weights.get(name);
    Checks.rank(name, kernel, 3);
    Checks.equal(name + ".heads", kernel.size(1), "numHeads", numHeads);
    return Projection.of(
        dense(kernel.reshape(kernel.size(0), kernel.size(1) * kernel.size(2)), name));
  }

  private Projection convolution(String name, String widthName, int width, Conv1d.Padding padding) {
    Conv1d.requireWidth(widthName, width, padding);
    if (vars3d) {
      throw new IllegalArgumentException(
          widthName + " must be 1 with vars3d: " + widthName + "=" + width);
    }
    // The original convolves pictures of width 1, under another name.
    Tensor kernel =
        weights.get(
            name + "_single/kernel", name + "/kernel", name + "_conv/kernel", name + "_conv");
    Tensor bias =
        weights.get(
            name + "_single/bias", name + "/bias", name + "_conv/bias", name + "_conv_bias");
    if (kernel.rank() == 4) {
      Checks.equal(name + "/kernel.size(1)", kernel.size(1), "a picture's width", 1);
      kernel = kernel.select(1, 0);
    }
    Checks.rank(name + "/kernel", kernel, 3);
    Checks.equal(name + "/kernel.width", kernel.size(0), widthName, width);
    return Projection.of(Conv1d.of(kernel.transpose(1, 2).toF32(arena), bias, padding));
  }

  Linear outputTransform() {
    if (!vars3d) {
      Tensor kernel = weights.get("output_transform/kernel", "output_transform");
      return dense(kernel, "output_transform/kernel");
    }
    Tensor kernel = weights.get("o", "output_transform");
    Checks.rank("o", kernel, 3);
    Checks.equal("o.heads", kernel.size(0), "numHeads", numHeads);
    return dense(kernel.reshape(kernel.size(0) * kernel.size(1), kernel.size(2)), "o");
  }

  private Linear dense(Tensor kernel, String name) {
    Checks.rank(name, kernel, 2);
    return Linear.of(kernel.transpose(0, 1).toF32(arena));
  }

  // ---- Tables of relative positions ----

  Tensor keyTable(AttentionType type) {
    return table(
        type,
        "relative_positions_keys/embeddings",
        "relative_positions_keys",
        "key_relative_embeddings",
        "relative_embeddings");
  }

  Tensor valueTable(AttentionType type) {
    return table(
        type,
        "relative_positions_values/embeddings",
        "relative_positions_values",
        "value_relative_embeddings");
  }

  /** With or without the scope of the attention type. */
  private Tensor table(AttentionType type, String... names) {
    String scope =
        switch (type) {
          case DOT_PRODUCT_RELATIVE -> "dot_product_attention_relative/";
          case DOT_PRODUCT_RELATIVE_V2 -> "dot_product_self_attention_relative_v2/";
          case DOT_PRODUCT_UNMASKED_RELATIVE_V2 ->
              "dot_product_unmasked_self_attention_relative_v2/";
          default -> "masked_relative_local_attention_1d/";
        };
    return weights.get(scoped(scope, names));
  }

  private static String[] scoped(String scope, String... names) {
    String[] all = new String[2 * names.length];
    for (int i = 0; i < names.length; i++) {
      all[i] = scope + names[i];
      all[names.length + i] = names[i];
    }
    return all;
  }

  // ---- Areas ----

  /** Sets the embeddings and dense layers of area attention's key mode. */
  void areas(AreaAttention.Builder attention) {
    String scope = "dot_product_area_attention/combine_area_features/";
    attention.weights(
        weights.get(scoped(scope, "area_height_emb")),
        weights.get(scoped(scope, "area_width_emb")),
        readKernel(weights, arena, scoped(scope, "dense/", "dense1.")),
        readKernel(weights, arena, scoped(scope, "dense_1/", "dense2.")));
  }

  /**
   * Reads {@code name + "kernel"}, which is {@code [in, out]} in TensorFlow and is transposed into
   * the arena, and {@code name + "bias"}, which is optional.
   *
   * @param names alternatives for the start of the tensors' names
   */
  static Linear readKernel(Weights weights, Arena arena, String... names) {
    Tensor kernel = weights.get(with(names, "kernel"));
    Checks.rank("kernel", kernel, 2);
    Tensor weight = kernel.transpose(0, 1).toF32(arena);
    return Linears.of(weight, weights.getOptional(with(names, "bias")));
  }

  private static String[] with(String[] names, String end) {
    return Arrays.stream(names).map(name -> name + end).toArray(String[]::new);
  }
}
