package io.github.attention4j.models.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.InterpreterFactory;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ExpressionFactory;
import jinjava.javax.el.MethodExpression;
import jinjava.javax.el.ValueExpression;

/**
 * A Jinjava engine with Jinja's expressions: Jinjava splits a template into texts, expressions and
 * tags and renders them; expressions, filters, tests and methods are this package's.
 */
public final class PythonEngine extends Jinjava {
  private static final int CACHED_EXPRESSIONS = 2000;

  private static final Map<String, Expression> PARSED = new ConcurrentHashMap<>();

  private final ExpressionFactory expressions = new Expressions();

  /**
   * Creates an engine.
   *
   * @param config must have {@link Interpreters}
   */
  public PythonEngine(JinjavaConfig config) {
    super(config);
    registerTag(new PythonTags.If());
    registerTag(new PythonTags.For());
    registerTag(new PythonTags.Set());
    registerTag(new PythonTags.Macro());
  }

  /** Whether there is a filter of this name. */
  public static boolean hasFilter(String name) {
    return PythonFilters.has(name);
  }

  /** Whether there is a test of this name. */
  public static boolean hasTest(String name) {
    return PythonTests.has(name);
  }

  @Override
  public ExpressionFactory getExpressionFactory() {
    return expressions;
  }

  /** Parses an expression, unless it was parsed before. */
  static Expression parsed(String text) {
    Expression known = PARSED.get(text);
    if (known != null) {
      return known;
    }
    Expression expression = ExpressionParser.parse(text);
    if (PARSED.size() >= CACHED_EXPRESSIONS) {
      PARSED.clear();
    }
    PARSED.put(text, expression);
    return expression;
  }

  /** What Jinjava evaluates expressions with. */
  private static final class Expressions extends ExpressionFactory {
    @Override
    public ValueExpression createValueExpression(ELContext context, String text, Class<?> type) {
      // Jinjava writes #{ before expressions and } after them.
      return new Value(text.substring(2, text.length() - 1));
    }

    @Override
    public ValueExpression createValueExpression(Object value, Class<?> type) {
      throw new UnsupportedOperationException("values are no expressions");
    }

    @Override
    public MethodExpression createMethodExpression(
        ELContext context, String text, Class<?> type, Class<?>[] parameters) {
      throw new UnsupportedOperationException("methods are called in expressions");
    }

    @Override
    public Object coerceToType(Object value, Class<?> type) {
      return value;
    }
  }

  private static final class Value extends ValueExpression {
    private static final long serialVersionUID = 1L;

    private final String text;

    Value(String text) {
      this.text = text;
    }

    @Override
    public Object getValue(ELContext context) {
      return parsed(text).evaluate(JinjavaInterpreter.getCurrent());
    }

    @Override
    public void setValue(ELContext context, Object value) {
      throw new UnsupportedOperationException("expressions are not assigned to");
    }

    @Override
    public boolean isReadOnly(ELContext context) {
      return true;
    }

    @Override
    public Class<?> getType(ELContext context) {
      return Object.class;
    }

    @Override
    public Class<?> getExpectedType() {
      return Object.class;
    }

    @Override
    public String getExpressionString() {
      return text;
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Value value && value.text.equals(text);
    }

    @Override
    public int hashCode() {
      return text.hashCode();
    }

    @Override
    public boolean isLiteralText() {
      return false;
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
      return Python.text(value);
    }
  }
}
