package io.github.attention4j.models.chat;

import io.github.attention4j.internal.Json;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Transformers' {@code tojson}: Python's {@code json.dumps} without ASCII escapes. */
final class PythonJson {
  private static final int MOST_DEPTH = 100;
  private static final int MOST_INDENT = 100;

  private final String indent;
  private final String comma;
  private final String colon;
  private final boolean sorted;
  private final boolean ascii;
  private final StringBuilder out = new StringBuilder();

  private PythonJson(String indent, String comma, String colon, boolean sorted, boolean ascii) {
    this.indent = indent;
    this.comma = comma;
    this.colon = colon;
    this.sorted = sorted;
    this.ascii = ascii;
  }

  /** Writes a value as the arguments of the filter say. */
  static String dumps(Object value, Arguments arguments) {
    arguments.of("ensure_ascii", "indent", "separators", "sort_keys");
    Object indent = arguments.get(1, "indent", null);
    String step =
        indent == null || indent instanceof CharSequence
            ? Objects.toString(indent, null)
            : " ".repeat(indent(indent));
    String comma = indent == null ? ", " : ",";
    String colon = ": ";
    if (arguments.get(2, "separators", null) instanceof List<?> separators
        && separators.size() == 2) {
      comma = Python.text(separators.get(0));
      colon = Python.text(separators.get(1));
    }
    PythonJson json =
        new PythonJson(
            step, comma, colon, arguments.flag(3, "sort_keys"), arguments.flag(0, "ensure_ascii"));
    json.write(value, 0);
    return json.out.toString();
  }

  private static int indent(Object value) {
    int indent = Python.index(value);
    if (indent > MOST_INDENT) {
      throw new TemplateFunctions.RaisedException(
          "tojson must be given an indent of at most %d: indent=%d".formatted(MOST_INDENT, indent));
    }
    return Math.max(0, indent);
  }

  private void write(Object value, int depth) {
    if (depth > MOST_DEPTH) {
      throw new TemplateFunctions.RaisedException(
          "tojson must be given values nested at most " + MOST_DEPTH + " deep");
    }
    Python.boundedText(out.length());
    switch (value) {
      case null -> out.append("null");
      case Boolean flag -> out.append(flag);
      case Double number when Double.isNaN(number) -> out.append("NaN");
      case Double number when Double.isInfinite(number) ->
          out.append(number > 0 ? "Infinity" : "-Infinity");
      case Number number -> out.append(Python.text(number));
      case Map<?, ?> map -> {
        out.append('{');
        boolean first = true;
        for (Map.Entry<?, ?> entry : entries(map)) {
          separate(first, depth);
          first = false;
          Object key = entry.getKey();
          String name =
              key == null || key instanceof Boolean || key instanceof Number
                  ? dumps(key, Arguments.none("tojson"))
                  : Python.text(key);
          out.append(quote(name)).append(colon);
          write(entry.getValue(), depth + 1);
        }
        close(first, depth);
        out.append('}');
      }
      case Collection<?> list -> {
        out.append('[');
        boolean first = true;
        for (Object element : list) {
          separate(first, depth);
          first = false;
          write(element, depth + 1);
        }
        close(first, depth);
        out.append(']');
      }
      case CharSequence text -> out.append(quote(text.toString()));
      case Undefined undefined -> throw undefined.used();
      default ->
          throw new TemplateFunctions.RaisedException(
              "tojson must be given plain values, without " + Python.type(value));
    }
  }

  private List<Map.Entry<?, ?>> entries(Map<?, ?> map) {
    List<Map.Entry<?, ?>> entries = new ArrayList<>(map.entrySet());
    if (sorted) {
      entries.sort((a, b) -> Python.compare(a.getKey(), b.getKey()));
    }
    return entries;
  }

  /** Escapes like Python's, with short forms for backspace and form feed. */
  private String quote(String text) {
    String quoted = Json.quote(text).replace("\\u0008", "\\b").replace("\\u000c", "\\f");
    if (!ascii) {
      return quoted;
    }
    StringBuilder escaped = new StringBuilder();
    for (char c : quoted.toCharArray()) {
      escaped.append(c < 0x80 ? String.valueOf(c) : "\\u%04x".formatted((int) c));
    }
    return escaped.toString();
  }

  private void separate(boolean first, int depth) {
    out.append(first ? "" : comma);
    if (indent != null) {
      out.append('\n').append(indent.repeat(depth + 1));
    }
  }

  private void close(boolean empty, int depth) {
    if (!empty && indent != null) {
      out.append('\n').append(indent.repeat(depth));
    }
  }
}
