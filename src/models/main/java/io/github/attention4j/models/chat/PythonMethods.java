package io.github.attention4j.models.chat;

import com.hubspot.jinjava.util.ForLoop;
import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;

/**
 * The methods that templates may call on strings, lists and dictionaries: those of Python that
 * change nothing, and no Java methods.
 */
final class PythonMethods {
  private static final Set<String> OF_TEXT =
      Set.of(
          "capitalize",
          "casefold",
          "count",
          "endswith",
          "find",
          "format",
          "index",
          "isalnum",
          "isalpha",
          "isdigit",
          "islower",
          "isspace",
          "isupper",
          "join",
          "ljust",
          "lower",
          "lstrip",
          "partition",
          "removeprefix",
          "removesuffix",
          "replace",
          "rfind",
          "rjust",
          "rpartition",
          "rsplit",
          "rstrip",
          "split",
          "splitlines",
          "startswith",
          "strip",
          "title",
          "upper",
          "zfill");

  private static final Set<String> OF_MAP = Set.of("copy", "get", "items", "keys", "values");

  private static final Set<String> OF_LIST = Set.of("copy", "count", "index");

  /** Methods that change a value, which Transformers does not allow. */
  private static final Set<String> CHANGES =
      Set.of(
          "append",
          "clear",
          "extend",
          "insert",
          "pop",
          "popitem",
          "remove",
          "reverse",
          "setdefault",
          "sort",
          "update");

  private PythonMethods() {}

  /** A method and the value that it belongs to. */
  record Bound(Object base, String name) {
    Object call(Arguments arguments) {
      RenderLimits.check();
      if (CHANGES.contains(name)) {
        throw new RaisedException("chat templates must not change values: method " + name);
      }
      return RenderLimits.made(called(arguments));
    }

    private Object called(Arguments arguments) {
      return switch (base) {
        case ForLoop loop -> PythonTags.cycle(loop, arguments);
        case CharSequence text -> text(text.toString(), name, arguments);
        case Map<?, ?> map -> map(map, name, arguments);
        case List<?> list -> list(list, name, arguments);
        default -> throw unknown(base, name);
      };
    }
  }

  /** Whether a value has a method of this name. */
  static boolean has(Object base, String name) {
    return switch (base) {
      case CharSequence text -> OF_TEXT.contains(name);
      case Map<?, ?> map -> OF_MAP.contains(name) || CHANGES.contains(name) && !isList(name);
      case List<?> list -> OF_LIST.contains(name) || CHANGES.contains(name) && isList(name);
      default -> false;
    };
  }

  private static boolean isList(String change) {
    return !Set.of("popitem", "setdefault", "update").contains(change);
  }

  private static Object text(String text, String name, Arguments arguments) {
    if (name.equals("format")) {
      return PythonText.formatted(text, arguments);
    }
    Object[] args = arguments(name, arguments);
    return switch (name) {
      case "strip" -> strip(text, characters(args), true, true);
      case "lstrip" -> strip(text, characters(args), true, false);
      case "rstrip" -> strip(text, characters(args), false, true);
      case "upper" -> text.toUpperCase(Locale.ROOT);
      case "lower" -> text.toLowerCase(Locale.ROOT);
      case "title" -> title(text);
      case "capitalize" -> capitalized(text);
      case "startswith" -> any(args, text::startsWith);
      case "endswith" -> any(args, text::endsWith);
      case "find" -> (long) text.indexOf(string(args, 0));
      case "rfind" -> (long) text.lastIndexOf(string(args, 0));
      case "count" -> count(text, string(args, 0));
      case "replace" -> replace(text, args);
      case "split" -> split(text, args, false);
      case "rsplit" -> split(text, args, true);
      case "splitlines" -> lines(text);
      case "removeprefix" ->
          text.startsWith(string(args, 0)) ? text.substring(string(args, 0).length()) : text;
      case "removesuffix" ->
          text.endsWith(string(args, 0))
              ? text.substring(0, text.length() - string(args, 0).length())
              : text;
      case "partition", "rpartition" -> partition(text, string(args, 0), name.equals("rpartition"));
      case "index" -> {
        if (!text.contains(string(args, 0))) {
          throw new RaisedException("substring not found");
        }
        yield (long) text.indexOf(string(args, 0));
      }
      case "casefold" -> text.toLowerCase(Locale.ROOT);
      case "ljust" -> text + fill(text, args);
      case "rjust" -> fill(text, args) + text;
      case "zfill" -> {
        int sign = text.startsWith("-") || text.startsWith("+") ? 1 : 0;
        yield text.substring(0, sign)
            + fill(text, new Object[] {args[0], "0"})
            + text.substring(sign);
      }
      case "isalpha" -> !text.isEmpty() && text.codePoints().allMatch(Character::isLetter);
      case "isalnum" -> !text.isEmpty() && text.codePoints().allMatch(Character::isLetterOrDigit);
      case "isdigit" -> !text.isEmpty() && text.chars().allMatch(Character::isDigit);
      case "isspace" -> !text.isEmpty() && text.chars().allMatch(PythonMethods::isSpace);
      case "isupper" ->
          !text.equals(text.toLowerCase(Locale.ROOT)) && text.equals(text.toUpperCase(Locale.ROOT));
      case "islower" ->
          !text.equals(text.toUpperCase(Locale.ROOT)) && text.equals(text.toLowerCase(Locale.ROOT));
      case "join" -> {
        List<String> parts = new ArrayList<>();
        for (Object each : Python.elements(args[0])) {
          if (!parts.isEmpty()) {
            parts.add(text);
          }
          parts.add(string(new Object[] {each}, 0));
        }
        yield PythonFilters.joined(parts);
      }
      default -> throw unknown(text, name);
    };
  }

  /** The arguments of a method in their places, as many as it must have and may have. */
  private static Object[] arguments(String name, Arguments arguments) {
    String[] names =
        switch (name) {
          case "strip", "lstrip", "rstrip" -> new String[] {"chars"};
          case "startswith", "removeprefix" -> new String[] {"prefix"};
          case "endswith", "removesuffix" -> new String[] {"suffix"};
          case "find", "rfind" -> new String[] {"sub"};
          case "count", "index" -> new String[] {"value"};
          case "replace" -> new String[] {"old", "new", "count"};
          case "split", "rsplit" -> new String[] {"sep", "maxsplit"};
          case "partition", "rpartition" -> new String[] {"sep"};
          case "ljust", "rjust" -> new String[] {"width", "fillchar"};
          case "zfill" -> new String[] {"width"};
          case "join" -> new String[] {"iterable"};
          default -> new String[0];
        };
    int required =
        switch (name) {
          case "strip", "lstrip", "rstrip", "split", "rsplit" -> 0;
          case "replace" -> 2;
          default -> Math.min(1, names.length);
        };
    arguments.of(names);
    List<Object> values = new ArrayList<>();
    for (int i = 0; i < names.length; i++) {
      boolean given = i < arguments.count() || arguments.named().containsKey(names[i]);
      if (given || i < required) {
        values.add(arguments.get(i, names[i]));
      } else if (name.endsWith("split") && i == 0) {
        values.add(null);
      } else {
        break;
      }
    }
    return values.toArray();
  }

  private static Object map(Map<?, ?> map, String name, Arguments arguments) {
    return switch (name) {
      case "get" -> {
        Object key = Python.key(arguments.of("key", "default").get(0, "key"));
        yield Python.has(map, key) ? map.get(key) : arguments.get(1, "default", null);
      }
      case "items" -> items(map);
      case "keys" -> new ArrayList<Object>(map.keySet());
      case "values" -> new ArrayList<Object>(map.values());
      case "copy" -> new LinkedHashMap<Object, Object>(map);
      default -> throw unknown(map, name);
    };
  }

  /** The keys and values of a dictionary. */
  static List<Object> items(Map<?, ?> map) {
    List<Object> items = new ArrayList<>();
    map.forEach((key, value) -> items.add(Tuple.of(key, value)));
    return items;
  }

  private static Object list(List<?> list, String name, Arguments arguments) {
    Object[] args = arguments(name, arguments);
    return switch (name) {
      case "index" -> {
        for (int i = 0; i < list.size(); i++) {
          if (Python.equal(list.get(i), args[0])) {
            yield (long) i;
          }
        }
        throw new RaisedException("a list has no element that is asked for");
      }
      case "count" -> list.stream().filter(each -> Python.equal(each, args[0])).count();
      case "copy" -> new ArrayList<Object>(list);
      default -> throw unknown(list, name);
    };
  }

  private static RaisedException unknown(Object base, String name) {
    String kind =
        switch (base) {
          case CharSequence text -> "strings";
          case Map<?, ?> map -> "dictionaries";
          case List<?> list -> "lists";
          default -> "this value";
        };
    return new RaisedException(kind + " have no method " + name);
  }

  private static String string(Object[] args, int index) {
    if (index < args.length && args[index] instanceof CharSequence text) {
      return text.toString();
    }
    throw new RaisedException("argument " + (index + 1) + " must be a string");
  }

  private static boolean any(Object[] args, Predicate<String> holds) {
    return args.length > 0 && args[0] instanceof List<?> list
        ? list.stream().anyMatch(each -> holds.test(string(new Object[] {each}, 0)))
        : holds.test(string(args, 0));
  }

  private static String fill(String text, Object[] args) {
    long missing = Python.index(args[0]) - Python.length(text);
    return (String) Python.multiply(args.length > 1 ? string(args, 1) : " ", Math.max(0, missing));
  }

  private static Tuple partition(String text, String separator, boolean last) {
    int at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
    if (at < 0) {
      return last ? Tuple.of("", "", text) : Tuple.of(text, "", "");
    }
    return Tuple.of(text.substring(0, at), separator, text.substring(at + separator.length()));
  }

  /** The lines of a text without their ends. */
  static List<Object> lines(String text) {
    List<Object> lines = new ArrayList<>();
    int start = 0;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if ("\n\r\u000b\f\u001c\u001d\u001e\u0085\u2028\u2029".indexOf(c) >= 0) {
        lines.add(text.substring(start, i));
        i += c == '\r' && i + 1 < text.length() && text.charAt(i + 1) == '\n' ? 1 : 0;
        start = i + 1;
      }
    }
    if (start < text.length()) {
      lines.add(text.substring(start));
    }
    return lines;
  }

  private static String characters(Object[] args) {
    return args.length == 0 || args[0] == null ? null : string(args, 0);
  }

  static boolean isSpace(int c) {
    return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == 0x85;
  }

  static String strip(String text, String characters, boolean left, boolean right) {
    int from = 0;
    int to = text.length();
    while (left && from < to && stripped(text.charAt(from), characters)) {
      from++;
    }
    while (right && from < to && stripped(text.charAt(to - 1), characters)) {
      to--;
    }
    return text.substring(from, to);
  }

  private static boolean stripped(char c, String characters) {
    return characters == null ? isSpace(c) : characters.indexOf(c) >= 0;
  }

  static String capitalized(String text) {
    return text.isEmpty()
        ? text
        : text.substring(0, 1).toUpperCase(Locale.ROOT)
            + text.substring(1).toLowerCase(Locale.ROOT);
  }

  private static String title(String text) {
    StringBuilder title = new StringBuilder(text.length());
    boolean inWord = false;
    for (char c : text.toCharArray()) {
      title.append(inWord ? Character.toLowerCase(c) : Character.toTitleCase(c));
      inWord = Character.isLetter(c);
    }
    return title.toString();
  }

  private static long count(String text, String wanted) {
    if (wanted.isEmpty()) {
      return text.length() + 1L;
    }
    long count = 0;
    for (int at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length())) {
      count++;
    }
    return count;
  }

  private static String replace(String text, Object[] args) {
    String old = string(args, 0);
    String with = string(args, 1);
    int most = args.length > 2 ? Python.index(args[2]) : -1;
    if (most < 0) {
      double growth = (double) with.length() - old.length();
      Python.boundedText(text.length() + growth * count(text, old));
      return text.replace(old, with);
    }
    StringBuilder out = new StringBuilder();
    int from = 0;
    for (int i = 0; i < most; i++) {
      int at = text.indexOf(old, from);
      if (at < 0 || old.isEmpty()) {
        break;
      }
      out.append(text, from, at).append(with);
      Python.boundedText(out.length());
      from = at + old.length();
    }
    return out.append(text.substring(from)).toString();
  }

  private static List<Object> words(String text, int most, boolean fromRight) {
    List<Object> words = new ArrayList<>();
    int step = fromRight ? -1 : 1;
    int at = fromRight ? text.length() - 1 : 0;
    while (true) {
      while (isInside(text, at) && isSpace(text.charAt(at))) {
        at += step;
      }
      if (!isInside(text, at)) {
        break;
      }
      int from = at;
      while (isInside(text, at) && (words.size() == most || !isSpace(text.charAt(at)))) {
        at += step;
      }
      words.add(fromRight ? text.substring(at + 1, from + 1) : text.substring(from, at));
    }
    return fromRight ? words.reversed() : words;
  }

  private static boolean isInside(String text, int at) {
    return at >= 0 && at < text.length();
  }

  private static List<Object> split(String text, Object[] args, boolean fromRight) {
    int most = args.length > 1 ? Python.index(args[1]) : -1;
    if (args.length == 0 || args[0] == null) {
      return words(text, most, fromRight);
    }
    String separator = string(args, 0);
    if (separator.isEmpty()) {
      throw new RaisedException("the separator of split must not be empty");
    }
    List<Object> parts = new ArrayList<>();
    int from = 0;
    int to = text.length();
    for (; most != 0; most--) {
      int at =
          fromRight
              ? text.lastIndexOf(separator, to - separator.length())
              : text.indexOf(separator, from);
      if (at < 0) {
        break;
      }
      if (fromRight) {
        parts.add(text.substring(at + separator.length(), to));
        to = at;
      } else {
        parts.add(text.substring(from, at));
        from = at + separator.length();
      }
    }
    parts.add(text.substring(from, to));
    return fromRight ? parts.reversed() : parts;
  }
}
