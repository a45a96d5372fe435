package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * An expression compiled for the native library: straight-line code in which every instruction
 * computes one value, equal values are computed once, and constants are folded. Immutable.
 */
final class Program {
  /** The tables; the code refers to them by index. */
  final List<Tensor> tables;

  /** Where the expression places the queries; null if it does not depend on positions. */
  final Placement placement;

  private final int[] words;

  /** The indices of the words that contain the index of a table. */
  private final int[] loads;

  private Program(int[] words, int[] loads, List<Tensor> tables, Placement placement) {
    this.words = words;
    this.loads = loads;
    this.tables = tables;
    this.placement = placement;
  }

  /** The code of a mask. */
  static Program of(BoolExpression sees) {
    Compiler compiler = new Compiler();
    final int result = compiler.add(sees, 0);
    if (compiler.numbers.containsKey(new Value(Op.SCORE, List.of(), 0, -1))) {
      throw new IllegalArgumentException(
          "a mask must not read the score, which is computed only for keys that the mask shows;"
              + " use Score.where in a score");
    }
    return compiler.program(result);
  }

  /** The code of a score. */
  static Program of(FloatExpression score) {
    Compiler compiler = new Compiler();
    return compiler.program(compiler.add(score, 0));
  }

  /** The distinct tables of both; either may be null. */
  static List<Tensor> tables(Program mask, Program score) {
    if (mask == null && score == null) {
      return List.of();
    }
    List<Tensor> all = new ArrayList<>(mask == null ? List.of() : mask.tables);
    for (Tensor table : score == null ? List.<Tensor>of() : score.tables) {
      if (indexOf(all, table) < 0) {
        all.add(table);
      }
    }
    if (all.size() > Op.MOST_TABLES) {
      throw new IllegalArgumentException(
          "expressions of one call may read at most "
              + Op.MOST_TABLES
              + " different tables: "
              + all.size());
    }
    return all;
  }

  /** The code, with tables numbered as in this list. */
  int[] words(List<Tensor> all) {
    int[] numbered = words.clone();
    for (int at : loads) {
      int own = numbered[at] >>> 16 & 0xff;
      numbered[at] = numbered[at] & ~(0xff << 16) | indexOf(all, tables.get(own)) << 16;
    }
    return numbered;
  }

  /** Compares tables by identity. */
  private static int indexOf(List<Tensor> all, Tensor table) {
    for (int i = 0; i < all.size(); i++) {
      if (all.get(i) == table) {
        return i;
      }
    }
    return -1;
  }

  /** An instruction, whose operands are the indices of earlier ones. */
  private record Value(Op op, List<Integer> operands, int literal, int table) {}

  private static final class Compiler {
    /** Bounds the recursion: folded constants make an expression deeper, but not longer. */
    private static final int DEEPEST = 1000;

    final Map<Value, Integer> numbers = new HashMap<>();
    private final Map<Expression, Integer> done = new IdentityHashMap<>();
    private final List<Value> code = new ArrayList<>();
    private final List<Tensor> tables = new ArrayList<>();
    private Placement placement;

    /** Returns the index of an expression's value. Shared subexpressions are compiled once. */
    int add(Expression expression, int depth) {
      Integer known = done.get(expression);
      if (known != null) {
        return known;
      }
      if (depth > DEEPEST) {
        throw new IllegalArgumentException(
            "an expression may be at most " + DEEPEST + " operations deep");
      }
      List<Integer> operands = new ArrayList<>();
      for (Expression operand : expression.operands) {
        operands.add(add(operand, depth + 1));
      }
      int table = -1;
      if (expression.table != null) {
        table = indexOf(tables, expression.table);
        if (table < 0) {
          table = tables.size();
          tables.add(expression.table);
        }
      }
      placement = Placement.one("an expression", placement, expression.placement);
      Value value = folded(new Value(expression.op, operands, expression.literal, table));
      int number = numbers.computeIfAbsent(value, this::append);
      done.put(expression, number);
      return number;
    }

    private int append(Value value) {
      code.add(value);
      return code.size() - 1;
    }

    Program program(int result) {
      List<Value> needed = needed(result);
      if (needed.size() > Op.MOST) {
        throw new IllegalArgumentException(
            "an expression may have at most "
                + Op.MOST
                + " different operations, constants and inputs: "
                + needed.size());
      }
      checkLive(needed);
      int[] words = new int[2 * needed.size()];
      int[] loads = new int[needed.size()];
      int count = 0;
      int loadCount = 0;
      for (Value value : needed) {
        int word = value.op.code();
        for (int i = 0; i < value.operands.size(); i++) {
          word |= value.operands.get(i) << 8 + 8 * i;
        }
        if (value.table >= 0) {
          word |= value.table << 16;
          loads[loadCount++] = count;
        }
        words[count++] = word;
        if (value.op == Op.FLOAT || value.op == Op.INT) {
          words[count++] = value.literal;
        }
      }
      return new Program(
          Arrays.copyOf(words, count),
          Arrays.copyOf(loads, loadCount),
          List.copyOf(tables),
          placement);
    }

    /**
     * Drops unused values, such as folded operands, and renumbers. The last value is the result.
     */
    private List<Value> needed(int last) {
      boolean[] used = new boolean[code.size()];
      used[last] = true;
      for (int n = last; n >= 0; n--) {
        if (used[n]) {
          for (int operand : code.get(n).operands) {
            used[operand] = true;
          }
        }
      }
      int[] renumbered = new int[code.size()];
      List<Value> needed = new ArrayList<>();
      for (int n = 0; n <= last; n++) {
        if (used[n]) {
          Value value = code.get(n);
          renumbered[n] = needed.size();
          List<Integer> operands = value.operands.stream().map(o -> renumbered[o]).toList();
          needed.add(new Value(value.op, operands, value.literal, value.table));
        }
      }
      return needed;
    }

    private static void checkLive(List<Value> code) {
      int[] lastUse = new int[code.size()];
      for (int n = 0; n < code.size(); n++) {
        for (int operand : code.get(n).operands) {
          lastUse[operand] = n;
        }
      }
      for (int n = 0; n < code.size(); n++) {
        int live = 1;
        for (int k = 0; k < n; k++) {
          live += lastUse[k] > n ? 1 : 0;
        }
        if (live > Op.MOST_LIVE) {
          throw new IllegalArgumentException(
              "an expression may need at most "
                  + Op.MOST_LIVE
                  + " values at once: write a long sum as a chain, a + b + c + d, not as a sum of"
                  + " sums");
        }
      }
    }

    /** Replaces arithmetic on constants by its value. */
    private Value folded(Value value) {
      List<Value> operands = value.operands.stream().map(code::get).toList();
      if (operands.isEmpty()) {
        return value;
      }
      for (Value operand : operands) {
        if (operand.op != Op.FLOAT && operand.op != Op.INT) {
          return value;
        }
      }
      int a = operands.get(0).literal;
      int b = operands.get(operands.size() - 1).literal;
      float x = Float.intBitsToFloat(a);
      float y = Float.intBitsToFloat(b);
      return switch (value.op) {
        case TO_FLOAT -> constant((float) a);
        case TO_INT -> constant((int) x);
        case NEG -> constant(-x);
        case ABS -> constant(Math.abs(x));
        case SQRT -> constant((float) Math.sqrt(x));
        case ADD -> constant(x + y);
        case SUB -> constant(x - y);
        case MUL -> constant(x * y);
        case DIV -> constant(x / y);
        case MIN -> constant(Math.min(x, y));
        case MAX -> constant(Math.max(x, y));
        case INT_NEG -> constant(-a);
        case INT_ABS -> constant(Math.abs(a));
        case INT_ADD -> constant(a + b);
        case INT_SUB -> constant(a - b);
        case INT_MUL -> constant(a * b);
        case INT_DIV -> constant(b == 0 ? 0 : Math.floorDiv(a, b));
        case INT_MOD -> constant(b == 0 ? 0 : Math.floorMod(a, b));
        case INT_MIN -> constant(Math.min(a, b));
        case INT_MAX -> constant(Math.max(a, b));
        default -> value;
      };
    }

    private static Value constant(float value) {
      return new Value(Op.FLOAT, List.of(), Float.floatToRawIntBits(value), -1);
    }

    private static Value constant(int value) {
      return new Value(Op.INT, List.of(), value, -1);
    }
  }
}
