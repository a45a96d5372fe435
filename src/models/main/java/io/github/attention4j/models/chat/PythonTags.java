package io.github.attention4j.models.chat;

import com.hubspot.jinjava.interpret.InterpretException;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.JinjavaInterpreter.InterpreterScopeClosable;
import com.hubspot.jinjava.lib.fn.MacroFunction;
import com.hubspot.jinjava.lib.tag.ElseIfTag;
import com.hubspot.jinjava.lib.tag.ElseTag;
import com.hubspot.jinjava.lib.tag.ForTag;
import com.hubspot.jinjava.lib.tag.IfTag;
import com.hubspot.jinjava.lib.tag.MacroTag;
import com.hubspot.jinjava.lib.tag.SetTag;
import com.hubspot.jinjava.tree.Node;
import com.hubspot.jinjava.tree.TagNode;
import com.hubspot.jinjava.util.ForLoop;
import com.hubspot.jinjava.util.LengthLimitingStringBuilder;
import io.github.attention4j.models.chat.TemplateFunctions.RaisedException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Jinjava's tags with Jinja's expressions, scopes and truth. */
final class PythonTags {
  private PythonTags() {}

  /** What a tag does. */
  @FunctionalInterface
  private interface Body {
    String interpret();
  }

  /** Passes errors on as what Jinjava collects and {@code ChatTemplate} reports. */
  private static String raising(TagNode node, Body body) {
    try {
      return body.interpret();
    } catch (RaisedException | ArithmeticException e) {
      throw new InterpretException(String.valueOf(e.getMessage()), e, node.getLineNumber());
    }
  }

  /** Whether a loop was left, or its next element asked for, so that nothing more is written. */
  private static boolean isLeft(JinjavaInterpreter interpreter) {
    return interpreter.getContext().get(ForTag.LOOP) instanceof Loop loop && loop.isContinued();
  }

  /** {@code if}, {@code elif} and {@code else}. */
  static final class If extends IfTag {
    private static final long serialVersionUID = 1L;

    @Override
    public String interpret(TagNode node, JinjavaInterpreter interpreter) {
      return raising(
          node,
          () -> {
            LengthLimitingStringBuilder out =
                new LengthLimitingStringBuilder(interpreter.getConfig().getMaxOutputSize());
            boolean written = false;
            boolean holds = holds(node, interpreter);
            for (Node child : node.getChildren()) {
              boolean otherwise =
                  child instanceof TagNode tag
                      && (tag.getName().equals(ElseTag.TAG_NAME)
                          || tag.getName().equals(ElseIfTag.TAG_NAME));
              if (otherwise) {
                TagNode tag = (TagNode) child;
                written |= holds;
                holds =
                    !written && (tag.getName().equals(ElseTag.TAG_NAME) || holds(tag, interpreter));
              } else if (holds) {
                out.append(child.render(interpreter));
                if (isLeft(interpreter)) {
                  break;
                }
              }
            }
            return out.toString();
          });
    }

    private static boolean holds(TagNode node, JinjavaInterpreter interpreter) {
      interpreter.setLineNumber(node.getLineNumber());
      return Python.truth(PythonEngine.parsed(node.getHelpers()).evaluate(interpreter));
    }
  }

  // ---- Loops ----

  /** The loop variable. */
  private static final class Loop extends ForLoop {
    private final List<Object> elements;

    Loop(List<Object> elements) {
      super(elements.iterator(), elements.size());
      this.elements = elements;
    }
  }

  /** An attribute of the loop variable. */
  static Object loop(ForLoop jinjava, String name, String what) {
    if (!(jinjava instanceof Loop loop)) {
      return new Undefined(what);
    }
    int index = loop.getIndex0();
    int length = loop.elements.size();
    return switch (name) {
      case "index" -> index + 1L;
      case "index0" -> (long) index;
      case "revindex" -> (long) length - index;
      case "revindex0" -> length - index - 1L;
      case "first" -> index == 0;
      case "last" -> index == length - 1;
      case "length" -> (long) length;
      // Loops that call themselves are not supported.
      case "depth" -> 1L;
      case "depth0" -> 0L;
      case "previtem" -> index > 0 ? loop.elements.get(index - 1) : new Undefined(what);
      case "nextitem" -> index + 1 < length ? loop.elements.get(index + 1) : new Undefined(what);
      case "cycle" -> new PythonMethods.Bound(loop, name);
      default -> new Undefined(what);
    };
  }

  /** {@code loop.cycle(...)}. */
  static Object cycle(ForLoop loop, Arguments arguments) {
    if (arguments.count() == 0) {
      throw new RaisedException("loop.cycle must be given values");
    }
    return arguments.positional().get(loop.getIndex0() % arguments.count());
  }

  /** {@code for}, with a condition and an else. */
  static final class For extends ForTag {
    private static final long serialVersionUID = 1L;

    @Override
    public String interpretUnchecked(TagNode node, JinjavaInterpreter interpreter) {
      return raising(node, () -> repeated(node, interpreter));
    }

    private static String repeated(TagNode node, JinjavaInterpreter interpreter) {
      ExpressionParser.Loop parsed = ExpressionParser.parseLoop(node.getHelpers());
      Collection<?> all = Python.elements(parsed.elements().evaluate(interpreter));
      List<Object> elements = new ArrayList<>();
      for (Object element : all) {
        try (InterpreterScopeClosable scope = interpreter.enterScope()) {
          assign(parsed.targets(), element, interpreter);
          if (parsed.condition() == null
              || Python.truth(parsed.condition().evaluate(interpreter))) {
            elements.add(element);
          }
        }
      }
      List<Node> body = new ArrayList<>();
      List<Node> otherwise = new ArrayList<>();
      List<Node> part = body;
      for (Node child : node.getChildren()) {
        if (child instanceof TagNode tag && tag.getName().equals(ElseTag.TAG_NAME)) {
          part = otherwise;
        } else {
          part.add(child);
        }
      }
      LengthLimitingStringBuilder out =
          new LengthLimitingStringBuilder(interpreter.getConfig().getMaxOutputSize());
      if (elements.isEmpty()) {
        for (Node child : otherwise) {
          out.append(child.render(interpreter));
        }
        return out.toString();
      }
      Loop loop = new Loop(elements);
      while (loop.hasNext() && interpreter.getErrors().isEmpty()) {
        Object element = loop.next();
        try (InterpreterScopeClosable scope = interpreter.enterScope()) {
          interpreter.getContext().put(LOOP, loop);
          assign(parsed.targets(), element, interpreter);
          for (Node child : body) {
            out.append(child.render(interpreter));
            if (loop.isContinued()) {
              break;
            }
          }
        }
      }
      return out.toString();
    }
  }

  private static void assign(List<String> targets, Object value, JinjavaInterpreter interpreter) {
    if (targets.size() == 1) {
      assign(targets.getFirst(), value, interpreter);
      return;
    }
    List<Object> values = new ArrayList<>(Python.elements(value));
    if (values.size() != targets.size()) {
      throw new RaisedException(
          "as many values as variables are needed: variables="
              + targets.size()
              + ", values="
              + values.size());
    }
    for (int i = 0; i < values.size(); i++) {
      assign(targets.get(i), values.get(i), interpreter);
    }
  }

  private static void assign(String target, Object value, JinjavaInterpreter interpreter) {
    int dot = target.indexOf('.');
    if (dot < 0) {
      interpreter.getContext().put(target, value);
    } else if (PythonFunctions.variable(target.substring(0, dot), interpreter)
        instanceof Namespace namespace) {
      namespace.set(target.substring(dot + 1), value);
    } else {
      throw new RaisedException("only attributes of a namespace can be set: " + target);
    }
  }

  // ---- Variables and macros ----

  /** {@code set}, of a value or of a block. */
  static final class Set extends SetTag {
    private static final long serialVersionUID = 1L;

    @Override
    public String interpret(TagNode node, JinjavaInterpreter interpreter) {
      return raising(
          node,
          () -> {
            ExpressionParser.Assignment parsed =
                ExpressionParser.parseAssignment(node.getHelpers());
            if (parsed.value() != null) {
              assign(parsed.targets(), parsed.value().evaluate(interpreter), interpreter);
              return "";
            }
            Object value;
            try (InterpreterScopeClosable scope = interpreter.enterScope()) {
              LengthLimitingStringBuilder text =
                  new LengthLimitingStringBuilder(interpreter.getConfig().getMaxOutputSize());
              for (Node child : node.getChildren()) {
                text.append(child.render(interpreter));
              }
              interpreter.getContext().put(parsed.targets().getFirst(), text.toString());
              value = parsed.filtered().evaluate(interpreter);
            }
            assign(parsed.targets(), value, interpreter);
            return "";
          });
    }
  }

  /** {@code macro}. */
  static final class Macro extends MacroTag {
    private static final long serialVersionUID = 1L;
    private static final Pattern SIGNATURE =
        Pattern.compile("\\s*(\\w+)\\s*\\((.*)\\)\\s*", Pattern.DOTALL);

    @Override
    public String interpret(TagNode node, JinjavaInterpreter interpreter) {
      return raising(
          node,
          () -> {
            Matcher signature = SIGNATURE.matcher(node.getHelpers());
            if (!signature.matches()) {
              throw new RaisedException(
                  "a macro must have a name and parameters: " + node.getHelpers());
            }
            LinkedHashMap<String, Object> parameters = new LinkedHashMap<>();
            for (Map.Entry<String, Expression> parameter :
                ExpressionParser.parseParameters(signature.group(2)).entrySet()) {
              Expression value = parameter.getValue();
              parameters.put(
                  parameter.getKey(),
                  value == null ? new Undefined(parameter.getKey()) : value.evaluate(interpreter));
            }
            MacroFunction macro =
                constructMacroFunction(node, interpreter, signature.group(1), parameters);
            interpreter.getContext().addGlobalMacro(macro);
            return "";
          });
    }
  }
}
