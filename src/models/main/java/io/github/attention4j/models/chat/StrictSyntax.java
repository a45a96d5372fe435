package io.github.attention4j.models.chat;

import com.hubspot.jinjava.el.ExtendedSyntaxBuilder;
import com.hubspot.jinjava.el.ext.AdditionOperator;
import com.hubspot.jinjava.el.ext.AstRangeBracket;
import com.hubspot.jinjava.el.ext.ExtendedParser;
import com.hubspot.jinjava.el.ext.PowerOfOperator;
import com.hubspot.jinjava.el.ext.TruncDivOperator;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.util.ScopeMap;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BiFunction;
import jinjava.de.odysseus.el.tree.Bindings;
import jinjava.de.odysseus.el.tree.impl.Builder;
import jinjava.de.odysseus.el.tree.impl.Parser;
import jinjava.de.odysseus.el.tree.impl.Scanner;
import jinjava.de.odysseus.el.tree.impl.ast.AstBinary;
import jinjava.de.odysseus.el.tree.impl.ast.AstBracket;
import jinjava.de.odysseus.el.tree.impl.ast.AstDot;
import jinjava.de.odysseus.el.tree.impl.ast.AstIdentifier;
import jinjava.de.odysseus.el.tree.impl.ast.AstNested;
import jinjava.de.odysseus.el.tree.impl.ast.AstNode;
import jinjava.de.odysseus.el.tree.impl.ast.AstRightValue;
import jinjava.de.odysseus.el.tree.impl.ast.AstUnary;
import jinjava.javax.el.ELContext;

/**
 * Jinjava's expressions, in which attributes, elements and methods of an undefined value are errors
 * as in Jinja, and so is arithmetic or an order ({@code <}) of undefined values or none. Undefined
 * are variables that do not exist, and attributes and elements that a value does not have; they may
 * be written, tested, compared for equality and given to filters.
 */
final class StrictSyntax extends ExtendedSyntaxBuilder {
  private static final long serialVersionUID = 1L;

  /** The operators that undefined values and none have not. */
  private static final Set<AstBinary.Operator> ARITHMETIC =
      Set.of(
          AdditionOperator.OP,
          AstBinary.SUB,
          AstBinary.MUL,
          AstBinary.DIV,
          AstBinary.MOD,
          AstBinary.LT,
          AstBinary.LE,
          AstBinary.GT,
          AstBinary.GE);

  /** Those of them that are Jinjava's extensions of the language. */
  private static final List<Scanner.ExtensionToken> EXTENSIONS =
      List.of(TruncDivOperator.TOKEN, PowerOfOperator.TOKEN);

  /** What {@link Strict#find} returns for an attribute that does not exist, unlike none. */
  private static final Object UNDEFINED = new Object();

  StrictSyntax() {
    super(Builder.Feature.METHOD_INVOCATIONS, Builder.Feature.VARARGS);
  }

  @Override
  protected Parser createParser(String expression) {
    return new ExtendedParser(this, expression) {
      {
        for (Scanner.ExtensionToken token : EXTENSIONS) {
          putExtensionHandler(token, ofOperands(getExtensionHandler(token)));
        }
      }

      @Override
      protected AstBinary createAstBinary(
          AstNode left, AstNode right, AstBinary.Operator operator) {
        return ARITHMETIC.contains(operator)
            ? super.createAstBinary(new Operand(left), new Operand(right), operator)
            : super.createAstBinary(left, right, operator);
      }

      @Override
      protected AstUnary createAstUnary(AstNode child, AstUnary.Operator operator) {
        return super.createAstUnary(
            operator == AstUnary.NEG ? new Operand(child) : child, operator);
      }

      @Override
      protected AstDot createAstDot(AstNode base, String property, boolean lvalue) {
        return new Dot(new Defined(base), property, lvalue);
      }

      @Override
      protected AstBracket createAstBracket(
          AstNode base, AstNode property, boolean lvalue, boolean strict) {
        return new Bracket(new Defined(base), property, lvalue, strict);
      }

      @Override
      protected AstRangeBracket createAstRangeBracket(
          AstNode base, AstNode start, AstNode end, boolean lvalue, boolean strict) {
        return super.createAstRangeBracket(new Defined(base), start, end, lvalue, strict);
      }
    };
  }

  private static Parser.ExtensionHandler ofOperands(Parser.ExtensionHandler handler) {
    return new Parser.ExtensionHandler(handler.getExtensionPoint()) {
      @Override
      public AstNode createAstNode(AstNode... children) {
        return handler.createAstNode(
            Arrays.stream(children).map(Operand::new).toArray(AstNode[]::new));
      }
    };
  }

  /** An attribute or an element. */
  private interface Strict {
    /** The value, null for none, or {@link #UNDEFINED}. */
    Object find(Bindings bindings, ELContext context);

    /** The value, or null for none and for what is undefined. */
    default Object value(Bindings bindings, ELContext context) {
      Object value = find(bindings, context);
      return value == UNDEFINED ? null : value;
    }
  }

  private static Object find(
      AstNode prefix,
      BiFunction<Bindings, ELContext, Object> name,
      Bindings bindings,
      ELContext context) {
    Object base = prefix.eval(bindings, context);
    if (base == null) {
      return UNDEFINED;
    }
    Object property = name.apply(bindings, context);
    if (property == null) {
      return UNDEFINED;
    }
    context.setPropertyResolved(false);
    Object value = context.getELResolver().getValue(context, base, property);
    if (value != null) {
      return value;
    }
    boolean none =
        switch (base) {
          case Map<?, ?> map -> map.containsKey(property);
          case List<?> list ->
              property instanceof Number index
                  && index.longValue() < list.size()
                  && index.longValue() >= -list.size();
          default -> false;
        };
    return none ? null : UNDEFINED;
  }

  private static final class Dot extends AstDot implements Strict {
    Dot(AstNode base, String property, boolean lvalue) {
      super(base, property, lvalue);
    }

    @Override
    public Object find(Bindings bindings, ELContext context) {
      return StrictSyntax.find(prefix, this::getProperty, bindings, context);
    }

    @Override
    public Object eval(Bindings bindings, ELContext context) {
      return value(bindings, context);
    }
  }

  private static final class Bracket extends AstBracket implements Strict {
    Bracket(AstNode base, AstNode property, boolean lvalue, boolean strict) {
      super(base, property, lvalue, strict);
    }

    @Override
    public Object find(Bindings bindings, ELContext context) {
      return StrictSyntax.find(prefix, this::getProperty, bindings, context);
    }

    @Override
    public Object eval(Bindings bindings, ELContext context) {
      return value(bindings, context);
    }
  }

  /** What attributes, elements and methods are asked of: an error if it is undefined. */
  private static class Defined extends AstRightValue {
    private final AstNode node;

    Defined(AstNode node) {
      this.node = node;
    }

    @Override
    public Object eval(Bindings bindings, ELContext context) {
      AstNode inner = node;
      while (inner instanceof AstNested nested) {
        inner = nested.getChild(0);
      }
      Object value =
          inner instanceof Strict strict
              ? strict.find(bindings, context)
              : inner.eval(bindings, context);
      boolean undefined =
          value == UNDEFINED
              || (value == null
                  && inner instanceof AstIdentifier identifier
                  && !exists(identifier.getName()));
      if (undefined) {
        throw new TemplateFunctions.RaisedException(
            "chat template asks for what is not there: "
                + inner.getStructuralId(null)
                + " is undefined");
      }
      return value;
    }

    /** Whether this is the constant none, or there is such a variable, none or not. */
    private static boolean exists(String name) {
      if (name.equals("none") || name.equals("None")) {
        return true;
      }
      ScopeMap<String, Object> scope = JinjavaInterpreter.getCurrent().getContext();
      while (scope != null && !scope.getScope().containsKey(name)) {
        scope = scope.getParent();
      }
      return scope != null;
    }

    @Override
    public void appendStructure(StringBuilder structure, Bindings bindings) {
      node.appendStructure(structure, bindings);
    }

    @Override
    public int getCardinality() {
      return 1;
    }

    @Override
    public AstNode getChild(int index) {
      return node;
    }
  }

  /** An operand of arithmetic or of an order: an error if it is undefined or none. */
  private static final class Operand extends Defined {
    Operand(AstNode node) {
      super(node);
    }

    @Override
    public Object eval(Bindings bindings, ELContext context) {
      Object value = super.eval(bindings, context);
      if (value == null) {
        throw new TemplateFunctions.RaisedException(
            "chat template computes with none: " + getStructuralId(null) + " is none");
      }
      return value;
    }
  }
}
