package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BinaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Parses expressions with Jinja's grammar, whose precedence is that of Python:
 *
 * <pre>
 *   a if b else c    or    and    not    == != < <= > >= in, in chains    + -    ~    * / // %    **
 *   - +    .name [index] (call)    |filter    is test
 * </pre>
 */
final class ExpressionParser {
  private static final Pattern TOKEN =
      Pattern.compile(
          "\\s*(?:(?<float>(?<!\\.)\\d[\\d_]*(?:\\.\\d[\\d_]*(?:[eE][+-]?\\d+)?|[eE][+-]?\\d+))"
              + "|(?<integer>\\d[\\d_]*)"
              + "|(?<name>[\\p{L}_][\\p{L}\\p{N}_]*)"
              + "|(?<string>['\"])"
              + "|(?<operator>\\*\\*|//|==|!=|<=|>=|[-+*/%~|.,:()\\[\\]{}<>=]))",
          Pattern.DOTALL);

  private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

  /** Names that begin no argument of a test. */
  private static final Set<String> KEYWORDS = Set.of("if", "else", "or", "and", "in", "is", "not");

  private static final int MOST_DEPTH = 200;

  /** A name, an operator, a number or a string, and where it is in the text. */
  private record Token(String kind, String text, int start, int end) {}

  /** An expression and the part of the text that it was read from. */
  private record Part(Expression expression, String text) {}

  private final String text;
  private final List<Token> tokens = new ArrayList<>();
  private int at;
  private int depth;

  private ExpressionParser(String text) {
    this.text = text;
    Matcher matcher = TOKEN.matcher(text).useTransparentBounds(true);
    int end = 0;
    while (matcher.region(end, text.length()).lookingAt()) {
      for (String kind : List.of("float", "integer", "name", "string", "operator")) {
        if (matcher.group(kind) != null) {
          int start = matcher.start(kind);
          end = kind.equals("string") ? endOfString(text, start) : matcher.end();
          tokens.add(new Token(kind, text.substring(start, end), start, end));
        }
      }
    }
    if (!text.substring(end).isBlank()) {
      throw new RaisedException(
          "chat template has an expression that is not valid: " + text + " at character " + end);
    }
    tokens.add(new Token("end", "", text.length(), text.length()));
  }

  /** The end of a literal: a loop, because a pattern would recurse at each character. */
  private static int endOfString(String text, int start) {
    for (int i = start + 1; i < text.length(); i++) {
      if (text.charAt(i) == '\\') {
        i++;
      } else if (text.charAt(i) == text.charAt(start)) {
        return i + 1;
      }
    }
    throw new RaisedException(
        "chat template has a string that does not end: " + text + " at character " + start);
  }

  /**
   * Parses an expression, which may be a tuple without parentheses.
   *
   * @throws RaisedException if it is not valid
   */
  static Expression parse(String text) {
    ExpressionParser parser = new ExpressionParser(text);
    Expression expression = parser.tuple();
    parser.end();
    return expression;
  }

  /** The loop of a for tag. */
  record Loop(List<String> targets, Expression elements, Expression condition) {}

  /** Parses {@code targets in elements [if condition]}. */
  static Loop parseLoop(String text) {
    ExpressionParser parser = new ExpressionParser(text);
    List<String> targets = parser.targets();
    if (!parser.acceptName("in")) {
      throw parser.wrong();
    }
    Expression elements = parser.or().expression();
    Expression condition = parser.acceptName("if") ? parser.expression().expression() : null;
    if (parser.isName("recursive")) {
      throw new RaisedException("recursive loops are not supported: for " + text.strip());
    }
    parser.end();
    return new Loop(targets, elements, condition);
  }

  /** The assignment of a set tag; no value if a block follows. */
  record Assignment(List<String> targets, Expression value, Expression filtered) {}

  /**
   * Parses {@code targets = value}, or {@code target|filter} before a block, whose text is then the
   * variable of that name.
   */
  static Assignment parseAssignment(String text) {
    ExpressionParser parser = new ExpressionParser(text);
    int start = parser.at;
    List<String> targets = parser.targets();
    if (parser.accept("=")) {
      Expression value = parser.tuple();
      parser.end();
      return new Assignment(targets, value, null);
    }
    parser.at = start;
    Expression filtered = parser.expression().expression();
    parser.end();
    return new Assignment(targets, null, filtered);
  }

  /** The parameters of a macro with their defaults, null for none. */
  static Map<String, Expression> parseParameters(String text) {
    ExpressionParser parser = new ExpressionParser(text);
    Map<String, Expression> parameters = new LinkedHashMap<>();
    while (!parser.isKind("end")) {
      String name = parser.name();
      parameters.put(name, parser.accept("=") ? parser.expression().expression() : null);
      if (!parser.accept(",")) {
        break;
      }
    }
    parser.end();
    return parameters;
  }

  // ---- Tokens ----

  private Token token() {
    return tokens.get(at);
  }

  private boolean isKind(String kind) {
    return token().kind().equals(kind);
  }

  private boolean isOperator(String operator) {
    return isKind("operator") && token().text().equals(operator);
  }

  private boolean isName(String name) {
    return isKind("name") && token().text().equals(name);
  }

  private boolean accept(String operator) {
    boolean found = isOperator(operator);
    at += found ? 1 : 0;
    return found;
  }

  private boolean acceptName(String name) {
    boolean found = isName(name);
    at += found ? 1 : 0;
    return found;
  }

  private void expect(String operator) {
    if (!accept(operator)) {
      throw wrong();
    }
  }

  private String name() {
    if (!isKind("name")) {
      throw wrong();
    }
    return tokens.get(at++).text();
  }

  private void end() {
    if (!isKind("end")) {
      throw wrong();
    }
  }

  private RaisedException wrong() {
    return new RaisedException(
        "chat template has an expression that is not valid: "
            + text.strip()
            + (isKind("end") ? " ends early" : " at " + token().text()));
  }

  private Part part(int start, Expression expression) {
    return new Part(
        expression, text.substring(tokens.get(start).start(), tokens.get(at - 1).end()));
  }

  // ---- Targets ----

  private List<String> targets() {
    List<String> targets = new ArrayList<>();
    boolean parentheses = accept("(");
    do {
      targets.add(target());
    } while (accept(","));
    if (parentheses) {
      expect(")");
    }
    return targets;
  }

  private String target() {
    String name = name();
    return accept(".") ? name + "." + name() : name;
  }

  // ---- Operators, the loosest first ----

  private Expression tuple() {
    Expression first = expression().expression();
    if (!isOperator(",")) {
      return first;
    }
    List<Expression> elements = new ArrayList<>(List.of(first));
    while (accept(",") && !isKind("end") && !isOperator(")")) {
      elements.add(expression().expression());
    }
    return interpreter -> new Tuple(evaluated(elements, interpreter));
  }

  private static List<Object> evaluated(List<Expression> all, JinjavaInterpreter interpreter) {
    List<Object> values = new ArrayList<>();
    all.forEach(each -> values.add(each.evaluate(interpreter)));
    return values;
  }

  private Part expression() {
    if (++depth > MOST_DEPTH) {
      throw new RaisedException("chat template has an expression that is nested too deeply");
    }
    int start = at;
    Part value = or();
    while (acceptName("if")) {
      Expression then = value.expression();
      Expression test = or().expression();
      Expression otherwise =
          acceptName("else")
              ? expression().expression()
              : interpreter -> new Undefined("the inline if without else");
      value =
          part(
              start,
              interpreter ->
                  Python.truth(test.evaluate(interpreter))
                      ? then.evaluate(interpreter)
                      : otherwise.evaluate(interpreter));
    }
    depth--;
    return value;
  }

  private Part or() {
    int start = at;
    Part value = and();
    while (acceptName("or")) {
      Expression a = value.expression();
      Expression b = and().expression();
      value =
          part(
              start,
              interpreter -> {
                Object first = a.evaluate(interpreter);
                return Python.truth(first) ? first : b.evaluate(interpreter);
              });
    }
    return value;
  }

  private Part and() {
    int start = at;
    Part value = not();
    while (acceptName("and")) {
      Expression a = value.expression();
      Expression b = not().expression();
      value =
          part(
              start,
              interpreter -> {
                Object first = a.evaluate(interpreter);
                return Python.truth(first) ? b.evaluate(interpreter) : first;
              });
    }
    return value;
  }

  private Part not() {
    int start = at;
    if (!acceptName("not")) {
      return comparison();
    }
    Expression value = not().expression();
    return part(start, interpreter -> !Python.truth(value.evaluate(interpreter)));
  }

  private Part comparison() {
    int start = at;
    Part first = sum();
    List<String> operators = new ArrayList<>();
    List<Expression> operands = new ArrayList<>(List.of(first.expression()));
    while (true) {
      if (isKind("operator") && COMPARISONS.contains(token().text())) {
        operators.add(tokens.get(at++).text());
      } else if (acceptName("in")) {
        operators.add("in");
      } else if (isName("not") && tokens.get(at + 1).text().equals("in")) {
        at += 2;
        operators.add("not in");
      } else {
        break;
      }
      operands.add(sum().expression());
    }
    if (operators.isEmpty()) {
      return first;
    }
    return part(
        start,
        interpreter -> {
          Object left = operands.getFirst().evaluate(interpreter);
          for (int i = 0; i < operators.size(); i++) {
            Object right = operands.get(i + 1).evaluate(interpreter);
            if (!compared(operators.get(i), left, right)) {
              return false;
            }
            left = right;
          }
          return true;
        });
  }

  private static boolean compared(String operator, Object a, Object b) {
    return switch (operator) {
      case "==" -> Python.equal(a, b);
      case "!=" -> !Python.equal(a, b);
      case "<" -> Python.compare(a, b) < 0;
      case "<=" -> Python.compare(a, b) <= 0;
      case ">" -> Python.compare(a, b) > 0;
      case ">=" -> Python.compare(a, b) >= 0;
      case "in" -> Python.contains(b, a);
      default -> !Python.contains(b, a);
    };
  }

  private Part sum() {
    int start = at;
    Part value = concatenation();
    while (isOperator("+") || isOperator("-")) {
      BinaryOperator<Object> operator = accept("+") ? Python::add : subtraction();
      value = binary(start, value, operator, concatenation());
    }
    return value;
  }

  private BinaryOperator<Object> subtraction() {
    expect("-");
    return Python::subtract;
  }

  private Part binary(int start, Part a, BinaryOperator<Object> operator, Part b) {
    Expression left = a.expression();
    Expression right = b.expression();
    return part(
        start,
        interpreter -> operator.apply(left.evaluate(interpreter), right.evaluate(interpreter)));
  }

  private Part concatenation() {
    int start = at;
    Part value = product();
    while (accept("~")) {
      value =
          binary(
              start,
              value,
              (a, b) -> Python.concatenated(Python.text(a), Python.text(b)),
              product());
    }
    return value;
  }

  private Part product() {
    int start = at;
    Part value = power();
    while (isOperator("*") || isOperator("/") || isOperator("//") || isOperator("%")) {
      BinaryOperator<Object> operator =
          switch (tokens.get(at++).text()) {
            case "*" -> Python::multiply;
            case "/" -> Python::divide;
            case "//" -> Python::floorDivide;
            default -> Python::modulo;
          };
      value = binary(start, value, operator, power());
    }
    return value;
  }

  private Part power() {
    int start = at;
    Part value = unary(true);
    while (accept("**")) {
      value = binary(start, value, Python::power, unary(true));
    }
    return value;
  }

  private Part unary(boolean filters) {
    int start = at;
    Part value;
    if (accept("-")) {
      Expression operand = unary(false).expression();
      value = part(start, interpreter -> Python.negative(operand.evaluate(interpreter)));
    } else if (accept("+")) {
      value = unary(false);
    } else {
      value = postfix(primary());
    }
    return filters ? filtered(start, value) : value;
  }

  // ---- Values ----

  private Part primary() {
    int start = at;
    Token token = token();
    switch (token.kind()) {
      case "integer" -> {
        long value = integer();
        return part(start, interpreter -> value);
      }
      case "float" -> {
        at++;
        double value = Double.parseDouble(token.text().replace("_", ""));
        return part(start, interpreter -> value);
      }
      case "string" -> {
        StringBuilder joined = new StringBuilder();
        while (isKind("string")) {
          joined.append(PythonText.unescaped(tokens.get(at++).text()));
        }
        String value = joined.toString();
        return part(start, interpreter -> value);
      }
      case "name" -> {
        at++;
        return switch (token.text()) {
          case "true", "True" -> part(start, interpreter -> true);
          case "false", "False" -> part(start, interpreter -> false);
          case "none", "None" -> part(start, interpreter -> null);
          default -> {
            if (KEYWORDS.contains(token.text())) {
              at--;
              throw wrong();
            }
            String name = token.text();
            yield part(start, interpreter -> PythonFunctions.variable(name, interpreter));
          }
        };
      }
      default -> {}
    }
    if (accept("(")) {
      if (accept(")")) {
        return part(start, interpreter -> Tuple.of());
      }
      int inner = at;
      Expression value = tuple();
      String between = text.substring(tokens.get(inner).start(), tokens.get(at - 1).end());
      expect(")");
      return new Part(value, between);
    }
    if (accept("[")) {
      List<Expression> elements = new ArrayList<>();
      while (!accept("]")) {
        elements.add(expression().expression());
        if (!isOperator("]")) {
          expect(",");
        }
      }
      return part(start, interpreter -> evaluated(elements, interpreter));
    }
    if (accept("{")) {
      return dictionary(start);
    }
    throw wrong();
  }

  private long integer() {
    try {
      long value = Long.parseLong(token().text().replace("_", ""));
      at++;
      return value;
    } catch (NumberFormatException e) {
      throw wrong();
    }
  }

  private Part dictionary(int start) {
    List<Expression> keys = new ArrayList<>();
    List<Expression> values = new ArrayList<>();
    while (!accept("}")) {
      keys.add(expression().expression());
      expect(":");
      values.add(expression().expression());
      if (!isOperator("}")) {
        expect(",");
      }
    }
    return part(
        start,
        interpreter -> {
          Map<Object, Object> map = new LinkedHashMap<>();
          for (int i = 0; i < keys.size(); i++) {
            Object key = Python.key(keys.get(i).evaluate(interpreter));
            map.put(key, values.get(i).evaluate(interpreter));
          }
          return map;
        });
  }

  private Part postfix(Part first) {
    Part value = first;
    while (true) {
      Expression base = value.expression();
      String before = value.text();
      if (accept(".")) {
        if (isKind("integer")) {
          long index = integer();
          String what = before + "." + index;
          value =
              new Part(
                  interpreter -> Python.element(base.evaluate(interpreter), index, what), what);
        } else {
          String name = name();
          String what = before + "." + name;
          value =
              new Part(
                  interpreter -> Python.attribute(base.evaluate(interpreter), name, what), what);
        }
      } else if (accept("[")) {
        int open = at - 1;
        value = new Part(subscript(base, before, open), before + since(open));
      } else if (isOperator("(")) {
        int open = at;
        value = new Part(call(base, before), before + since(open));
      } else {
        return value;
      }
    }
  }

  private String since(int open) {
    return text.substring(tokens.get(open).start(), tokens.get(at - 1).end());
  }

  private Expression subscript(Expression base, String before, int open) {
    Expression[] bounds = new Expression[3];
    int colons = 0;
    while (!isOperator("]")) {
      if (accept(":")) {
        if (++colons > 2) {
          throw wrong();
        }
      } else {
        if (bounds[colons] != null) {
          throw wrong();
        }
        bounds[colons] = expression().expression();
      }
    }
    expect("]");
    if (colons == 0) {
      Expression key = bounds[0];
      if (key == null) {
        throw wrong();
      }
      String what = before + since(open);
      return interpreter ->
          Python.element(base.evaluate(interpreter), key.evaluate(interpreter), what);
    }
    return interpreter ->
        Python.slice(
            base.evaluate(interpreter),
            bound(bounds[0], interpreter),
            bound(bounds[1], interpreter),
            bound(bounds[2], interpreter));
  }

  private static Object bound(Expression bound, JinjavaInterpreter interpreter) {
    return bound == null ? null : bound.evaluate(interpreter);
  }

  /** Makes arguments when it is evaluated. */
  @FunctionalInterface
  private interface Passed {
    Arguments evaluate(JinjavaInterpreter interpreter);
  }

  private Expression call(Expression function, String name) {
    Passed passed = arguments(name);
    return interpreter ->
        PythonFunctions.call(
            function.evaluate(interpreter), passed.evaluate(interpreter), interpreter);
  }

  /** Arguments in parentheses. */
  private Passed arguments(String what) {
    expect("(");
    List<Expression> positional = new ArrayList<>();
    Map<String, Expression> named = new LinkedHashMap<>();
    while (!accept(")")) {
      if (isKind("name") && tokens.get(at + 1).text().equals("=")) {
        String name = name();
        expect("=");
        named.put(name, expression().expression());
      } else if (named.isEmpty()) {
        positional.add(expression().expression());
      } else {
        throw wrong();
      }
      if (!isOperator(")")) {
        expect(",");
      }
    }
    return interpreter -> {
      Map<String, Object> values = new LinkedHashMap<>();
      named.forEach((name, value) -> values.put(name, value.evaluate(interpreter)));
      return new Arguments(what, evaluated(positional, interpreter), values);
    };
  }

  private Part filtered(int start, Part first) {
    Part value = first;
    while (true) {
      Expression operand = value.expression();
      if (accept("|")) {
        String name = name();
        Passed passed =
            isOperator("(")
                ? arguments("filter " + name)
                : interpreter -> Arguments.none("filter " + name);
        value =
            part(
                start,
                interpreter ->
                    PythonFilters.apply(
                        name, operand.evaluate(interpreter), passed.evaluate(interpreter)));
      } else if (acceptName("is")) {
        boolean negated = acceptName("not");
        String name = name();
        Passed passed = testArguments("test " + name);
        value =
            part(
                start,
                interpreter ->
                    negated
                        != PythonTests.holds(
                            name, operand.evaluate(interpreter), passed.evaluate(interpreter)));
      } else if (isOperator("(")) {
        String what = value.text();
        value = part(start, call(operand, what));
      } else {
        return value;
      }
    }
  }

  private Passed testArguments(String what) {
    if (isOperator("(")) {
      return arguments(what);
    }
    boolean argument =
        isKind("name")
            ? !KEYWORDS.contains(token().text())
            : isKind("string")
                || isKind("integer")
                || isKind("float")
                || isOperator("[")
                || isOperator("{");
    if (!argument) {
      return interpreter -> Arguments.none(what);
    }
    Expression value = postfix(primary()).expression();
    return interpreter -> new Arguments(what, evaluated(List.of(value), interpreter), Map.of());
  }
}
