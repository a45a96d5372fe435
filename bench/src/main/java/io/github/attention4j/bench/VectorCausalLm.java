package io.github.attention4j.bench;

import static io.github.attention4j.bench.Tiles.LANES;
import static io.github.attention4j.bench.Tiles.SPECIES;

import io.github.attention4j.Tensor;
import io.github.attention4j.demo.PlainConfig;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * The decode step of a Llama model in the Vector API: one token in, logits out, keys and values
 * kept.
 *
 * <p>Query, key and value projections are one matrix, gate and up another: fewer hand-overs to the
 * team. One text at a time.
 */
final class VectorCausalLm {
  private final PlainConfig config;
  private final VectorAttention attention;
  private final float[] embeddings;
  private final float[] norm;
  private final VectorLinear head;
  private final List<Layer> layers = new ArrayList<>();

  private final float[] x;
  private final float[] normed;
  private final float[] qkv;
  private final float[] mixed;
  private final float[] added;
  private final float[] gateUp;
  private final float[] logits;
  private final float[] cos;
  private final float[] sin;
  private int length;

  private record Layer(
      float[] attentionNorm,
      VectorLinear qkv,
      VectorLinear output,
      float[] feedForwardNorm,
      VectorLinear gateUp,
      VectorLinear down,
      float[] keys,
      float[] values) {}

  private VectorCausalLm(PlainConfig config, SafeTensors file, Team team) {
    this.config = config;
    attention = new VectorAttention(team);
    int width = config.width();
    int widthKv = config.headsKv() * config.headDim();
    int hidden = config.hidden();
    embeddings = read(file, "model.embed_tokens.weight");
    norm = read(file, "model.norm.weight");
    head = linear(team, width, embeddings);
    for (int i = 0; i < config.layers(); i++) {
      String layer = "model.layers." + i + ".";
      String self = layer + "self_attn.";
      float[] q = read(file, self + "q_proj.weight");
      float[] k = read(file, self + "k_proj.weight");
      float[] v = read(file, self + "v_proj.weight");
      float[] gate = read(file, layer + "mlp.gate_proj.weight");
      float[] up = read(file, layer + "mlp.up_proj.weight");
      layers.add(
          new Layer(
              read(file, layer + "input_layernorm.weight"),
              linear(team, width, q, k, v),
              linear(team, width, read(file, self + "o_proj.weight")),
              read(file, layer + "post_attention_layernorm.weight"),
              linear(team, width, gate, up),
              linear(team, hidden, read(file, layer + "mlp.down_proj.weight")),
              new float[config.context() * widthKv],
              new float[config.context() * widthKv]));
    }
    x = new float[width];
    normed = new float[width];
    qkv = new float[width + 2 * widthKv];
    mixed = new float[width];
    added = new float[width];
    gateUp = new float[2 * hidden];
    logits = new float[config.vocabulary()];
    int half = config.headDim() / 2;
    cos = new float[config.context() * half];
    sin = new float[config.context() * half];
    for (int position = 0; position < config.context(); position++) {
      for (int i = 0; i < half; i++) {
        double angle = position * Math.pow(config.ropeTheta(), -(double) i / half);
        cos[position * half + i] = (float) Math.cos(angle);
        sin[position * half + i] = (float) Math.sin(angle);
      }
    }
  }

  static VectorCausalLm load(Path directory, Team team) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors file = SafeTensors.open(directory.resolve("model.safetensors"), arena);
      return new VectorCausalLm(PlainConfig.read(directory.resolve("config.json")), file, team);
    }
  }

  private static float[] read(SafeTensors file, String name) {
    Tensor tensor = file.get(name);
    return tensor.toFloatArray();
  }

  /** Matrices over the same inputs, one below the other. */
  private static VectorLinear linear(Team team, int in, float[]... matrices) {
    int size = 0;
    for (float[] matrix : matrices) {
      size += matrix.length;
    }
    float[] all = new float[size];
    int at = 0;
    for (float[] matrix : matrices) {
      System.arraycopy(matrix, 0, all, at, matrix.length);
      at += matrix.length;
    }
    return new VectorLinear(team, in, size / in, all, new float[size / in]);
  }

  /** Forgets the text. */
  void reset() {
    length = 0;
  }

  /** Reads one token; the logits of the next are overwritten by the next call. */
  float[] step(int token) {
    int width = config.width();
    int hidden = config.hidden();
    System.arraycopy(embeddings, token * width, x, 0, width);
    for (Layer layer : layers) {
      rmsNorm(x, layer.attentionNorm);
      layer.qkv.forward(1, normed, qkv);
      attend(layer);
      layer.output.forward(1, mixed, added);
      add();
      rmsNorm(x, layer.feedForwardNorm);
      layer.gateUp.forward(1, normed, gateUp);
      for (int i = 0; i < hidden; i++) {
        float gate = gateUp[i];
        gateUp[i] = gate / (1 + (float) Math.exp(-gate)) * gateUp[hidden + i];
      }
      layer.down.forward(1, gateUp, added);
      add();
    }
    rmsNorm(x, norm);
    head.forward(1, normed, logits);
    length++;
    return logits;
  }

  private void attend(Layer layer) {
    int dim = config.headDim();
    int width = config.width();
    int widthKv = config.headsKv() * dim;
    for (int at = 0; at < width + widthKv; at += dim) {
      rotate(at);
    }
    for (int h = 0; h < config.headsKv(); h++) {
      int row = (h * config.context() + length) * dim;
      System.arraycopy(qkv, width + h * dim, layer.keys, row, dim);
      System.arraycopy(qkv, width + widthKv + h * dim, layer.values, row, dim);
    }
    Shape shape =
        new Shape(
            "step",
            1,
            config.heads(),
            config.headsKv(),
            config.headsKv(),
            1,
            length + 1,
            dim,
            dim,
            false,
            "");
    attention.step(shape, config.context(), qkv, layer.keys, layer.values, mixed);
  }

  /** Rotates the pairs (i, i + dim / 2) of one head by the angles of this position. */
  private void rotate(int at) {
    int half = config.headDim() / 2;
    for (int i = 0; i < half; i++) {
      float a = qkv[at + i];
      float b = qkv[at + half + i];
      float c = cos[length * half + i];
      float s = sin[length * half + i];
      qkv[at + i] = a * c - b * s;
      qkv[at + half + i] = b * c + a * s;
    }
  }

  private void add() {
    for (int i = 0; i < x.length; i++) {
      x[i] += added[i];
    }
  }

  private void rmsNorm(float[] from, float[] weight) {
    FloatVector squares = FloatVector.zero(SPECIES);
    int whole = SPECIES.loopBound(from.length);
    for (int i = 0; i < whole; i += LANES) {
      FloatVector part = FloatVector.fromArray(SPECIES, from, i);
      squares = part.fma(part, squares);
    }
    double sum = squares.reduceLanes(VectorOperators.ADD);
    for (int i = whole; i < from.length; i++) {
      sum += from[i] * from[i];
    }
    float factor = (float) (1 / Math.sqrt(sum / from.length + config.normEpsilon()));
    for (int i = 0; i < from.length; i++) {
      normed[i] = from[i] * factor * weight[i];
    }
  }
}
