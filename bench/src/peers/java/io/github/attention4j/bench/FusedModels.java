package io.github.attention4j.bench;

import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.TextEncoder;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** attention4j's encoders and its embedder, opened from files as a user would. */
final class FusedModels {
  static final String ONNX = "all-minilm-l6-v2.onnx";
  static final String TOKENIZER = "all-minilm-l6-v2-tokenizer.json";

  private FusedModels() {}

  /** Texts through all-MiniLM-L6-v2, which a jar on the class path holds. */
  static Way texts(TextShape shape) throws IOException {
    List<String> texts = shape.texts();
    TextEmbedder embedder =
        TextEmbedder.builder(FusedModels.class.getClassLoader(), ONNX, TOKENIZER)
            .maxTokens(TextShape.MOST_TOKENS)
            .open();
    for (int i = 0; i < texts.size(); i++) {
      int tokens = Math.min(TextShape.MOST_TOKENS, embedder.countTokens(texts.get(i)));
      if (tokens != shape.tokens(i)) {
        throw new IllegalStateException(
            "every word must be one token: tokens=%d, wanted=%d: %s"
                .formatted(tokens, shape.tokens(i), texts.get(i)));
      }
    }
    return new Way() {
      private List<TextEmbedder.Result> results;

      @Override
      public String name() {
        return "";
      }

      @Override
      public void run() {
        results = embedder.embedAll(texts);
      }

      @Override
      public float[] result() {
        return FusedBlock.joined(
            results.stream().map(TextEmbedder.Result::vector).toArray(float[][]::new));
      }

      @Override
      public void close() {
        embedder.close();
      }
    };
  }

  /** Token ids through an encoder with random weights. */
  static Way model(ModelShape shape) throws IOException {
    TextEncoder encoder = open(shape);
    int[] tokens = shape.tokens();
    List<int[]> texts = new ArrayList<>();
    for (int i = 0; i < shape.batch(); i++) {
      texts.add(Arrays.copyOfRange(tokens, i * shape.length(), (i + 1) * shape.length()));
    }
    return new Way() {
      private Arena arena;
      private Tensor hidden;

      @Override
      public String name() {
        return "";
      }

      @Override
      public void run() {
        if (arena != null) {
          arena.close();
        }
        arena = Arena.ofConfined();
        hidden = encoder.encode(arena, texts, null);
      }

      @Override
      public float[] result() {
        return hidden.toFloatArray();
      }

      @Override
      public void close() {
        if (arena != null) {
          arena.close();
        }
        encoder.close();
      }
    };
  }

  /** The file is written, opened and deleted: the encoder keeps a copy of the weights. */
  private static TextEncoder open(ModelShape shape) throws IOException {
    Path directory = Files.createTempDirectory("attention4j-bench");
    try (Arena arena = Arena.ofConfined()) {
      Map<String, Tensor> tensors = new LinkedHashMap<>();
      shape
          .weights()
          .forEach(
              (name, weight) ->
                  tensors.put(name, Tensor.of(arena, weight.values(), weight.shape())));
      SafeTensors.write(directory.resolve("model.safetensors"), tensors, Map.of());
      Files.writeString(directory.resolve("config.json"), shape.config());
      return TextEncoder.open(directory);
    } finally {
      try (Stream<Path> files = Files.list(directory)) {
        for (Path file : files.toList()) {
          Files.delete(file);
        }
      }
      Files.delete(directory);
    }
  }
}
