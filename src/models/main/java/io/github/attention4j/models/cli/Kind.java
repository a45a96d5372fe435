package io.github.attention4j.models.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;

/** What a model is for. */
enum Kind {
  DECODER,
  RERANKER,
  EMBEDDER;

  /**
   * Looks at a path: a GGUF file writes; of a directory, {@code architectures} says, and if it has
   * none, an ONNX file in it is an encoder.
   */
  static Kind of(Path path) throws IOException {
    if (!Files.exists(path)) {
      throw new FileNotFoundException(path + " must be a directory or a file: it is missing");
    }
    if (!Files.isDirectory(path)) {
      return path.toString().endsWith(".gguf") ? DECODER : EMBEDDER;
    }
    // sentence-transformers makes embedders of decoders too.
    if (Files.exists(path.resolve("modules.json"))) {
      return EMBEDDER;
    }
    Path config = path.resolve("config.json");
    if (!Files.exists(config)) {
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
    boolean writes = architectures.contains("ForCausalLM") || architectures.contains("LMHeadModel");
    return writes ? DECODER : EMBEDDER;
  }
}
