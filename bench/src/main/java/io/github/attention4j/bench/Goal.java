package io.github.attention4j.bench;

import java.util.List;

/**
 * One line of a list of aims.
 *
 * @param text what is asked
 * @param wanted how much of it
 * @param got how much there is
 */
record Goal(String text, String wanted, String got, boolean met) {

  static Goal share(String text, double share, double least) {
    return new Goal(text, ">= " + Report.percent(least), Report.percent(share), share >= least);
  }

  static Goal ahead(String text, double ratio, double least) {
    String wanted = "%.2f x".formatted(least);
    String got = Report.times(ratio);
    boolean met = ratio >= least;
    // Otherwise a missed 1.05 would read like a met one.
    return new Goal(
        text, ">= " + wanted, !met && got.equals(wanted) ? "%.3f x".formatted(ratio) : got, met);
  }

  static Goal atMost(String text, double ratio, double most) {
    return new Goal(text, "<= %.2f x".formatted(most), "%.3f x".formatted(ratio), ratio <= most);
  }

  /** A table of them. */
  static String table(List<Goal> goals) {
    StringBuilder text = new StringBuilder("| aim | wanted | got | |\n|---|---:|---:|---|\n");
    for (Goal goal : goals) {
      text.append(
          "| %s | %s | %s | %s |\n"
              .formatted(goal.text, goal.wanted, goal.got, goal.met ? "met" : "**missed**"));
    }
    return text.toString();
  }
}
