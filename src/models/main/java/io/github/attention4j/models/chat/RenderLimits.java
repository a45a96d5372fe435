package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.tree.Node;
import java.util.Collection;
import java.util.function.BiConsumer;

/**
 * Stops a template that takes too long, or makes too many values. The time starts with the first
 * node. Jinjava checks it before each node; expressions check it where they may do much work in one
 * node.
 */
public final class RenderLimits implements BiConsumer<Node, JinjavaInterpreter> {
  private static final long MOST_NANOS = 2_000_000_000;

  /** Characters of all texts together that filters, methods and operators make. */
  private static final long MOST_CHARACTERS = 1 << 27;

  /** What an element of a list counts for. */
  private static final long ELEMENT = 8;

  private long started;
  private long made;

  @Override
  public void accept(Node node, JinjavaInterpreter interpreter) {
    requireTime();
  }

  /** Requires time to be left for the template that this thread renders. */
  static void check() {
    RenderLimits limits = current();
    if (limits != null) {
      limits.requireTime();
    }
  }

  /** Counts a value that the template that this thread renders has made, and returns it. */
  static Object made(Object value) {
    RenderLimits limits = current();
    if (limits != null && value instanceof CharSequence text) {
      limits.count(text.length());
    } else if (limits != null && value instanceof Collection<?> list) {
      limits.count(ELEMENT * list.size());
    }
    return value;
  }

  private static RenderLimits current() {
    JinjavaInterpreter interpreter = JinjavaInterpreter.getCurrent();
    return interpreter != null
            && interpreter.getConfig().getNodePreProcessor() instanceof RenderLimits limits
        ? limits
        : null;
  }

  private void requireTime() {
    long now = System.nanoTime();
    if (started == 0) {
      started = now;
    } else if (now - started > MOST_NANOS) {
      throw new TemplateFunctions.RaisedException(
          "chat template takes too long: limit=" + MOST_NANOS / 1_000_000 + " ms");
    }
  }

  private void count(long characters) {
    made += characters;
    if (made > MOST_CHARACTERS) {
      throw new TemplateFunctions.RaisedException(
          "chat template makes too many values: characters=" + made + ", limit=" + MOST_CHARACTERS);
    }
  }
}
