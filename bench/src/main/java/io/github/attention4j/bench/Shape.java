package io.github.attention4j.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/**
 * One attention problem, read from a line of {@code shapes/*.txt}.
 *
 * <p>All tensors are [batch, heads, length, dim], contiguous. Query head h reads key head {@code h
 * / (headsQ / headsK)} and value head {@code h / (headsQ / headsV)}.
 *
 * @param name what the tables call it
 * @param source where such a call comes from
 */
record Shape(
    String name,
    int batch,
    int headsQ,
    int headsK,
    int headsV,
    int lenQ,
    int lenK,
    int dimQk,
    int dimV,
    boolean causal,
    String source) {

  /** The directory of the shape files; the benchmarks run in the project's directory. */
  private static final Path DIRECTORY = Path.of("shapes");

  /** The shapes of one file, for example {@code "prefill"}. */
  static List<Shape> all(String file) {
    return lines(file).stream().map(Shape::parse).toList();
  }

  /** The lines of a shape file that are neither blank nor comments. */
  static List<String> lines(String file) {
    try {
      return Files.readAllLines(DIRECTORY.resolve(file + ".txt")).stream()
          .filter(line -> !line.isBlank() && !line.startsWith("#"))
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The shape of that name in one file. */
  static Shape named(String file, String name) {
    List<Shape> shapes = all(file);
    return shapes.stream()
        .filter(shape -> shape.name.equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "shapes/%s.txt has no %s, only %s"
                        .formatted(file, name, shapes.stream().map(Shape::name).toList())));
  }

  private static Shape parse(String line) {
    String[] words = line.strip().split("\\s+", 10);
    if (words.length < 10) {
      throw new IllegalArgumentException("a shape has ten columns: " + line);
    }
    int[] sizes = Arrays.stream(words, 1, 8).mapToInt(Integer::parseInt).toArray();
    return new Shape(
        words[0],
        sizes[0],
        sizes[1],
        sizes[2],
        sizes[2],
        sizes[3],
        sizes[4],
        sizes[5],
        sizes[6],
        words[8].equals("yes"),
        words[9]);
  }

  /**
   * Each line of differential.txt counts pairs of maps; this is the plain problem over the same
   * tensors: twice the query and key heads, values as they are.
   */
  Shape unpaired() {
    return new Shape(
        name, batch, 2 * headsQ, 2 * headsK, headsV, lenQ, lenK, dimQk, dimV, causal, source);
  }

  int queryCount() {
    return batch * headsQ * lenQ * dimQk;
  }

  int keyCount() {
    return batch * headsK * lenK * dimQk;
  }

  int valueCount() {
    return batch * headsV * lenK * dimV;
  }

  int outCount() {
    return batch * headsQ * lenQ * dimV;
  }

  float scale() {
    return (float) (1 / Math.sqrt(dimQk));
  }

  /** Multiplications and additions of both products; half of them when causal. */
  double flops() {
    double all = 2.0 * batch * headsQ * lenQ * lenK * (dimQk + dimV);
    return causal ? all / 2 : all;
  }

  /** Bytes of keys and values, each once: what a decode step must read. */
  double cacheBytes() {
    return 4.0 * ((double) keyCount() + valueCount());
  }

  @Override
  public String toString() {
    return name;
  }
}
