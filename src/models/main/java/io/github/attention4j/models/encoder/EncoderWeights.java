package io.github.attention4j.models.encoder;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.weights.RowNorm;
import io.github.attention4j.models.weights.Source;
import io.github.attention4j.models.weights.WeightReader;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Finds the tensors of a specification under the names that a checkpoint gives them. */
final class EncoderWeights {
  private final Checkpoint checkpoint;
  private final WeightReader reader;
  private final String prefix;

  EncoderWeights(Checkpoint checkpoint, EncoderSpec spec, WeightReader reader) {
    this.checkpoint = checkpoint;
    this.reader = reader;
    this.prefix = prefix(spec);
  }

  /**
   * A checkpoint of a model with a head has the family's prefix, and one of the bare model has
   * none. Models that were saved as a part of another have a prefix of their own.
   */
  private String prefix(EncoderSpec spec) {
    String word = spec.embedding().word() + ".weight";
    if (contains(spec.prefix() + word)) {
      return spec.prefix();
    }
    List<String> ends =
        contains(word)
            ? List.of()
            : checkpoint.names().stream().filter(name -> name.endsWith("." + word)).toList();
    return ends.size() == 1
        ? ends.getFirst().substring(0, ends.getFirst().length() - word.length())
        : "";
  }

  private boolean contains(String name) {
    return checkpoint.get(name) != null;
  }

  /** The arena of the weights. */
  Arena arena() {
    return reader.arena();
  }

  /** The checkpoint's spelling of a name of the base model. */
  String base(String name) {
    return prefix + name;
  }

  /** Whether the checkpoint has the weight of a projection. */
  boolean has(Projection projection, boolean base) {
    return names(projection, base).stream().allMatch(name -> contains(name + ".weight"));
  }

  /** The rows of the weight of a projection that is one tensor and that the checkpoint has. */
  long rows(Projection projection, boolean base) {
    long[] shape = checkpoint.get(names(projection, base).getFirst() + ".weight").shape();
    return shape.length == 0 ? 0 : shape[0];
  }

  private List<String> names(Projection projection, boolean base) {
    return projection.names().stream().map(name -> resolve(base ? base(name) : name)).toList();
  }

  /** The alternative that the checkpoint has, or the first. */
  private String resolve(String name) {
    int bar = name.indexOf('|');
    if (bar < 0) {
      return name;
    }
    String stem = name.substring(0, name.lastIndexOf('.', bar) + 1);
    List<String> alternatives = List.of(name.substring(stem.length()).split("\\|"));
    return alternatives.stream()
        .map(each -> stem + each)
        .filter(each -> contains(each + ".weight"))
        .findFirst()
        .orElse(stem + alternatives.getFirst());
  }

  /** Files of 2018 call a layer norm's weight gamma and its bias beta. */
  private String spelling(String name) {
    String old =
        name.endsWith("LayerNorm.weight")
            ? name.substring(0, name.length() - "weight".length()) + "gamma"
            : name.endsWith("LayerNorm.bias")
                ? name.substring(0, name.length() - "bias".length()) + "beta"
                : name;
    return !contains(name) && contains(old) ? old : name;
  }

  /** A copy as float32. */
  Tensor floats(String name, long... shape) {
    return reader.floats(Source.of(spelling(name), shape));
  }

  /** A copy in the stored type. */
  Tensor stored(String name, long... shape) {
    return reader.stored(Source.of(name, shape));
  }

  /**
   * A projection that uses the product for many rows, so a row's result does not depend on how many
   * there are.
   *
   * @param base whether the names are the base model's
   * @param outs the number of outputs of each name; if one name stands for several, it has their
   *     sum
   */
  Linear linear(Projection projection, boolean base, long dimIn, long... outs) {
    return linear(arena(), projection, base, dimIn, outs);
  }

  /** The same in another arena. */
  Linear linear(Arena arena, Projection projection, boolean base, long dimIn, long... outs) {
    List<String> names = names(projection, base);
    long[] sizes = names.size() == 1 ? new long[] {Arrays.stream(outs).sum()} : outs;
    List<Source> weights = new ArrayList<>();
    List<Source> biases = new ArrayList<>();
    for (int i = 0; i < names.size(); i++) {
      weights.add(Source.of(names.get(i) + ".weight", sizes[i], dimIn));
      if (projection.bias()) {
        biases.add(Source.of(names.get(i) + ".bias", sizes[i]));
      }
    }
    return reader.linear(arena, weights, biases);
  }

  /** A projection by a computed matrix, always float32 and without bias. */
  Linear packed(Tensor weight) {
    return reader.packed(weight);
  }

  /** Two projections, from one tensor with twice the outputs or from two tensors. */
  Linear[] halves(Projection projection, long dimIn, long dimOut) {
    Linear[] halves = new Linear[2];
    for (int i = 0; i < 2; i++) {
      if (projection.names().size() == 2) {
        Projection half = Projection.of(projection.names().get(i), projection.bias());
        halves[i] = linear(half, true, dimIn, dimOut);
      } else {
        String name = base(projection.names().getFirst());
        halves[i] =
            reader.linear(
                Source.rows(name + ".weight", i * dimOut, dimOut, 2 * dimOut, dimIn),
                projection.bias()
                    ? Source.rows(name + ".bias", i * dimOut, dimOut, 2 * dimOut)
                    : null);
      }
    }
    return halves;
  }

  /** A norm of the base model or of a head; null if there is none. */
  RowNorm norm(Norm norm, boolean base, long width) {
    if (norm == null) {
      return null;
    }
    String name = base ? base(norm.name()) : norm.name();
    Tensor weight = floats(name + ".weight", width);
    if (norm.rms()) {
      return RowNorm.rms(weight, norm.epsilon());
    }
    Tensor bias = norm.bias() ? floats(name + ".bias", width) : null;
    return RowNorm.layer(weight, bias, norm.epsilon());
  }
}
