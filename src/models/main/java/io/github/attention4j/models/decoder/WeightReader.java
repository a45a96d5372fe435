package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Stored;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;

/**
 * Makes a model's parts from the tensors of its checkpoint. A matrix that the file stores as F32,
 * BF16 or F16 in the order that the interpreter computes with is used where it is mapped, one of
 * quantised blocks is packed; others are widened to F32. Vectors are always copied.
 *
 * <p>Safe for any number of threads.
 */
final class WeightReader {
  private final Checkpoint checkpoint;
  private final Storage storage;
  private final boolean bf16Products;
  private final Arena arena;

  /** Bytes by what weights are kept as. */
  private final Map<String, Long> bytes = new ConcurrentSkipListMap<>();

  WeightReader(Checkpoint checkpoint, Storage storage, boolean bf16Products, Arena arena) {
    this.checkpoint = checkpoint;
    this.storage = storage;
    this.bf16Products = bf16Products;
    this.arena = arena;
  }

  /** Bytes by what weights are kept as; only those that are mapped are not memory of their own. */
  Map<String, Long> bytes() {
    return new TreeMap<>(bytes);
  }

  private void count(String kind, long size) {
    bytes.merge(kind, size, Long::sum);
  }

  private Stored stored(Source source) {
    return checkpoint.get(source.name());
  }

  /** A projection with a matrix as it is stored if possible, or as the storage says. */
  private Linear linear(Source source, Tensor bias) {
    Stored stored = stored(source);
    if (source.view() == null && storage == Storage.AS_STORED) {
      Tensor inPlace = stored.inPlace();
      if (inPlace != null) {
        count(stored.type() + " mapped", stored.bytes());
        return linear(inPlace, bias);
      }
      QuantizedWeights packed = stored.quantized(arena);
      if (packed != null) {
        return linear(packed, stored.type() + " as ", bias);
      }
    }
    int bits = storage == Storage.INT8 ? 8 : storage == Storage.INT4 ? 4 : 0;
    long columns = source.view() == null ? source.shape()[1] : 0;
    if (bits > 0 && columns % 32 == 0 && columns > 0) {
      try (Arena scratch = Arena.ofConfined()) {
        Tensor inPlace = stored.inPlace();
        Tensor matrix = inPlace != null ? inPlace : stored.floats(scratch);
        return linear(
            QuantizedWeights.quantize(arena, matrix, Quantization.symmetric(bits)), "", bias);
      }
    }
    return linear(floats(source), bias);
  }

  private Linear linear(Tensor matrix, Tensor bias) {
    Linear linear = bias == null ? Linear.of(matrix) : Linear.of(matrix, bias);
    return bf16Products ? linear.withBf16Products() : linear;
  }

  private Linear linear(QuantizedWeights packed, String of, Tensor bias) {
    Quantization format = packed.quantization();
    count(
        of
            + format.bits()
            + " bits, "
            + format.scales()
            + " scales"
            + (format.minimums() ? " and minimums" : "")
            + " of "
            + format.group(),
        packed.byteSize());
    return bias == null ? Linear.of(packed) : Linear.of(packed, bias);
  }

  /** A copy as floats, in the order that the interpreter computes with. */
  Tensor floats(Source source) {
    Tensor copy;
    if (source.view() == null) {
      copy = stored(source).floats(arena);
    } else {
      Tensor inPlace = stored(source).inPlace();
      if (inPlace != null) {
        copy = rearranged(source.view().apply(inPlace));
      } else {
        try (Arena scratch = Arena.ofConfined()) {
          copy = rearranged(source.view().apply(stored(source).floats(scratch)));
        }
      }
    }
    count("F32", copy.count() * Float.BYTES);
    return copy;
  }

  private Tensor rearranged(Tensor view) {
    long[] shape = view.shape();
    Tensor copy = Tensor.allocate(arena, DType.F32, shape).copyFrom(view);
    // Views that take rows apart by heads are put together again: a matrix, or a vector.
    if (shape.length <= 2) {
      return copy;
    }
    int splits = 3;
    long rows = shape[0] * shape[1] * shape[2];
    return shape.length == splits ? copy.reshape(rows) : copy.reshape(rows, shape[splits]);
  }

  Projector projector(Specification.Projection projection) {
    List<Linear> parts = new ArrayList<>();
    for (int i = 0; i < projection.weights().size(); i++) {
      Tensor bias = projection.biases().isEmpty() ? null : floats(projection.biases().get(i));
      parts.add(linear(projection.weights().get(i), bias));
    }
    return new Projector(parts);
  }

  RowNorm norm(Specification.Norm norm) {
    return norm(norm, 1);
  }

  /**
   * A norm whose result is multiplied by a scale; null if there is no norm.
   *
   * @param scale multiplies weight and bias
   */
  RowNorm norm(Specification.Norm norm, double scale) {
    if (norm == null) {
      return null;
    }
    Tensor weight = adjusted(floats(norm.weight()), norm.offset(), scale);
    if (!norm.subtractMean()) {
      return RmsNorm.of(weight, norm.epsilon())::forward;
    }
    Tensor bias = norm.bias() == null ? null : adjusted(floats(norm.bias()), 0, scale);
    return LayerNorm.of(weight, bias, norm.epsilon())::forward;
  }

  private static Tensor adjusted(Tensor vector, double offset, double scale) {
    if (offset == 0 && scale == 1) {
      return vector;
    }
    float[] values = vector.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) ((values[i] + offset) * scale);
    }
    return vector.copyFrom(values);
  }

  /** The head of a model whose embedding may serve as it: unless the checkpoint has another. */
  Linear head(Specification specification) {
    if (specification.tied()) {
      Stored other = stored(specification.head());
      if (other == null || equalsEmbedding(specification, other)) {
        return linear(specification.embedding(), null);
      }
    }
    return linear(specification.head(), null);
  }

  private boolean equalsEmbedding(Specification specification, Stored head) {
    Stored embedding = stored(specification.embedding());
    Tensor headInPlace = head.inPlace();
    Tensor embeddingInPlace = embedding.inPlace();
    if (headInPlace != null
        && embeddingInPlace != null
        && headInPlace.dtype() == embeddingInPlace.dtype()) {
      return headInPlace.segment().mismatch(embeddingInPlace.segment()) < 0;
    }
    try (Arena scratch = Arena.ofConfined()) {
      Tensor one = Tensor.allocate(scratch, DType.F32, specification.width());
      Tensor other = Tensor.allocate(scratch, DType.F32, specification.width());
      for (long row = 0; row < specification.vocabulary(); row++) {
        head.row(row, one);
        embedding.row(row, other);
        if (!Arrays.equals(one.toFloatArray(), other.toFloatArray())) {
          return false;
        }
      }
    }
    return true;
  }
}
