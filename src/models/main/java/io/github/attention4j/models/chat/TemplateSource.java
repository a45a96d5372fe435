package io.github.attention4j.models.chat;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Prepares a template's text for Jinjava: syntax that Jinjava spells differently is rewritten, and
 * syntax that it would silently misinterpret is refused. The text is split like Jinja's lexer does
 * it: comments, raw blocks, and code that ends at the first delimiter outside strings and brackets.
 * Only code is changed, but no strings in it.
 *
 * <pre>
 *   {{ {'a': {'b': 1}} }}           {{ {'a': {'b': 1} } }}
 *   {% for x in xs if x.y %}        a namespace, a loop that collects elements, and a loop over them
 *   {% generation %}                {% if true %}
 *   xs[::-1]                        xs|reverse
 * </pre>
 */
public final class TemplateSource {
  private static final Pattern FILTER = Pattern.compile("\\|\\s*([A-Za-z_]\\w*)");
  private static final Pattern TEST = Pattern.compile("\\bis\\s+(?:not\\s+)?([A-Za-z_]\\w*)");
  private static final Pattern RAW = Pattern.compile("\\{%[-+]?\\s*raw\\s*[-+]?%}");
  private static final Pattern END_RAW = Pattern.compile("\\{%[-+]?\\s*endraw\\s*[-+]?%}");
  private static final Pattern FOR = Pattern.compile("for\\s+(.+?)\\sin\\s.*", Pattern.DOTALL);
  private static final Pattern IF = Pattern.compile("\\sif[\\s(\\[]");
  private static final Pattern ELSE = Pattern.compile("\\selse\\s");
  private static final Pattern RECURSIVE = Pattern.compile("\\srecursive\\s*$");

  /** Marks the part of a text written by the model, for training. */
  private static final Pattern GENERATION = Pattern.compile("(end)?generation");

  private final String text;
  private final Predicate<String> filters;
  private final Predicate<String> tests;
  private final StringBuilder out = new StringBuilder();

  /** The open blocks of for and if, the innermost first. */
  private final Deque<String> blocks = new ArrayDeque<>();

  private int at;
  private int loops;

  private TemplateSource(String text, Predicate<String> filters, Predicate<String> tests) {
    this.text = text;
    this.filters = filters;
    this.tests = tests;
  }

  /**
   * Prepares a template.
   *
   * @param filters the known filters
   * @param tests the known tests
   * @throws IllegalArgumentException naming what is not supported
   */
  public static String prepare(String text, Predicate<String> filters, Predicate<String> tests) {
    return new TemplateSource(text, filters, tests).prepare();
  }

  private String prepare() {
    Matcher raw = RAW.matcher(text);
    while (at < text.length()) {
      if (text.startsWith("{#", at)) {
        int stop = text.indexOf("#}", at);
        copyUpTo(stop < 0 ? text.length() : stop + 2);
      } else if (raw.region(at, text.length()).lookingAt()) {
        Matcher end = END_RAW.matcher(text);
        copyUpTo(end.find(raw.end()) ? end.end() : text.length());
      } else if (text.startsWith("{{", at)) {
        code("}}");
      } else if (text.startsWith("{%", at)) {
        code("%}");
      } else {
        out.append(text.charAt(at++));
      }
    }
    return out.toString();
  }

  private void copyUpTo(int stop) {
    out.append(text, at, stop);
    at = stop;
  }

  /**
   * Code, and copies of it in which the characters of strings, of brackets, or of both are
   * replaced, so patterns do not match there.
   */
  private static final class Code {
    final StringBuilder written = new StringBuilder();
    final StringBuilder outsideStrings = new StringBuilder();
    final StringBuilder outsideBrackets = new StringBuilder();

    void add(char c, boolean inString, boolean inBrackets) {
      written.append(c);
      outsideStrings.append(inString ? '_' : c);
      outsideBrackets.append(inString || inBrackets ? '_' : c);
    }
  }

  private void code(String end) {
    int start = at;
    Code code = new Code();
    StringBuilder open = new StringBuilder();
    at += 2;
    while (at < text.length() && !(open.isEmpty() && text.startsWith(end, at))) {
      char c = text.charAt(at);
      if (c == '"' || c == '\'') {
        string(c, code, !open.isEmpty());
        continue;
      }
      boolean within = !open.isEmpty();
      if (c == '(' || c == '[' || c == '{') {
        open.append(c == '(' ? ')' : c == '[' ? ']' : '}');
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.isEmpty() || open.charAt(open.length() - 1) != c) {
          throw new IllegalArgumentException(
              "brackets must match: " + c + " at character " + at + " closes none");
        }
        open.setLength(open.length() - 1);
      }
      separate(code, c);
      code.add(c, false, within);
      at++;
    }
    if (at >= text.length()) {
      throw new IllegalArgumentException(
          "code must end with " + end + ": it begins at character " + start);
    }
    at += 2;
    separate(code, '}');
    check(code);
    write(code, text.substring(start, start + 2), end);
  }

  /** Jinjava takes two adjacent braces of dictionaries for a delimiter. */
  private static void separate(Code code, char next) {
    int last = code.written.length() - 1;
    boolean first = last < 0 && next == '{';
    if (first || (last >= 0 && next == '}' && code.written.charAt(last) == '}')) {
      code.add(' ', false, false);
    }
  }

  private void string(char quote, Code code, boolean inBrackets) {
    int from = at;
    for (at++; at < text.length() && text.charAt(at) != quote; at++) {
      if (text.charAt(at) == '\\') {
        at++;
      }
    }
    at = Math.min(at + 1, text.length());
    for (int i = from; i < at; i++) {
      code.add(text.charAt(i), i > from && i < at - 1, inBrackets);
    }
  }

  private void check(Code code) {
    for (Matcher filter = FILTER.matcher(code.outsideStrings); filter.find(); ) {
      if (!filters.test(filter.group(1))) {
        throw new IllegalArgumentException("filter " + filter.group(1) + " is not known");
      }
    }
    for (Matcher test = TEST.matcher(code.outsideStrings); test.find(); ) {
      if (!tests.test(test.group(1))) {
        throw new IllegalArgumentException("test " + test.group(1) + " is not known");
      }
    }
  }

  // ---- Rewriting ----

  private void write(Code code, String begin, String end) {
    String written = code.written.toString();
    int from = control(written, 0) ? 1 : 0;
    int to = written.length();
    to -= to > from && control(written, to - 1) ? 1 : 0;
    String before = begin + written.substring(0, from);
    String after = written.substring(to) + end;
    String inner = written.substring(from, to);
    String name = inner.strip();
    if (begin.equals("{%")) {
      block(name);
    }
    if (begin.equals("{%") && GENERATION.matcher(name).matches()) {
      out.append(before).append(name.startsWith("end") ? " endif " : " if true ").append(after);
      return;
    }
    if (begin.equals("{%") && name.startsWith("for")) {
      int skipped = inner.indexOf("for");
      loop(
          before,
          inner.substring(skipped),
          code.outsideStrings.substring(from + skipped, to),
          code.outsideBrackets.substring(from + skipped, to),
          after);
      return;
    }
    out.append(before)
        .append(reversed(inner, code.outsideStrings.substring(from, to)))
        .append(after);
  }

  /** Jinjava ignores the else of a loop without elements. */
  private void block(String code) {
    if (code.matches("(?s)(for|if)\\b.*")) {
      blocks.push(code);
    } else if (code.matches("(?s)end(for|if)\\b.*")) {
      blocks.poll();
    } else if (code.equals("else") && !blocks.isEmpty() && blocks.peek().startsWith("for")) {
      throw new IllegalArgumentException("loops must have no else: " + blocks.peek());
    }
  }

  private static boolean control(String code, int at) {
    return at < code.length() && (code.charAt(at) == '-' || code.charAt(at) == '+');
  }

  /** Jinjava does not support steps in slices. */
  private static String reversed(String code, String outsideStrings) {
    StringBuilder reversed = new StringBuilder();
    String slice = "[::-1]";
    int done = 0;
    for (int i = outsideStrings.indexOf(slice); i >= 0; i = outsideStrings.indexOf(slice, done)) {
      reversed.append(code, done, i).append("|reverse");
      done = i + slice.length();
    }
    return reversed.append(code.substring(done)).toString();
  }

  /** A loop with a condition visits and counts only the elements that meet it. */
  private void loop(
      String before, String code, String outsideStrings, String outside, String after) {
    Matcher parts = FOR.matcher(outside);
    if (!parts.matches()) {
      out.append(before).append(' ').append(reversed(code, outsideStrings)).append(after);
      return;
    }
    if (RECURSIVE.matcher(outside).find()) {
      throw new IllegalArgumentException("recursive loops are not supported: " + code.strip());
    }
    int in = parts.end(1);
    Matcher condition = IF.matcher(outside);
    if (!condition.find(in)) {
      out.append(before).append(' ').append(reversed(code, outsideStrings)).append(after);
      return;
    }
    if (ELSE.matcher(outside).region(condition.end() - 1, outside.length()).find()) {
      throw new IllegalArgumentException(
          "the condition of a loop must have no else outside parentheses: " + code.strip());
    }
    String target = code.substring(parts.start(1), in).strip();
    int first = outside.indexOf("in", in) + "in".length();
    int last = condition.start();
    int tested = last + " if".length();
    String elements = reversed(code.substring(first, last), outsideStrings.substring(first, last));
    String test = reversed(code.substring(tested), outsideStrings.substring(tested));
    String kept = "kept_by_loop_" + loops++;
    String element = target.contains(",") ? "[" + target + "]" : target;
    out.append(before)
        .append(" set ")
        .append(kept)
        .append(" = namespace(all=[]) %}")
        .append("{% for ")
        .append(target)
        .append(" in")
        .append(elements)
        .append(" %}")
        .append("{% if ")
        .append(test)
        .append(" %}")
        .append("{% set ")
        .append(kept)
        .append(".all = ")
        .append(kept)
        .append(".all + [")
        .append(element)
        .append("] %}{% endif %}{% endfor %}")
        .append("{% for ")
        .append(target)
        .append(" in ")
        .append(kept)
        .append(".all ")
        .append(after);
  }
}
