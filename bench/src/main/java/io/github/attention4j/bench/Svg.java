package io.github.attention4j.bench;

import java.util.Locale;

/** Writes a picture of rectangles, lines and words as SVG; the unit is a pixel. */
final class Svg {
  /** How a text is aligned to its point. */
  enum Anchor {
    START,
    MIDDLE,
    END
  }

  static final String INK = "#222222";
  static final String FAINT = "#dddddd";

  /** Colours that also differ in brightness, so that they survive a copier. */
  private static final String[] COLOURS = {
    "#0b4f9e", "#e07b00", "#8fbf5f", "#b39ddb", "#6d6d6d", "#c62828"
  };

  private final int width;
  private final int height;
  private final StringBuilder body = new StringBuilder();

  Svg(int width, int height) {
    this.width = width;
    this.height = height;
    rectangle(0, 0, width, height, "#ffffff");
  }

  static String colour(int series) {
    return COLOURS[series % COLOURS.length];
  }

  void rectangle(double x, double y, double wide, double high, String colour) {
    add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>",
        x, y, wide, high, colour);
  }

  void line(double x1, double y1, double x2, double y2, String colour, double thick) {
    add(
        "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\""
            + " stroke-width=\"%.1f\"/>",
        x1, y1, x2, y2, colour, thick);
  }

  void dot(double x, double y, String colour) {
    add("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>", x, y, colour);
  }

  void text(double x, double y, Anchor anchor, int size, String words) {
    add(
        "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\" fill=\"%s\">%s</text>",
        x, y, anchor.name().toLowerCase(Locale.ROOT), size, INK, escaped(words));
  }

  private void add(String format, Object... values) {
    body.append(String.format(Locale.ROOT, format, values)).append('\n');
  }

  private static String escaped(String words) {
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
  }

  @Override
  public String toString() {
    return """
    <svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" \
    font-family="Helvetica, Arial, sans-serif">
    %s</svg>
    """
        .formatted(width, height, width, height, body);
  }
}
