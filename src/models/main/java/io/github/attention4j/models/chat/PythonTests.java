package io.github.attention4j.models.chat;

import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Jinja's tests: what {@code is} asks. */
final class PythonTests {
  private static final Set<String> NAMES =
      Set.of(
          "boolean",
          "callable",
          "defined",
          "divisibleby",
          "eq",
          "equalto",
          "even",
          "false",
          "float",
          "ge",
          "greaterthan",
          "gt",
          "in",
          "integer",
          "iterable",
          "le",
          "lessthan",
          "lower",
          "lt",
          "mapping",
          "ne",
          "none",
          "number",
          "odd",
          "sameas",
          "sequence",
          "string",
          "true",
          "undefined",
          "upper");

  /** Tests that take an operator's name where filters name a test. */
  private static final Map<String, String> OPERATORS =
      Map.of("==", "eq", "!=", "ne", "<", "lt", "<=", "le", ">", "gt", ">=", "ge");

  private PythonTests() {}

  static boolean has(String name) {
    return NAMES.contains(name);
  }

  static boolean holds(String test, Object value, Arguments arguments) {
    RenderLimits.check();
    String name = OPERATORS.getOrDefault(test, test);
    return switch (name) {
      case "boolean" -> value instanceof Boolean;
      case "callable" -> PythonFunctions.isCallable(value);
      case "defined" -> !(value instanceof Undefined);
      case "undefined" -> value instanceof Undefined;
      case "none" -> value == null;
      case "true" -> Boolean.TRUE.equals(value);
      case "false" -> Boolean.FALSE.equals(value);
      case "string" -> value instanceof CharSequence;
      case "mapping" -> value instanceof Map<?, ?>;
      case "number" -> value instanceof Number || value instanceof Boolean;
      case "integer" -> value instanceof Number && !(value instanceof Double);
      case "float" -> value instanceof Double;
      case "sequence", "iterable" ->
          value instanceof CharSequence
              || value instanceof Collection<?>
              || value instanceof Map<?, ?>
              || value instanceof Undefined;
      case "lower" -> Python.text(value).equals(Python.text(value).toLowerCase(Locale.ROOT));
      case "upper" -> Python.text(value).equals(Python.text(value).toUpperCase(Locale.ROOT));
      case "even" -> Python.equal(Python.modulo(value, 2L), 0L);
      case "odd" -> Python.equal(Python.modulo(value, 2L), 1L);
      case "divisibleby" -> Python.equal(Python.modulo(value, other(arguments)), 0L);
      case "eq", "equalto" -> Python.equal(value, other(arguments));
      case "ne" -> !Python.equal(value, other(arguments));
      case "lt", "lessthan" -> Python.compare(value, other(arguments)) < 0;
      case "le" -> Python.compare(value, other(arguments)) <= 0;
      case "gt", "greaterthan" -> Python.compare(value, other(arguments)) > 0;
      case "ge" -> Python.compare(value, other(arguments)) >= 0;
      case "in" -> Python.contains(other(arguments), value);
      case "sameas" -> {
        Object other = other(arguments);
        yield value == other
            || (value instanceof Boolean || value instanceof CharSequence) && value.equals(other);
      }
      default -> throw new RaisedException("test " + test + " is not known");
    };
  }

  private static Object other(Arguments arguments) {
    return arguments.of("other").get(0, "other");
  }

  /** Whether a test named by a filter's arguments holds; without any, whether the value is true. */
  static boolean holds(Object value, List<Object> testAndArguments) {
    if (testAndArguments.isEmpty()) {
      return Python.truth(value);
    }
    String name = Python.text(testAndArguments.getFirst());
    return holds(
        name,
        value,
        new Arguments(
            "test " + name, testAndArguments.subList(1, testAndArguments.size()), Map.of()));
  }
}
