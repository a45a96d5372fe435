package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;

/** Groups of horizontal bars, one bar a series, from 0 to 100 %. */
final class BarChart {
  private static final int WIDTH = 860;
  private static final int LEFT = 60;
  private static final int RIGHT = 60;
  private static final int TOP = 74;
  private static final int BOTTOM = 34;
  private static final int BAR = 6;
  private static final int GAP = 8;

  private final String title;
  private final String axis;
  private final List<String> series;
  private final List<Group> groups = new ArrayList<>();

  private record Group(String name, double[] shares) {}

  BarChart(String title, String axis, List<String> series) {
    this.title = title;
    this.axis = axis;
    this.series = series;
  }

  /** Adds a group; NaN leaves a bar out. */
  BarChart add(String name, double... shares) {
    if (shares.length != series.size()) {
      throw new IllegalArgumentException(
          "shares must be one a series: shares=" + shares.length + ", series=" + series.size());
    }
    groups.add(new Group(name, shares));
    return this;
  }

  @Override
  public String toString() {
    int group = series.size() * BAR + GAP;
    Svg svg = new Svg(WIDTH, TOP + groups.size() * group + BOTTOM);
    svg.text(LEFT, 22, Svg.Anchor.START, 16, title);
    legend(svg);
    int bottom = TOP + groups.size() * group;
    for (int percent = 0; percent <= 100; percent += 20) {
      double x = x(percent / 100.0);
      svg.line(x, TOP - 6, x, bottom, Svg.FAINT, 1);
      svg.text(x, bottom + 14, Svg.Anchor.MIDDLE, 11, percent + " %");
    }
    svg.text(x(0.5), bottom + 28, Svg.Anchor.MIDDLE, 11, axis);
    for (int g = 0; g < groups.size(); g++) {
      int y = TOP + g * group;
      svg.text(LEFT - 8, y + group / 2.0, Svg.Anchor.END, 12, groups.get(g).name);
      bars(svg, groups.get(g), y);
    }
    return svg.toString();
  }

  private void legend(Svg svg) {
    double x = LEFT;
    for (int s = 0; s < series.size(); s++) {
      svg.rectangle(x, 38, 12, 12, Svg.colour(s));
      svg.text(x + 17, 48, Svg.Anchor.START, 12, series.get(s));
      x += 40 + 7.0 * series.get(s).length();
    }
  }

  /** A bar that exceeds the axis ends there; the figure beside it says how much it is. */
  private static void bars(Svg svg, Group group, int top) {
    for (int s = 0; s < group.shares.length; s++) {
      double share = group.shares[s];
      if (Double.isNaN(share)) {
        continue;
      }
      int y = top + s * BAR;
      double end = x(Math.min(share, 1));
      svg.rectangle(LEFT, y, end - LEFT, BAR - 1, Svg.colour(s));
      if (s == 0) {
        svg.text(end + 4, y + BAR, Svg.Anchor.START, 10, Math.round(100 * share) + "");
      }
    }
  }

  private static double x(double share) {
    return LEFT + share * (WIDTH - LEFT - RIGHT);
  }
}
