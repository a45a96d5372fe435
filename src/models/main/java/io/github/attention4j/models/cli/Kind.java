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

/** The kind of a model: what it is used for. */
enum Kind {
  DECODER,
  RERANKER,
  EMBEDDER;

  /**
   * Determines the kind: a GGUF file generates text; for a directory, {@code architectures}
   * decides, and without that key an ONNX file means an encoder.
   */
  static Kind of(Path path) throws IOException {
    if (!Files.exists(path)) {
      throw new FileNotFoundException(path + " must be a directory or a file: it is missing");
    }
    if (!Files.isDirectory(path)) {
      return path.toString().endsWith(".gguf") ? DECODER : EMBEDDER;
    }
    // sentence-transformers also turns decoders into embedders.
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
