package io.github.attention4j.models.chat;

import java.util.List;
import java.util.Map;

/**
 * The arguments of a call.
 *
 * @param what is called, for messages
 * @param positional the values without names
 * @param named the values with names
 */
record Arguments(String what, List<Object> positional, Map<String, Object> named) {
  static Arguments none(String what) {
    return new Arguments(what, List.of(), Map.of());
  }

  int count() {
    return positional.size();
  }

  /** Requires names to be among these, and no more values than these. */
  Arguments of(String... names) {
    if (positional.size() > names.length) {
      throw new TemplateFunctions.RaisedException(
          what + " takes at most " + names.length + " arguments: it is given " + positional.size());
    }
    return named(names);
  }

  /** Requires names to be among these. */
  Arguments named(String... names) {
    for (String name : named.keySet()) {
      if (!List.of(names).contains(name)) {
        throw new TemplateFunctions.RaisedException(what + " has no argument " + name);
      }
    }
    return this;
  }

  /** An argument by place or by name. */
  Object get(int index, String name, Object otherwise) {
    return index < positional.size() ? positional.get(index) : named.getOrDefault(name, otherwise);
  }

  /** An argument that must be given. */
  Object get(int index, String name) {
    if (index >= positional.size() && !named.containsKey(name)) {
      throw new TemplateFunctions.RaisedException(what + " misses its argument " + name);
    }
    return get(index, name, null);
  }

  String text(int index, String name) {
    return text(get(index, name), name);
  }

  String text(int index, String name, String otherwise) {
    return text(get(index, name, otherwise), name);
  }

  private String text(Object value, String name) {
    if (value == null || value instanceof CharSequence) {
      return value == null ? null : value.toString();
    }
    throw new TemplateFunctions.RaisedException(
        what + " must be given a string as " + name + ": it is " + Python.type(value));
  }

  int integer(int index, String name, int otherwise) {
    return Python.index(get(index, name, (long) otherwise));
  }

  boolean flag(int index, String name) {
    return Python.truth(get(index, name, false));
  }
}
