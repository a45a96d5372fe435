package io.github.attention4j.models.chat;

/**
 * The value of a variable, an attribute or an element that does not exist. It may be written,
 * tested and given to filters; anything else is an error.
 *
 * @param what the expression that was evaluated
 */
record Undefined(String what) {
  @Override
  public String toString() {
    return "";
  }

  /** The error of using it. */
  TemplateFunctions.RaisedException used() {
    return new TemplateFunctions.RaisedException(
        "chat template asks for what is not there: " + what + " is undefined");
  }
}
