package io.github.attention4j.models.files;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * What the graph of an exported encoder says about the model: a configuration for BERT and
 * DistilBERT, which are often distributed without {@code config.json}, and whether it computes
 * anything else than the encoder.
 */
public final class OnnxGraph {
  /** The operators of exported encoders, plain and quantized. */
  private static final Set<String> OPERATORS =
      Set.of(
          "Add",
          "And",
          "Abs",
          "Cast",
          "Clip",
          "Concat",
          "Constant",
          "ConstantOfShape",
          "Conv",
          "Cos",
          "CumSum",
          "DequantizeLinear",
          "Div",
          "DynamicQuantizeLinear",
          "Einsum",
          "Equal",
          "Erf",
          "Expand",
          "Flatten",
          "Gather",
          "GatherND",
          "Gelu",
          "Gemm",
          "Greater",
          "GreaterOrEqual",
          "Identity",
          "If",
          "LayerNormalization",
          "Less",
          "LessOrEqual",
          "Log",
          "MatMul",
          "MatMulInteger",
          "Max",
          "Min",
          "Mul",
          "Neg",
          "Not",
          "Or",
          "Pow",
          "Range",
          "Reciprocal",
          "ReduceMean",
          "Relu",
          "Reshape",
          "Shape",
          "Sigmoid",
          "Sin",
          "Slice",
          "Softmax",
          "Split",
          "Sqrt",
          "Squeeze",
          "Sub",
          "Tanh",
          "Transpose",
          "Trilu",
          "Unsqueeze",
          "Where",
          "Ceil",
          "Sign",
          "ScatterND",
          "GatherElements",
          "Tile",
          "Xor",
          "IsNaN");

  /** What the exports of sentence-transformers and of classifiers pool and normalize with. */
  private static final Set<String> POOLING_OPERATORS = Set.of("ReduceL2", "ReduceMax", "ReduceSum");

  private static final Set<String> OUTPUTS =
      Set.of(
          "last_hidden_state", "token_embeddings", "pooler_output", "sentence_embedding", "logits");

  private final OnnxFile file;
  private final Map<String, OnnxFile.Value> constants = new HashMap<>();

  public OnnxGraph(OnnxFile file) {
    this.file = file;
    constants.putAll(file.initializers());
    for (OnnxFile.Node node : file.nodes()) {
      if (node.operator().equals("Constant")
          && node.attributes().get("value") instanceof OnnxFile.Value value) {
        constants.put(node.outputs().getFirst(), value);
      }
    }
  }

  /** Whether the graph itself computes one vector per text. */
  public boolean poolsItself() {
    return file.outputs().contains("sentence_embedding");
  }

  /**
   * Refuses operators and outputs that no encoder has.
   *
   * @throws IllegalArgumentException naming them
   */
  public void requireEncoder() {
    Set<String> unknown = new TreeSet<>();
    for (OnnxFile.Node node : file.nodes()) {
      boolean standard = node.domain().isEmpty() || node.domain().equals("ai.onnx");
      boolean pools =
          (poolsItself() || file.outputs().contains("logits"))
              && POOLING_OPERATORS.contains(node.operator());
      if (!standard || !pools && !OPERATORS.contains(node.operator())) {
        unknown.add(node.domain() + (standard ? "" : ".") + node.operator());
      }
    }
    if (!unknown.isEmpty()) {
      throw new IllegalArgumentException(
          file.source()
              + ": the graph has operators that are not of an exported encoder: "
              + String.join(", ", unknown));
    }
    for (String output : file.outputs()) {
      if (!OUTPUTS.contains(output)) {
        throw new IllegalArgumentException(
            file.source() + ": output must be one of " + new TreeSet<>(OUTPUTS) + ": " + output);
      }
    }
  }

  /**
   * Refuses a graph that scales scores, adds or multiplies differently from the family: every
   * scalar constant of the graph must occur in the family's formulas, or be a bias.
   *
   * @param layers how many there are
   * @param headDim of a head
   * @param epsilon of the norms
   * @throws IllegalArgumentException naming the constant
   */
  public void requireFormulas(int layers, int headDim, double epsilon) {
    long softmaxes =
        file.nodes().stream().filter(node -> node.operator().equals("Softmax")).count();
    if (softmaxes != layers) {
      throw new IllegalArgumentException(
          file.source()
              + ": there must be one Softmax for each layer: Softmax="
              + softmaxes
              + ", layers="
              + layers);
    }
    double root = Math.sqrt(headDim);
    double[] known = {
      0,
      1,
      -1,
      2,
      3,
      0.5,
      epsilon,
      root,
      1 / root,
      Math.sqrt(root),
      1 / Math.sqrt(root),
      Math.sqrt(2),
      Math.sqrt(0.5),
      Math.sqrt(2 / Math.PI),
      0.044715,
      -10_000,
      headDim
    };
    for (OnnxFile.Node node : file.nodes()) {
      if (!Set.of("Add", "Sub", "Mul", "Div", "Pow").contains(node.operator())) {
        continue;
      }
      for (String input : node.inputs()) {
        OnnxFile.Value value = constants.get(input);
        if (value == null
            || value.count() != 1
            || value.type() == OnnxFile.Type.I64
            || input.endsWith("_scale")
            || OnnxWeights.isBias(value)) {
          continue;
        }
        double number = value.number(0);
        boolean half = value.type() == OnnxFile.Type.F16;
        // Exporters round constants to float16 too, an epsilon up to about 1e-7.
        double rounding = half ? 1e-3 : 1e-6;
        double smallest = half ? 2e-4 : 1e-6;
        // Masks hide keys with a number of this size.
        boolean fits = Math.abs(number) > (half ? 65_000 : 1e30);
        for (double each : known) {
          fits |= Math.abs(number - each) <= rounding * Math.max(Math.abs(each), smallest);
        }
        if (!fits) {
          throw new IllegalArgumentException(
              file.source()
                  + ": the graph computes with a number that the family's formulas do not have: "
                  + node.operator()
                  + " "
                  + node.name()
                  + " with "
                  + number);
        }
      }
    }
  }

  // ---- The configuration ----

  /**
   * Finds a configuration.
   *
   * @param weights by the model's names
   * @return settings as {@code config.json} would have them
   * @throws IllegalArgumentException if the graph is not plainly BERT or DistilBERT
   */
  public Settings settings(OnnxWeights weights) {
    boolean distilled = weights.contains("transformer.layer.0.attention.q_lin.weight");
    boolean bert = weights.contains("encoder.layer.0.attention.self.query.weight");
    boolean counts = file.nodes().stream().anyMatch(node -> node.operator().equals("CumSum"));
    String word = "embeddings.word_embeddings.weight";
    if (bert == distilled || counts || !weights.contains(word)) {
      throw new IllegalArgumentException(
          file.source()
              + ": the graph must be BERT or DistilBERT to be read without config.json; put the"
              + " model's config.json beside it");
    }
    String layer = bert ? "encoder.layer." : "transformer.layer.";
    String up = bert ? ".intermediate.dense.weight" : ".ffn.lin1.weight";
    int layers = 0;
    while (weights.contains(layer + layers + up)) {
      layers++;
    }
    long[] size = weights.shape(word);
    long heads = heads(size[1]);
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("model_type", bert ? "bert" : "distilbert");
    config.put("vocab_size", size[0]);
    config.put(bert ? "hidden_size" : "dim", size[1]);
    config.put(bert ? "num_hidden_layers" : "n_layers", (long) layers);
    config.put(bert ? "num_attention_heads" : "n_heads", heads);
    config.put(bert ? "intermediate_size" : "hidden_dim", weights.shape(layer + 0 + up)[0]);
    config.put(bert ? "hidden_act" : "activation", activation());
    config.put(
        "max_position_embeddings", weights.shape("embeddings.position_embeddings.weight")[0]);
    if (bert) {
      config.put("layer_norm_eps", epsilon());
      config.put("type_vocab_size", weights.shape("embeddings.token_type_embeddings.weight")[0]);
    }
    return Settings.of(file.source(), config);
  }

  /** The last two sizes to which a product is reshaped are heads and the size of a head. */
  private long heads(long width) {
    for (OnnxFile.Node node : file.nodes()) {
      List<Long> sizes = new ArrayList<>();
      if (node.operator().equals("Concat")) {
        for (String input : node.inputs()) {
          OnnxFile.Value value = constants.get(input);
          sizes.add(value == null || value.count() != 1 ? 0L : (long) value.number(0));
        }
      } else if (node.operator().equals("Reshape") && node.inputs().size() == 2) {
        OnnxFile.Value value = constants.get(node.inputs().get(1));
        for (int i = 0; value != null && i < value.count(); i++) {
          sizes.add((long) value.number(i));
        }
      }
      if (sizes.size() == 4) {
        long heads = sizes.get(2);
        long dim = sizes.get(3);
        if (heads > 0 && heads < width && (dim == -1 || heads * dim == width)) {
          return heads;
        }
      }
    }
    throw new IllegalArgumentException(
        file.source()
            + ": the graph does not say how many heads there are; put the model's config.json"
            + " beside it");
  }

  private String activation() {
    Set<String> operators = new TreeSet<>();
    boolean tanh = false;
    for (OnnxFile.Node node : file.nodes()) {
      operators.add(node.operator());
      tanh |= node.operator().equals("Tanh") && !node.name().contains("pooler");
      if (node.operator().equals("Gelu")) {
        tanh |= "tanh".equals(node.attributes().get("approximate"));
      }
    }
    if (operators.contains("Erf")) {
      return "gelu";
    }
    if (tanh) {
      return "gelu_new";
    }
    if (operators.contains("Gelu")) {
      return "gelu";
    }
    if (operators.contains("Relu")) {
      return "relu";
    }
    throw new IllegalArgumentException(
        file.source() + ": the graph has no activation that is known: Erf, Gelu, Tanh or Relu");
  }

  /** The epsilon that is added before the square root of a norm. */
  private double epsilon() {
    Map<String, String> roots = new HashMap<>();
    for (OnnxFile.Node node : file.nodes()) {
      if (node.operator().equals("LayerNormalization")) {
        return node.attributes().get("epsilon") instanceof Double value ? value : 1e-5;
      }
      if (node.operator().equals("Sqrt")) {
        roots.put(node.inputs().getFirst(), node.name());
      }
    }
    for (OnnxFile.Node node : file.nodes()) {
      if (node.operator().equals("Add") && roots.containsKey(node.outputs().getFirst())) {
        for (String input : node.inputs()) {
          OnnxFile.Value value = constants.get(input);
          if (value != null && value.count() == 1) {
            return value.number(0);
          }
        }
      }
    }
    throw new IllegalArgumentException(
        file.source() + ": the graph does not say the epsilon of its norms");
  }
}
