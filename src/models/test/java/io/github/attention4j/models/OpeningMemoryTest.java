package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.testing.ChildJvm;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Opening takes no more memory than the weights as they are stored and 64 MB, at any moment, and a
 * stream of texts no more than its first thousand: measured as what the process has that is not a
 * mapped file, in a JVM whose heap is there from the beginning.
 */
class OpeningMemoryTest {
  private static final long MB = 1 << 20;
  private static final long REST = 64 * MB;

  private static final int WIDTH = 768;
  private static final int LAYERS = 5;
  private static final int WORDS = 4000;

  /** Of a stream. */
  private static final int TEXTS = 100_000;

  /** What a text may leave behind: less than its shortest copy would take. */
  private static final int BYTES_A_TEXT = 50;

  @TempDir Path directory;

  /** Opens a model in a JVM of its own, and prints by how many bytes that grew it at most. */
  static final class Opening {
    private Opening() {}

    public static void main(String[] args) throws Exception {
      A4j.load();
      long before = anonymousBytes();
      long[] most = {before};
      Thread watch =
          Thread.ofPlatform()
              .daemon()
              .start(
                  () -> {
                    while (!Thread.interrupted()) {
                      most[0] = Math.max(most[0], anonymousBytes());
                    }
                  });
      try (AutoCloseable model = open(args)) {
        watch.interrupt();
        watch.join();
        System.out.println(Math.max(most[0], anonymousBytes()) - before);
        long parameters =
            model instanceof CausalLm lm ? lm.parameters() : ((TextEncoder) model).parameters();
        if (parameters == 0) {
          throw new IllegalStateException("no weights");
        }
      }
    }

    private static AutoCloseable open(String[] args) throws IOException {
      if (args.length == 1) {
        return CausalLm.open(Path.of(args[0]));
      }
      if (args.length == 0) {
        try (URLClassLoader loader = MiniLm.loader()) {
          return TextEncoder.open(loader, MiniLm.ONNX);
        }
      }
      return TextEncoder.open(Path.of(args[0]), WeightStorage.valueOf(args[1]));
    }

    private static long anonymousBytes() {
      try {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
          if (line.startsWith("RssAnon:")) {
            return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
          }
        }
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
      throw new IllegalStateException("/proc/self/status has no RssAnon");
    }
  }

  /**
   * Embeds a stream of texts, and prints by how many bytes a thousand of them grew the JVM: the
   * median over the second half, and all after the first thousand at most. The compilers of the JVM
   * take megabytes at once for a large method, and keep them (C1 50 MB for {@code
   * AttentionCall.compute}). That changes the second number but not the first; what every text
   * leaves behind changes both.
   */
  static final class Streaming {
    private Streaming() {}

    public static void main(String[] args) throws Exception {
      int texts = Integer.parseInt(args[1]);
      int left = Integer.parseInt(args[2]);
      long[] sizes = new long[texts / 1000];
      try (TextEmbedder embedder = TextEmbedder.open(Path.of(args[0]))) {
        Iterator<TextEmbedder.Result> results =
            embedder.embedAll(IntStream.range(0, texts).mapToObj(Streaming::text).iterator(), null);
        for (int i = 0; i < texts; i++) {
          results.next();
          if (left > 0) {
            Arena.global().allocate(left).fill((byte) 1);
          }
          if (i % 1000 == 999) {
            sizes[i / 1000] = Opening.anonymousBytes();
          }
        }
      }
      long[] steps =
          IntStream.range(sizes.length / 2, sizes.length)
              .mapToLong(i -> sizes[i] - sizes[i - 1])
              .toArray();
      Arrays.sort(steps);
      System.out.println(steps[steps.length / 2]);
      System.out.println(Arrays.stream(sizes).max().orElseThrow() - sizes[0]);
    }

    /** From 2 to 13 words. */
    private static String text(int i) {
      return "water " + "level ".repeat(i % 12) + i;
    }
  }

  @Test
  void shouldStreamTextsInConstantMemory() throws Exception {
    Growth growth = streaming(TEXTS, 0);
    assertTrue(growth.aThousandTexts() <= BYTES_A_TEXT * 1000, growth.toString());
    assertTrue(growth.most() <= REST, growth.toString());
  }

  /** What the test before this one would say if every text left something behind. */
  @Test
  void shouldNoticeWhatTextsLeaveBehind() throws Exception {
    Growth growth = streaming(TEXTS / 5, 4 * BYTES_A_TEXT);
    assertTrue(growth.aThousandTexts() > BYTES_A_TEXT * 1000, growth.toString());
  }

  private record Growth(long aThousandTexts, long most) {}

  private static Growth streaming(int texts, int left) throws Exception {
    List<String> printed =
        child(
            Streaming.class,
            OnnxTest.golden("bert_st_mean").toString(),
            Integer.toString(texts),
            Integer.toString(left));
    return new Growth(Long.parseLong(printed.get(0)), Long.parseLong(printed.get(1)));
  }

  @Test
  void shouldTakeTheWeightsOnceFromFloat32() throws Exception {
    long stored = write(DType.F32);
    long taken = opening(directory.toString(), "FLOAT32");
    assertTrue(taken <= stored + REST, sizes(taken, stored));
    assertTrue(taken >= stored / 2, "it is not measured: " + sizes(taken, stored));
  }

  @Test
  void shouldTakeHalfInBfloat16AndLessInEightBits() throws Exception {
    long stored = write(DType.F32);
    long half = opening(directory.toString(), "BF16");
    // The table of words stays as it is stored.
    assertTrue(half <= stored / 2 + WORDS * WIDTH * 2L + REST, sizes(half, stored));
    long quarter = opening(directory.toString(), "INT8");
    assertTrue(quarter <= stored / 3 + WORDS * WIDTH * 3L + REST, sizes(quarter, stored));
  }

  @Test
  void shouldKeepSixteenBits() throws Exception {
    long stored = write(DType.BF16);
    long taken = opening(directory.toString(), "FLOAT32");
    assertTrue(taken <= stored + REST, sizes(taken, stored));
    stored = write(DType.F16);
    for (String storage : List.of("FLOAT32", "BF16")) {
      taken = opening(directory.toString(), storage);
      assertTrue(taken <= stored + REST, storage + ": " + sizes(taken, stored));
    }
  }

  @Test
  void shouldHoldAModelFromAJarOnce() throws Exception {
    long stored;
    try (URLClassLoader loader = MiniLm.loader()) {
      stored = loader.getResource(MiniLm.ONNX).openConnection().getContentLengthLong();
    }
    long taken = opening();
    assertTrue(taken <= stored + REST, sizes(taken, stored));
  }

  // ---- Language models ----

  /** The shape of Llama 3.2 1B, in a file that is a hole: only the norms are read. */
  @Test
  void shouldMapTheSixteenBitsOfALanguageModel() throws Exception {
    Files.writeString(
        directory.resolve("config.json"),
        """
        {"model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
         "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192,
         "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
         "tie_word_embeddings": true}
        """);
    Map<String, long[]> shapes = new LinkedHashMap<>();
    shapes.put("model.embed_tokens.weight", new long[] {128_256, 2048});
    shapes.put("model.norm.weight", new long[] {2048});
    for (int i = 0; i < 16; i++) {
      String layer = "model.layers." + i + ".";
      shapes.put(layer + "input_layernorm.weight", new long[] {2048});
      shapes.put(layer + "self_attn.q_proj.weight", new long[] {2048, 2048});
      shapes.put(layer + "self_attn.k_proj.weight", new long[] {512, 2048});
      shapes.put(layer + "self_attn.v_proj.weight", new long[] {512, 2048});
      shapes.put(layer + "self_attn.o_proj.weight", new long[] {2048, 2048});
      shapes.put(layer + "post_attention_layernorm.weight", new long[] {2048});
      shapes.put(layer + "mlp.gate_proj.weight", new long[] {8192, 2048});
      shapes.put(layer + "mlp.up_proj.weight", new long[] {8192, 2048});
      shapes.put(layer + "mlp.down_proj.weight", new long[] {2048, 8192});
    }
    long stored = writeHole(directory.resolve("model.safetensors"), shapes);
    long taken = opening(directory.toString());
    assertTrue(stored > 2_300 * MB && taken <= REST, sizes(taken, stored));
  }

  /** Tables of positions are as long as a text needs, whatever the configuration says. */
  @Test
  void shouldTakeNothingForAContextThatOnlyTheConfigurationHas() throws Exception {
    for (String type : List.of("llama", "diffllama")) {
      TinyCheckpoint.of(type, "max_position_embeddings", "2147483647").write(directory);
      long taken = opening(directory.toString());
      assertTrue(taken <= REST, type + ": " + taken / MB + " MB were taken");
    }
  }

  /** Writes a file of bfloat16 zeros that takes no room on the disk, and returns its size. */
  private static long writeHole(Path file, Map<String, long[]> shapes) throws IOException {
    StringBuilder header = new StringBuilder("{");
    long end = 0;
    for (Map.Entry<String, long[]> each : shapes.entrySet()) {
      long begin = end;
      end += 2 * Arrays.stream(each.getValue()).reduce(1, Math::multiplyExact);
      header.append(
          "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
              .formatted(
                  begin == 0 ? "" : ",",
                  each.getKey(),
                  Arrays.toString(each.getValue()),
                  begin,
                  end));
    }
    header.append("}");
    header.append(" ".repeat(8 - header.length() % 8));
    try (RandomAccessFile out = new RandomAccessFile(file.toFile(), "rw")) {
      out.writeLong(Long.reverseBytes(header.length()));
      out.writeBytes(header.toString());
      out.setLength(out.length() + end);
      return out.length();
    }
  }

  /** Blocks become packed weights of the same size, and nothing else on the way. */
  @Test
  void shouldPackTheBlocksOfALanguageModelOnce() throws Exception {
    int width = 1024;
    TinyGguf gguf = new TinyGguf();
    gguf.metadata.putAll(
        Map.of(
            "general.architecture",
            "llama",
            "llama.block_count",
            2,
            "llama.context_length",
            512,
            "llama.embedding_length",
            width,
            "llama.feed_forward_length",
            8 * width,
            "llama.attention.head_count",
            8,
            "tokenizer.ggml.model",
            "none",
            "llama.attention.layer_norm_rms_epsilon",
            1e-5f));
    long stored = blocks(gguf, "token_embd", 14, 210, 16 * width, width);
    gguf.put("output_norm.weight", new float[width], width);
    for (int i = 0; i < 2; i++) {
      String layer = "blk." + i + ".";
      gguf.put(layer + "attn_norm.weight", new float[width], width);
      gguf.put(layer + "ffn_norm.weight", new float[width], width);
      for (String name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
        stored += blocks(gguf, layer + name, 12, 144, width, width);
      }
      stored += blocks(gguf, layer + "ffn_gate", 12, 144, 8 * width, width);
      stored += blocks(gguf, layer + "ffn_up", 12, 144, 8 * width, width);
      stored += blocks(gguf, layer + "ffn_down", 14, 210, width, 8 * width);
    }
    Path file = gguf.write(directory.resolve("model.gguf"));
    long taken = opening(file.toString());
    // Q4_K has 6 bits a scale in the file and 8 in memory.
    assertTrue(taken <= stored * 37 / 36 + REST / 2, sizes(taken, stored));
    assertTrue(taken >= stored / 2, "it is not measured: " + sizes(taken, stored));
  }

  private static long blocks(
      TinyGguf gguf, String name, int type, int blockBytes, long rows, long columns) {
    int bytes = Math.toIntExact(rows * columns / 256 * blockBytes);
    gguf.putBlocks(name + ".weight", type, bytes, rows, columns);
    return bytes;
  }

  private static String sizes(long taken, long stored) {
    return taken / MB + " MB were taken, stored are " + stored / MB + " MB";
  }

  private static long opening(String... args) throws Exception {
    return Long.parseLong(child(Opening.class, args).getFirst());
  }

  /** What a class of this test prints in a JVM of its own. */
  private static List<String> child(Class<?> main, String... args) throws Exception {
    List<String> command = new ArrayList<>(ChildJvm.CLASS_PATH);
    command.addAll(List.of("-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC"));
    command.add(main.getName());
    command.addAll(List.of(args));
    ChildJvm child = ChildJvm.start(Map.of(), command).await(10);
    assertEquals(0, child.exit(), child.err());
    return child.out().lines().toList();
  }

  /** Writes a BERT of random weights, and returns the size of its file. */
  private long write(DType type) throws IOException {
    Files.writeString(
        directory.resolve("config.json"),
        """
        {"model_type": "bert", "vocab_size": %d, "hidden_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": 12, "intermediate_size": %d, "max_position_embeddings": 512,
         "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
        """
            .formatted(WORDS, WIDTH, LAYERS, 4 * WIDTH));
    Path file = directory.resolve("model.safetensors");
    try (Arena arena = Arena.ofConfined()) {
      Map<String, Tensor> tensors = new LinkedHashMap<>();
      put(arena, type, tensors, "embeddings.word_embeddings.weight", WORDS, WIDTH);
      put(arena, type, tensors, "embeddings.position_embeddings.weight", 512, WIDTH);
      put(arena, type, tensors, "embeddings.token_type_embeddings.weight", 2, WIDTH);
      norm(arena, type, tensors, "embeddings.LayerNorm");
      for (int i = 0; i < LAYERS; i++) {
        String layer = "encoder.layer." + i + ".";
        for (String name : List.of("self.query", "self.key", "self.value", "output.dense")) {
          linear(arena, type, tensors, layer + "attention." + name, WIDTH, WIDTH);
        }
        norm(arena, type, tensors, layer + "attention.output.LayerNorm");
        linear(arena, type, tensors, layer + "intermediate.dense", 4 * WIDTH, WIDTH);
        linear(arena, type, tensors, layer + "output.dense", WIDTH, 4 * WIDTH);
        norm(arena, type, tensors, layer + "output.LayerNorm");
      }
      SafeTensors.write(file, tensors, Map.of());
    }
    return Files.size(file);
  }

  private static void linear(
      Arena arena, DType type, Map<String, Tensor> tensors, String name, int out, int in) {
    put(arena, type, tensors, name + ".weight", out, in);
    put(arena, type, tensors, name + ".bias", out);
  }

  private static void norm(Arena arena, DType type, Map<String, Tensor> tensors, String name) {
    put(arena, type, tensors, name + ".weight", WIDTH);
    put(arena, type, tensors, name + ".bias", WIDTH);
  }

  private static void put(
      Arena arena, DType type, Map<String, Tensor> tensors, String name, long... shape) {
    Tensor tensor = Tensor.allocate(arena, type, shape);
    float[] values = new float[(int) tensor.count()];
    SplittableRandom random = new SplittableRandom(name.hashCode());
    for (int i = 0; i < values.length; i++) {
      values[i] = (random.nextInt(2001) - 1000) * 5e-5f;
    }
    tensors.put(name, tensor.copyFrom(values));
  }
}
