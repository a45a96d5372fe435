package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Lines over an axis of sizes that double; the other axis is logarithmic or begins at 0. */
final class LineChart {
  private static final int WIDTH = 640;
  private static final int HEIGHT = 400;
  private static final int LEFT = 70;
  private static final int RIGHT = 20;
  private static final int TOP = 70;
  private static final int BOTTOM = 50;

  private final String title;
  private final String xName;
  private final String yName;
  private final boolean logarithmic;
  private final Map<String, List<Point>> series = new LinkedHashMap<>();

  private record Point(double x, double y) {}

  LineChart(String title, String xName, String yName, boolean logarithmic) {
    this.title = title;
    this.xName = xName;
    this.yName = yName;
    this.logarithmic = logarithmic;
  }

  LineChart add(String name, double x, double y) {
    series.computeIfAbsent(name, n -> new ArrayList<>()).add(new Point(x, y));
    return this;
  }

  @Override
  public String toString() {
    Svg svg = new Svg(WIDTH, HEIGHT);
    svg.text(LEFT, 22, Svg.Anchor.START, 15, title);
    svg.text(LEFT - 60, TOP - 10, Svg.Anchor.START, 11, yName);
    svg.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10, Svg.Anchor.MIDDLE, 11, xName);
    TreeSet<Double> sizes = new TreeSet<>();
    double least = Double.POSITIVE_INFINITY;
    double most = 0;
    for (List<Point> points : series.values()) {
      for (Point point : points) {
        sizes.add(point.x);
        least = Math.min(least, point.y);
        most = Math.max(most, point.y);
      }
    }
    double bottom = logarithmic ? Math.pow(10, Math.floor(Math.log10(least))) : 0;
    double top = logarithmic ? Math.pow(10, Math.ceil(Math.log10(most))) : 1.15 * most;
    grid(svg, sizes, bottom, top);
    int s = 0;
    double room = Math.min(180, (WIDTH - LEFT - RIGHT) / (double) series.size());
    for (Map.Entry<String, List<Point>> entry : series.entrySet()) {
      String colour = Svg.colour(s);
      svg.rectangle(LEFT + room * s, 36, 12, 12, colour);
      svg.text(LEFT + room * s + 17, 46, Svg.Anchor.START, 12, entry.getKey());
      Point last = null;
      for (Point point : entry.getValue()) {
        double x = x(point.x, sizes);
        double y = y(point.y, bottom, top);
        if (last != null) {
          svg.line(x(last.x, sizes), y(last.y, bottom, top), x, y, colour, 2);
        }
        svg.dot(x, y, colour);
        last = point;
      }
      s++;
    }
    return svg.toString();
  }

  private void grid(Svg svg, TreeSet<Double> sizes, double bottom, double top) {
    for (double size : sizes) {
      double x = x(size, sizes);
      svg.line(x, TOP, x, HEIGHT - BOTTOM, Svg.FAINT, 1);
      svg.text(x, HEIGHT - BOTTOM + 16, Svg.Anchor.MIDDLE, 10, Math.round(size) + "");
    }
    if (logarithmic) {
      for (double value = bottom; value <= top * 1.001; value *= 10) {
        mark(svg, value, bottom, top);
      }
    } else {
      for (int part = 0; part <= 5; part++) {
        mark(svg, top * part / 5, bottom, top);
      }
    }
  }

  private void mark(Svg svg, double value, double bottom, double top) {
    double y = y(value, bottom, top);
    svg.line(LEFT, y, WIDTH - RIGHT, y, Svg.FAINT, 1);
    svg.text(LEFT - 6, y + 4, Svg.Anchor.END, 10, label(value));
  }

  private static String label(double value) {
    return value >= 1000 || value == Math.rint(value)
        ? "%,d".formatted(Math.round(value)).replace(',', ' ')
        : Report.number(value);
  }

  private static double x(double size, TreeSet<Double> sizes) {
    double from = Math.log(sizes.first());
    double to = Math.log(sizes.last());
    double part = to == from ? 0.5 : (Math.log(size) - from) / (to - from);
    return LEFT + 10 + part * (WIDTH - LEFT - RIGHT - 20);
  }

  private double y(double value, double bottom, double top) {
    double part =
        logarithmic
            ? (Math.log(value) - Math.log(bottom)) / (Math.log(top) - Math.log(bottom))
            : (value - bottom) / (top - bottom);
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
  }
}
