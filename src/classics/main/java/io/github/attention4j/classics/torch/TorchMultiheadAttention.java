package io.github.attention4j.classics.torch;

import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * Converts the weights, masks and averaged weights of PyTorch's {@code nn.MultiheadAttention} to
 * and from those of {@link MultiHeadAttention}.
 *
 * <pre>{@code
 * MultiHeadAttention attention = TorchMultiheadAttention.load(file, "self_attn.", 8, arena);
 * Mask mask = TorchMultiheadAttention.mask(keyPaddingMask, null, 8, arena);
 * attention.forward(query, key, value, mask, out, Extras.none().weights(weights));
 * TorchMultiheadAttention.averageHeads(weights, average);
 * }</pre>
 *
 * <p>Tensors of {@code batch_first=False} are views: {@code x.transpose(0, 1)}, and likewise for
 * the result.
 */
public final class TorchMultiheadAttention {
  private TorchMultiheadAttention() {}

  /**
   * Reads the layer by PyTorch's names: {@code in_proj_weight} with the rows of queries, keys and
   * values, or {@code q_proj_weight}, {@code k_proj_weight} and {@code v_proj_weight} if their
   * widths differ; {@code in_proj_bias}, {@code out_proj.weight} and {@code out_proj.bias}. The
   * biases are optional.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "layers.0.self_attn."}
   * @param numHeads PyTorch's {@code num_heads}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return a layer without rotary positions or mask; {@link #mask} makes masks for its calls
   * @throws IllegalArgumentException if a tensor is missing or unknown, the shapes do not match
   *     each other or the number of heads, or there are {@code bias_k} and {@code bias_v}, which
   *     are not supported
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static MultiHeadAttention load(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    if (weights.has("bias_k", "bias_v")) {
      throw new IllegalArgumentException(
          file
              + " must not have bias_k and bias_v, a learned key and value after each sequence:"
              + " they are not supported");
    }
    Linear out =
        Linears.of(
            weights.get("out_proj.weight", "out_proj_weight"),
            weights.getOptional("out_proj.bias", "out_proj_bias"));
    Tensor bias = weights.getOptional("in_proj_bias");
    MultiHeadAttention.Builder builder;
    if (weights.has("q_proj_weight")) {
      Tensor query = weights.get("q_proj_weight");
      Checks.rank("q_proj_weight", query, 2);
      long width = query.size(0);
      if (bias != null) {
        Checks.shape("in_proj_bias", bias, "[3 * embed]", 3 * width);
      }
      builder =
          MultiHeadAttention.builder(
              Linears.of(query, part(bias, 0, width)),
              Linears.of(weights.get("k_proj_weight"), part(bias, width, width)),
              Linears.of(weights.get("v_proj_weight"), part(bias, 2 * width, width)),
              out);
    } else {
      builder = MultiHeadAttention.builder(Linears.of(weights.get("in_proj_weight"), bias), out);
    }
    weights.requireAllRead();
    return builder.heads(numHeads).build();
  }

  private static Tensor part(Tensor bias, long start, long count) {
    return bias == null ? null : bias.slice(0, start, count);
  }

  // ---- Masks ----

  /**
   * Makes a mask from those that {@code nn.MultiheadAttention} takes. Their booleans are true where
   * a key is hidden, the opposite of {@link Mask#allow}. A query that sees no key has result 0
   * before the output projection, where PyTorch has NaN.
   *
   * @param keyPaddingMask {@link DType#BOOL} {@code [batch, lenK]}, true where a key is padding, or
   *     {@link DType#F32}, added to the logits of every head and query; or null. Not modified.
   * @param attnMask {@link DType#BOOL}, true where a query does not see a key, or {@link
   *     DType#F32}, added to the scaled logits; {@code [lenQ, lenK]} or {@code [batch · heads,
   *     lenQ, lenK]}; or null. Not modified.
   * @param heads the number of heads
   * @param arena supplies the memory of the mask
   * @return the mask, {@link Mask#none} if both are null. Booleans are read now; a mask of floats
   *     is read at each call, unless both are floats, whose sum is taken now.
   * @throws IllegalArgumentException if types, ranks or sizes do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Mask mask(Tensor keyPaddingMask, Tensor attnMask, long heads, Arena arena) {
    Checks.positive("heads", heads);
    Objects.requireNonNull(arena, "arena");
    Tensor padding = keyPaddingMask == null ? null : padding(keyPaddingMask);
    Tensor scores = attnMask == null ? null : perHead(attnMask, heads);
    if (padding == null || scores == null) {
      Tensor only = padding == null ? scores : padding;
      return only == null ? Mask.none() : mask(only, arena);
    }
    if (padding.dtype() != scores.dtype()) {
      return mask(scores, arena).and(mask(padding, arena));
    }
    Checks.equal("attnMask", "keyPaddingMask", "lenK", scores.size(-1), padding.size(-1));
    long batch = padding.size(0);
    if (scores.rank() == 2) {
      scores = scores.unsqueeze(0).unsqueeze(0).expand(0, batch);
    }
    Checks.equal("attnMask", "keyPaddingMask", "batch", scores.size(0), batch);
    Tensor shown = padding.expand(1, scores.size(1)).expand(2, scores.size(2));
    return combined(scores, shown, arena);
  }

  private static Tensor padding(Tensor keyPaddingMask) {
    Checks.input("keyPaddingMask", keyPaddingMask, floatsOrBooleans(keyPaddingMask));
    Checks.rank("keyPaddingMask", keyPaddingMask, 2);
    return keyPaddingMask.unsqueeze(1).unsqueeze(1);
  }

  private static Tensor perHead(Tensor attnMask, long heads) {
    Checks.input("attnMask", attnMask, floatsOrBooleans(attnMask));
    if (attnMask.rank() == 3) {
      Checks.multiple("attnMask.size(0)", attnMask.size(0), "heads", heads);
      long batch = attnMask.size(0) / heads;
      return attnMask.reshape(batch, heads, attnMask.size(1), attnMask.size(2));
    }
    if (attnMask.rank() != 2) {
      throw new IllegalArgumentException(
          "attnMask.rank must be 2 [lenQ, lenK] or 3 [batch * heads, lenQ, lenK]: attnMask.rank="
              + attnMask.rank());
    }
    return attnMask;
  }

  private static DType floatsOrBooleans(Tensor mask) {
    return mask.dtype() == DType.F32 ? DType.F32 : DType.BOOL;
  }

  private static Mask mask(Tensor tensor, Arena arena) {
    if (tensor.dtype() == DType.F32) {
      return Mask.bias(tensor);
    }
    Tensor allow = Tensor.allocate(arena, DType.BOOL, tensor.shape()).copyFrom(tensor);
    Tensor flat = allow.reshape(allow.count());
    for (long i = 0; i < flat.count(); i++) {
      flat.setBoolean(!flat.getBoolean(i), i);
    }
    return Mask.allow(allow);
  }

  /** The sum of two masks of floats, or what neither of two masks of booleans hides. */
  private static Mask combined(Tensor a, Tensor b, Arena arena) {
    boolean added = a.dtype() == DType.F32;
    Tensor both = Tensor.allocate(arena, a.dtype(), a.shape());
    long[] at = new long[4];
    for (at[0] = 0; at[0] < both.size(0); at[0]++) {
      for (at[1] = 0; at[1] < both.size(1); at[1]++) {
        for (at[2] = 0; at[2] < both.size(2); at[2]++) {
          for (at[3] = 0; at[3] < both.size(3); at[3]++) {
            if (added) {
              both.setFloat(a.getFloat(at) + b.getFloat(at), at);
            } else {
              both.setBoolean(!a.getBoolean(at) && !b.getBoolean(at), at);
            }
          }
        }
      }
    }
    return added ? Mask.bias(both) : Mask.allow(both);
  }

  // ---- Weights ----

  /**
   * Averages the weights of all heads, which {@code nn.MultiheadAttention} returns by default.
   *
   * @param weights {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, keys side by side. Not
   *     modified.
   * @param average {@code [batch, lenQ, lenK]}, likewise. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, heads is 0,
   *     or average is read-only or overlaps weights
   */
  public static void averageHeads(Tensor weights, Tensor average) {
    Checks.rank("weights", Objects.requireNonNull(weights, "weights"), 4);
    Checks.input("weights", weights);
    Checks.packedRows("weights", weights);
    Checks.output("average", Objects.requireNonNull(average, "average"));
    long heads = weights.size(1);
    long lenK = weights.size(3);
    Checks.positive("weights.heads", heads);
    Checks.shape("average", average, "[batch, lenQ, lenK]", weights.size(0), weights.size(2), lenK);
    Checks.packedRows("average", average);
    Checks.disjoint("average", average, "weights", weights);
    if (average.count() == 0) {
      return;
    }
    MemorySegment from = Checks.first(weights);
    MemorySegment to = Checks.first(average);
    for (long b = 0; b < average.size(0); b++) {
      for (long i = 0; i < average.size(1); i++) {
        long row = b * weights.stride(0) + i * weights.stride(2);
        long result = b * average.stride(0) + i * average.stride(1);
        for (long j = 0; j < lenK; j++) {
          float sum = 0;
          for (long h = 0; h < heads; h++) {
            sum += from.getAtIndex(ValueLayout.JAVA_FLOAT, row + h * weights.stride(1) + j);
          }
          to.setAtIndex(ValueLayout.JAVA_FLOAT, result + j, sum / heads);
        }
      }
    }
  }
}
