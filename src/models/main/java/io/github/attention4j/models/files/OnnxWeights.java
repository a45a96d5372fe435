package io.github.attention4j.models.files;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The weights of an ONNX export under the names of the model that was exported.
 *
 * <p>Exporters keep the names of embeddings, biases and norms. The matrix of a product is often
 * transposed and renamed ({@code onnx::MatMul_787}); then its name follows from the node that
 * multiplies by it ({@code /encoder/layer.0/intermediate/dense/MatMul}) or from the bias that is
 * added to the product. Quantized exports store {@code NAME_quantized}, {@code NAME_scale} and
 * {@code NAME_zero_point}, which are multiplied out here.
 */
public final class OnnxWeights {
  private static final String QUANTIZED = "_quantized";

  private final OnnxFile file;
  private final Map<String, Weight> weights = new LinkedHashMap<>();

  /** The nodes that widen quantized weights, by their output. */
  private final Map<String, OnnxFile.Node> dequantizers = new HashMap<>();

  private final Set<String> used = new HashSet<>();

  /** What the nodes read. */
  private final Set<String> inputs = new HashSet<>();

  /** Values that equal another one of the same weight, and that one. */
  private final Map<String, String> repeats = new HashMap<>();

  /**
   * @param scale null if the value is not quantized
   * @param zeroPoint null for 0
   * @param axis the dimension of the stored value with a scale for each index, if it is not one
   *     scale for all
   */
  private record Weight(
      OnnxFile.Value value,
      boolean transposed,
      OnnxFile.Value scale,
      OnnxFile.Value zeroPoint,
      int axis) {

    /** The element of a scale or zero point for a row counted over all dimensions up to axis. */
    double at(OnnxFile.Value numbers, long row) {
      return numbers.number(numbers.count() == 1 ? 0 : row % value.shape()[axis]);
    }

    /** Whether another weight has the same numbers. */
    boolean equalsIn(Weight other) {
      return transposed == other.transposed
          && axis == other.axis
          && equal(value, other.value)
          && equal(scale, other.scale)
          && equal(zeroPoint, other.zeroPoint);
    }

    private static boolean equal(OnnxFile.Value a, OnnxFile.Value b) {
      return a == b
          || a != null
              && b != null
              && a.type() == b.type()
              && Arrays.equals(a.shape(), b.shape())
              && a.data().mismatch(b.data()) < 0;
    }

    long[] shape() {
      long[] shape = value.shape().clone();
      if (transposed) {
        shape[0] = value.shape()[1];
        shape[1] = value.shape()[0];
      }
      return shape;
    }
  }

  public OnnxWeights(OnnxFile file) {
    this.file = file;
    for (OnnxFile.Node node : file.nodes()) {
      if (node.operator().equals("DequantizeLinear") && !node.inputs().isEmpty()) {
        node.outputs().forEach(output -> dequantizers.put(output, node));
      }
    }
    file.nodes().forEach(node -> inputs.addAll(node.inputs()));
    Set<OnnxFile.Value> factors = factors();
    // Quantizers leave the matrices behind that they replace; those that are read come first.
    for (boolean read : new boolean[] {true, false}) {
      for (OnnxFile.Value value : file.initializers().values()) {
        if (inputs.contains(value.name()) == read) {
          add(value.name(), value, factors.contains(value), null);
        }
      }
    }
    Map<String, String> biases = biases();
    for (OnnxFile.Node node : file.nodes()) {
      switch (node.operator()) {
        case "MatMul", "MatMulInteger" -> product(node, biases);
        default -> {
          // Only products rename their weights.
        }
      }
    }
  }

  /**
   * The matrices {@code [in, out]} that products multiply by as they are, whatever they are called:
   * ONNX Runtime's quantizer transposes the weights of linear layers and leaves them their names.
   */
  private Set<OnnxFile.Value> factors() {
    Set<OnnxFile.Value> factors = Collections.newSetFromMap(new IdentityHashMap<>());
    for (OnnxFile.Node node : file.nodes()) {
      boolean multiplies =
          switch (node.operator()) {
            case "MatMul", "MatMulInteger" -> true;
            case "Gemm" -> !Long.valueOf(1).equals(node.attributes().get("transB"));
            default -> false;
          };
      OnnxFile.Value value =
          multiplies && node.inputs().size() > 1 ? matrix(node.inputs().get(1)) : null;
      if (value != null && value.shape().length == 2) {
        factors.add(value);
      }
    }
    return factors;
  }

  /** For each value to which a bias is added, the name of the bias. */
  private Map<String, String> biases() {
    Map<String, String> biases = new HashMap<>();
    for (OnnxFile.Node node : file.nodes()) {
      if (node.operator().equals("Add") && node.inputs().size() == 2) {
        for (int i = 0; i < 2; i++) {
          if (file.initializers().containsKey(node.inputs().get(i))) {
            biases.put(node.inputs().get(1 - i), node.inputs().get(i));
          }
        }
      }
    }
    return biases;
  }

  private void product(OnnxFile.Node node, Map<String, String> biases) {
    if (node.inputs().size() < 2) {
      return;
    }
    OnnxFile.Value value = matrix(node.inputs().get(1));
    if (value == null || value.shape().length != 2) {
      return;
    }
    OnnxFile.Value zeroPoint =
        node.inputs().size() > 3 ? file.initializers().get(node.inputs().get(3)) : null;
    String name = node.name();
    int slash = name.lastIndexOf('/');
    if (slash > 0 && name.startsWith("MatMul", slash + 1)) {
      String module = name.substring(name.startsWith("/") ? 1 : 0, slash).replace('/', '.');
      add(module + ".weight", value, true, zeroPoint);
    }
    String bias = biases.get(node.outputs().getFirst());
    if (bias != null && bias.endsWith(".bias")) {
      String module = bias.substring(0, bias.length() - ".bias".length());
      add(module + ".weight", value, true, zeroPoint);
    }
  }

  /** An initializer, dequantized if necessary. */
  private OnnxFile.Value matrix(String input) {
    OnnxFile.Value value = file.initializers().get(input);
    if (value != null) {
      return value;
    }
    OnnxFile.Node source = dequantizers.get(input);
    return source == null ? null : file.initializers().get(source.inputs().getFirst());
  }

  private void add(
      String name, OnnxFile.Value value, boolean transposed, OnnxFile.Value zeroPoint) {
    if (!value.name().endsWith(QUANTIZED)) {
      put(name, new Weight(value, transposed, null, null, 0));
      return;
    }
    String stem = value.name().substring(0, value.name().length() - QUANTIZED.length());
    OnnxFile.Value scale = file.initializers().get(stem + "_scale");
    OnnxFile.Value zero =
        zeroPoint != null ? zeroPoint : file.initializers().get(stem + "_zero_point");
    if (scale != null) {
      String plain = name.endsWith(QUANTIZED) ? stem : name;
      put(plain, new Weight(value, transposed, scale, zero, axis(value)));
    }
  }

  /** Keeps the first weight of a name. Some exporters repeat those of layers that share them. */
  private void put(String name, Weight weight) {
    Weight first = weights.putIfAbsent(name, weight);
    if (first != null && first.value != weight.value && first.equalsIn(weight)) {
      repeats.put(weight.value.name(), first.value.name());
    }
  }

  /** Which dimension has scales of its own, if there are several: the last one in products. */
  private int axis(OnnxFile.Value value) {
    int rank = value.shape().length;
    for (OnnxFile.Node node : dequantizers.values()) {
      if (node.inputs().getFirst().equals(value.name())) {
        long axis = node.attributes().get("axis") instanceof Long given ? given : 1;
        return Math.toIntExact(axis < 0 ? axis + rank : axis);
      }
    }
    return rank - 1;
  }

  /** Whether a value is a bias, even if it has one element, as that of one label has. */
  static boolean isBias(OnnxFile.Value value) {
    return value.name().endsWith(".bias") && value.shape().length == 1;
  }

  /** Whether there is a tensor with this name. */
  boolean contains(String name) {
    return weights.containsKey(name);
  }

  /** The sizes of an existing tensor. */
  long[] shape(String name) {
    return weights.get(name).shape();
  }

  /**
   * The weights by the model's names. Every weight that is read counts as used.
   *
   * @param files the ONNX file and the files that it names; none for resources
   */
  public Checkpoint checkpoint(Collection<Path> files) {
    Map<String, Stored> tensors = new LinkedHashMap<>();
    weights.forEach((name, weight) -> tensors.put(name, new Initializer(weight)));
    return Checkpoint.of(tensors, files);
  }

  /** A weight of the graph. */
  private final class Initializer implements Stored {
    private final Weight weight;

    Initializer(Weight weight) {
      this.weight = weight;
    }

    @Override
    public String type() {
      return weight.value.type().name();
    }

    @Override
    public long[] shape() {
      return weight.shape();
    }

    @Override
    public long bytes() {
      return weight.value.data().byteSize();
    }

    @Override
    public boolean isReadable() {
      return switch (weight.value.type()) {
        case F32, F16, BF16, F64 -> weight.scale == null;
        case I8, U8 -> weight.scale != null;
        default -> false;
      };
    }

    @Override
    public Tensor inPlace() {
      DType type = dtype();
      MemorySegment data = weight.value.data();
      if (type == null
          || weight.transposed
          || !data.isNative()
          || data.address() % type.bytes() != 0) {
        return null;
      }
      used.add(weight.value.name());
      return Tensor.of(data, type, weight.value.shape());
    }

    /** The element type if native code can read it; null if it must be decoded. */
    private DType dtype() {
      return switch (weight.value.type()) {
        case F32 -> DType.F32;
        case F16 -> DType.F16;
        case BF16 -> DType.BF16;
        default -> null;
      };
    }

    @Override
    public Tensor tensor(Arena temporary) {
      Tensor inPlace = inPlace();
      DType type = dtype();
      if (inPlace != null) {
        return inPlace;
      }
      used.add(weight.value.name());
      if (type == null) {
        return decoded(weight, temporary);
      }
      MemorySegment data = weight.value.data();
      boolean aligned = data.isNative() && data.address() % type.bytes() == 0;
      Tensor tensor = Tensor.of(aligned ? data : copy(data, temporary), type, weight.value.shape());
      return weight.transposed ? transposed(tensor, temporary) : tensor;
    }

    @Override
    public QuantizedWeights quantized(Arena arena) {
      return null;
    }

    @Override
    public Tensor floats(Arena arena) {
      try (Arena scratch = Arena.ofConfined()) {
        return tensor(scratch).toF32(arena);
      }
    }

    @Override
    public void row(long row, Tensor out) {
      try (Arena scratch = Arena.ofConfined()) {
        out.copyFrom(tensor(scratch).select(0, row));
      }
    }
  }

  private static MemorySegment copy(MemorySegment data, Arena arena) {
    MemorySegment copy = arena.allocate(data.byteSize(), 64);
    copy.copyFrom(data);
    return copy;
  }

  /** Transposes block by block, because rows of one matrix are columns of the other. */
  private static Tensor transposed(Tensor tensor, Arena arena) {
    long rows = tensor.size(1);
    long columns = tensor.size(0);
    Tensor out = Tensor.allocate(arena, DType.F32, rows, columns);
    Tensor floats = tensor.dtype() == DType.F32 ? tensor : tensor.toF32(arena);
    MemorySegment from = floats.segment();
    MemorySegment to = out.segment();
    int block = 32;
    for (long c = 0; c < columns; c += block) {
      for (long r = 0; r < rows; r += block) {
        for (long i = c; i < Math.min(c + block, columns); i++) {
          for (long j = r; j < Math.min(r + block, rows); j++) {
            float value = from.getAtIndex(ValueLayout.JAVA_FLOAT, i * rows + j);
            to.setAtIndex(ValueLayout.JAVA_FLOAT, j * columns + i, value);
          }
        }
      }
    }
    return out;
  }

  /** {@code (q − zero) · scale}, with one scale for all or one for each index of a dimension. */
  private static Tensor decoded(Weight weight, Arena arena) {
    OnnxFile.Value value = weight.value;
    Tensor out = Tensor.allocate(arena, DType.F32, value.shape());
    long count = value.count();
    if (weight.scale != null) {
      requireOneForEach(weight, weight.scale);
      requireOneForEach(weight, weight.zeroPoint);
    }
    long behind = 1;
    for (int i = weight.axis + 1; i < value.shape().length; i++) {
      behind *= value.shape()[i];
    }
    for (long i = 0; i < count; i++) {
      double number = value.number(i);
      if (weight.scale != null) {
        double zero = weight.zeroPoint == null ? 0 : weight.at(weight.zeroPoint, i / behind);
        number = (number - zero) * weight.at(weight.scale, i / behind);
      }
      out.segment().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) number);
    }
    return weight.transposed ? transposed(out, arena) : out;
  }

  private static void requireOneForEach(Weight weight, OnnxFile.Value numbers) {
    long[] shape = weight.value.shape();
    boolean known = weight.axis >= 0 && weight.axis < shape.length;
    if (numbers != null
        && numbers.count() != 1
        && !(known && numbers.count() == shape[weight.axis])) {
      throw new IllegalArgumentException(
          numbers.name()
              + " must have 1 element, or one for each index of dimension "
              + weight.axis
              + " of "
              + weight.value.name()
              + ": elements="
              + numbers.count()
              + ", shape="
              + Arrays.toString(shape));
    }
  }

  /**
   * Refuses a graph with unused weights, because it computes something else.
   *
   * @throws IllegalArgumentException naming them
   */
  public void requireAllUsed() {
    List<String> unused = new ArrayList<>();
    for (OnnxFile.Value value : file.initializers().values()) {
      boolean isWeight =
          switch (value.type()) {
            case F32, F16, BF16, F64, I8, U8 ->
                (value.count() > 1 || isBias(value))
                    && !value.name().contains("inv_freq")
                    && !value.name().endsWith("_scale")
                    && !value.name().endsWith("_zero_point");
            default -> false;
          };
      String name = repeats.getOrDefault(value.name(), value.name());
      boolean computes = inputs.contains(value.name());
      // A matrix that is used several times may be quantized in some of its products only.
      boolean read = used.contains(name) || used.contains(value.name() + QUANTIZED);
      if (isWeight && computes && !read) {
        unused.add(value.name() + " " + Arrays.toString(value.shape()));
      }
    }
    if (!unused.isEmpty()) {
      throw new IllegalArgumentException(
          file.source()
              + ": the graph computes with weights that the family does not have: "
              + String.join(", ", unused.subList(0, Math.min(unused.size(), 10)))
              + (unused.size() > 10 ? " and " + (unused.size() - 10) + " more" : ""));
    }
  }
}
