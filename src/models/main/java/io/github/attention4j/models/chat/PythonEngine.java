package io.github.attention4j.models.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.el.TruthyTypeConverter;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.InterpreterFactory;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.filter.Filter;
import java.util.Objects;
import jinjava.de.odysseus.el.ExpressionFactoryImpl;
import jinjava.de.odysseus.el.tree.TreeStore;
import jinjava.de.odysseus.el.tree.impl.Cache;
import jinjava.javax.el.ExpressionFactory;

/**
 * A Jinjava engine that writes values like Python: {@code True}, {@code [1, None]}, {@code 2.0}.
 */
public final class PythonEngine extends Jinjava {
  private static final int CACHED_EXPRESSIONS = 1000;

  private final ExpressionFactory expressions;

  /**
   * Creates an engine.
   *
   * @param config must have {@link Interpreters}
   */
  public PythonEngine(JinjavaConfig config) {
    super(config);
    expressions =
        new ExpressionFactoryImpl(
            new TreeStore(new StrictSyntax(), new Cache(CACHED_EXPRESSIONS)), new Converter());
    registerFilter(new StringFilter());
  }

  @Override
  public ExpressionFactory getExpressionFactory() {
    // Null during the superclass's constructor, which needs no interpreters.
    return expressions;
  }

  /** Converts operands to text for operators such as {@code ~}. */
  private static final class Converter extends TruthyTypeConverter {
    private static final long serialVersionUID = 1L;

    @Override
    protected String coerceToString(Object value) {
      return Objects.requireNonNullElseGet(PythonText.of(value), () -> super.coerceToString(value));
    }
  }

  /** Creates interpreters that write values like Python. */
  public static final class Interpreters implements InterpreterFactory {
    @Override
    public JinjavaInterpreter newInstance(JinjavaInterpreter other) {
      return new Interpreter(other);
    }

    @Override
    public JinjavaInterpreter newInstance(
        Jinjava application, Context context, JinjavaConfig config) {
      return new Interpreter(application, context, config);
    }
  }

  private static final class Interpreter extends JinjavaInterpreter {
    Interpreter(JinjavaInterpreter other) {
      super(other);
    }

    Interpreter(Jinjava application, Context context, JinjavaConfig config) {
      super(application, context, config);
    }

    @Override
    public String getAsString(Object value) {
      return Objects.requireNonNullElseGet(PythonText.of(value), () -> super.getAsString(value));
    }
  }

  /** {@code string}: Python's {@code str}. */
  private static final class StringFilter implements Filter {
    @Override
    public String getName() {
      return "string";
    }

    @Override
    public Object filter(Object value, JinjavaInterpreter interpreter, String... arguments) {
      return interpreter.getAsString(value);
    }
  }
}
