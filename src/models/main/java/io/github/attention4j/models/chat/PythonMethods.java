package io.github.attention4j.models.chat;

import com.hubspot.jinjava.el.ext.JinjavaListELResolver;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.Filter;
import com.hubspot.jinjava.util.ForLoop;
import java.beans.FeatureDescriptor;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import jinjava.javax.el.ArrayELResolver;
import jinjava.javax.el.BeanELResolver;
import jinjava.javax.el.CompositeELResolver;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELException;
import jinjava.javax.el.ELResolver;
import jinjava.javax.el.MapELResolver;

/**
 * The methods that templates may call on strings, lists and dictionaries: Python's, but no Java
 * methods.
 */
public final class PythonMethods extends ELResolver {
  private PythonMethods() {}

  /** Limits expressions to values, Python's methods on them, and the loop variable. */
  public static ELResolver resolver() {
    CompositeELResolver resolver = new CompositeELResolver();
    resolver.add(new PythonMethods());
    resolver.add(new ArrayELResolver(true));
    resolver.add(new JinjavaListELResolver(true));
    resolver.add(new MapELResolver(false));
    resolver.add(new EngineResolver());
    return resolver;
  }

  /**
   * The loop variable and Jinjava's own objects for filters and tests, whose methods may be called.
   */
  private static final class EngineResolver extends BeanELResolver {
    EngineResolver() {
      super(true);
    }

    @Override
    public Object getValue(ELContext context, Object base, Object property) {
      return base instanceof ForLoop && !"class".equals(property)
          ? super.getValue(context, base, property)
          : null;
    }

    @Override
    public Object invoke(
        ELContext context, Object base, Object method, Class<?>[] types, Object[] arguments) {
      return isOfEngine(base, String.valueOf(method))
          ? super.invoke(context, base, method, types, arguments)
          : null;
    }
  }

  private static boolean isOfEngine(Object base, String method) {
    return (base instanceof ForLoop && method.equals("cycle"))
        || (base instanceof Filter && method.equals("filter"))
        || (base instanceof ExpTest && method.startsWith("evaluate"));
  }

  @Override
  public Object invoke(
      ELContext context, Object base, Object method, Class<?>[] types, Object[] arguments) {
    String name = String.valueOf(method);
    if (base == null || isOfEngine(base, name)) {
      return null;
    }
    context.setPropertyResolved(true);
    Object[] args = arguments == null ? new Object[0] : arguments;
    return switch (base) {
      case CharSequence text -> text(text.toString(), name, args);
      case Map<?, ?> map -> map(map, name, args);
      case List<?> list -> list(list, name, args);
      default -> throw unknown(base, name);
    };
  }

  private static Object text(String text, String name, Object[] args) {
    return switch (name) {
      case "strip" -> strip(text, characters(args), true, true);
      case "lstrip" -> strip(text, characters(args), true, false);
      case "rstrip" -> strip(text, characters(args), false, true);
      case "upper" -> text.toUpperCase(Locale.ROOT);
      case "lower" -> text.toLowerCase(Locale.ROOT);
      case "title" -> title(text);
      case "capitalize" ->
          text.isEmpty()
              ? text
              : text.substring(0, 1).toUpperCase(Locale.ROOT)
                  + text.substring(1).toLowerCase(Locale.ROOT);
      case "startswith" -> text.startsWith(string(args, 0));
      case "endswith" -> text.endsWith(string(args, 0));
      case "find" -> (long) text.indexOf(string(args, 0));
      case "rfind" -> (long) text.lastIndexOf(string(args, 0));
      case "count" -> count(text, string(args, 0));
      case "replace" -> replace(text, args);
      case "split" -> split(text, args, false);
      case "rsplit" -> split(text, args, true);
      case "splitlines" -> new ArrayList<Object>(text.lines().toList());
      case "isdigit" -> !text.isEmpty() && text.chars().allMatch(Character::isDigit);
      case "isspace" -> !text.isEmpty() && text.chars().allMatch(PythonMethods::isSpace);
      case "isupper" ->
          !text.equals(text.toLowerCase(Locale.ROOT)) && text.equals(text.toUpperCase(Locale.ROOT));
      case "islower" ->
          !text.equals(text.toUpperCase(Locale.ROOT)) && text.equals(text.toLowerCase(Locale.ROOT));
      case "join" -> String.join(text, ((List<?>) args[0]).stream().map(String::valueOf).toList());
      default -> throw unknown(text, name);
    };
  }

  private static Object map(Map<?, ?> map, String name, Object[] args) {
    return switch (name) {
      case "get" -> {
        Object value = map.get(args[0]);
        yield value == null && !map.containsKey(args[0]) && args.length > 1 ? args[1] : value;
      }
      case "items" -> {
        List<Object> items = new ArrayList<>();
        map.forEach(
            (key, value) -> {
              List<Object> item = new ArrayList<>();
              item.add(key);
              item.add(value);
              items.add(item);
            });
        yield items;
      }
      case "keys" -> new ArrayList<Object>(map.keySet());
      case "values" -> new ArrayList<Object>(map.values());
      default -> throw unknown(map, name);
    };
  }

  @SuppressWarnings("unchecked") // Jinjava's lists hold objects, and the given ones are read-only.
  private static Object list(List<?> list, String name, Object[] args) {
    return switch (name) {
      case "append" -> {
        ((List<Object>) list).add(args[0]);
        yield null;
      }
      case "pop" -> list.remove(args.length == 0 ? list.size() - 1 : integer(args[0]));
      case "index" -> (long) list.indexOf(args[0]);
      case "count" -> list.stream().filter(args[0]::equals).count();
      default -> throw unknown(list, name);
    };
  }

  private static ELException unknown(Object base, String name) {
    String kind =
        switch (base) {
          case CharSequence text -> "strings";
          case Map<?, ?> map -> "dictionaries";
          case List<?> list -> "lists";
          default -> "this value";
        };
    return new ELException(kind + " have no method " + name);
  }

  private static String string(Object[] args, int index) {
    if (index < args.length && args[index] instanceof CharSequence text) {
      return text.toString();
    }
    throw new ELException("argument " + (index + 1) + " must be a string");
  }

  private static int integer(Object value) {
    if (value instanceof Number number) {
      return number.intValue();
    }
    throw new ELException("an argument must be an integer: it is " + value);
  }

  private static String characters(Object[] args) {
    return args.length == 0 || args[0] == null ? null : string(args, 0);
  }

  private static boolean isSpace(int c) {
    return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == 0x85;
  }

  private static String strip(String text, String characters, boolean left, boolean right) {
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
    int most = args.length > 2 ? integer(args[2]) : -1;
    if (most < 0) {
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
      from = at + old.length();
    }
    return out.append(text.substring(from)).toString();
  }

  private static List<Object> split(String text, Object[] args, boolean fromRight) {
    List<Object> parts = new ArrayList<>();
    int most = args.length > 1 ? integer(args[1]) : -1;
    if (args.length == 0 || args[0] == null) {
      for (String part : strip(text, null, true, true).split("\\s+")) {
        if (!part.isEmpty()) {
          parts.add(part);
        }
      }
      return parts;
    }
    String separator = string(args, 0);
    if (separator.isEmpty()) {
      throw new ELException("the separator of split must not be empty");
    }
    String rest = text;
    while (most != 0) {
      int at = fromRight ? rest.lastIndexOf(separator) : rest.indexOf(separator);
      if (at < 0) {
        break;
      }
      if (fromRight) {
        parts.addFirst(rest.substring(at + separator.length()));
        rest = rest.substring(0, at);
      } else {
        parts.add(rest.substring(0, at));
        rest = rest.substring(at + separator.length());
      }
      most--;
    }
    if (fromRight) {
      parts.addFirst(rest);
    } else {
      parts.add(rest);
    }
    return parts;
  }

  // ---- Properties: handled by the resolvers of maps and lists ----

  @Override
  public Object getValue(ELContext context, Object base, Object property) {
    return null;
  }

  @Override
  public Class<?> getType(ELContext context, Object base, Object property) {
    return null;
  }

  @Override
  public void setValue(ELContext context, Object base, Object property, Object value) {}

  @Override
  public boolean isReadOnly(ELContext context, Object base, Object property) {
    return true;
  }

  @Override
  public Iterator<FeatureDescriptor> getFeatureDescriptors(ELContext context, Object base) {
    return null;
  }

  @Override
  public Class<?> getCommonPropertyType(ELContext context, Object base) {
    return Object.class;
  }
}
