package io.github.attention4j.models;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/** Writes small ONNX files for tests. */
final class OnnxWriter {
  private static final int FLOAT = 1;
  private static final int UINT8 = 2;
  private static final int FLOAT16 = 10;

  private final ByteArrayOutputStream graph = new ByteArrayOutputStream();

  /** Where tensors go that are not in the graph. */
  private ByteArrayOutputStream data;

  private String location;

  /** Puts the tensors from now on into a file of their own, and returns what it is to hold. */
  ByteArrayOutputStream externally(String location) {
    this.location = location;
    data = new ByteArrayOutputStream();
    return data;
  }

  void node(String operator, String name, List<String> inputs, List<String> outputs) {
    node(operator, name, inputs, outputs, Map.of());
  }

  void node(
      String operator,
      String name,
      List<String> inputs,
      List<String> outputs,
      Map<String, Integer> attributes) {
    ByteArrayOutputStream node = new ByteArrayOutputStream();
    inputs.forEach(input -> text(node, 1, input));
    outputs.forEach(output -> text(node, 2, output));
    text(node, 3, name);
    text(node, 4, operator);
    attributes.forEach(
        (key, number) -> {
          ByteArrayOutputStream attribute = new ByteArrayOutputStream();
          text(attribute, 1, key);
          varint(attribute, 3 << 3);
          varint(attribute, number);
          bytes(node, 5, attribute.toByteArray());
        });
    bytes(graph, 1, node.toByteArray());
  }

  /** A node with a branch. */
  void branch(String name, OnnxWriter then) {
    ByteArrayOutputStream attribute = new ByteArrayOutputStream();
    text(attribute, 1, "then_branch");
    bytes(attribute, 6, then.graph.toByteArray());
    ByteArrayOutputStream node = new ByteArrayOutputStream();
    text(node, 1, "condition");
    text(node, 2, name + "_result");
    text(node, 3, name);
    text(node, 4, "If");
    bytes(node, 5, attribute.toByteArray());
    bytes(graph, 1, node.toByteArray());
  }

  void floats(String name, float[] values, long... shape) {
    ByteBuffer raw = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) {
      raw.putFloat(value);
    }
    tensor(name, FLOAT, raw.array(), shape);
  }

  void halves(String name, float[] values, long... shape) {
    ByteBuffer raw = ByteBuffer.allocate(2 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) {
      raw.putShort(Float.floatToFloat16(value));
    }
    tensor(name, FLOAT16, raw.array(), shape);
  }

  void unsigned(String name, byte[] values, long... shape) {
    tensor(name, UINT8, values, shape);
  }

  private void tensor(String name, int type, byte[] raw, long... shape) {
    ByteArrayOutputStream tensor = new ByteArrayOutputStream();
    for (long size : shape) {
      varint(tensor, 1 << 3);
      varint(tensor, size);
    }
    varint(tensor, 2 << 3);
    varint(tensor, type);
    text(tensor, 8, name);
    if (data == null) {
      bytes(tensor, 9, raw);
    } else {
      entry(tensor, "location", location);
      entry(tensor, "offset", Integer.toString(data.size()));
      entry(tensor, "length", Integer.toString(raw.length));
      varint(tensor, 14 << 3);
      varint(tensor, 1);
      data.writeBytes(raw);
    }
    bytes(graph, 5, tensor.toByteArray());
  }

  private static void entry(ByteArrayOutputStream tensor, String key, String value) {
    ByteArrayOutputStream entry = new ByteArrayOutputStream();
    text(entry, 1, key);
    text(entry, 2, value);
    bytes(tensor, 13, entry.toByteArray());
  }

  void output(String name) {
    ByteArrayOutputStream value = new ByteArrayOutputStream();
    text(value, 1, name);
    bytes(graph, 12, value.toByteArray());
  }

  byte[] toByteArray() {
    ByteArrayOutputStream model = new ByteArrayOutputStream();
    varint(model, 1 << 3);
    varint(model, 8);
    bytes(model, 7, graph.toByteArray());
    return model.toByteArray();
  }

  private static void text(ByteArrayOutputStream out, int field, String value) {
    bytes(out, field, value.getBytes(StandardCharsets.UTF_8));
  }

  private static void bytes(ByteArrayOutputStream out, int field, byte[] value) {
    varint(out, (long) field << 3 | 2);
    varint(out, value.length);
    out.writeBytes(value);
  }

  private static void varint(ByteArrayOutputStream out, long value) {
    long rest = value;
    while ((rest & ~0x7fL) != 0) {
      out.write((int) (rest & 0x7f | 0x80));
      rest >>>= 7;
    }
    out.write((int) rest);
  }
}
