package io.github.attention4j.models.chat;

import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Jinja's filters. */
final class PythonFilters {
  private static final Set<String> NAMES =
      Set.of(
          "abs",
          "attr",
          "batch",
          "capitalize",
          "center",
          "count",
          "d",
          "default",
          "dictsort",
          "e",
          "escape",
          "first",
          "float",
          "format",
          "indent",
          "int",
          "items",
          "join",
          "last",
          "length",
          "list",
          "lower",
          "map",
          "max",
          "min",
          "reject",
          "rejectattr",
          "replace",
          "reverse",
          "round",
          "safe",
          "select",
          "selectattr",
          "sort",
          "string",
          "sum",
          "title",
          "tojson",
          "trim",
          "truncate",
          "unique",
          "upper",
          "urlencode",
          "wordcount");

  private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}_]+");
  private static final Pattern TITLE_WORD = Pattern.compile("([-\\s({\\[<]+)|([^-\\s({\\[<]+)");

  private PythonFilters() {}

  static boolean has(String name) {
    return NAMES.contains(name);
  }

  static Object apply(String name, Object value, Arguments arguments) {
    RenderLimits.check();
    return RenderLimits.made(applied(name, value, arguments));
  }

  private static Object applied(String name, Object value, Arguments arguments) {
    return switch (name) {
      case "abs" -> Python.compare(value, 0L) < 0 ? Python.negative(value) : value;
      case "attr" -> Python.attribute(value, arguments.of("name").text(0, "name"), "attr");
      case "batch" -> batch(value, arguments.of("linecount", "fill_with"));
      case "capitalize" -> PythonMethods.capitalized(Python.text(value));
      case "center" -> centered(Python.text(value), arguments.of("width").integer(0, "width", 80));
      case "count", "length" -> Python.length(value);
      case "d", "default" -> {
        arguments.of("default_value", "boolean");
        boolean replaced =
            value instanceof Undefined || (arguments.flag(1, "boolean") && !Python.truth(value));
        yield replaced ? arguments.get(0, "default_value", "") : value;
      }
      case "dictsort" -> sortedItems(value, arguments.of("case_sensitive", "by", "reverse"));
      case "e", "escape" -> escaped(Python.text(value));
      case "first" -> end(value, true);
      case "float" -> real(value, arguments.of("default").get(0, "default", 0.0));
      case "format" ->
          PythonText.format(
              Python.text(value),
              arguments.named().isEmpty() ? arguments.positional() : arguments.of().positional());
      case "indent" -> indented(Python.text(value), arguments.of("width", "first", "blank"));
      case "int" -> integer(value, arguments.of("default", "base"));
      case "items" -> items(value);
      case "join" -> joined(value, arguments.of("d", "attribute"));
      case "last" -> end(value, false);
      case "list" -> new ArrayList<Object>(Python.elements(value));
      case "lower" -> Python.text(value).toLowerCase(Locale.ROOT);
      case "map" -> mapped(value, arguments);
      case "max" -> extreme(value, arguments.of("case_sensitive", "attribute"), 1);
      case "min" -> extreme(value, arguments.of("case_sensitive", "attribute"), -1);
      case "reject", "rejectattr", "select", "selectattr" -> selected(name, value, arguments);
      case "replace" -> replaced(Python.text(value), arguments.of("old", "new", "count"));
      case "reverse" -> reversed(value);
      case "round" -> rounded(value, arguments.of("precision", "method"));
      case "safe", "string" -> Python.text(value);
      case "sort" -> sorted(value, arguments.of("reverse", "case_sensitive", "attribute"));
      case "sum" -> sum(value, arguments.of("attribute", "start"));
      case "title" -> title(Python.text(value));
      case "tojson" -> PythonJson.dumps(value, arguments);
      case "trim" ->
          PythonMethods.strip(
              Python.text(value), arguments.of("chars").text(0, "chars", null), true, true);
      case "truncate" ->
          truncated(Python.text(value), arguments.of("length", "killwords", "end", "leeway"));
      case "unique" -> unique(value, arguments.of("case_sensitive", "attribute"));
      case "upper" -> Python.text(value).toUpperCase(Locale.ROOT);
      case "urlencode" ->
          URLEncoder.encode(Python.text(value), StandardCharsets.UTF_8)
              .replace("+", "%20")
              .replace("%2F", "/")
              .replace("%7E", "~")
              .replace("*", "%2A");
      case "wordcount" -> WORD.matcher(Python.text(value)).results().count();
      default -> throw new RaisedException("filter " + name + " is not known");
    };
  }

  // ---- Text ----

  private static String title(String text) {
    StringBuilder out = new StringBuilder();
    for (Matcher word = TITLE_WORD.matcher(text); word.find(); ) {
      out.append(word.group(1) != null ? word.group(1) : PythonMethods.capitalized(word.group(2)));
    }
    return out.toString();
  }

  private static String centered(String text, int width) {
    int missing = Math.clamp(width - Python.length(text), 0, 10_000);
    int left = missing / 2 + (missing & width & 1);
    return " ".repeat(left) + text + " ".repeat(missing - left);
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace(">", "&gt;")
        .replace("<", "&lt;")
        .replace("'", "&#39;")
        .replace("\"", "&#34;");
  }

  private static String indented(String text, Arguments arguments) {
    Object width = arguments.get(0, "width", 4L);
    String indent =
        width instanceof CharSequence given
            ? given.toString()
            : " ".repeat(Math.clamp(Python.index(width), 0, 1000));
    boolean blank = arguments.flag(2, "blank");
    List<Object> lines = PythonMethods.lines(text + "\n");
    StringBuilder out = new StringBuilder(arguments.flag(1, "first") ? indent : "");
    for (int i = 0; i < lines.size(); i++) {
      String line = (String) lines.get(i);
      out.append(i == 0 ? "" : "\n").append(i > 0 && (blank || !line.isEmpty()) ? indent : "");
      out.append(line);
      Python.boundedText(out.length());
    }
    return out.toString();
  }

  private static String replaced(String text, Arguments arguments) {
    List<Object> values = new ArrayList<>();
    values.add(Python.text(arguments.get(0, "old")));
    values.add(Python.text(arguments.get(1, "new")));
    if (arguments.get(2, "count", null) != null) {
      values.add(arguments.get(2, "count"));
    }
    return (String)
        new PythonMethods.Bound(text, "replace")
            .call(new Arguments(arguments.what(), values, Map.of()));
  }

  private static String truncated(String text, Arguments arguments) {
    int length = arguments.integer(0, "length", 255);
    String end = arguments.text(2, "end", "...");
    if (length < end.length()) {
      throw new RaisedException("truncate must have a length of at least " + end.length());
    }
    if (text.length() <= length + arguments.integer(3, "leeway", 5)) {
      return text;
    }
    String cut = text.substring(0, length - end.length());
    int space = cut.lastIndexOf(' ');
    return (arguments.flag(1, "killwords") || space < 0 ? cut : cut.substring(0, space)) + end;
  }

  // ---- Numbers ----

  private static Object integer(Object value, Arguments arguments) {
    int base = arguments.integer(1, "base", 10);
    if (value instanceof Boolean || value instanceof Long) {
      return (long) Python.number(value);
    }
    try {
      if (value instanceof Number number) {
        return number.longValue();
      }
      String text = PythonMethods.strip(Python.text(value), null, true, true);
      if (base == 16 && text.matches("0[xX].*")) {
        text = text.substring(2);
      }
      return base == 10 && text.matches("[-+]?\\d*\\.\\d*(?:[eE][-+]?\\d+)?")
          ? (long) Double.parseDouble(text)
          : Long.parseLong(text, base);
    } catch (NumberFormatException e) {
      return arguments.get(0, "default", 0L);
    }
  }

  private static Object real(Object value, Object otherwise) {
    if (value instanceof Number || value instanceof Boolean) {
      return Python.number(value);
    }
    try {
      return Double.parseDouble(Python.text(value).strip());
    } catch (NumberFormatException e) {
      return otherwise;
    }
  }

  private static Object rounded(Object value, Arguments arguments) {
    double number = Python.number(Python.add(value, 0L));
    int digits = Math.clamp(arguments.integer(0, "precision", 0), -300, 300);
    RoundingMode mode =
        switch (arguments.text(1, "method", "common")) {
          case "common" -> RoundingMode.HALF_EVEN;
          case "ceil" -> RoundingMode.CEILING;
          case "floor" -> RoundingMode.FLOOR;
          default -> throw new RaisedException("round has the methods common, ceil and floor");
        };
    BigDecimal rounded = new BigDecimal(number).setScale(digits, mode);
    boolean whole = value instanceof Long && mode == RoundingMode.HALF_EVEN;
    return whole ? (Object) rounded.longValue() : (Object) rounded.doubleValue();
  }

  private static Object sum(Object value, Arguments arguments) {
    Function<Object, Object> by = by(arguments.get(0, "attribute", null));
    Object sum = arguments.get(1, "start", 0L);
    for (Object each : Python.elements(value)) {
      sum = Python.add(sum, by.apply(each));
    }
    return sum;
  }

  // ---- Sequences ----

  /** What an attribute, which may have dots, says about an element; the element if it is null. */
  private static Function<Object, Object> by(Object attribute) {
    if (attribute == null) {
      return each -> each;
    }
    return each -> {
      Object value = each;
      for (String part : Python.text(attribute).split("\\.")) {
        Object key = part.matches("\\d{1,9}") ? (Object) Long.parseLong(part) : part;
        value = Python.element(value, key, part);
      }
      return value;
    };
  }

  /** Ignores case unless told otherwise. */
  private static Function<Object, Object> key(Object attribute, boolean caseSensitive) {
    return by(attribute)
        .andThen(
            value ->
                caseSensitive || !(value instanceof CharSequence text)
                    ? value
                    : text.toString().toLowerCase(Locale.ROOT));
  }

  private static Object end(Object value, boolean first) {
    List<Object> all = new ArrayList<>(Python.elements(value));
    return all.isEmpty()
        ? new Undefined(first ? "the first element" : "the last element")
        : first ? all.getFirst() : all.getLast();
  }

  private static Object reversed(Object value) {
    List<Object> reversed = new ArrayList<>(Python.elements(value));
    Collections.reverse(reversed);
    return value instanceof CharSequence ? joined(reversed) : reversed;
  }

  /** The texts of values, one after another. */
  static String joined(Collection<?> parts) {
    StringBuilder out = new StringBuilder();
    for (Object part : parts) {
      out.append(Python.text(part));
      Python.boundedText(out.length());
    }
    return out.toString();
  }

  private static String joined(Object value, Arguments arguments) {
    Function<Object, Object> by = by(arguments.get(1, "attribute", null));
    String separator = Python.text(arguments.get(0, "d", ""));
    List<Object> parts = new ArrayList<>();
    for (Object each : Python.elements(value)) {
      if (!parts.isEmpty()) {
        parts.add(separator);
      }
      parts.add(by.apply(each));
    }
    return joined(parts);
  }

  private static Object items(Object value) {
    return switch (value) {
      case Undefined undefined -> List.of();
      case Map<?, ?> map -> PythonMethods.items(map);
      case null, default ->
          throw new RaisedException(
              "items must be given a dictionary: it is " + Python.type(value));
    };
  }

  private static List<Object> batch(Object value, Arguments arguments) {
    int size = Math.max(1, arguments.integer(0, "linecount", 1));
    Object fill = arguments.get(1, "fill_with", null);
    List<Object> batches = new ArrayList<>();
    List<Object> batch = new ArrayList<>();
    for (Object each : Python.elements(value)) {
      if (batch.size() == size) {
        batches.add(batch);
        batch = new ArrayList<>();
      }
      batch.add(each);
    }
    while (fill != null && !batch.isEmpty() && batch.size() < size) {
      batch.add(fill);
    }
    if (!batch.isEmpty()) {
      batches.add(batch);
    }
    return batches;
  }

  private static List<Object> mapped(Object value, Arguments arguments) {
    Function<Object, Object> function;
    if (arguments.count() == 0) {
      Function<Object, Object> by = by(arguments.named("attribute", "default").get(0, "attribute"));
      Object otherwise = arguments.named().get("default");
      function =
          each -> {
            Object got = by.apply(each);
            return got instanceof Undefined && otherwise != null ? otherwise : got;
          };
    } else {
      String filter = arguments.text(0, "filter");
      Arguments rest =
          new Arguments(
              "filter " + filter,
              arguments.positional().subList(1, arguments.count()),
              arguments.named());
      function = each -> apply(filter, each, rest);
    }
    List<Object> mapped = new ArrayList<>();
    Python.elements(value).forEach(each -> mapped.add(function.apply(each)));
    return mapped;
  }

  private static List<Object> selected(String name, Object value, Arguments arguments) {
    boolean byAttribute = name.endsWith("attr");
    boolean wanted = name.startsWith("select");
    Function<Object, Object> by = by(byAttribute ? arguments.get(0, "attribute") : null);
    List<Object> test =
        arguments.named().isEmpty() && byAttribute
            ? arguments.positional().subList(1, arguments.count())
            : arguments.named("attribute").positional();
    List<Object> selected = new ArrayList<>();
    for (Object each : Python.elements(value)) {
      if (PythonTests.holds(by.apply(each), test) == wanted) {
        selected.add(each);
      }
    }
    return selected;
  }

  private static List<Object> sorted(Object value, Arguments arguments) {
    Function<Object, Object> key =
        key(arguments.get(2, "attribute", null), arguments.flag(1, "case_sensitive"));
    Comparator<Object> order = (a, b) -> Python.compare(key.apply(a), key.apply(b));
    List<Object> sorted = new ArrayList<>(Python.elements(value));
    sorted.sort(arguments.flag(0, "reverse") ? order.reversed() : order);
    return sorted;
  }

  private static List<Object> sortedItems(Object value, Arguments arguments) {
    String by = arguments.text(1, "by", "key");
    if (!by.equals("key") && !by.equals("value")) {
      throw new RaisedException("dictsort sorts by key or by value: by=" + by);
    }
    return sorted(
        items(value),
        new Arguments(
            "dictsort",
            List.of(
                arguments.flag(2, "reverse"),
                arguments.flag(0, "case_sensitive"),
                by.equals("key") ? "0" : "1"),
            Map.of()));
  }

  private static Object extreme(Object value, Arguments arguments, int sign) {
    Function<Object, Object> key =
        key(arguments.get(1, "attribute", null), arguments.flag(0, "case_sensitive"));
    Object best = new Undefined("the largest or smallest of no elements");
    boolean first = true;
    for (Object each : Python.elements(value)) {
      if (first || sign * Python.compare(key.apply(each), key.apply(best)) > 0) {
        best = each;
      }
      first = false;
    }
    return best;
  }

  private static List<Object> unique(Object value, Arguments arguments) {
    Function<Object, Object> key =
        key(arguments.get(1, "attribute", null), arguments.flag(0, "case_sensitive"));
    Set<Object> seen = new HashSet<>();
    List<Object> unique = new ArrayList<>();
    for (Object each : Python.elements(value)) {
      Object is = key.apply(each);
      if (seen.add(Python.isNumber(is) ? Python.number(is) : Python.key(is))) {
        unique.add(each);
      }
    }
    return unique;
  }
}
