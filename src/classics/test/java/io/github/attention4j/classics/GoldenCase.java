package io.github.attention4j.classics;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One case of a golden manifest: options, input tensors, and expected tensors with a tolerance. It
 * keeps track of what is used: a case fails if one of its options or tensors was not, so nothing
 * can be overlooked.
 */
final class GoldenCase {
  private final String name;
  private final Map<String, Object> options;
  private final double absolute;
  private final double relative;
  private final Path file;

  private SafeTensors tensors;
  private Arena arena;
  private Set<String> unusedOptions;
  private Set<String> unusedTensors;

  @SuppressWarnings("unchecked")
  GoldenCase(Path directory, Map<String, Object> entry) {
    name = (String) entry.get("name");
    options = (Map<String, Object>) entry.get("options");
    Map<String, Object> tolerance = (Map<String, Object>) entry.get("tolerance");
    absolute = ((Number) tolerance.get("atol")).doubleValue();
    relative = ((Number) tolerance.get("rtol")).doubleValue();
    file = directory.resolve((String) entry.get("file"));
  }

  /** Runs a case. */
  @FunctionalInterface
  interface Run {
    void accept(GoldenCase golden);
  }

  String name() {
    return name;
  }

  /** Runs the case, and fails unless all of it was used. */
  void run(Run run) throws IOException {
    try (Arena confined = Arena.ofConfined()) {
      arena = confined;
      tensors = SafeTensors.open(file, arena);
      unusedOptions = new LinkedHashSet<>(options.keySet());
      unusedTensors = new LinkedHashSet<>(tensors.names());
      run.accept(this);
      require(unusedOptions.isEmpty(), "unknown options " + unusedOptions);
      require(unusedTensors.isEmpty(), "unknown tensors " + unusedTensors);
    }
  }

  Arena arena() {
    return arena;
  }

  // ---- Options ----

  boolean has(String option) {
    return options.containsKey(option);
  }

  /** Options that only describe the case, or how its inputs were drawn. */
  void describes(String... names) {
    unusedOptions.removeAll(List.of(names));
  }

  /** An option that repeats a size of a tensor's shape. */
  void describes(String option, long size) {
    if (has(option)) {
      long given = integer(option, 0);
      require(given == size, "option " + option + "=" + given + ", the tensors say " + size);
    }
  }

  Object option(String option) {
    unusedOptions.remove(option);
    return options.get(option);
  }

  boolean flag(String option) {
    Object value = option(option);
    require(value == null || value instanceof Boolean, "option " + option + "=" + value);
    return Boolean.TRUE.equals(value);
  }

  long integer(String option, long otherwise) {
    Object value = option(option);
    require(value == null || value instanceof Long, "option " + option + "=" + value);
    return value == null ? otherwise : (Long) value;
  }

  double number(String option, double otherwise) {
    Object value = option(option);
    require(value == null || value instanceof Number, "option " + option + "=" + value);
    return value == null ? otherwise : ((Number) value).doubleValue();
  }

  /** An option that is a list of whole numbers. */
  int[] integers(String option) {
    Object value = option(option);
    require(value instanceof List<?>, "option " + option + "=" + value);
    return ((List<?>) value).stream().mapToInt(each -> ((Number) each).intValue()).toArray();
  }

  /** An option that is one of these words. */
  String word(String option, String otherwise, String... known) {
    Object value = option(option);
    if (value == null) {
      return otherwise;
    }
    require(Arrays.asList(known).contains(value), "unknown option " + option + "=" + value);
    return (String) value;
  }

  // ---- Tensors ----

  boolean holds(String tensor) {
    return tensors.contains(tensor);
  }

  /** The tensor in the file, or a copy if a byte tensor before it leaves floats misaligned. */
  Tensor get(String tensor) {
    require(holds(tensor), "there is no tensor " + tensor);
    unusedTensors.remove(tensor);
    Tensor mapped = tensors.get(tensor);
    boolean aligned = mapped.segment().address() % mapped.dtype().bytes() == 0;
    if (aligned || !mapped.dtype().isFloat()) {
      return mapped;
    }
    return Tensor.allocate(arena, mapped.dtype(), mapped.shape()).copyFrom(mapped);
  }

  /** The file itself, for a layer that reads its weights and refuses unknown ones. */
  SafeTensors weights(String prefix) {
    unusedTensors.removeIf(name -> name.startsWith(prefix));
    return tensors;
  }

  Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  /** A writable copy. */
  Tensor copy(String tensor) {
    return get(tensor).toF32(arena);
  }

  /** A tensor for a result, of the expected shape; null if the case has none of this name. */
  Tensor wanted(String out) {
    if (!holds(out)) {
      return null;
    }
    Tensor expected = tensors.get(out);
    return expected.dtype().isFloat()
        ? Tensor.allocate(arena, expected.dtype(), expected.shape())
        : floats(expected.shape());
  }

  // ---- Comparing ----

  void expect(String out, float got) {
    expect(out, Tensor.of(arena, new float[] {got}, 1));
  }

  void expect(String out, Tensor got) {
    Tensor expected = get(out);
    require(
        expected.dtype() == got.dtype()
            && expected.dtype().isFloat()
            && Arrays.equals(expected.shape(), got.shape()),
        out + ": expected " + expected + ", got " + got);
    float[] wanted = expected.toFloatArray();
    float[] values = got.toFloatArray();
    int wrong = 0;
    String worst = "";
    double most = -1;
    for (int i = 0; i < wanted.length; i++) {
      double error = error(wanted[i], values[i]);
      if (error > 1) {
        wrong++;
        if (error > most) {
          most = error;
          worst = "element " + i + ": expected " + wanted[i] + ", got " + values[i];
        }
      }
    }
    require(wrong == 0, out + ": " + wrong + " of " + wanted.length + " wrong, worst " + worst);
  }

  void expectBooleans(String out, Tensor got) {
    Tensor expected = get(out);
    require(
        expected.dtype() == DType.BOOL && Arrays.equals(expected.shape(), got.shape()),
        out + ": expected " + expected + ", got " + got);
    Tensor wanted = expected.reshape(expected.count());
    Tensor values = got.reshape(got.count());
    for (long i = 0; i < wanted.count(); i++) {
      require(wanted.getBoolean(i) == values.getBoolean(i), out + ": element " + i);
    }
  }

  void expectInts(String out, Tensor got) {
    Tensor expected = get(out);
    require(
        expected.dtype() == DType.I32
            && Arrays.equals(expected.shape(), got.shape())
            && Arrays.equals(expected.toIntArray(), got.toIntArray()),
        out
            + ": expected "
            + Arrays.toString(expected.toIntArray())
            + ", got "
            + Arrays.toString(got.toIntArray()));
  }

  /** The BOOL tensor is true for the rows whose logsumexp is −∞. */
  void expectEmptyRows(String out, Tensor logsumexp) {
    Tensor expected = get(out);
    require(
        expected.dtype() == DType.BOOL && Arrays.equals(expected.shape(), logsumexp.shape()),
        out + ": expected " + expected + ", got " + logsumexp);
    boolean[] wanted = new boolean[Math.toIntExact(expected.count())];
    Tensor flat = expected.reshape(expected.count());
    float[] values = logsumexp.toFloatArray();
    for (int i = 0; i < wanted.length; i++) {
      boolean empty = values[i] == Float.NEGATIVE_INFINITY;
      require(flat.getBoolean(i) == empty, out + ": element " + i + ", got " + empty);
    }
  }

  /** The error in units of the tolerance. */
  private double error(float expected, float got) {
    if (Float.isNaN(expected)) {
      return Float.isNaN(got) ? 0 : Double.POSITIVE_INFINITY;
    }
    if (expected == got) {
      return 0;
    }
    double error = Math.abs((double) got - expected) / (absolute + relative * Math.abs(expected));
    return Float.isInfinite(expected) || Double.isNaN(error) ? Double.POSITIVE_INFINITY : error;
  }

  void require(boolean condition, String otherwise) {
    if (!condition) {
      throw new AssertionError(name + " (" + A4j.isa() + "): " + otherwise);
    }
  }
}
