package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;

/** A parsed expression of a template. */
@FunctionalInterface
interface Expression {
  /**
   * Computes its value: a string, {@link Long}, {@link Double}, {@link Boolean}, null for none, a
   * list, a map, or an object of this package.
   *
   * @throws TemplateFunctions.RaisedException as Jinja raises an error
   */
  Object evaluate(JinjavaInterpreter interpreter);
}
