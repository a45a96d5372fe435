package io.github.attention4j.models;

import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;

/** The trained model all-MiniLM-L6-v2, from the jar that the build fetches for tests. */
final class MiniLm {
  private static final Path JAR = Path.of("src/models/target/minilm/minilm.jar");
  static final String ONNX = "all-minilm-l6-v2.onnx";
  static final String TOKENIZER = "all-minilm-l6-v2-tokenizer.json";

  private MiniLm() {}

  /** A loader that finds the model's files; to be closed. */
  static URLClassLoader loader() throws IOException {
    if (!Files.exists(JAR)) {
      throw new IllegalStateException(
          JAR.toAbsolutePath()
              + " must be there: the profile \"full\" fetches it, in generate-test-resources");
    }
    return new URLClassLoader("minilm", new URL[] {JAR.toUri().toURL()}, null);
  }

  static TextEmbedder open(int maxTokens) throws IOException {
    try (URLClassLoader loader = loader()) {
      return TextEmbedder.builder(loader, ONNX, TOKENIZER).maxTokens(maxTokens).open();
    }
  }
}
