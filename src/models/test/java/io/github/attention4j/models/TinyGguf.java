package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A GGUF file of floats, or of blocks that are zeros, written as a test wants it. */
public final class TinyGguf {
  /** Integers, floats, booleans, strings, and lists of one of these, by key. */
  public final Map<String, Object> metadata = new LinkedHashMap<>();

  public final Map<String, Tensor> tensors = new LinkedHashMap<>();

  /** Bytes of tensors that are not floats. */
  private final Map<String, byte[]> blocks = new LinkedHashMap<>();

  private final Map<String, Integer> types = new LinkedHashMap<>();

  /**
   * Adds a tensor of blocks that are all zeros.
   *
   * @param type the number of the type in files
   * @param bytes the size of all blocks
   * @param shape the sizes, slowest first
   */
  public void putBlocks(String name, int type, int bytes, long... shape) {
    // Of the tensor itself only the shape is used.
    tensors.put(name, Tensor.of(MemorySegment.NULL.reinterpret(Long.MAX_VALUE), DType.F32, shape));
    blocks.put(name, new byte[bytes]);
    types.put(name, type);
  }

  private long bytesOf(String name) {
    byte[] bytes = blocks.get(name);
    return bytes == null ? tensors.get(name).count() * Float.BYTES : bytes.length;
  }

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
      out.writeBytes(numbers(4, types.getOrDefault(entry.getKey(), 0)));
      out.writeBytes(numbers(8, offset));
      offset += Math.ceilDiv(bytesOf(entry.getKey()), 32L) * 32;
    }
    pad(out);
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      byte[] bytes = blocks.get(entry.getKey());
      out.writeBytes(bytes != null ? bytes : bytes(entry.getValue().toFloatArray()));
      pad(out);
    }
    return Files.write(file, out.toByteArray());
  }

  private static byte[] bytes(float[] values) {
    ByteBuffer bytes =
        ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    return bytes.array();
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
