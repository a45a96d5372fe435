package io.github.attention4j.models.decoder;

import io.github.attention4j.internal.Json;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Stored;
import io.github.attention4j.models.weights.Problems;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/** Compares the tensors of a checkpoint with those that a specification needs. */
public final class TensorCheck {
  private TensorCheck() {}

  /**
   * Requires every tensor of the specification in its shape and a readable type, and refuses
   * tensors that belong to no part of the model.
   *
   * @param where the start of the message
   * @param settings the name of the specification's source in the message
   * @param shown maps the family's name of a tensor to the file's
   * @return the number of elements in the tensors that the model uses
   * @throws IllegalArgumentException listing everything that is wrong
   */
  public static long require(
      String where,
      String settings,
      UnaryOperator<String> shown,
      Specification specification,
      Checkpoint checkpoint) {
    Problems problems = new Problems();
    Set<String> wanted = new HashSet<>();
    List<Source> sources = new ArrayList<>();
    specification.forEachSource(sources::add);
    if (specification.tied() && checkpoint.get(specification.head().name()) != null) {
      sources.add(specification.head());
    }
    if (sources.stream().allMatch(source -> checkpoint.get(source.name()) == null)) {
      throw new IllegalArgumentException(
          where
              + ": tensors must have the names of "
              + specification.family()
              + ": none of the "
              + sources.size()
              + " that the configuration asks for is there; wanted="
              + Json.show(shown.apply(sources.getFirst().name()))
              + ", found="
              + checkpoint.names().stream().findFirst().map(Json::show).orElse("none"));
    }
    long parameters = 0;
    for (Source source : sources) {
      Stored stored = checkpoint.get(source.name());
      if (wanted.add(source.name())) {
        problems.check(shown.apply(source.name()), source, stored);
        boolean counts =
            !specification.tied() || !source.name().equals(specification.head().name());
        parameters += stored == null || !counts ? 0 : count(stored.shape());
      }
    }
    List<Pattern> unused = specification.unused().stream().map(Pattern::compile).toList();
    for (String name : checkpoint.names()) {
      if (!wanted.contains(name)
          && unused.stream().noneMatch(pattern -> pattern.matcher(name).matches())) {
        Stored stored = checkpoint.get(name);
        problems.add(
            Json.show(name)
                + " must not be there, as no part of the model is known by that name: it is "
                + stored.type()
                + Arrays.toString(stored.shape()));
      }
    }
    problems.throwIfAny(where, settings);
    return parameters;
  }

  private static long count(long[] shape) {
    long count = 1;
    for (long size : shape) {
      count *= size;
    }
    return count;
  }
}
