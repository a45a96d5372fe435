package io.github.attention4j.bench;

import java.util.List;

/**
 * One multi-head layer, read from a line of {@code shapes/layer.txt}.
 *
 * @param name what the tables call it
 * @param source where such a layer comes from
 */
record LayerShape(
    String name, int batch, int length, int width, int heads, boolean causal, String source) {

  static List<LayerShape> all() {
    return Shape.lines("layer").stream().map(LayerShape::parse).toList();
  }

  static LayerShape named(String name) {
    return all().stream().filter(shape -> shape.name.equals(name)).findFirst().orElseThrow();
  }

  private static LayerShape parse(String line) {
    String[] words = line.strip().split("\\s+", 7);
    return new LayerShape(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        Integer.parseInt(words[4]),
        words[5].equals("yes"),
        words[6]);
  }

  /** The attention within. */
  Shape attention() {
    int dim = width / heads;
    return new Shape(name, batch, heads, heads, heads, length, length, dim, dim, causal, source);
  }

  int rows() {
    return batch * length;
  }

  double flops() {
    return attention().flops() + 8.0 * rows() * width * width;
  }
}
