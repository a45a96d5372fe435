package io.github.attention4j.bench;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A small ONNX model: inputs and nodes are added in the order of the computation, then {@link
 * #model} writes it. Field numbers are those of {@code onnx.proto}. A model that was given no
 * weights is a few hundred bytes.
 */
final class OnnxGraph {
  static final int FLOAT = 1;
  static final int UINT8 = 2;
  static final int INT32 = 6;
  static final int INT64 = 7;
  static final int FLOAT16 = 10;

  /** The domain of ONNX Runtime's own operators. */
  static final String MICROSOFT = "com.microsoft";

  private static final int IR_VERSION = 10;
  private static final int OPSET = 23;

  private static final int ATTRIBUTE_FLOAT = 1;
  private static final int ATTRIBUTE_INT = 2;
  private static final int ATTRIBUTE_INTS = 7;

  private final Protobuf graph = new Protobuf();
  private final Map<String, long[]> outputs = new LinkedHashMap<>();
  private final Map<String, Integer> types = new LinkedHashMap<>();
  private int names;

  /** An argument of the model, by its name. */
  String input(String name, int type, long... shape) {
    graph.message(11, value(name, type, shape));
    return name;
  }

  String input(String name, long... shape) {
    return input(name, FLOAT, shape);
  }

  /** A constant, which the runtime may pack in advance. */
  String weight(float[] values, long... shape) {
    String name = "w" + names++;
    Protobuf tensor = new Protobuf();
    for (long size : shape) {
      tensor.number(1, size);
    }
    graph.message(5, tensor.number(2, FLOAT).text(8, name).floats(9, values));
    return name;
  }

  /** A constant of bytes, in the order of ONNX. */
  String weight(byte[] values, long... shape) {
    String name = "b" + names++;
    Protobuf tensor = new Protobuf();
    for (long size : shape) {
      tensor.number(1, size);
    }
    graph.message(5, tensor.number(2, UINT8).text(8, name).bytes(9, values));
    return name;
  }

  /** A constant of indices. */
  String indices(long... values) {
    String name = "i" + names++;
    Protobuf tensor = new Protobuf().number(1, values.length).number(2, INT64);
    for (long value : values) {
      tensor.number(7, value);
    }
    graph.message(5, tensor.text(8, name));
    return name;
  }

  /** A node with one result, whose name is returned; "" omits an optional input. */
  String node(String domain, String type, List<String> inputs, Map<String, Object> attributes) {
    String result = "t" + names++;
    nodes(domain, type, inputs, attributes, List.of(result));
    return result;
  }

  /** A node of the standard operators without attributes. */
  String node(String type, String... inputs) {
    return node("", type, List.of(inputs), Map.of());
  }

  /** A node with several results. */
  void nodes(
      String domain,
      String type,
      List<String> inputs,
      Map<String, Object> attributes,
      List<String> results) {
    Protobuf node = new Protobuf();
    inputs.forEach(input -> node.text(1, input));
    results.forEach(result -> node.text(2, result));
    node.text(3, "n" + names++).text(4, type);
    attributes.forEach((name, value) -> node.message(5, attribute(name, value)));
    graph.message(1, node.text(7, domain));
  }

  /** Makes a result an output of the model. */
  void output(String name, long... shape) {
    output(FLOAT, name, shape);
  }

  /** The same of another type. */
  void output(int type, String name, long... shape) {
    graph.message(12, value(name, type, shape));
    outputs.put(name, shape);
    types.put(name, type);
  }

  /** Whether an output is of 16 bits. */
  boolean isHalf(String output) {
    return types.get(output) == FLOAT16;
  }

  Map<String, long[]> outputs() {
    return outputs;
  }

  /** The bytes of the model. */
  byte[] model() {
    graph.text(2, "graph");
    return new Protobuf()
        .number(1, IR_VERSION)
        .text(2, "attention4j-bench")
        .message(7, graph)
        .message(8, new Protobuf().text(1, "").number(2, OPSET))
        .message(8, new Protobuf().text(1, MICROSOFT).number(2, 1))
        .bytes();
  }

  private static Protobuf attribute(String name, Object value) {
    Protobuf attribute = new Protobuf().text(1, name);
    return switch (value) {
      case Float real -> attribute.real(2, real).number(20, ATTRIBUTE_FLOAT);
      case Integer number -> attribute.number(3, number).number(20, ATTRIBUTE_INT);
      case int[] numbers -> {
        for (int number : numbers) {
          attribute.number(8, number);
        }
        yield attribute.number(20, ATTRIBUTE_INTS);
      }
      default -> throw new IllegalArgumentException(name + " has no type for " + value);
    };
  }

  private static Protobuf value(String name, int type, long... shape) {
    Protobuf dims = new Protobuf();
    for (long size : shape) {
      dims.message(1, new Protobuf().number(1, size));
    }
    Protobuf tensor = new Protobuf().number(1, type).message(2, dims);
    return new Protobuf().text(1, name).message(2, new Protobuf().message(1, tensor));
  }
}
