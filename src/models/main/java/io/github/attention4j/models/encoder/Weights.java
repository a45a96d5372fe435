package io.github.attention4j.models.encoder;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.TensorSource;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Reads the tensors of a specification into a model's memory. What is missing or of another shape
 * is collected, and {@link #requireComplete} says all of it at once; until then a placeholder of
 * the wanted shape stands for it.
 */
final class Weights {
  private static final int SHOWN_PROBLEMS = 40;

  private static final Quantization EIGHT_BITS =
      new Quantization(8, 32, Quantization.Scales.F32, false);

  private final TensorSource source;
  private final Arena arena;
  private final String prefix;
  private final List<String> problems = new ArrayList<>();
  private final Storage storage;
  private long parameters;

  /**
   * @param arena where the weights live
   * @param storage what the matrices of products are kept as
   */
  Weights(TensorSource source, EncoderSpec spec, Arena arena, Storage storage) {
    this.source = source;
    this.storage = storage;
    this.arena = arena;
    // A checkpoint saved from a model with a head has the prefix, one of the bare model has not.
    this.prefix =
        source.contains(spec.prefix() + spec.embedding().word() + ".weight") ? spec.prefix() : "";
  }

  Arena arena() {
    return arena;
  }

  /** The number of elements of the tensors read so far. */
  long parameters() {
    return parameters;
  }

  /** A base model's name as the checkpoint spells it. */
  String base(String name) {
    return prefix + name;
  }

  /** Whether the weight of a projection is there. */
  boolean has(Projection projection, boolean base) {
    return projection.names().stream()
        .allMatch(name -> source.contains(resolve(base ? base(name) : name) + ".weight"));
  }

  /** One of the alternatives between bars: the one that is there, or the first. */
  private String resolve(String name) {
    int bar = name.indexOf('|');
    if (bar < 0) {
      return name;
    }
    String stem = name.substring(0, name.lastIndexOf('.', bar) + 1);
    List<String> alternatives = List.of(name.substring(stem.length()).split("\\|"));
    return alternatives.stream()
        .map(each -> stem + each)
        .filter(each -> source.contains(each + ".weight"))
        .findFirst()
        .orElse(stem + alternatives.getFirst());
  }

  /** A tensor of this shape, or a placeholder and a problem. */
  private Tensor find(Arena temporary, String name, long... shape) {
    String found = source.contains(name) ? name : oldName(name);
    boolean there = source.contains(found);
    long[] size = there ? source.shape(found) : null;
    if (!there || !source.isFloat(found) || !Arrays.equals(size, shape)) {
      problems.add(
          name
              + " must hold floats "
              + Arrays.toString(shape)
              + ": it is "
              + (there
                  ? (source.isFloat(found) ? "" : "of another type, ") + Arrays.toString(size)
                  : "missing"));
      return null;
    }
    Tensor tensor = source.get(found, temporary);
    parameters += tensor.count();
    return tensor;
  }

  /** Files of 2018 call a layer norm's weight gamma and its bias beta. */
  private static String oldName(String name) {
    if (name.endsWith("LayerNorm.weight")) {
      return name.substring(0, name.length() - "weight".length()) + "gamma";
    }
    if (name.endsWith("LayerNorm.bias")) {
      return name.substring(0, name.length() - "bias".length()) + "beta";
    }
    return name;
  }

  /** A copy as float32. */
  Tensor floats(String name, long... shape) {
    try (Arena temporary = Arena.ofConfined()) {
      Tensor tensor = find(temporary, name, shape);
      return tensor == null ? Tensor.allocate(arena, DType.F32, shape) : tensor.toF32(arena);
    }
  }

  /** A copy in the type that is stored. */
  Tensor stored(String name, long... shape) {
    try (Arena temporary = Arena.ofConfined()) {
      Tensor tensor = find(temporary, name, shape);
      return tensor == null
          ? Tensor.allocate(arena, DType.F32, shape)
          : Tensor.allocate(arena, tensor.dtype(), shape).copyFrom(tensor);
    }
  }

  /**
   * A projection, packed for products of many rows, so that a row's result does not depend on how
   * many there are.
   *
   * @param base whether the names are the base model's
   * @param outs how many outputs each name has; where one name stands for several of them, it has
   *     their sum
   */
  Linear linear(Projection projection, boolean base, long dimIn, long... outs) {
    return linear(arena, projection, base, dimIn, outs);
  }

  /** The same in other memory. */
  Linear linear(Arena arena, Projection projection, boolean base, long dimIn, long... outs) {
    List<String> names =
        projection.names().stream().map(name -> resolve(base ? base(name) : name)).toList();
    long dimOut = Arrays.stream(outs).sum();
    long[] sizes = names.size() == 1 ? new long[] {dimOut} : outs;
    Tensor bias = projection.bias() ? Tensor.allocate(arena, DType.F32, dimOut) : null;
    try (Arena temporary = Arena.ofConfined()) {
      List<Tensor> parts = new ArrayList<>();
      long row = 0;
      for (int i = 0; i < names.size(); i++) {
        parts.add(find(temporary, names.get(i) + ".weight", sizes[i], dimIn));
        if (bias != null) {
          Tensor part = find(temporary, names.get(i) + ".bias", sizes[i]);
          if (part != null) {
            bias.slice(0, row, sizes[i]).copyFrom(part);
          }
        }
        row += sizes[i];
      }
      Tensor weight = join(temporary, parts, dimOut, dimIn);
      return pack(arena, weight, bias);
    }
  }

  /** The weight may be temporary; what is returned keeps none of it. */
  private Linear pack(Arena arena, Tensor weight, Tensor bias) {
    if (!problems.isEmpty()) {
      return Linears.of(weight, bias);
    }
    if (storage == Storage.INT8 && weight.size(1) % EIGHT_BITS.group() == 0) {
      QuantizedWeights quantized = QuantizedWeights.quantize(arena, weight, EIGHT_BITS);
      return Linears.of(quantized, bias);
    }
    Linear linear = Linears.of(weight, bias);
    if (storage == Storage.BF16) {
      linear = linear.withBf16Products();
    }
    Linear packed = linear.packed(arena);
    // A BLAS reads the weight itself.
    return packed != linear ? packed : Linears.of(weight.toF32(arena), bias);
  }

  /** A projection by a matrix that has been computed, without a bias and always of floats. */
  Linear packed(Tensor weight) {
    Linear linear = Linear.of(weight);
    Linear packed = linear.packed(arena);
    return packed != linear ? packed : Linear.of(weight.toF32(arena));
  }

  /** The two projections of one tensor with twice the outputs, or of two tensors. */
  Linear[] halves(Projection projection, long dimIn, long dimOut) {
    if (projection.names().size() == 2) {
      Linear[] halves = new Linear[2];
      for (int i = 0; i < 2; i++) {
        Projection half = Projection.of(projection.names().get(i), projection.bias());
        halves[i] = linear(half, true, dimIn, dimOut);
      }
      return halves;
    }
    String name = base(projection.names().getFirst());
    Tensor bias = projection.bias() ? floats(name + ".bias", 2 * dimOut) : null;
    Linear[] halves = new Linear[2];
    try (Arena temporary = Arena.ofConfined()) {
      Tensor weight = find(temporary, name + ".weight", 2 * dimOut, dimIn);
      for (int i = 0; i < 2; i++) {
        Tensor half = weight == null ? null : weight.slice(0, i * dimOut, dimOut);
        List<Tensor> parts = new ArrayList<>();
        parts.add(half);
        Tensor own = join(temporary, parts, dimOut, dimIn);
        halves[i] = pack(arena, own, bias == null ? null : bias.slice(0, i * dimOut, dimOut));
      }
    }
    return halves;
  }

  /** One below the other; in place if that is possible. */
  private static Tensor join(Arena temporary, List<Tensor> parts, long dimOut, long dimIn) {
    if (parts.contains(null)) {
      return Tensor.allocate(temporary, DType.F32, dimOut, dimIn);
    }
    DType type = parts.getFirst().dtype();
    boolean same = parts.stream().allMatch(part -> part.dtype() == type);
    Tensor only = parts.getFirst();
    if (parts.size() == 1
        && only.isContiguous()
        && only.segment().address() % only.dtype().bytes() == 0) {
      return only;
    }
    Tensor joined = Tensor.allocate(temporary, same ? type : DType.F32, dimOut, dimIn);
    long row = 0;
    for (Tensor part : parts) {
      joined.slice(0, row, part.size(0)).copyFrom(part);
      row += part.size(0);
    }
    return joined;
  }

  /** A norm of the base model or of a head. */
  RowNorm norm(Norm norm, boolean base, long width) {
    if (norm == null) {
      return null;
    }
    String name = base ? base(norm.name()) : norm.name();
    Tensor weight = floats(name + ".weight", width);
    if (norm.rms()) {
      return RmsNorm.of(weight, norm.epsilon())::forward;
    }
    Tensor bias = norm.bias() ? floats(name + ".bias", width) : null;
    return LayerNorm.of(weight, bias, norm.epsilon())::forward;
  }

  /** Either norm. */
  @FunctionalInterface
  interface RowNorm {
    void forward(Tensor x, Tensor out);
  }

  /**
   * @throws IllegalArgumentException if a tensor was missing or had another shape
   */
  void requireComplete() {
    if (problems.isEmpty()) {
      return;
    }
    StringBuilder text =
        new StringBuilder(source.source())
            .append(": tensors must be those that the configuration asks for: wrong=")
            .append(problems.size());
    for (String problem : problems.subList(0, Math.min(problems.size(), SHOWN_PROBLEMS))) {
      text.append("\n  ").append(problem);
    }
    if (problems.size() > SHOWN_PROBLEMS) {
      text.append("\n  and ").append(problems.size() - SHOWN_PROBLEMS).append(" more");
    }
    throw new IllegalArgumentException(text.toString());
  }
}
