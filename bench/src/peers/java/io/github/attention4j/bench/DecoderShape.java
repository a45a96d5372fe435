package io.github.attention4j.bench;

import java.util.List;
import java.util.Random;

/**
 * One decoder block of a Llama, read from a line of {@code shapes/decoder.txt}; batch 1.
 *
 * @param name what the tables call it
 * @param tokens how many are read at once
 * @param keys how many the cache holds afterwards
 * @param hidden width of the feed-forward network
 * @param source where such a block comes from
 */
record DecoderShape(
    String name,
    int tokens,
    int keys,
    int width,
    int heads,
    int headsKv,
    int dim,
    int hidden,
    String source) {

  static final float EPSILON = 1e-5f;
  static final double ROPE_THETA = 500_000;

  static List<DecoderShape> all() {
    return Shape.lines("decoder").stream().map(DecoderShape::parse).toList();
  }

  private static DecoderShape parse(String line) {
    String[] words = line.strip().split("\\s+", 9);
    return new DecoderShape(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        Integer.parseInt(words[4]),
        Integer.parseInt(words[5]),
        Integer.parseInt(words[6]),
        Integer.parseInt(words[7]),
        words[8]);
  }

  boolean isStep() {
    return tokens == 1;
  }

  /** How many tokens the cache holds before. */
  int start() {
    return keys - tokens;
  }

  int widthKv() {
    return headsKv * dim;
  }

  private double weightCount() {
    return 2.0 * width * width + 2.0 * width * widthKv() + 3.0 * width * hidden;
  }

  double flops() {
    double scores = 4.0 * heads * dim * ((double) tokens * keys - 0.5 * tokens * (tokens - 1));
    return 2 * tokens * weightCount() + scores;
  }

  /** Weights, keys and values, each once. */
  double bytes() {
    return 4 * (weightCount() + 2.0 * keys * widthKv());
  }

  /**
   * The numbers of a block. Matrices are {@code [out, in]}.
   *
   * @param keys of the tokens already read, {@code [headsKv, start, dim]}, rotated
   * @param values likewise
   */
  record Weights(
      float[] x,
      float[] norm1,
      float[] query,
      float[] key,
      float[] value,
      float[] out,
      float[] norm2,
      float[] gate,
      float[] up,
      float[] down,
      float[] keys,
      float[] values) {
    Weights(DecoderShape shape) {
      this(
          Inputs.normal(new Random(30), shape.tokens * shape.width),
          Inputs.normal(new Random(31), shape.width),
          EncoderShape.scaled(32, shape.width, shape.width),
          EncoderShape.scaled(33, shape.widthKv(), shape.width),
          EncoderShape.scaled(34, shape.widthKv(), shape.width),
          EncoderShape.scaled(35, shape.width, shape.width),
          Inputs.normal(new Random(36), shape.width),
          EncoderShape.scaled(37, shape.hidden, shape.width),
          EncoderShape.scaled(38, shape.hidden, shape.width),
          EncoderShape.scaled(39, shape.width, shape.hidden),
          Inputs.normal(new Random(40), shape.start() * shape.widthKv()),
          Inputs.normal(new Random(41), shape.start() * shape.widthKv()));
    }
  }

  /** Cosines or sines of the positions [0, keys), {@code [keys, dim / 2]}. */
  float[] angles(java.util.function.DoubleUnaryOperator function) {
    int half = dim / 2;
    float[] table = new float[keys * half];
    for (int position = 0; position < keys; position++) {
      for (int i = 0; i < half; i++) {
        double angle = position * Math.pow(ROPE_THETA, -(double) i / half);
        table[position * half + i] = (float) function.applyAsDouble(angle);
      }
    }
    return table;
  }
}
