package io.github.attention4j.bench;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;
import java.util.Locale;

/** How numbers are stored. */
enum Storage {
  F32,
  BF16,
  F16,
  /** Eight bits in groups of 32 with a scale of 16 bits; in a cache, rows with a scale of 32. */
  I8,
  /** Four bits in groups of 32 with a scale of 16 bits. */
  I4;

  /** The error allowed in a product of numbers rounded to bfloat16, over the root of its terms. */
  static final double BF16_PRODUCTS = 2e-2;

  private static final double GROUP = 32;

  /** Follows the name of a problem whose numbers are stored this way; empty for float32. */
  String suffix() {
    return this == F32 ? "" : "-" + name().toLowerCase(Locale.ROOT);
  }

  /** The type of a tensor or cache; 4 bits have none. */
  DType dtype() {
    return DType.valueOf(name());
  }

  /** The bytes of this many weights. */
  double weightBytes(double count) {
    return switch (this) {
      case F32 -> 4 * count;
      case BF16, F16 -> 2 * count;
      case I8 -> (1 + 2 / GROUP) * count;
      case I4 -> (0.5 + 2 / GROUP) * count;
    };
  }

  /** The bytes of the keys and values of a shape. */
  double cacheBytes(Shape shape) {
    double count = (double) shape.keyCount() + shape.valueCount();
    double rows = (double) shape.keyCount() / shape.dimQk() * 2;
    return this == I8 ? count + 4 * rows : count * dtype().bytes();
  }

  /** The error allowed in a product of weights stored this way, over the root of its terms. */
  double tolerance() {
    return this == I8 || this == I4 ? 2e-4 : 2e-5;
  }

  /** A projection without bias by weights that are stored this way. */
  Linear linear(Arena arena, Tensor weight) {
    return switch (this) {
      case F32 -> Linear.of(weight);
      case BF16, F16 -> Linear.of(of(arena, weight));
      case I8, I4 -> Linear.of(quantized(arena, weight));
    };
  }

  /** The numbers that such weights represent. */
  float[] widened(Arena arena, Tensor weight) {
    if (this != I8 && this != I4) {
      return of(arena, weight).toF32(arena).toFloatArray();
    }
    Tensor out = Tensor.allocate(arena, DType.F32, weight.shape());
    quantized(arena, weight).dequantize(0, out);
    return out.toFloatArray();
  }

  private QuantizedWeights quantized(Arena arena, Tensor weight) {
    return QuantizedWeights.quantize(arena, weight, Quantization.symmetric(this == I8 ? 8 : 4));
  }

  /** The same numbers, rounded to this type. */
  Tensor of(Arena arena, Tensor floats) {
    return Tensor.allocate(arena, dtype(), floats.shape()).copyFrom(floats);
  }
}
