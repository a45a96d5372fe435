package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * The tensors of a checkpoint directory, from one file or several, known by the names of {@code
 * LlamaForCausalLM} and {@code DiffLlamaForCausalLM}. All of them are compared with the
 * configuration before the first is read.
 */
final class Checkpoint {
  static final String EMBEDDING = "model.embed_tokens.weight";
  static final String HEAD = "lm_head.weight";
  static final String NORM = "model.norm.weight";

  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";

  /** Old checkpoints carry the wavelengths of their rotary positions, which follow from theta. */
  private static final Pattern WAVELENGTHS =
      Pattern.compile("model\\.layers\\.\\d+\\.self_attn\\.rotary_emb\\.inv_freq");

  private static final int SHOWN_PROBLEMS = 40;

  private final Map<String, Tensor> tensors;
  private final long parameters;

  private Checkpoint(Map<String, Tensor> tensors, long parameters) {
    this.tensors = tensors;
    this.parameters = parameters;
  }

  /** The beginning of the names of a layer's tensors. */
  static String layer(int index) {
    return "model.layers." + index + ".";
  }

  /**
   * Maps the files of a checkpoint.
   *
   * @throws IllegalArgumentException with everything that is wrong
   */
  static Checkpoint open(Path directory, Config config, Arena arena) throws IOException {
    List<String> problems = new ArrayList<>();
    Map<String, Tensor> tensors =
        Files.exists(directory.resolve(SINGLE)) || !Files.exists(directory.resolve(INDEX))
            ? single(SafeTensors.open(directory.resolve(SINGLE), arena))
            : sharded(directory, arena, problems);
    Map<String, long[]> wanted = wanted(config);
    check(wanted, config, tensors, problems);
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(describe(directory, problems));
    }
    long parameters = wanted.keySet().stream().mapToLong(name -> tensors.get(name).count()).sum();
    return new Checkpoint(tensors, parameters);
  }

  /** The number of elements in the tensors that the model uses. */
  long parameters() {
    return parameters;
  }

  /** A tensor that has been found to be of the wanted shape. Read-only, of any float type. */
  Tensor get(String name) {
    return tensors.get(name);
  }

  private static Map<String, Tensor> single(SafeTensors file) {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (String name : file.names()) {
      tensors.put(name, file.get(name));
    }
    return tensors;
  }

  private static Map<String, Tensor> sharded(Path directory, Arena arena, List<String> problems)
      throws IOException {
    Path index = directory.resolve(INDEX);
    Object map = Config.readObject(index).get("weight_map");
    if (!(map instanceof Map<?, ?> places)) {
      throw new IllegalArgumentException(
          index + ": weight_map must be an object: weight_map=" + Json.show(map));
    }
    Map<String, SafeTensors> files = new LinkedHashMap<>();
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (Map.Entry<?, ?> place : places.entrySet()) {
      String name = (String) place.getKey();
      String fileName = fileName(index, name, place.getValue());
      SafeTensors file = files.get(fileName);
      if (file == null) {
        file = SafeTensors.open(directory.resolve(fileName), arena);
        files.put(fileName, file);
      }
      if (file.contains(name)) {
        tensors.put(name, file.get(name));
      } else {
        problems.add(name + " must be in " + fileName + ", as the index says: it is not");
      }
    }
    return tensors;
  }

  /** An index leads to files beside it, and nowhere else. */
  private static String fileName(Path index, String tensor, Object value) {
    if (value instanceof String name
        && name.endsWith(".safetensors")
        && name.indexOf('/') < 0
        && name.indexOf('\\') < 0
        && name.indexOf('\0') < 0) {
      return name;
    }
    throw new IllegalArgumentException(
        index
            + ": weight_map must name safetensors files beside it: "
            + Json.show(tensor)
            + " is in "
            + Json.show(value));
  }

  // ---- Comparing with the configuration ----

  private static void check(
      Map<String, long[]> wanted,
      Config config,
      Map<String, Tensor> tensors,
      List<String> problems) {
    wanted.forEach(
        (name, shape) -> {
          Tensor tensor = tensors.get(name);
          if (tensor == null || !tensor.dtype().isFloat() || !hasShape(tensor, shape)) {
            problems.add(
                name
                    + " must be F32, BF16 or F16 "
                    + Arrays.toString(shape)
                    + ": it is "
                    + (tensor == null
                        ? "missing"
                        : tensor.dtype() + " " + Arrays.toString(tensor.shape())));
          }
        });
    tensors.forEach(
        (name, tensor) -> {
          boolean unused =
              WAVELENGTHS.matcher(name).matches() || (config.tied() && name.equals(HEAD));
          if (!wanted.containsKey(name) && !unused) {
            problems.add(
                Json.show(name)
                    + " must not be there, as no part of the model is known by that name: it is "
                    + tensor);
          }
        });
  }

  private static boolean hasShape(Tensor tensor, long[] shape) {
    return Arrays.equals(tensor.shape(), shape);
  }

  private static Map<String, long[]> wanted(Config config) {
    Map<String, long[]> wanted = new LinkedHashMap<>();
    int width = config.width();
    wanted.put(EMBEDDING, shape(config.vocabulary(), width));
    for (int i = 0; i < config.layers(); i++) {
      String layer = layer(i);
      wanted.put(layer + "input_layernorm.weight", shape(width));
      projection(
          wanted, layer + "self_attn.q_proj", config.widthQ(), width, config.attentionBias());
      projection(
          wanted, layer + "self_attn.k_proj", config.widthKv(), width, config.attentionBias());
      projection(
          wanted, layer + "self_attn.v_proj", config.widthKv(), width, config.attentionBias());
      projection(
          wanted, layer + "self_attn.o_proj", width, config.widthQ(), config.attentionBias());
      if (config.differential()) {
        for (String vector : List.of("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")) {
          wanted.put(layer + "self_attn." + vector, shape(config.dim()));
        }
      }
      wanted.put(layer + "post_attention_layernorm.weight", shape(width));
      int hidden = config.hidden();
      projection(wanted, layer + "mlp.gate_proj", hidden, width, config.feedForwardBias());
      projection(wanted, layer + "mlp.up_proj", hidden, width, config.feedForwardBias());
      projection(wanted, layer + "mlp.down_proj", width, hidden, config.feedForwardBias());
    }
    wanted.put(NORM, shape(width));
    if (!config.tied()) {
      wanted.put(HEAD, shape(config.vocabulary(), width));
    }
    return wanted;
  }

  private static void projection(
      Map<String, long[]> wanted, String name, long dimOut, long dimIn, boolean bias) {
    wanted.put(name + ".weight", shape(dimOut, dimIn));
    if (bias) {
      wanted.put(name + ".bias", shape(dimOut));
    }
  }

  private static long[] shape(long... sizes) {
    return sizes;
  }

  private static String describe(Path directory, List<String> problems) {
    StringBuilder text =
        new StringBuilder()
            .append(directory)
            .append(": tensors must be those that config.json asks for: wrong=")
            .append(problems.size());
    for (String problem : problems.subList(0, Math.min(problems.size(), SHOWN_PROBLEMS))) {
      text.append("\n  ").append(problem);
    }
    int more = problems.size() - SHOWN_PROBLEMS;
    return more > 0
        ? text.append("\n  and ").append(more).append(" more").toString()
        : text.toString();
  }

  // ---- Reading into the model's memory ----

  /** Copies a tensor to floats. */
  Tensor floats(String name, Arena arena) {
    return get(name).toF32(arena);
  }

  /** Copies tensors to floats, one below the other. */
  Tensor floats(List<String> names, Arena arena) {
    long rows = 0;
    for (String name : names) {
      rows += get(name).size(0);
    }
    long[] sizes = get(names.getFirst()).shape();
    sizes[0] = rows;
    Tensor packed = Tensor.allocate(arena, DType.F32, sizes);
    long row = 0;
    for (String name : names) {
      Tensor part = get(name);
      packed.slice(0, row, part.size(0)).copyFrom(part);
      row += part.size(0);
    }
    return packed;
  }
}
