package io.github.attention4j.bench;

import java.util.List;

/**
 * One linear projection, read from a line of {@code shapes/projection.txt} or {@code
 * shapes/rows.txt}.
 *
 * @param name what the tables call it
 * @param source where such a call comes from
 */
record Projection(String name, int rows, int dimIn, int dimOut, String source) {
  static List<Projection> all() {
    return all("projection");
  }

  /** Those of one file. */
  static List<Projection> all(String file) {
    return Shape.lines(file).stream().map(Projection::parse).toList();
  }

  static Projection named(String name) {
    return named("projection", name);
  }

  /** The one of that name in one file. */
  static Projection named(String file, String name) {
    return all(file).stream()
        .filter(projection -> projection.name.equals(name))
        .findFirst()
        .orElseThrow();
  }

  private static Projection parse(String line) {
    String[] words = line.strip().split("\\s+", 5);
    return new Projection(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        words[4]);
  }

  double flops() {
    return 2.0 * rows * dimIn * dimOut;
  }

  /** Bytes of the weights, once. */
  double weightBytes() {
    return 4.0 * dimIn * dimOut;
  }
}
