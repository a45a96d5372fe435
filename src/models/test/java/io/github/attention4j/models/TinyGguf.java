package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A GGUF file of floats, written as a test wants it. */
public final class TinyGguf {
  /** Integers, floats, booleans, strings, and lists of one of these, by key. */
  public final Map<String, Object> metadata = new LinkedHashMap<>();

  public final Map<String, Tensor> tensors = new LinkedHashMap<>();

  /** Adds a tensor. */
  public void put(String name, float[] values, long... shape) {
    tensors.put(name, Tensor.allocate(Arena.ofAuto(), DType.F32, shape).copyFrom(values));
  }

  /** Writes the file. */
  public Path write(Path file) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
    out.writeBytes(numbers(4, 3));
    out.writeBytes(numbers(8, tensors.size(), metadata.size()));
    metadata.forEach(
        (key, value) -> {
          out.writeBytes(string(key));
          out.writeBytes(numbers(4, typeOf(value)));
          if (value instanceof List<?> list) {
            out.writeBytes(numbers(4, typeOf(list.getFirst())));
            out.writeBytes(numbers(8, list.size()));
            list.forEach(element -> write(element, out));
          } else {
            write(value, out);
          }
        });
    long offset = 0;
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      long[] shape = entry.getValue().shape();
      out.writeBytes(string(entry.getKey()));
      out.writeBytes(numbers(4, shape.length));
      for (int i = shape.length - 1; i >= 0; i--) {
        out.writeBytes(numbers(8, shape[i]));
      }
      out.writeBytes(numbers(4, 0));
      out.writeBytes(numbers(8, offset));
      offset += Math.ceilDiv(entry.getValue().count() * Float.BYTES, 32L) * 32;
    }
    pad(out);
    for (Tensor tensor : tensors.values()) {
      float[] values = tensor.toFloatArray();
      ByteBuffer bytes =
          ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
      bytes.asFloatBuffer().put(values);
      out.writeBytes(bytes.array());
      pad(out);
    }
    return Files.write(file, out.toByteArray());
  }

  private static int typeOf(Object value) {
    return switch (value) {
      case Integer number -> 5;
      case Float number -> 6;
      case Boolean flag -> 7;
      case List<?> list -> 9;
      default -> 8;
    };
  }

  private static void write(Object value, ByteArrayOutputStream out) {
    switch (value) {
      case Integer number -> out.writeBytes(numbers(4, number));
      case Float number -> out.writeBytes(numbers(4, Float.floatToIntBits(number)));
      case Boolean flag -> out.write(flag ? 1 : 0);
      default -> out.writeBytes(string((String) value));
    }
  }

  private static void pad(ByteArrayOutputStream out) {
    while (out.size() % 32 != 0) {
      out.write(0);
    }
  }

  private static byte[] string(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocate(8 + bytes.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(bytes.length)
        .put(bytes)
        .array();
  }

  private static byte[] numbers(int size, long... values) {
    ByteBuffer buffer = ByteBuffer.allocate(size * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (long value : values) {
      if (size == 4) {
        buffer.putInt((int) value);
      } else {
        buffer.putLong(value);
      }
    }
    return buffer.array();
  }
}
