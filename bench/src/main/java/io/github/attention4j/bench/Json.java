package io.github.attention4j.bench;

import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Writes maps, lists, numbers and strings as JSON that reads well in a diff. */
final class Json {
  private Json() {}

  static String write(Object value) {
    StringBuilder text = new StringBuilder();
    append(text, value, "");
    return text.append('\n').toString();
  }

  private static void append(StringBuilder text, Object value, String indent) {
    switch (value) {
      case Map<?, ?> map -> {
        text.append('{');
        String separator = "\n";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          text.append(separator).append(indent).append("  ");
          append(text, entry.getKey(), "");
          text.append(": ");
          append(text, entry.getValue(), indent + "  ");
          separator = ",\n";
        }
        text.append('\n').append(indent).append('}');
      }
      case List<?> list -> {
        text.append('[');
        String separator = "\n";
        for (Object item : list) {
          text.append(separator).append(indent).append("  ");
          append(text, item, indent + "  ");
          separator = ",\n";
        }
        text.append('\n').append(indent).append(']');
      }
      case double[] numbers -> {
        text.append('[');
        for (int i = 0; i < numbers.length; i++) {
          text.append(i == 0 ? "" : ", ");
          append(text, numbers[i], "");
        }
        text.append(']');
      }
      case Double number ->
          text.append(
              number.isNaN()
                  ? "null"
                  : number == Math.rint(number)
                      ? String.format(Locale.ROOT, "%.0f", number)
                      : String.format(Locale.ROOT, "%.6g", number));
      case String string ->
          text.append('"').append(string.replace("\\", "\\\\").replace("\"", "\\\"")).append('"');
      default -> text.append(value);
    }
  }
}
