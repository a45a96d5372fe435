package io.github.attention4j.demo;

import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A Llama or DiffLlama language model in readable plain Java.
 *
 * <p>Each layer adds attention and then a SwiGLU network to the vector of every token, each after
 * an RMSNorm; the dot products of the last layer's vector with all embeddings are the logits of the
 * next token. Attention is causal and of one of two kinds:
 *
 * <ul>
 *   <li>{@code llama}: the weights of a head are {@code softmax(q kᵀ / sqrt(dim))} (Vaswani et al.,
 *       "Attention Is All You Need", 2017);
 *   <li>{@code diffllama}: head h and head h + heads/2 are a pair with weights {@code softmax₁ − λ
 *       softmax₂} over the concatenated values of both heads; the result is normalized by an
 *       RMSNorm without weights and multiplied by {@code 1 − λ_init} (Ye et al., "Differential
 *       Transformer", 2024, in the layout of Hugging Face's {@code DiffLlamaForCausalLM}).
 * </ul>
 *
 * <p>It runs only on the calling thread; see {@link PlainLayers}. The model is immutable and may be
 * shared between threads; a {@link Cache} may not.
 */
public final class PlainCausalLm {
  private final PlainConfig config;
  private final float[][] embeddings;
  private final float[][] head;
  private final float[] norm;
  private final float[][][] rotations;
  private final List<Layer> layers;

  /** Weights of one layer; matrices have one row per input. */
  private record Layer(
      float[] attentionNorm,
      float[][] query,
      float[][] key,
      float[][] value,
      float[][] output,
      double lambda,
      double lambdaInit,
      float[] feedForwardNorm,
      float[][] gate,
      float[][] up,
      float[][] down) {}

  /**
   * The keys and values of all tokens read so far, for every layer.
   *
   * <p>Keys are stored as [head][dim][position] and values as [head][position][dim], so both loops
   * of attention run over contiguous floats. Not thread-safe.
   */
  public static final class Cache {
    private final float[][][][] keys;
    private final float[][][][] values;
    private int length;

    private Cache(PlainConfig config) {
      keys = new float[config.layers()][config.headsKv()][config.headDim()][config.context()];
      values = new float[config.layers()][config.headsKv()][config.context()][config.headDim()];
    }

    /** Number of tokens read so far. */
    public int length() {
      return length;
    }
  }

  /**
   * Loads a checkpoint.
   *
   * @param directory holds {@code config.json} and {@code model.safetensors}
   * @throws IOException if a file cannot be read
   * @throws IllegalArgumentException if a tensor is missing or its shape does not match the
   *     configuration
   */
  public static PlainCausalLm load(Path directory) throws IOException {
    PlainConfig config = PlainConfig.read(directory.resolve("config.json"));
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors file = SafeTensors.open(directory.resolve("model.safetensors"), arena);
      return new PlainCausalLm(config, file);
    }
  }

  private PlainCausalLm(PlainConfig config, SafeTensors file) {
    this.config = config;
    int width = config.width();
    int widthKv = config.headsKv() * config.headDim();
    head = matrix(file, "model.embed_tokens.weight", width, config.vocabulary());
    embeddings = transpose(head);
    norm = read(file, "model.norm.weight", width);
    rotations = PlainLayers.rotations(config.context(), config.headDim(), config.ropeTheta());
    layers = new ArrayList<>();
    for (int i = 0; i < config.layers(); i++) {
      String layer = "model.layers." + i + ".";
      String attention = layer + "self_attn.";
      // Deeper layers subtract more: section 2.1 of the paper, with layers from 0.
      double lambdaInit = 0.8 - 0.6 * Math.exp(-0.3 * i);
      layers.add(
          new Layer(
              read(file, layer + "input_layernorm.weight", width),
              matrix(file, attention + "q_proj.weight", width, width),
              matrix(file, attention + "k_proj.weight", width, widthKv),
              matrix(file, attention + "v_proj.weight", width, widthKv),
              matrix(file, attention + "o_proj.weight", width, width),
              config.differential() ? lambda(file, attention, lambdaInit) : 0,
              lambdaInit,
              read(file, layer + "post_attention_layernorm.weight", width),
              matrix(file, layer + "mlp.gate_proj.weight", width, config.hidden()),
              matrix(file, layer + "mlp.up_proj.weight", width, config.hidden()),
              matrix(file, layer + "mlp.down_proj.weight", config.hidden(), width)));
    }
  }

  /** The model's sizes. */
  public PlainConfig config() {
    return config;
  }

  /**
   * The factor of the second map of each pair, per layer.
   *
   * @throws IllegalStateException if the model is not differential
   */
  public double[] lambda() {
    if (!config.differential()) {
      throw new IllegalStateException("lambda belongs to diffllama: model_type=llama");
    }
    return layers.stream().mapToDouble(Layer::lambda).toArray();
  }

  /** Creates an empty cache for one text. */
  public Cache newCache() {
    return new Cache(config);
  }

  /**
   * The logits of the next token after each of the given ones, in one pass from an empty cache.
   *
   * @return [token][vocabulary]
   * @throws IllegalArgumentException as for {@link #forward(int[], Cache)}
   */
  public float[][] forward(int[] tokens) {
    return forward(tokens, newCache());
  }

  /**
   * Reads more tokens and returns the logits of the next token after each of them.
   *
   * @param tokens continue the text in the cache. Not modified.
   * @param cache receives the keys and values of the tokens. Modified.
   * @return [token][vocabulary]
   * @throws IllegalArgumentException if a token is not in the vocabulary, or the text becomes
   *     longer than the context
   */
  public float[][] forward(int[] tokens, Cache cache) {
    return logits(hidden(tokens, cache, null));
  }

  /**
   * Reads more tokens, like {@link #forward(int[], Cache)}, and returns only the logits after the
   * last one.
   *
   * @return [vocabulary]
   */
  public float[] read(int[] tokens, Cache cache) {
    float[][] x = hidden(tokens, cache, null);
    return logits(new float[][] {x[x.length - 1]})[0];
  }

  /**
   * The attention weights of each head, or of each pair, {@code softmax₁ − λ softmax₂}.
   *
   * @return [layer][head or pair][query][key]; zero where key &gt; query
   * @throws IllegalArgumentException as for {@link #forward(int[], Cache)}
   */
  public float[][][][] attentionWeights(int[] tokens) {
    int maps = config.differential() ? config.heads() / 2 : config.heads();
    float[][][][] weights = new float[config.layers()][maps][tokens.length][tokens.length];
    hidden(tokens, newCache(), weights);
    return weights;
  }

  /**
   * Continues a text, always with the likeliest token.
   *
   * @param prompt at least one token. Not modified.
   * @return the prompt and {@code count} more tokens
   * @throws IllegalArgumentException as for {@link #forward(int[], Cache)}
   */
  public int[] greedy(int[] prompt, int count) {
    int[] text = Arrays.copyOf(prompt, prompt.length + count);
    Cache cache = newCache();
    float[] logits = read(prompt, cache);
    for (int i = prompt.length; i < text.length; i++) {
      text[i] = argmax(logits);
      if (i + 1 < text.length) {
        logits = read(new int[] {text[i]}, cache);
      }
    }
    return text;
  }

  /** The index of the largest element; of equals, the first. */
  private static int argmax(float[] values) {
    int best = 0;
    for (int i = 1; i < values.length; i++) {
      if (values[i] > values[best]) {
        best = i;
      }
    }
    return best;
  }

  /**
   * The vector of each token after the last layer.
   *
   * @param weights receives the attention maps, unless null. Modified.
   */
  private float[][] hidden(int[] tokens, Cache cache, float[][][][] weights) {
    if (cache.length + tokens.length > config.context()) {
      throw new IllegalArgumentException(
          "text must fit the context: text="
              + (cache.length + tokens.length)
              + " tokens, context="
              + config.context());
    }
    float[][] x = new float[tokens.length][];
    for (int row = 0; row < x.length; row++) {
      if (tokens[row] < 0 || tokens[row] >= config.vocabulary()) {
        throw new IllegalArgumentException(
            "token must be in the vocabulary: token="
                + tokens[row]
                + ", vocabulary="
                + config.vocabulary());
      }
      x[row] = embeddings[tokens[row]].clone();
    }
    for (int i = 0; i < layers.size(); i++) {
      attention(layers.get(i), x, cache, i, weights == null ? null : weights[i]);
      feedForward(layers.get(i), x);
    }
    cache.length += tokens.length;
    return x;
  }

  private float[][] logits(float[][] x) {
    float[][] logits = new float[x.length][config.vocabulary()];
    float[] normed = new float[config.width()];
    for (int row = 0; row < x.length; row++) {
      PlainLayers.rmsNorm(x[row], norm, config.normEpsilon(), normed);
      PlainLayers.linear(normed, head, logits[row]);
    }
    return logits;
  }

  /** Adds {@code down(silu(gate(norm(x))) * up(norm(x)))} to each row. */
  private void feedForward(Layer layer, float[][] x) {
    float[] normed = new float[config.width()];
    float[] gate = new float[config.hidden()];
    float[] up = new float[config.hidden()];
    float[] down = new float[config.width()];
    for (float[] row : x) {
      PlainLayers.rmsNorm(row, layer.feedForwardNorm(), config.normEpsilon(), normed);
      PlainLayers.linear(normed, layer.gate(), gate);
      PlainLayers.linear(normed, layer.up(), up);
      PlainLayers.swiGlu(gate, up);
      PlainLayers.linear(gate, layer.down(), down);
      PlainLayers.addScaled(row, 1, down);
    }
  }

  /**
   * Adds the attention of one layer to each row. Rows are processed in order, so the cache contains
   * the keys of all rows up to a row but of none after it, which is the causal mask.
   */
  private void attention(Layer layer, float[][] x, Cache cache, int index, float[][][] weights) {
    int dim = config.headDim();
    float[][][] keys = cache.keys[index];
    float[][][] values = cache.values[index];
    float[] normed = new float[config.width()];
    float[] query = new float[config.width()];
    float[] key = new float[config.headsKv() * dim];
    float[] value = new float[config.headsKv() * dim];
    float[] read = new float[config.width()];
    float[] output = new float[config.width()];
    for (int row = 0; row < x.length; row++) {
      int position = cache.length + row;
      PlainLayers.rmsNorm(x[row], layer.attentionNorm(), config.normEpsilon(), normed);
      PlainLayers.linear(normed, layer.query(), query);
      PlainLayers.linear(normed, layer.key(), key);
      PlainLayers.linear(normed, layer.value(), value);
      for (int h = 0; h < config.heads(); h++) {
        PlainLayers.rope(query, h * dim, rotations[position]);
      }
      for (int h = 0; h < config.headsKv(); h++) {
        PlainLayers.rope(key, h * dim, rotations[position]);
        for (int i = 0; i < dim; i++) {
          keys[h][i][position] = key[h * dim + i];
          values[h][position][i] = value[h * dim + i];
        }
      }
      float[][] maps =
          config.differential()
              ? readPairs(layer, query, keys, values, position + 1, read)
              : readHeads(query, keys, values, position + 1, read);
      if (weights != null) {
        for (int m = 0; m < maps.length; m++) {
          System.arraycopy(maps[m], 0, weights[m][row], 0, position + 1);
        }
      }
      PlainLayers.linear(read, layer.output(), output);
      PlainLayers.addScaled(x[row], 1, output);
    }
  }

  /**
   * Attention of one query row in every head: {@code read[h] = softmax(q kᵀ / sqrt(dim)) v}.
   *
   * @return the weights, [head][key]
   */
  private float[][] readHeads(
      float[] query, float[][][] keys, float[][][] values, int length, float[] read) {
    int dim = config.headDim();
    float[][] maps = new float[config.heads()][];
    for (int h = 0; h < maps.length; h++) {
      maps[h] = weights(query, h, keys, length);
      float[] sum = weightedSum(maps[h], values[headKv(h)]);
      System.arraycopy(sum, 0, read, h * dim, dim);
    }
    return maps;
  }

  /**
   * Attention of one query row in every pair of heads: {@code read[p] = (1 − λ_init) norm((softmax₁
   * − λ softmax₂) [v₁ v₂])}.
   *
   * @return the weights {@code softmax₁ − λ softmax₂}, [pair][key]
   */
  private float[][] readPairs(
      Layer layer, float[] query, float[][][] keys, float[][][] values, int length, float[] read) {
    int dim = config.headDim();
    int pairs = config.heads() / 2;
    float[][] maps = new float[pairs][];
    float[] both = new float[2 * dim];
    float[] normed = new float[2 * dim];
    for (int p = 0; p < pairs; p++) {
      maps[p] = weights(query, p, keys, length);
      PlainLayers.addScaled(
          maps[p], (float) -layer.lambda(), weights(query, p + pairs, keys, length));
      System.arraycopy(weightedSum(maps[p], values[headKv(p)]), 0, both, 0, dim);
      System.arraycopy(weightedSum(maps[p], values[headKv(p + pairs)]), 0, both, dim, dim);
      PlainLayers.rmsNorm(both, null, config.normEpsilon(), normed);
      for (int i = 0; i < 2 * dim; i++) {
        read[p * 2 * dim + i] = (float) (1 - layer.lambdaInit()) * normed[i];
      }
    }
    return maps;
  }

  /** {@code softmax(q kᵀ / sqrt(dim))} of one head over the first {@code length} keys. */
  private float[] weights(float[] query, int h, float[][][] keys, int length) {
    int dim = config.headDim();
    float scale = (float) (1 / Math.sqrt(dim));
    float[] scores = new float[length];
    for (int i = 0; i < dim; i++) {
      PlainLayers.addScaled(scores, query[h * dim + i] * scale, keys[headKv(h)][i]);
    }
    PlainLayers.softmax(scores, length);
    return scores;
  }

  private float[] weightedSum(float[] weights, float[][] values) {
    float[] sum = new float[config.headDim()];
    for (int j = 0; j < weights.length; j++) {
      PlainLayers.addScaled(sum, weights[j], values[j]);
    }
    return sum;
  }

  /** Grouped queries: consecutive query heads share a key and value head. */
  private int headKv(int h) {
    return h / (config.heads() / config.headsKv());
  }

  private double lambda(SafeTensors file, String attention, double lambdaInit) {
    return Math.exp(dot(file, attention + "lambda_q1", attention + "lambda_k1"))
        - Math.exp(dot(file, attention + "lambda_q2", attention + "lambda_k2"))
        + lambdaInit;
  }

  private double dot(SafeTensors file, String nameA, String nameB) {
    float[] a = read(file, nameA, config.headDim());
    float[] b = read(file, nameB, config.headDim());
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += (double) a[i] * b[i];
    }
    return sum;
  }

  /** Transposes a matrix that the file stores as [output][input] to [input][output]. */
  private static float[][] matrix(SafeTensors file, String name, int inputs, int outputs) {
    float[] values = read(file, name, outputs, inputs);
    float[][] matrix = new float[inputs][outputs];
    for (int o = 0; o < outputs; o++) {
      for (int i = 0; i < inputs; i++) {
        matrix[i][o] = values[o * inputs + i];
      }
    }
    return matrix;
  }

  private static float[][] transpose(float[][] matrix) {
    float[][] transposed = new float[matrix[0].length][matrix.length];
    for (int i = 0; i < matrix.length; i++) {
      for (int j = 0; j < transposed.length; j++) {
        transposed[j][i] = matrix[i][j];
      }
    }
    return transposed;
  }

  private static float[] read(SafeTensors file, String name, long... shape) {
    Tensor tensor = file.get(name);
    if (!Arrays.equals(tensor.shape(), shape)) {
      throw new IllegalArgumentException(
          "shape of "
              + name
              + " must be what config.json says: wanted="
              + Arrays.toString(shape)
              + ", got="
              + Arrays.toString(tensor.shape()));
    }
    return tensor.toFloatArray();
  }
}
