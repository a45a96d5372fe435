package io.github.attention4j.bench;

import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.xml.sax.InputSource;
import org.xml.sax.SAXException;

/**
 * Whether the Java contenders compute what they claim: against float64, over shapes that end in the
 * middle of every tile. Run by {@code bench/run} before anything is measured.
 */
final class SelfCheck {
  /** Inputs are normal numbers, results weighted means of them. */
  static final double TOLERANCE = 2e-5;

  private SelfCheck() {}

  /** Checks; exits with an exception that names every shape that is wrong. */
  public static void main(String[] arguments) {
    List<String> wrong = new ArrayList<>();
    for (int threads : new int[] {1, 2}) {
      try (Team team = new Team(threads)) {
        for (Shape shape : shapes()) {
          check(shape, new PlainAttention(team), new VectorAttention(team), wrong);
        }
        for (int[] sizes : new int[][] {{1, 33, 17}, {5, 64, 64}, {97, 200, 130}, {192, 768, 96}}) {
          checkLinear(sizes[0], sizes[1], sizes[2], team, wrong);
        }
      }
    }
    checkLine(wrong);
    checkPictures(wrong);
    if (!wrong.isEmpty()) {
      throw new IllegalStateException(String.join("\n", wrong));
    }
    System.out.println("The Java contenders agree with float64 on every shape.");
  }

  /** Finds a straight line, and notices a point that is not on it. */
  private static void checkLine(List<String> wrong) {
    Line exact = Line.through(new double[] {8, 16, 32, 64}, new double[] {58, 66, 82, 114});
    if (Math.abs(exact.a() - 50) > 1e-9 || Math.abs(exact.b() - 1) > 1e-9 || exact.worst() > 1e-9) {
      wrong.add("50 + 1 · d became " + exact);
    }
    Line rough = Line.through(new double[] {8, 16, 32, 64}, new double[] {58, 80, 82, 114});
    if (rough.worst() < 0.05) {
      wrong.add("a point that is 20 % off went unnoticed: " + rough);
    }
  }

  /** Checks that pictures are well-formed, whatever the words in them. */
  private static void checkPictures(List<String> wrong) {
    List<String> pictures =
        List.of(
            new BarChart("a < b & c", "share", List.of("one", "two"))
                .add("P1", 0.5, Double.NaN)
                .add("P2", 1.2, 0.1)
                .toString(),
            new LineChart("lengths", "length", "ms", true)
                .add("one", 128, 0.01)
                .add("one", 256, 0.04)
                .toString());
    for (String picture : pictures) {
      try {
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new InputSource(new StringReader(picture)));
      } catch (ParserConfigurationException | SAXException | IOException e) {
        wrong.add("a picture is no XML: " + e.getMessage());
      }
    }
  }

  /** Around the register tile (6 × 64), the key block (256), the query block (96), odd sizes. */
  private static List<Shape> shapes() {
    List<Shape> shapes = new ArrayList<>();
    for (int lenQ : new int[] {1, 2, 5, 6, 7, 95, 96, 97}) {
      for (int lenK : new int[] {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 300}) {
        shapes.add(new Shape("tile", 1, 2, 1, 1, lenQ, lenK, 64, 64, false, "prefill"));
        shapes.add(new Shape("tile", 1, 2, 1, 1, lenQ, lenK, 32, 128, true, "prefill"));
        shapes.add(new Shape("odd", 2, 6, 2, 2, lenQ, lenK, 33, 20, false, "prefill"));
      }
    }
    for (int group : new int[] {1, 2, 3, 4, 5, 8}) {
      for (int lenK : new int[] {1, 63, 64, 255, 256, 257, 700}) {
        shapes.add(new Shape("step", 2, 2 * group, 2, 2, 1, lenK, 128, 128, false, "decode"));
        shapes.add(new Shape("step", 1, 2 * group, 2, 2, 1, lenK, 72, 40, false, "decode"));
      }
    }
    shapes.addAll(Shape.all("prefill").stream().filter(s -> s.flops() < 2e9).toList());
    return shapes;
  }

  /** Refuses a result that is not the formula's. */
  static void require(String who, Shape shape, Inputs in, float[] out) {
    requireSmall(
        who, shape.name(), Reference.error(shape, in.q(), in.k(), in.v(), out, step(shape)));
  }

  /** The same with an option. */
  static void require(
      String who,
      Shape shape,
      Reference.Logit logit,
      Reference.Sink sink,
      Reference.Value value,
      Inputs in,
      float[] out) {
    double error =
        Reference.error(shape, logit, sink, value, in.q(), in.k(), in.v(), out, step(shape));
    requireSmall(who, shape.name(), error);
  }

  /** The same for differential attention with the λ of {@link Fused}. */
  static void requirePairs(String who, Shape shape, Inputs in, float[] out) {
    double error =
        Reference.differentialError(shape, Fused.LAMBDA, in.q(), in.k(), in.v(), out, step(shape));
    requireSmall(who, shape.name(), error);
  }

  /** The same for a projection, whose sums grow with the square root of its inputs. */
  static void require(String who, Projection shape, float[] x, float[] w, float[] bias, float[] y) {
    double error =
        Reference.linearError(
            shape.rows(), shape.dimIn(), shape.dimOut(), x, w, bias, y, shape.rows() / 7 + 1);
    requireSmall(who, shape.name(), error / Math.sqrt(shape.dimIn()));
  }

  /** Refuses two results that differ, if both have been checked in parts. */
  static void requireEqual(String name, float[] one, float[] other) {
    double worst = one.length == other.length ? 0 : Double.POSITIVE_INFINITY;
    for (int i = 0; i < one.length && worst < Double.POSITIVE_INFINITY; i++) {
      double error = Math.abs((double) one[i] - other[i]);
      worst = Double.isNaN(error) ? Double.POSITIVE_INFINITY : Math.max(worst, error);
    }
    requireSmall("one of two", name, worst);
  }

  /** One in this many rows is checked, so that a check stays short. */
  static int step(Shape shape) {
    return Math.max(1, shape.batch() * shape.headsQ() * shape.lenQ() / 61);
  }

  private static void requireSmall(String who, String name, double error) {
    if (error > TOLERANCE) {
      throw new IllegalStateException(who + " is wrong by " + error + " on " + name);
    }
  }

  private static void check(
      Shape shape, PlainAttention plain, VectorAttention vector, List<String> wrong) {
    Inputs in = new Inputs(shape);
    float[] out = new float[shape.outCount()];
    int step = Math.max(1, shape.outCount() / shape.dimV() / 200);
    plain.forward(shape, in.q(), in.k(), in.v(), out);
    report("plain", shape, Reference.error(shape, in.q(), in.k(), in.v(), out, step), wrong);
    vector.forward(shape, in.q(), in.k(), in.v(), out);
    report("vector", shape, Reference.error(shape, in.q(), in.k(), in.v(), out, step), wrong);

    Inputs pairs = new Inputs(shape.unpaired());
    float[] maps = new float[2 * out.length];
    plain.differential(shape, 0.4f, pairs.q(), pairs.k(), pairs.v(), maps, out);
    report("plain pairs", shape, differentialError(shape, pairs, out, step), wrong);
    vector.differential(shape, 0.4f, pairs.q(), pairs.k(), pairs.v(), maps, out);
    report("vector pairs", shape, differentialError(shape, pairs, out, step), wrong);
  }

  private static double differentialError(Shape shape, Inputs in, float[] out, int step) {
    return Reference.differentialError(shape, 0.4f, in.q(), in.k(), in.v(), out, step);
  }

  private static void checkLinear(int rows, int in, int out, Team team, List<String> wrong) {
    float[] x = Inputs.normal(new Random(4), rows * in);
    float[] w = Inputs.normal(new Random(5), out * in);
    float[] bias = Inputs.normal(new Random(6), out);
    float[] y = new float[rows * out];
    new PlainAttention(team).linear(rows, in, out, x, w, bias, y);
    double plain = Reference.linearError(rows, in, out, x, w, bias, y, 1);
    new VectorLinear(team, in, out, w, bias).forward(rows, x, y);
    double vector = Reference.linearError(rows, in, out, x, w, bias, y, 1);
    if (Math.max(plain, vector) > 1e-4 * Math.sqrt(in)) {
      wrong.add("linear %d x %d -> %d: %g, %g".formatted(rows, in, out, plain, vector));
    }
  }

  private static void report(String who, Shape shape, double error, List<String> wrong) {
    if (error > TOLERANCE) {
      wrong.add(
          "%s is wrong by %g on %d queries, %d keys, dims %d and %d, heads %d on %d%s"
              .formatted(
                  who,
                  error,
                  shape.lenQ(),
                  shape.lenK(),
                  shape.dimQk(),
                  shape.dimV(),
                  shape.headsQ(),
                  shape.headsK(),
                  shape.causal() ? ", causal" : ""));
    }
  }
}
