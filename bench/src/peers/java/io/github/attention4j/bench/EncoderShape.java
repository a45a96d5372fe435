package io.github.attention4j.bench;

import java.util.List;
import java.util.Random;

/**
 * One encoder block, read from a line of {@code shapes/encoder.txt}.
 *
 * @param name what the tables call it
 * @param hidden width of the feed-forward network
 * @param source where such a block comes from
 */
record EncoderShape(
    String name, int batch, int length, int width, int heads, int hidden, String source) {

  static final float EPSILON = 1e-5f;

  static List<EncoderShape> all() {
    return Shape.lines("encoder").stream().map(EncoderShape::parse).toList();
  }

  private static EncoderShape parse(String line) {
    String[] words = line.strip().split("\\s+", 7);
    return new EncoderShape(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        Integer.parseInt(words[4]),
        Integer.parseInt(words[5]),
        words[6]);
  }

  /** The multi-head layer of the block. */
  LayerShape attention() {
    return new LayerShape(name, batch, length, width, heads, false, source);
  }

  int rows() {
    return batch * length;
  }

  double flops() {
    return attention().flops() + 4.0 * rows() * width * hidden;
  }

  /**
   * The numbers of a block.
   *
   * @param attention the multi-head layer's, its input among them
   * @param up {@code [hidden, width]}
   * @param down {@code [width, hidden]}
   */
  record Weights(
      JavaLayer.Weights attention,
      float[] norm1Weight,
      float[] norm1Bias,
      float[] up,
      float[] upBias,
      float[] down,
      float[] downBias,
      float[] norm2Weight,
      float[] norm2Bias) {
    Weights(EncoderShape shape) {
      this(
          new JavaLayer.Weights(shape.attention()),
          Inputs.normal(new Random(20), shape.width),
          Inputs.normal(new Random(21), shape.width),
          scaled(22, shape.hidden, shape.width),
          Inputs.normal(new Random(23), shape.hidden),
          scaled(24, shape.width, shape.hidden),
          Inputs.normal(new Random(25), shape.width),
          Inputs.normal(new Random(26), shape.width),
          Inputs.normal(new Random(27), shape.width));
    }
  }

  /** A matrix that keeps outputs as large as inputs. */
  static float[] scaled(int seed, int out, int in) {
    float[] matrix = Inputs.normal(new Random(seed), out * in);
    float factor = (float) (1 / Math.sqrt(in));
    for (int i = 0; i < matrix.length; i++) {
      matrix[i] *= factor;
    }
    return matrix;
  }
}
