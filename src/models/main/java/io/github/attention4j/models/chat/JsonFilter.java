package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.filter.Filter;
import io.github.attention4j.internal.Json;
import java.util.Collection;
import java.util.Map;

/** Transformers' {@code tojson}: Python's {@code json.dumps} without ASCII escapes. */
public final class JsonFilter implements Filter {
  private static final int MOST_DEPTH = 100;
  private static final int MOST_INDENT = 100;

  @Override
  public String getName() {
    return "tojson";
  }

  @Override
  public Object filter(Object value, JinjavaInterpreter interpreter, String... arguments) {
    return dumps(value, indent(arguments.length == 0 ? null : arguments[0]));
  }

  @Override
  public Object filter(
      Object value, JinjavaInterpreter interpreter, Object[] arguments, Map<String, Object> named) {
    Object indent = arguments.length > 0 ? arguments[0] : named.get("indent");
    return dumps(value, indent(indent));
  }

  private static int indent(Object value) {
    int indent = value == null ? -1 : Integer.parseInt(String.valueOf(value));
    if (indent > MOST_INDENT) {
      throw new TemplateFunctions.RaisedException(
          "tojson must be given an indent of at most %d: indent=%d".formatted(MOST_INDENT, indent));
    }
    return indent;
  }

  /** Writes a value; a negative indent means one line. */
  public static String dumps(Object value, int indent) {
    StringBuilder out = new StringBuilder();
    write(value, indent, 0, out);
    return out.toString();
  }

  private static void write(Object value, int indent, int depth, StringBuilder out) {
    if (depth > MOST_DEPTH) {
      throw new TemplateFunctions.RaisedException(
          "tojson must be given values nested at most " + MOST_DEPTH + " deep");
    }
    switch (value) {
      case null -> out.append("null");
      case Boolean flag -> out.append(flag);
      case Double number when number % 1 == 0 && Math.abs(number) < 1e16 ->
          out.append(number.longValue()).append(".0");
      case Number number -> out.append(number);
      case Map<?, ?> map -> {
        out.append('{');
        boolean first = true;
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          separate(first, indent, depth, out);
          first = false;
          out.append(quote(String.valueOf(entry.getKey()))).append(": ");
          write(entry.getValue(), indent, depth + 1, out);
        }
        close(first, indent, depth, out);
        out.append('}');
      }
      case Collection<?> list -> {
        out.append('[');
        boolean first = true;
        for (Object element : list) {
          separate(first, indent, depth, out);
          first = false;
          write(element, indent, depth + 1, out);
        }
        close(first, indent, depth, out);
        out.append(']');
      }
      default -> out.append(quote(value.toString()));
    }
  }

  /** Escapes like Python's, with short forms for backspace and form feed. */
  private static String quote(String text) {
    return Json.quote(text).replace("\\u0008", "\\b").replace("\\u000c", "\\f");
  }

  private static void separate(boolean first, int indent, int depth, StringBuilder out) {
    if (!first) {
      out.append(indent < 0 ? ", " : ",");
    }
    if (indent >= 0) {
      out.append('\n').repeat(' ', indent * (depth + 1));
    }
  }

  private static void close(boolean empty, int indent, int depth, StringBuilder out) {
    if (!empty && indent >= 0) {
      out.append('\n').repeat(' ', indent * depth);
    }
  }
}
