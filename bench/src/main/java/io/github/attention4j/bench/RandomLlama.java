package io.github.attention4j.bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;

/**
 * A GGUF file with the shape of Llama 3.2 1B and 1 235 814 400 random weights; each tensor has the
 * type that llama.cpp's quantiser chooses for it. The values do not matter for speed, so a few
 * megabytes of random blocks are repeated; they have ordinary sizes, so that logits do too.
 */
final class RandomLlama {
  private static final int WIDTH = 2048;
  private static final int HIDDEN = 8192;
  private static final int LAYERS = 16;
  private static final int HEADS = 32;
  private static final int HEADS_KV = 8;
  private static final int VOCABULARY = 128_256;
  static final int CONTEXT = 8192;
  private static final int ALIGNMENT = 32;

  /** Blocks that are drawn, and then repeated, each time from another one on. */
  private static final int POOL_BYTES = 8 << 20;

  /** How large weights are on average. */
  private static final float SCALE = 0.02f;

  /** Types of metadata values. */
  private static final int U32 = 4;

  private static final int F32_VALUE = 6;
  private static final int TEXT = 8;

  /** Types of tensors: their number, and values and bytes of a block. */
  private enum Type {
    F32(0, 1, 4),
    BF16(30, 1, 2),
    Q4_0(2, 32, 18),
    Q8_0(8, 32, 34),
    Q4_K(12, 256, 144),
    Q6_K(14, 256, 210);

    private final int number;
    private final int values;
    private final int bytes;

    Type(int number, int values, int bytes) {
      this.number = number;
      this.values = values;
      this.bytes = bytes;
    }

    long size(long[] shape) {
      return shape[0] * (shape.length > 1 ? shape[1] : 1) / values * bytes;
    }
  }

  /** The formats of whole files. */
  enum Format {
    /** 16 bits. */
    BF16,
    /** 8 bits. */
    Q8_0,
    /** 4 bits, the embedding with 6. */
    Q4_0,
    /** 4 bits, the embedding and the more sensitive half of two matrices of a layer with 6. */
    Q4_K_M;

    /** The type of the embedding, which is also the last layer. */
    private Type embedding() {
      return switch (this) {
        case BF16 -> Type.BF16;
        case Q8_0 -> Type.Q8_0;
        case Q4_0, Q4_K_M -> Type.Q6_K;
      };
    }

    private Type matrix(boolean sensitive) {
      return switch (this) {
        case BF16 -> Type.BF16;
        case Q8_0 -> Type.Q8_0;
        case Q4_0 -> Type.Q4_0;
        case Q4_K_M -> sensitive ? Type.Q6_K : Type.Q4_K;
      };
    }
  }

  /** The shape is {@code [columns]} or {@code [columns, rows]}, as the file has it. */
  private record Matrix(Type type, long... shape) {}

  private final Map<String, Matrix> tensors = new LinkedHashMap<>();

  private RandomLlama(Format format) {
    tensors.put("token_embd.weight", new Matrix(format.embedding(), WIDTH, VOCABULARY));
    tensors.put("output_norm.weight", new Matrix(Type.F32, WIDTH));
    int kv = WIDTH / HEADS * HEADS_KV;
    for (int i = 0; i < LAYERS; i++) {
      String layer = "blk." + i + ".";
      int eighth = LAYERS / 8;
      boolean sensitive = i < eighth || i >= 7 * eighth || (i - eighth) % 3 == 2;
      put(layer + "attn_norm", Type.F32, WIDTH);
      put(layer + "attn_q", format.matrix(false), WIDTH, WIDTH);
      put(layer + "attn_k", format.matrix(false), WIDTH, kv);
      put(layer + "attn_v", format.matrix(sensitive), WIDTH, kv);
      put(layer + "attn_output", format.matrix(false), WIDTH, WIDTH);
      put(layer + "ffn_norm", Type.F32, WIDTH);
      put(layer + "ffn_gate", format.matrix(false), WIDTH, HIDDEN);
      put(layer + "ffn_up", format.matrix(false), WIDTH, HIDDEN);
      put(layer + "ffn_down", format.matrix(sensitive), HIDDEN, WIDTH);
    }
  }

  private void put(String name, Type type, long... shape) {
    tensors.put(name + ".weight", new Matrix(type, shape));
  }

  /** Bytes of all tensors: what a token reads, each once except for the norms. */
  static long bytes(Format format) {
    return new RandomLlama(format)
        .tensors.values().stream().mapToLong(each -> each.type.size(each.shape)).sum();
  }

  /** The file below a directory; written if it is not there yet. */
  static Path file(Path directory, Format format) throws IOException {
    Path file =
        directory.resolve("random-llama-1b-" + format.name().toLowerCase(Locale.ROOT) + ".gguf");
    if (!Files.exists(file)) {
      Files.createDirectories(directory);
      Path partial = Files.createTempFile(directory, "random-llama", ".part");
      new RandomLlama(format).write(partial);
      Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
    }
    return file;
  }

  // ---- Writing ----

  private void write(Path file) throws IOException {
    try (FileChannel out = FileChannel.open(file, StandardOpenOption.WRITE)) {
      writeFully(out, ByteBuffer.wrap(header()));
      Map<Type, ByteBuffer> pools = new LinkedHashMap<>();
      Random random = new Random(1);
      for (Matrix each : tensors.values()) {
        ByteBuffer pool = pools.computeIfAbsent(each.type, RandomLlama::pool);
        long left = each.type.size(each.shape);
        int at = random.nextInt(pool.capacity() / each.type.bytes) * each.type.bytes;
        while (left > 0) {
          int now = (int) Math.min(left, pool.capacity() - at);
          writeFully(out, pool.slice(at, now));
          left -= now;
          at = 0;
        }
        writeFully(out, ByteBuffer.allocate((int) padding(out.position())));
      }
    }
  }

  private static void writeFully(FileChannel out, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      out.write(bytes);
    }
  }

  private static long padding(long at) {
    return Math.floorMod(-at, (long) ALIGNMENT);
  }

  private byte[] header() {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    List<Runnable> values = new ArrayList<>();
    values.add(() -> text(out, "general.architecture", "llama"));
    values.add(() -> text(out, "tokenizer.ggml.model", "none"));
    Map<String, Integer> numbers = new LinkedHashMap<>();
    numbers.put("block_count", LAYERS);
    numbers.put("context_length", CONTEXT);
    numbers.put("embedding_length", WIDTH);
    numbers.put("feed_forward_length", HIDDEN);
    numbers.put("attention.head_count", HEADS);
    numbers.put("attention.head_count_kv", HEADS_KV);
    numbers.put("vocab_size", VOCABULARY);
    numbers.forEach((key, value) -> values.add(() -> number(out, key, U32, value)));
    values.add(() -> real(out, "attention.layer_norm_rms_epsilon", 1e-5f));
    values.add(() -> real(out, "rope.freq_base", 500_000));
    int32(out, 'G' | 'G' << 8 | 'U' << 16 | 'F' << 24);
    int32(out, 3);
    int64(out, tensors.size());
    int64(out, values.size());
    values.forEach(Runnable::run);
    long offset = 0;
    for (Map.Entry<String, Matrix> each : tensors.entrySet()) {
      Matrix matrix = each.getValue();
      string(out, each.getKey());
      int32(out, matrix.shape.length);
      for (long size : matrix.shape) {
        int64(out, size);
      }
      int32(out, matrix.type.number);
      int64(out, offset);
      offset += matrix.type.size(matrix.shape);
      offset += padding(offset);
    }
    out.writeBytes(new byte[(int) padding(out.size())]);
    return out.toByteArray();
  }

  private static void text(ByteArrayOutputStream out, String key, String value) {
    string(out, key);
    int32(out, TEXT);
    string(out, value);
  }

  private static void number(ByteArrayOutputStream out, String key, int type, int bits) {
    string(out, "llama." + key);
    int32(out, type);
    int32(out, bits);
  }

  private static void real(ByteArrayOutputStream out, String key, float value) {
    number(out, key, F32_VALUE, Float.floatToRawIntBits(value));
  }

  private static void string(ByteArrayOutputStream out, String value) {
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    int64(out, bytes.length);
    out.writeBytes(bytes);
  }

  private static void int32(ByteArrayOutputStream out, int value) {
    for (int i = 0; i < Integer.BYTES; i++) {
      out.write(value >>> 8 * i);
    }
  }

  private static void int64(ByteArrayOutputStream out, long value) {
    int32(out, (int) value);
    int32(out, (int) (value >>> Integer.SIZE));
  }

  // ---- Random blocks ----

  private static ByteBuffer pool(Type type) {
    Random random = new Random(2);
    int blocks = POOL_BYTES / type.bytes;
    ByteBuffer pool = ByteBuffer.allocate(blocks * type.bytes).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < blocks; i++) {
      int at = i * type.bytes;
      byte[] codes = new byte[type.bytes];
      random.nextBytes(codes);
      pool.put(at, codes);
      switch (type) {
        case F32 -> pool.putFloat(at, 1);
        case BF16 -> {
          float value = SCALE * (float) random.nextGaussian();
          pool.putShort(at, (short) (Float.floatToRawIntBits(value) >>> 16));
        }
        // Codes are uniform over their range [-n, n), whose standard deviation is n / sqrt(3).
        case Q4_0 -> half(pool, at, SCALE * 1.73f / 8);
        case Q8_0 -> half(pool, at, SCALE * 1.73f / 128);
        case Q4_K -> {
          // Scales and minimums of 6 bits average 32, codes 7.5.
          half(pool, at, SCALE * 1.5f / 8 / 32);
          half(pool, at + 2, SCALE * 1.5f / 32);
        }
        // Scales of 8 bits, both signs, average 64.
        case Q6_K -> half(pool, at + 208, SCALE * 1.5f / 32 / 64);
      }
    }
    return pool;
  }

  private static void half(ByteBuffer pool, int at, float value) {
    pool.putShort(at, Float.floatToFloat16(value));
  }
}
