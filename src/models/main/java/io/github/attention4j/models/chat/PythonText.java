package io.github.attention4j.models.chat;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Python's texts of values: {@code str} and {@code repr}. */
final class PythonText {
  private static final int MOST_DEPTH = 100;

  private static final Pattern FIELD = Pattern.compile("\\{\\{|\\}\\}|\\{(\\w*)\\}|[{}]");

  private static final Pattern PERCENT =
      Pattern.compile("%([-0 +]*)(\\d*)(?:\\.(\\d+))?([sdrfxi%])");

  private PythonText() {}

  /**
   * Returns {@code str} of a boolean, a number, a list or a dictionary.
   *
   * @return null for any other value
   */
  static String of(Object value) {
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
      case Undefined undefined -> "Undefined";
      case Map<?, ?> map -> {
        StringBuilder out = new StringBuilder("{");
        map.forEach(
            (key, member) ->
                bounded(
                    out.append(out.length() > 1 ? ", " : "")
                        .append(represented(key, depth + 1))
                        .append(": ")
                        .append(represented(member, depth + 1))));
        yield out.append('}').toString();
      }
      case Collection<?> list -> {
        boolean tuple = list instanceof Tuple;
        StringBuilder out = new StringBuilder(tuple ? "(" : "[");
        list.forEach(
            element ->
                bounded(
                    out.append(out.length() > 1 ? ", " : "")
                        .append(represented(element, depth + 1))));
        yield out.append(tuple ? (list.size() == 1 ? ",)" : ")") : "]").toString();
      }
      case Boolean flag -> flag ? "True" : "False";
      case Double number -> number(number);
      case Float number -> number(number);
      case Number number -> number.toString();
      default -> quoted(value.toString());
    };
  }

  private static void bounded(StringBuilder text) {
    Python.boundedText(text.length());
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

  /** The value of a string literal with its quotes. */
  static String unescaped(String literal) {
    StringBuilder out = new StringBuilder();
    int end = literal.length() - 1;
    for (int i = 1; i < end; i++) {
      char c = literal.charAt(i);
      if (c != '\\' || i + 1 == end) {
        out.append(c);
        continue;
      }
      c = literal.charAt(++i);
      int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (digits > 0) {
        String hex = literal.substring(i + 1, Math.min(end, i + 1 + digits));
        if (!hex.matches("[0-9a-fA-F]{" + digits + "}") || Long.parseLong(hex, 16) > 0x10ffff) {
          throw new TemplateFunctions.RaisedException(
              "chat template has a string with a wrong escape: " + literal);
        }
        out.appendCodePoint(Integer.parseInt(hex, 16));
        i += digits;
        continue;
      }
      switch (c) {
        case '\n' -> {}
        case '\\', '\'', '"' -> out.append(c);
        case 'n' -> out.append('\n');
        case 't' -> out.append('\t');
        case 'r' -> out.append('\r');
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case 'a' -> out.append('\u0007');
        case 'v' -> out.append('\u000b');
        case '0' -> out.append('\0');
        default -> out.append('\\').append(c);
      }
    }
    return out.toString();
  }

  /** Python's {@code text % values}. */
  static String format(String text, List<?> values) {
    StringBuilder out = new StringBuilder();
    Matcher matcher = PERCENT.matcher(text);
    int done = 0;
    int used = 0;
    for (int at = text.indexOf('%'); at >= 0; at = text.indexOf('%', done)) {
      if (!matcher.find(at) || matcher.start() != at) {
        throw new TemplateFunctions.RaisedException(
            "a format may have only %s %r %d %i %x %f %%: " + text);
      }
      out.append(text, done, at);
      done = matcher.end();
      char kind = matcher.group(4).charAt(0);
      if (kind == '%') {
        out.append('%');
        continue;
      }
      if (used == values.size()) {
        throw new TemplateFunctions.RaisedException("a format has too few values: " + text);
      }
      out.append(formatted(matcher, kind, values.get(used++)));
      bounded(out);
    }
    if (used < values.size()) {
      throw new TemplateFunctions.RaisedException("a format has too many values: " + text);
    }
    return out.append(text, done, text.length()).toString();
  }

  private static String formatted(Matcher matcher, char kind, Object value) {
    String flags = matcher.group(1);
    String precision = matcher.group(3);
    int width = matcher.group(2).isEmpty() ? 0 : Math.min(1000, place(matcher.group(2)));
    int digits = precision == null ? 6 : Math.min(1000, place(precision));
    if (kind != 's' && kind != 'r' && !(value instanceof Number)) {
      throw new TemplateFunctions.RaisedException(
          "%" + kind + " must be given a number: it is " + Python.type(value));
    }
    String plain =
        switch (kind) {
          case 's' -> Python.text(value);
          case 'r' -> represented(value, 0);
          case 'f' ->
              new BigDecimal(((Number) value).doubleValue())
                  .setScale(digits, RoundingMode.HALF_EVEN)
                  .toPlainString();
          case 'x' -> Long.toHexString(((Number) value).longValue());
          default -> String.valueOf(((Number) value).longValue());
        };
    if ((kind == 's' || kind == 'r') && precision != null) {
      plain = plain.substring(0, Math.min(plain.length(), digits));
    }
    boolean number = kind != 's' && kind != 'r';
    if (number && flags.contains("+") && !plain.startsWith("-")) {
      plain = "+" + plain;
    }
    int missing = Math.max(0, width - plain.length());
    if (flags.contains("-")) {
      return plain + " ".repeat(missing);
    }
    if (number && flags.contains("0")) {
      int sign = plain.startsWith("-") || plain.startsWith("+") ? 1 : 0;
      return plain.substring(0, sign) + "0".repeat(missing) + plain.substring(sign);
    }
    return " ".repeat(missing) + plain;
  }

  /** {@code text.format(...)} with fields that are empty, numbers or names. */
  static String formatted(String text, Arguments arguments) {
    int[] next = {0};
    long[] length = {text.length()};
    return FIELD
        .matcher(text)
        .replaceAll(
            match -> {
              String field = match.group(1);
              if (match.group().length() == 1) {
                throw new TemplateFunctions.RaisedException(
                    "format only knows fields such as {}, {0} and {name}: " + text);
              }
              if (field == null) {
                return Matcher.quoteReplacement(match.group().substring(1));
              }
              boolean named = !field.isEmpty() && !Character.isDigit(field.charAt(0));
              int place = named ? Integer.MAX_VALUE : field.isEmpty() ? next[0]++ : place(field);
              String value = Python.text(arguments.get(place, field));
              length[0] += value.length();
              Python.boundedText(length[0]);
              return Matcher.quoteReplacement(value);
            });
  }

  private static int place(String digits) {
    return digits.length() > 6 ? Integer.MAX_VALUE : Integer.parseInt(digits);
  }
}
