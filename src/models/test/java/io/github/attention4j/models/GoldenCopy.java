package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** A copy of a golden encoder, to be changed as a test wants. */
record GoldenCopy(Path directory) {
  /** Copies a model's files into a directory. */
  static GoldenCopy of(String model, Path directory) throws Exception {
    Path from = OnnxTest.golden(model);
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Path to = directory.resolve(from.relativize(file).toString());
        Files.createDirectories(to.getParent());
        Files.copy(file, to);
      }
    }
    return new GoldenCopy(directory);
  }

  /** Replaces a part of a file that must be there. */
  void edit(String file, String from, String to) throws IOException {
    String text = Files.readString(directory.resolve(file));
    assertTrue(text.contains(from), text);
    Files.writeString(directory.resolve(file), text.replace(from, to));
  }

  /** Rewrites the weights as float32. */
  void weights(Consumer<Map<String, Tensor>> change) throws IOException {
    Path file = directory.resolve("model.safetensors");
    Map<String, Tensor> all = new LinkedHashMap<>();
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors tensors = SafeTensors.open(file, arena);
      for (String name : tensors.names()) {
        if (tensors.get(name).dtype() != DType.I64) {
          all.put(name, tensors.get(name).toF32(Arena.ofAuto()));
        }
      }
    }
    change.accept(all);
    SafeTensors.write(file, all, Map.of());
  }

  interface Call {
    void run() throws Exception;
  }

  /** Expects a refusal whose message contains a part. */
  static void refuses(String part, Call call) {
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }
}
