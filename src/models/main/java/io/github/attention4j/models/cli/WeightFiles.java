package io.github.attention4j.models.cli;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The files with a model's weights, of those that lie beside each other. */
final class WeightFiles {
  private static final Pattern PART = Pattern.compile("(.*)-\\d{5}-of-(\\d{5})\\.gguf");

  private WeightFiles() {}

  /**
   * Lists the files that are read when a model is opened.
   *
   * @param path a file, of which a GGUF may be in several parts, or a directory with safetensors or
   *     an ONNX export
   */
  static List<Path> of(Path path) throws IOException {
    List<Path> files = new ArrayList<>();
    if (!Files.isDirectory(path)) {
      Matcher part = PART.matcher(path.getFileName().toString());
      if (!part.matches()) {
        return List.of(path);
      }
      int parts = Integer.parseInt(part.group(2));
      for (int i = 1; i <= parts; i++) {
        files.add(path.resolveSibling("%s-%05d-of-%05d.gguf".formatted(part.group(1), i, parts)));
      }
      return files;
    }
    Path index = path.resolve("model.safetensors.index.json");
    if (Files.exists(index)) {
      indexed(index).forEach(name -> files.add(path.resolve(name)));
      return files;
    }
    if (Files.exists(path.resolve("model.safetensors"))) {
      return List.of(path.resolve("model.safetensors"));
    }
    for (Path place : List.of(path, path.resolve("onnx"))) {
      for (String name : List.of("model.onnx", "model.onnx_data")) {
        if (Files.exists(place.resolve(name))) {
          files.add(place.resolve(name));
        }
      }
      if (!files.isEmpty()) {
        break;
      }
    }
    return files;
  }

  private static Set<String> indexed(Path index) throws IOException {
    Set<String> names = new TreeSet<>();
    try (Reader reader = Files.newBufferedReader(index)) {
      JsonObject map =
          JsonParser.parseReader(reader).getAsJsonObject().getAsJsonObject("weight_map");
      for (JsonElement name : map.asMap().values()) {
        names.add(name.getAsString());
      }
    } catch (JsonParseException e) {
      throw new IOException(index + " is not JSON: " + e.getMessage(), e);
    }
    return names;
  }
}
