package io.github.attention4j.models.chat;

import com.hubspot.jinjava.util.ForLoop;
import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Python's operators on the values of templates. */
final class Python {
  /** Far more than any prompt; also ends loops that double a value. */
  private static final int MOST_CHARACTERS = 1 << 20;

  private static final int MOST_ELEMENTS = 100_000;

  private Python() {}

  /** Python's name of a value's type. */
  static String type(Object value) {
    return switch (value) {
      case null -> "NoneType";
      case CharSequence text -> "str";
      case Boolean flag -> "bool";
      case Double number -> "float";
      case Float number -> "float";
      case Number number -> "int";
      case Tuple tuple -> "tuple";
      case Collection<?> list -> "list";
      case Map<?, ?> map -> "dict";
      default -> "object";
    };
  }

  /** {@code str(value)}. */
  static String text(Object value) {
    return value == null
        ? "None"
        : Objects.requireNonNullElseGet(PythonText.of(value), value::toString);
  }

  static boolean truth(Object value) {
    return switch (value) {
      case null -> false;
      case Undefined undefined -> false;
      case Boolean flag -> flag;
      case Number number -> number.doubleValue() != 0;
      case CharSequence text -> !text.isEmpty();
      case Collection<?> list -> !list.isEmpty();
      case Map<?, ?> map -> !map.isEmpty();
      default -> true;
    };
  }

  // ---- Comparison ----

  static boolean equal(Object a, Object b) {
    if (isNumber(a) && isNumber(b)) {
      return compareNumbers(a, b) == 0;
    }
    if (a instanceof CharSequence && b instanceof CharSequence) {
      return a.toString().equals(b.toString());
    }
    RenderLimits.check(); // lists may hold the same list many times
    if (a instanceof List<?> x && b instanceof List<?> y) {
      boolean same = x.size() == y.size() && x instanceof Tuple == y instanceof Tuple;
      for (int i = 0; same && i < x.size(); i++) {
        same = equal(x.get(i), y.get(i));
      }
      return same;
    }
    if (a instanceof Map<?, ?> x && b instanceof Map<?, ?> y) {
      return x.size() == y.size()
          && x.entrySet().stream()
              .allMatch(e -> has(y, e.getKey()) && equal(e.getValue(), y.get(e.getKey())));
    }
    if (a instanceof Undefined || b instanceof Undefined) {
      return a instanceof Undefined && b instanceof Undefined;
    }
    return Objects.equals(a, b);
  }

  static int compare(Object a, Object b) {
    if (isNumber(a) && isNumber(b)) {
      return compareNumbers(a, b);
    }
    if (a instanceof CharSequence && b instanceof CharSequence) {
      int[] x = a.toString().codePoints().toArray();
      int[] y = b.toString().codePoints().toArray();
      return Arrays.compare(x, y);
    }
    if (a instanceof List<?> x && b instanceof List<?> y) {
      for (int i = 0; i < Math.min(x.size(), y.size()); i++) {
        if (!equal(x.get(i), y.get(i))) {
          return compare(x.get(i), y.get(i));
        }
      }
      return Integer.compare(x.size(), y.size());
    }
    throw used(a, b, "values of the types " + type(a) + " and " + type(b) + " have no order");
  }

  static boolean isNumber(Object value) {
    return value instanceof Number || value instanceof Boolean;
  }

  private static boolean isInteger(Object value) {
    return isNumber(value) && !(value instanceof Double) && !(value instanceof Float);
  }

  private static long integer(Object value) {
    return value instanceof Boolean flag ? (flag ? 1 : 0) : ((Number) value).longValue();
  }

  static double number(Object value) {
    return value instanceof Boolean flag ? (flag ? 1 : 0) : ((Number) value).doubleValue();
  }

  private static int compareNumbers(Object a, Object b) {
    return isInteger(a) && isInteger(b)
        ? Long.compare(integer(a), integer(b))
        : number(a) == number(b) ? 0 : Double.compare(number(a), number(b));
  }

  /** An integer that is an index or a count. */
  static int index(Object value) {
    if (isInteger(value)) {
      return (int) Math.clamp(integer(value), Integer.MIN_VALUE, Integer.MAX_VALUE);
    }
    throw used(value, value, "an integer is needed, not a value of the type " + type(value));
  }

  static boolean contains(Object container, Object element) {
    return switch (container) {
      case Undefined undefined -> false;
      case CharSequence text when element instanceof CharSequence part ->
          text.toString().contains(part);
      case Map<?, ?> map -> has(map, key(element));
      case Collection<?> list -> list.stream().anyMatch(each -> equal(each, element));
      case null, default ->
          throw used(
              container,
              element,
              "a value of the type "
                  + type(element)
                  + " cannot be in one of the type "
                  + type(container));
    };
  }

  // ---- Arithmetic ----

  static Object negative(Object value) {
    return subtract(0L, value);
  }

  static Object add(Object a, Object b) {
    if (isInteger(a) && isInteger(b)) {
      return Math.addExact(integer(a), integer(b));
    }
    if (isNumber(a) && isNumber(b)) {
      return number(a) + number(b);
    }
    if (a instanceof CharSequence && b instanceof CharSequence) {
      return concatenated(a.toString(), b.toString());
    }
    if (a instanceof List<?> x
        && b instanceof List<?> y
        && x instanceof Tuple == y instanceof Tuple) {
      List<Object> sum = new ArrayList<>(x);
      sum.addAll(y);
      bounded(sum.size(), MOST_ELEMENTS);
      RenderLimits.made(sum);
      return x instanceof Tuple ? new Tuple(sum) : sum;
    }
    throw unsupported("+", a, b);
  }

  static String concatenated(String a, String b) {
    boundedText((double) a.length() + b.length());
    String sum = a + b;
    RenderLimits.made(sum);
    return sum;
  }

  /** Requires a text to have a length that no prompt exceeds. */
  static void boundedText(double length) {
    bounded(length, MOST_CHARACTERS);
  }

  private static void bounded(double size, int most) {
    if (size > most) {
      throw new RaisedException(
          "chat template makes too long a value: length=%.0f, limit=%d".formatted(size, most));
    }
  }

  static Object subtract(Object a, Object b) {
    return isInteger(a) && isInteger(b)
        ? (Object) Math.subtractExact(integer(a), integer(b))
        : (Object) (real("-", a, b) - number(b));
  }

  static Object multiply(Object a, Object b) {
    if (isInteger(a) && isInteger(b)) {
      return Math.multiplyExact(integer(a), integer(b));
    }
    if (isInteger(a) && (b instanceof CharSequence || b instanceof List<?>)) {
      return multiply(b, a);
    }
    if (isInteger(b) && a instanceof CharSequence text) {
      boundedText((double) integer(b) * text.length());
      return RenderLimits.made(text.toString().repeat(Math.max(0, index(b))));
    }
    if (isInteger(b) && a instanceof List<?> list) {
      bounded((double) integer(b) * list.size(), MOST_ELEMENTS);
      List<Object> product = new ArrayList<>();
      for (int i = 0; i < integer(b) && !list.isEmpty(); i++) {
        product.addAll(list);
      }
      RenderLimits.made(product);
      return list instanceof Tuple ? new Tuple(product) : product;
    }
    return real("*", a, b) * number(b);
  }

  static Object divide(Object a, Object b) {
    return real("/", a, b) / divisor(b);
  }

  static Object floorDivide(Object a, Object b) {
    divisor(requireNumber("//", b));
    return isInteger(a) && isInteger(b)
        ? (Object) Math.floorDiv(integer(a), integer(b))
        : (Object) Math.floor(real("//", a, b) / number(b));
  }

  static Object modulo(Object a, Object b) {
    if (a instanceof CharSequence text) {
      return PythonText.format(text.toString(), b instanceof Tuple tuple ? tuple : Tuple.of(b));
    }
    divisor(requireNumber("%", b));
    if (isInteger(a) && isInteger(b)) {
      return Math.floorMod(integer(a), integer(b));
    }
    double x = real("%", a, b);
    return x - number(b) * Math.floor(x / number(b));
  }

  static Object power(Object a, Object b) {
    double power = Math.pow(real("**", a, b), number(b));
    if (isInteger(a) && isInteger(b) && integer(b) >= 0) {
      if (Math.abs(power) > 1L << 53) {
        throw new RaisedException("chat template computes too large a number: " + power);
      }
      return (long) power;
    }
    return power;
  }

  private static double divisor(Object value) {
    if (number(value) == 0) {
      throw new RaisedException("chat template divides by zero");
    }
    return number(value);
  }

  private static Object requireNumber(String operator, Object value) {
    if (!isNumber(value)) {
      throw unsupported(operator, value, value);
    }
    return value;
  }

  /** The first operand as a real number; the second must be a number as well. */
  private static double real(String operator, Object a, Object b) {
    if (!isNumber(a) || !isNumber(b)) {
      throw unsupported(operator, a, b);
    }
    return number(a);
  }

  private static RaisedException unsupported(String operator, Object a, Object b) {
    return used(a, b, "operator " + operator + " cannot combine " + type(a) + " and " + type(b));
  }

  private static RaisedException used(Object a, Object b, String otherwise) {
    return a instanceof Undefined undefined
        ? undefined.used()
        : b instanceof Undefined undefined
            ? undefined.used()
            : new RaisedException("chat template has a wrong type of value: " + otherwise);
  }

  // ---- Elements ----

  /** Requires a value that a dictionary may have as its key: no list, no dictionary. */
  static Object key(Object key) {
    RenderLimits.check(); // tuples may hold the same tuple many times
    if (key instanceof Tuple tuple) {
      tuple.forEach(Python::key);
    } else if (key instanceof Collection<?> || key instanceof Map<?, ?>) {
      throw new RaisedException(
          "chat template has a wrong type of value: " + type(key) + " cannot be a key");
    }
    return key;
  }

  /** Whether a dictionary has a key, also for maps that refuse null or keys of other types. */
  static boolean has(Map<?, ?> map, Object key) {
    try {
      return map.containsKey(key);
    } catch (NullPointerException | ClassCastException e) {
      return false;
    }
  }

  /** What a loop visits. */
  static Collection<?> elements(Object value) {
    return switch (value) {
      case Undefined undefined -> List.of();
      case CharSequence text -> text.codePoints().mapToObj(Character::toString).toList();
      case Map<?, ?> map -> map.keySet();
      case Collection<?> list -> list;
      case null, default ->
          throw new RaisedException(
              "chat template has a wrong type of value: " + type(value) + " is no sequence");
    };
  }

  static long length(Object value) {
    return value instanceof CharSequence text
        ? text.toString().codePointCount(0, text.length())
        : elements(value).size();
  }

  /** {@code base.name}. */
  static Object attribute(Object base, String name, String what) {
    return switch (base) {
      case Undefined undefined -> throw undefined.used();
      case Map<?, ?> map when PythonMethods.has(map, name) -> new PythonMethods.Bound(map, name);
      case Map<?, ?> map when map.containsKey(name) -> map.get(name);
      case Namespace namespace when namespace.has(name) -> namespace.get(name);
      case ForLoop loop -> PythonTags.loop(loop, name, what);
      case null -> new Undefined(what);
      default ->
          PythonMethods.has(base, name) ? new PythonMethods.Bound(base, name) : new Undefined(what);
    };
  }

  /** {@code base[key]}. */
  static Object element(Object base, Object key, String what) {
    switch (base) {
      case Undefined undefined -> throw undefined.used();
      case Map<?, ?> map when has(map, key(key)) -> {
        return map.get(key);
      }
      case List<?> list when isInteger(key) -> {
        long at = integer(key) < 0 ? integer(key) + list.size() : integer(key);
        return at >= 0 && at < list.size() ? list.get((int) at) : new Undefined(what);
      }
      case CharSequence text when isInteger(key) -> {
        int[] points = text.codePoints().toArray();
        long at = integer(key) < 0 ? integer(key) + points.length : integer(key);
        return at >= 0 && at < points.length
            ? Character.toString(points[(int) at])
            : new Undefined(what);
      }
      case null, default -> {
        return key instanceof CharSequence name
            ? attribute(base, name.toString(), what)
            : new Undefined(what);
      }
    }
  }

  /** {@code base[start:stop:step]}; null means that a part is not given. */
  static Object slice(Object base, Object start, Object stop, Object step) {
    List<?> all =
        switch (base) {
          case Undefined undefined -> throw undefined.used();
          case CharSequence text -> List.copyOf(elements(text));
          case List<?> list -> list;
          case null, default ->
              throw new RaisedException(
                  "chat template has a wrong type of value: " + type(base) + " has no slices");
        };
    int by = step == null ? 1 : index(step);
    if (by == 0) {
      throw new RaisedException("the step of a slice must not be 0");
    }
    int size = all.size();
    int from = bound(start, by > 0 ? 0 : size - 1, size, by);
    int to = bound(stop, by > 0 ? size : -1, size, by);
    List<Object> part = new ArrayList<>();
    for (long i = from; by > 0 ? i < to : i > to; i += by) {
      part.add(all.get((int) i));
    }
    RenderLimits.made(part);
    if (base instanceof CharSequence) {
      StringBuilder text = new StringBuilder();
      part.forEach(text::append);
      return text.toString();
    }
    return base instanceof Tuple ? new Tuple(part) : part;
  }

  private static int bound(Object value, int otherwise, int size, int step) {
    if (value == null) {
      return otherwise;
    }
    int at = index(value);
    at = at < 0 ? at + size : at;
    return step > 0 ? Math.clamp(at, 0, size) : Math.clamp(at, -1, size - 1);
  }
}
