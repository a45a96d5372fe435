package io.github.attention4j.models.chat;

import java.math.BigDecimal;
import java.util.Collection;
import java.util.Map;

/** Python's texts of values: {@code str} and {@code repr}. */
public final class PythonText {
  private static final int MOST_DEPTH = 100;

  private PythonText() {}

  /**
   * Returns {@code str} of a boolean, a number, a list or a dictionary.
   *
   * @return null for any other value
   */
  public static String of(Object value) {
    return switch (value) {
      case Boolean flag -> flag ? "True" : "False";
      case Double number -> number(number);
      case Float number -> number(number);
      case Map<?, ?> map -> represented(map, 0);
      case Collection<?> list -> represented(list, 0);
      case null, default -> null;
    };
  }

  private static String represented(Object value, int depth) {
    if (depth > MOST_DEPTH) {
      throw new TemplateFunctions.RaisedException(
          "a value that is written must be nested at most " + MOST_DEPTH + " deep");
    }
    return switch (value) {
      case null -> "None";
      case Map<?, ?> map -> {
        StringBuilder out = new StringBuilder("{");
        map.forEach(
            (key, member) ->
                out.append(out.length() > 1 ? ", " : "")
                    .append(represented(key, depth + 1))
                    .append(": ")
                    .append(represented(member, depth + 1)));
        yield out.append('}').toString();
      }
      case Collection<?> list -> {
        StringBuilder out = new StringBuilder("[");
        list.forEach(
            element ->
                out.append(out.length() > 1 ? ", " : "").append(represented(element, depth + 1)));
        yield out.append(']').toString();
      }
      case Boolean flag -> flag ? "True" : "False";
      case Double number -> number(number);
      case Float number -> number(number);
      case Number number -> number.toString();
      default -> quoted(value.toString());
    };
  }

  /** Uses an exponent below 1e-4 and from 1e16 on. */
  private static String number(double number) {
    if (Double.isNaN(number)) {
      return "nan";
    }
    if (Double.isInfinite(number)) {
      return number > 0 ? "inf" : "-inf";
    }
    double size = Math.abs(number);
    if (size == 0 || (size >= 1e-4 && size < 1e16)) {
      String plain = new BigDecimal(Double.toString(number)).toPlainString();
      String signed = 1 / number < 0 && size == 0 ? "-" + plain : plain;
      return signed.contains(".") ? signed : signed + ".0";
    }
    String[] parts = Double.toString(number).split("E");
    int exponent = Integer.parseInt(parts[1]);
    return "%s%s%s%02d"
        .formatted(
            parts[0].endsWith(".0") ? parts[0].substring(0, parts[0].length() - 2) : parts[0],
            "e",
            exponent < 0 ? "-" : "+",
            Math.abs(exponent));
  }

  private static String quoted(String text) {
    char quote = text.contains("'") && !text.contains("\"") ? '"' : '\'';
    StringBuilder out = new StringBuilder().append(quote);
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (c == quote) {
            out.append('\\').append(c);
          } else if (c < ' ' || c == 0x7f) {
            out.append("\\x%02x".formatted((int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    return out.append(quote).toString();
  }
}
