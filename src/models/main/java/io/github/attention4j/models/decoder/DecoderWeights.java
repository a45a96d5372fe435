package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Stored;
import io.github.attention4j.models.weights.RowNorm;
import io.github.attention4j.models.weights.Source;
import io.github.attention4j.models.weights.WeightReader;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Builds the parts of a decoder from the tensors of a checkpoint. Safe for any number of threads.
 */
final class DecoderWeights {
  private final Checkpoint checkpoint;
  private final WeightReader reader;

  DecoderWeights(Checkpoint checkpoint, WeightReader reader) {
    this.checkpoint = checkpoint;
    this.reader = reader;
  }

  /** A copy as floats, in the order that the interpreter uses. */
  Tensor floats(Source source) {
    return reader.floats(source);
  }

  Projector projector(Specification.Projection projection) {
    List<Linear> parts = new ArrayList<>();
    for (int i = 0; i < projection.weights().size(); i++) {
      Source bias = projection.biases().isEmpty() ? null : projection.biases().get(i);
      parts.add(reader.linear(projection.weights().get(i), bias));
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
      return RowNorm.rms(weight, norm.epsilon());
    }
    Tensor bias = norm.bias() == null ? null : adjusted(floats(norm.bias()), 0, scale);
    return RowNorm.layer(weight, bias, norm.epsilon());
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

  /** The head: the embedding if the model ties them and the checkpoint has no other head. */
  Linear head(Specification specification) {
    if (specification.tied()) {
      Stored other = checkpoint.get(specification.head().name());
      if (other == null || equalsEmbedding(specification, other)) {
        return reader.linear(specification.embedding(), null);
      }
    }
    return reader.linear(specification.head(), null);
  }

  private boolean equalsEmbedding(Specification specification, Stored head) {
    Stored embedding = checkpoint.get(specification.embedding().name());
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
