package io.github.attention4j.models.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.github.attention4j.models.decoder.Families;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Settings;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/** The kind of a model: what it is used for. */
enum Kind {
  DECODER,
  RERANKER,
  EMBEDDER;

  private static final byte[] GGUF = {'G', 'G', 'U', 'F'};

  /**
   * Determines the kind: a GGUF file generates text; for a directory, {@code architectures}
   * decides, without that key {@code model_type}, and without a configuration an ONNX file means an
   * encoder.
   */
  static Kind of(Path path) throws IOException {
    if (!Files.exists(path)) {
      throw new FileNotFoundException(path + " must be a directory or a file: it is missing");
    }
    if (!Files.isDirectory(path)) {
      if (isGguf(path)) {
        return DECODER;
      }
      String other = Checkpoint.insteadOfGguf(path);
      if (other != null || !path.toString().endsWith(".onnx")) {
        throw new IOException(
            path
                + " must be a directory, a GGUF file or an ONNX export: it is "
                + (other == null ? "none of them" : other));
      }
      return EMBEDDER;
    }
    // sentence-transformers also turns decoders into embedders.
    if (Files.exists(path.resolve("modules.json"))) {
      return isCrossEncoder(path.resolve("config_sentence_transformers.json"))
          ? RERANKER
          : EMBEDDER;
    }
    Path config = path.resolve("config.json");
    if (!Files.exists(config)) {
      refuseToChoose(path);
      return EMBEDDER;
    }
    JsonElement json;
    try (Reader reader = Files.newBufferedReader(config)) {
      json = JsonParser.parseReader(reader);
    } catch (JsonParseException e) {
      throw new IOException(config + " is not JSON: " + e.getMessage(), e);
    }
    JsonElement named = json instanceof JsonObject object ? object.get("architectures") : null;
    String architectures = named instanceof JsonArray array ? array.toString() : "";
    if (architectures.contains("ForSequenceClassification")) {
      return RERANKER;
    }
    if (named == null) {
      JsonElement type = json instanceof JsonObject object ? object.get("model_type") : null;
      boolean known = type != null && type.isJsonPrimitive();
      return known && Families.has(type.getAsString()) ? DECODER : EMBEDDER;
    }
    boolean writes = architectures.contains("ForCausalLM") || architectures.contains("LMHeadModel");
    return writes ? DECODER : EMBEDDER;
  }

  /** Newer files of sentence-transformers say what they are. */
  private static boolean isCrossEncoder(Path file) throws IOException {
    return Files.exists(file)
        && "CrossEncoder".equals(Settings.read(file).text("model_type", "SentenceTransformer"));
  }

  /** Whether a file begins as GGUF files do, or is called so. */
  private static boolean isGguf(Path file) throws IOException {
    if (!Files.isRegularFile(file)) {
      return false;
    }
    try (InputStream in = Files.newInputStream(file)) {
      return Arrays.equals(GGUF, in.readNBytes(GGUF.length)) || file.toString().endsWith(".gguf");
    }
  }

  /** Refuses a directory that only holds GGUF files, because one of them must be named. */
  private static void refuseToChoose(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      List<String> names = files.map(file -> file.getFileName().toString()).sorted().toList();
      List<String> models = names.stream().filter(name -> name.endsWith(".gguf")).toList();
      if (!models.isEmpty() && !names.contains("model.onnx") && !names.contains("onnx")) {
        throw new FileNotFoundException(
            directory
                + " has no config.json; name the GGUF file in it: "
                + directory.resolve(models.getFirst()));
      }
    }
  }

  /**
   * Refuses a path at which a command finds no model of this kind. What a directory holds is for
   * the models to refuse, as one model may be of several kinds.
   *
   * @param command what reads it
   */
  void require(String command, Path path) throws IOException {
    Kind kind = this == DECODER || Files.isDirectory(path) || isGguf(path) ? of(path) : this;
    if (this != DECODER && kind == DECODER && !Files.isDirectory(path)) {
      throw new IllegalArgumentException(
          "%s needs %s, and %s is a GGUF file, for generate and chat"
              .formatted(command, this == RERANKER ? "a reranker" : "an embedding model", path));
    }
  }
}
