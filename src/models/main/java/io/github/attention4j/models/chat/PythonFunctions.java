package io.github.attention4j.models.chat;

import com.hubspot.jinjava.el.ext.NamedParameter;
import com.hubspot.jinjava.interpret.CallStack;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.TagCycleException;
import com.hubspot.jinjava.lib.fn.MacroFunction;
import com.hubspot.jinjava.util.ScopeMap;
import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Variables, and what templates may call by name. */
final class PythonFunctions {
  private static final Set<String> NAMES =
      Set.of("dict", "namespace", "raise_exception", "range", "strftime_now");

  private PythonFunctions() {}

  /** A function of Jinja or Transformers as a value. */
  private record Function(String name) {}

  /** A macro of the template as a value. */
  private record Macro(MacroFunction function) {}

  static Object variable(String name, JinjavaInterpreter interpreter) {
    ScopeMap<String, Object> scope = interpreter.getContext();
    while (scope != null) {
      if (scope.getScope().containsKey(name)) {
        return scope.getScope().get(name);
      }
      scope = scope.getParent();
    }
    MacroFunction macro = interpreter.getContext().getGlobalMacro(name);
    if (macro != null) {
      return new Macro(macro);
    }
    return NAMES.contains(name) ? new Function(name) : new Undefined(name);
  }

  static boolean isCallable(Object value) {
    return value instanceof Function
        || value instanceof Macro
        || value instanceof PythonMethods.Bound;
  }

  static Object call(Object called, Arguments arguments, JinjavaInterpreter interpreter) {
    return switch (called) {
      case Function function -> call(function.name(), arguments);
      case Macro macro -> call(macro.function(), arguments, interpreter);
      case PythonMethods.Bound method -> method.call(arguments);
      case Undefined undefined -> throw undefined.used();
      case null, default ->
          throw new RaisedException(
              arguments.what() + " cannot be called: it is " + Python.type(called));
    };
  }

  private static Object call(String function, Arguments arguments) {
    switch (function) {
      case "dict" -> {
        return dictionary(arguments);
      }
      case "namespace" -> {
        Map<String, Object> attributes = new LinkedHashMap<>();
        dictionary(arguments).forEach((key, value) -> attributes.put(Python.text(key), value));
        return new Namespace(attributes);
      }
      case "raise_exception" ->
          throw new RaisedException(Python.text(arguments.of("message").get(0, "message")));
      case "strftime_now" -> {
        return TemplateFunctions.strftimeNow(arguments.of("format").text(0, "format"));
      }
      default -> {
        List<Object> bounds = arguments.of("start", "stop", "step").positional();
        if (bounds.isEmpty()) {
          throw new RaisedException("range must have 1 to 3 arguments and a step other than 0");
        }
        return TemplateFunctions.range(
            bounds.getFirst(), bounds.subList(1, bounds.size()).toArray());
      }
    }
  }

  /** A dictionary of the elements of another, or of pairs, and of the arguments with names. */
  private static Map<Object, Object> dictionary(Arguments arguments) {
    Map<Object, Object> map = new LinkedHashMap<>();
    if (arguments.count() > 1) {
      throw new RaisedException(
          arguments.what() + " takes at most 1 arguments: it is given " + arguments.count());
    }
    for (Object first : arguments.positional()) {
      if (first instanceof Map<?, ?> other) {
        map.putAll(other);
        continue;
      }
      for (Object pair : Python.elements(first)) {
        List<Object> both = new ArrayList<>(Python.elements(pair));
        if (both.size() != 2) {
          throw new RaisedException(
              arguments.what() + " must be given pairs: one has " + both.size() + " elements");
        }
        map.put(Python.key(both.getFirst()), both.getLast());
      }
    }
    map.putAll(arguments.named());
    return map;
  }

  private static Object call(
      MacroFunction macro, Arguments arguments, JinjavaInterpreter interpreter) {
    List<Object> all = new ArrayList<>(arguments.positional());
    arguments.named().forEach((name, value) -> all.add(new NamedParameter(name, value)));
    if (macro.isCaller()) {
      return macro.evaluate(all.toArray());
    }
    CallStack stack = interpreter.getContext().getMacroStack();
    try {
      stack.pushWithMaxDepth(
          macro.getName(),
          interpreter.getConfig().getMaxMacroRecursionDepth(),
          interpreter.getLineNumber(),
          interpreter.getPosition());
    } catch (TagCycleException e) {
      throw new RaisedException("macro " + macro.getName() + " calls itself too often");
    }
    try {
      return interpreter.getErrors().isEmpty() ? macro.evaluate(all.toArray()) : "";
    } finally {
      stack.pop();
    }
  }
}
