package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.tree.Node;
import java.util.function.BiConsumer;

/**
 * Stops a template that takes too long. The time starts with the first node. Jinjava checks before
 * each node; expressions check where they may do much work in one node.
 */
public final class Deadline implements BiConsumer<Node, JinjavaInterpreter> {
  private static final long MOST_NANOS = 2_000_000_000;

  private long started;

  @Override
  public void accept(Node node, JinjavaInterpreter interpreter) {
    require();
  }

  /** Requires time to be left for the template that this thread renders. */
  static void check() {
    JinjavaInterpreter interpreter = JinjavaInterpreter.getCurrent();
    if (interpreter != null
        && interpreter.getConfig().getNodePreProcessor() instanceof Deadline deadline) {
      deadline.require();
    }
  }

  private void require() {
    long now = System.nanoTime();
    if (started == 0) {
      started = now;
    } else if (now - started > MOST_NANOS) {
      throw new TemplateFunctions.RaisedException(
          "chat template takes too long: limit=" + MOST_NANOS / 1_000_000 + " ms");
    }
  }
}
