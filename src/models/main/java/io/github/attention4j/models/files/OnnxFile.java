package io.github.attention4j.models.files;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The graph of an ONNX file: its nodes, and where its initializers are. Reads the parts of the
 * protocol buffers {@code ModelProto}, {@code GraphProto}, {@code NodeProto}, {@code
 * AttributeProto} and {@code TensorProto} that a model's structure needs, each within the bounds of
 * its parent, so a malformed file leads to a clear message.
 */
public final class OnnxFile {
  private static final int VARINT = 0;
  private static final int FIXED64 = 1;
  private static final int BYTES = 2;
  private static final int FIXED32 = 5;

  /** Far more than any tensor has. */
  private static final int MOST_DIMS = 8;

  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private static final int DEEPEST = 4;

  private final String source;
  private final ExternalData external;
  private final List<Node> nodes = new ArrayList<>();
  private final Map<String, Value> initializers = new LinkedHashMap<>();
  private final List<String> outputs = new ArrayList<>();

  private OnnxFile(String source, ExternalData external) {
    this.source = source;
    this.external = external;
  }

  /** Finds the files in which graphs of more than 2 GB keep their weights. */
  @FunctionalInterface
  public interface ExternalData {
    /**
     * Returns the bytes of a file.
     *
     * @param location its path, relative to the folder of the ONNX file and inside it
     * @throws IOException if it cannot be read; the message names it
     */
    MemorySegment bytes(String location) throws IOException;
  }

  /** The element types of initializers, with their numbers in {@code TensorProto}. */
  public enum Type {
    F32(1, 4),
    U8(2, 1),
    I8(3, 1),
    I32(6, 4),
    I64(7, 8),
    BOOL(9, 1),
    F16(10, 2),
    F64(11, 8),
    BF16(16, 2);

    private final int number;
    private final int bytes;

    Type(int number, int bytes) {
      this.number = number;
      this.bytes = bytes;
    }
  }

  /**
   * A tensor in the file.
   *
   * @param data its elements, little-endian, as they are in the file
   */
  public record Value(String name, Type type, long[] shape, MemorySegment data) {
    /** The number of elements. */
    public long count() {
      return Arrays.stream(shape).reduce(1, Math::multiplyExact);
    }

    /** An element as a number. */
    public double number(long index) {
      long at = Math.multiplyExact(index, (long) type.bytes);
      return switch (type) {
        case F32 -> Float.intBitsToFloat(data.get(INT, at));
        case F64 -> Double.longBitsToDouble(data.get(LONG, at));
        case I32 -> data.get(INT, at);
        case I64 -> data.get(LONG, at);
        case I8, BOOL -> data.get(ValueLayout.JAVA_BYTE, at);
        case U8 -> data.get(ValueLayout.JAVA_BYTE, at) & 0xff;
        case F16 -> Float.float16ToFloat(bits16(at));
        case BF16 -> Float.intBitsToFloat(bits16(at) << 16);
      };
    }

    private short bits16(long at) {
      int low = data.get(ValueLayout.JAVA_BYTE, at) & 0xff;
      return (short) (data.get(ValueLayout.JAVA_BYTE, at + 1) << 8 | low);
    }
  }

  /**
   * A node.
   *
   * @param attributes numbers as Long, Double or List of Long, strings as String, tensors as {@link
   *     Value}; others as null
   */
  public record Node(
      String name,
      String operator,
      String domain,
      List<String> inputs,
      List<String> outputs,
      Map<String, Object> attributes) {}

  /**
   * Reads a graph.
   *
   * @param source the name of the file in messages
   * @param file its bytes. Values are slices of it. Not modified.
   * @param external finds the files that the graph names. Values may be slices of what it returns.
   * @throws IOException if it is malformed, or a file that it names cannot be read
   */
  public static OnnxFile read(String source, MemorySegment file, ExternalData external)
      throws IOException {
    OnnxFile onnx = new OnnxFile(source, external);
    try {
      onnx.model(new Message(file, "model"));
    } catch (MalformedException e) {
      throw new IOException(source + " must be an ONNX file: " + e.getMessage(), e);
    }
    if (onnx.nodes.isEmpty()) {
      throw new IOException(source + " must be an ONNX file: it has no nodes");
    }
    return onnx;
  }

  public String source() {
    return source;
  }

  /**
   * The nodes in the file's order, which is the order of computation. Those of a branch come before
   * the node that may take it.
   */
  public List<Node> nodes() {
    return Collections.unmodifiableList(nodes);
  }

  /** By their names. */
  public Map<String, Value> initializers() {
    return Collections.unmodifiableMap(initializers);
  }

  /** The names of the graph's outputs. */
  public List<String> outputs() {
    return Collections.unmodifiableList(outputs);
  }

  // ---- Messages ----

  private void model(Message model) throws MalformedException, IOException {
    boolean found = false;
    while (model.next()) {
      if (model.field == 7) {
        graph(model.message("graph"), 0);
        found = true;
      }
    }
    if (!found) {
      throw new MalformedException("it has no graph");
    }
  }

  /**
   * @param depth 0 for the model's graph, 1 for its branches
   */
  private void graph(Message graph, int depth) throws MalformedException, IOException {
    if (depth > DEEPEST) {
      throw new MalformedException("its branches are nested more than " + DEEPEST + " deep");
    }
    while (graph.next()) {
      switch (graph.field) {
        case 1 -> nodes.add(node(graph.message("node"), depth));
        case 5 -> {
          Value value = tensor(graph.message("initializer"));
          initializers.put(value.name, value);
        }
        case 12 -> {
          if (depth == 0) {
            outputs.add(name(graph.message("output")));
          }
        }
        case 15 -> throw new MalformedException("sparse initializers are not supported");
        default -> {
          // Documentation, and types of inputs and intermediate values.
        }
      }
    }
  }

  private static String name(Message value) throws MalformedException {
    String name = "";
    while (value.next()) {
      name = value.field == 1 ? value.text() : name;
    }
    return name;
  }

  private Node node(Message node, int depth) throws MalformedException, IOException {
    List<String> in = new ArrayList<>();
    List<String> out = new ArrayList<>();
    Map<String, Object> attributes = new HashMap<>();
    String name = "";
    String operator = "";
    String domain = "";
    while (node.next()) {
      switch (node.field) {
        case 1 -> in.add(node.text());
        case 2 -> out.add(node.text());
        case 3 -> name = node.text();
        case 4 -> operator = node.text();
        case 5 -> attribute(node.message("attribute"), attributes, depth);
        case 7 -> domain = node.text();
        default -> {
          // Documentation.
        }
      }
    }
    return new Node(name, operator, domain, in, out, attributes);
  }

  private void attribute(Message attribute, Map<String, Object> attributes, int depth)
      throws MalformedException, IOException {
    String name = "";
    Object value = null;
    List<Long> integers = new ArrayList<>();
    while (attribute.next()) {
      switch (attribute.field) {
        case 1 -> name = attribute.text();
        case 2 -> value = (double) Float.intBitsToFloat((int) attribute.number);
        case 3 -> value = attribute.number;
        case 4 -> value = attribute.text();
        case 5 -> value = tensor(attribute.message("tensor"));
        case 6 -> graph(attribute.message("graph"), depth + 1);
        case 11 -> throw new MalformedException("lists of graphs are not supported");
        case 8 -> {
          attribute.integers(integers);
          value = integers;
        }
        default -> {
          // The type, lists of other kinds.
        }
      }
    }
    attributes.put(name, value);
  }

  private Value tensor(Message tensor) throws MalformedException, IOException {
    List<Long> dims = new ArrayList<>();
    List<Long> integers = new ArrayList<>();
    List<Double> floats = new ArrayList<>();
    long typeNumber = 0;
    String name = "";
    MemorySegment raw = null;
    Map<String, String> elsewhere = new HashMap<>();
    boolean isElsewhere = false;
    while (tensor.next()) {
      switch (tensor.field) {
        case 1 -> tensor.integers(dims);
        case 2 -> typeNumber = tensor.number;
        case 4 -> tensor.floats(floats);
        case 5, 7, 11 -> tensor.integers(integers);
        case 8 -> name = tensor.text();
        case 9 -> raw = tensor.bytes();
        case 10 -> tensor.doubles(floats);
        case 13 -> entry(tensor.message("external_data"), elsewhere);
        case 14 -> isElsewhere = tensor.number == 1;
        default -> {
          // Documentation, strings.
        }
      }
    }
    if (isElsewhere) {
      raw = external(name, elsewhere);
    }
    return value(name, typeNumber, dims, raw, integers, floats);
  }

  private static void entry(Message entry, Map<String, String> into) throws MalformedException {
    String key = "";
    String value = "";
    while (entry.next()) {
      switch (entry.field) {
        case 1 -> key = entry.text();
        case 2 -> value = entry.text();
        default -> {
          // There are no others.
        }
      }
    }
    into.put(key, value);
  }

  /** Whether a relative path stays below its folder. */
  private static boolean isInside(String location) {
    try {
      Path path = Path.of(location).normalize();
      return !path.toString().isEmpty() && !path.isAbsolute() && !path.startsWith("..");
    } catch (InvalidPathException e) {
      return false;
    }
  }

  /** A slice of another file, by location, offset and length. */
  private MemorySegment external(String name, Map<String, String> entries)
      throws MalformedException, IOException {
    String location = entries.getOrDefault("location", "");
    if (!isInside(location)) {
      throw new MalformedException(
          "tensor "
              + name
              + " must be in a file inside the folder of the ONNX file: location="
              + location);
    }
    MemorySegment bytes = external.bytes(location);
    try {
      long offset = Long.parseLong(entries.getOrDefault("offset", "0"));
      String rest = Long.toString(bytes.byteSize() - offset);
      return bytes.asSlice(offset, Long.parseLong(entries.getOrDefault("length", rest)));
    } catch (IndexOutOfBoundsException | NumberFormatException e) {
      throw new MalformedException(
          "tensor "
              + name
              + " must be inside "
              + location
              + ": offset="
              + entries.get("offset")
              + ", length="
              + entries.get("length")
              + ", file="
              + bytes.byteSize(),
          e);
    }
  }

  private static Value value(
      String name,
      long typeNumber,
      List<Long> dims,
      MemorySegment raw,
      List<Long> integers,
      List<Double> floats)
      throws MalformedException {
    Type type = null;
    for (Type each : Type.values()) {
      type = each.number == typeNumber ? each : type;
    }
    if (type == null) {
      throw new MalformedException("tensor " + name + " has the unknown type " + typeNumber);
    }
    if (dims.size() > MOST_DIMS || dims.stream().anyMatch(dim -> dim < 0)) {
      throw new MalformedException("tensor " + name + " has the shape " + dims);
    }
    long[] shape = dims.stream().mapToLong(Long::longValue).toArray();
    long bytes;
    try {
      bytes = Math.multiplyExact(Arrays.stream(shape).reduce(1, Math::multiplyExact), type.bytes);
    } catch (ArithmeticException e) {
      throw new MalformedException("tensor " + name + " has the shape " + dims, e);
    }
    MemorySegment data = raw;
    if (data == null) {
      data = encode(type, integers, floats);
    }
    if (data.byteSize() != bytes) {
      throw new MalformedException(
          "tensor " + name + " must have " + bytes + " bytes: it has " + data.byteSize());
    }
    return new Value(name, type, shape, data);
  }

  /** Converts elements stored as separate fields to raw bytes. */
  private static MemorySegment encode(Type type, List<Long> integers, List<Double> floats) {
    long count = integers.size() + floats.size();
    MemorySegment data = MemorySegment.ofArray(new byte[Math.toIntExact(count * type.bytes)]);
    for (int i = 0; i < count; i++) {
      long bits =
          switch (type) {
            case F32 -> floats.isEmpty() ? 0 : Float.floatToRawIntBits(floats.get(i).floatValue());
            case F64 -> floats.isEmpty() ? 0 : Double.doubleToRawLongBits(floats.get(i));
            default -> integers.isEmpty() ? 0 : integers.get(i);
          };
      for (int b = 0; b < type.bytes; b++) {
        data.set(ValueLayout.JAVA_BYTE, (long) i * type.bytes + b, (byte) (bits >>> (8 * b)));
      }
    }
    return data;
  }

  // ---- Protocol buffers ----

  private static final class MalformedException extends Exception {
    private static final long serialVersionUID = 1L;

    MalformedException(String message) {
      super(message);
    }

    MalformedException(String message, Throwable cause) {
      super(message, cause);
    }
  }

  /** Steps through the fields of one message. */
  private static final class Message {
    private final MemorySegment bytes;
    private final String what;
    private long at;

    private int field;
    private int wire;

    /** The value of a field that is a number. */
    private long number;

    /** The beginning and end of a field of bytes. */
    private long begin;

    private long end;

    Message(MemorySegment bytes, String what) {
      this.bytes = bytes;
      this.what = what;
    }

    /** Reads the next field; false at the end. */
    boolean next() throws MalformedException {
      if (at == bytes.byteSize()) {
        return false;
      }
      long tag = varint();
      field = (int) (tag >>> 3);
      wire = (int) (tag & 7);
      switch (wire) {
        case VARINT -> number = varint();
        case FIXED64 -> {
          number = bytes.get(LONG, take(Long.BYTES));
        }
        case FIXED32 -> number = bytes.get(INT, take(Integer.BYTES)) & 0xffff_ffffL;
        case BYTES -> {
          long length = varint();
          begin = take(length);
          end = at;
        }
        default -> throw new MalformedException(what + " has a field of the kind " + wire);
      }
      return true;
    }

    private long take(long length) throws MalformedException {
      if (length < 0 || length > bytes.byteSize() - at) {
        throw new MalformedException(
            what
                + " must end inside what holds it: a field has "
                + length
                + " bytes, left are "
                + (bytes.byteSize() - at));
      }
      long first = at;
      at += length;
      return first;
    }

    private long varint() throws MalformedException {
      long value = 0;
      for (int shift = 0; shift < Long.SIZE; shift += 7) {
        byte next = bytes.get(ValueLayout.JAVA_BYTE, take(1));
        value |= (next & 0x7fL) << shift;
        if (next >= 0) {
          return value;
        }
      }
      throw new MalformedException(what + " has a number of more than 64 bits");
    }

    private void requireBytes() throws MalformedException {
      if (wire != BYTES) {
        throw new MalformedException(what + ": field " + field + " is not of bytes");
      }
    }

    MemorySegment bytes() throws MalformedException {
      requireBytes();
      return bytes.asSlice(begin, end - begin);
    }

    Message message(String name) throws MalformedException {
      return new Message(bytes(), name);
    }

    String text() throws MalformedException {
      return new String(bytes().toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
    }

    /** A field of integers, packed or one by one. */
    void integers(List<Long> into) throws MalformedException {
      if (wire != BYTES) {
        into.add(number);
        return;
      }
      Message packed = new Message(bytes(), what);
      while (packed.at < packed.bytes.byteSize()) {
        into.add(packed.varint());
      }
    }

    void floats(List<Double> into) throws MalformedException {
      if (wire != BYTES) {
        into.add((double) Float.intBitsToFloat((int) number));
        return;
      }
      Message packed = new Message(bytes(), what);
      while (packed.at < packed.bytes.byteSize()) {
        into.add((double) Float.intBitsToFloat(packed.bytes.get(INT, packed.take(Integer.BYTES))));
      }
    }

    void doubles(List<Double> into) throws MalformedException {
      if (wire != BYTES) {
        into.add(Double.longBitsToDouble(number));
        return;
      }
      Message packed = new Message(bytes(), what);
      while (packed.at < packed.bytes.byteSize()) {
        into.add(Double.longBitsToDouble(packed.bytes.get(LONG, packed.take(Long.BYTES))));
      }
    }
  }
}
