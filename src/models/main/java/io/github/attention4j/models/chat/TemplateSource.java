package io.github.attention4j.models.chat;

import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Prepares a template's text for Jinjava. The text is split like Jinja's lexer does it: comments,
 * raw blocks, and code that ends at the first delimiter outside strings and brackets. White space
 * is removed here, as Jinja does it with {@code trim_blocks} and {@code lstrip_blocks}, because
 * Jinjava removes more. Unknown filters and tests are refused even where they are never reached.
 *
 * <pre>
 *   {# a comment #}
 *   a {%- if b -%} c                a{% if b %}c
 *   {% raw %}{{ a }}{% endraw %}    {{ '{{ a }}' }}
 *   {{ {'a': {'b': 1}} }}           {{ {'a': {'b': 1} } }}
 *   {% generation %}                {% if true %}
 * </pre>
 */
public final class TemplateSource {
  private static final Pattern FILTER = Pattern.compile("\\|\\s*([A-Za-z_]\\w*)");
  private static final Pattern TEST = Pattern.compile("\\bis\\s+(?:not\\s+)?([A-Za-z_]\\w*)");
  private static final Pattern RAW = Pattern.compile("\\{%([-+]?)\\s*raw\\s*(?:-%}\\s*|%})");
  private static final Pattern END_RAW =
      Pattern.compile("\\{%([-+]?)\\s*endraw\\s*(?:\\+%}|-%}\\s*|%}\\n?)");

  /** Marks the part of a text written by the model, for training. */
  private static final Pattern GENERATION = Pattern.compile("(end)?generation");

  private final String text;
  private final Predicate<String> filters;
  private final Predicate<String> tests;
  private final StringBuilder out = new StringBuilder();

  /** The text before the next code or comment. */
  private final StringBuilder data = new StringBuilder();

  /** Whether that text begins a line. */
  private boolean startsLine = true;

  private int at;

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
    String lines = text.replace("\r\n", "\n").replace('\r', '\n');
    // Jinja drops one newline at the end of a template.
    String trimmed = lines.endsWith("\n") ? lines.substring(0, lines.length() - 1) : lines;
    return new TemplateSource(trimmed, filters, tests).prepare();
  }

  private String prepare() {
    Matcher raw = RAW.matcher(text);
    while (at < text.length()) {
      if (text.startsWith("{#", at)) {
        comment();
      } else if (raw.region(at, text.length()).lookingAt()) {
        raw(raw);
      } else if (text.startsWith("{{", at)) {
        code("}}");
      } else if (text.startsWith("{%", at)) {
        code("%}");
      } else {
        data.append(text.charAt(at++));
      }
    }
    return out.append(data).toString();
  }

  // ---- White space ----

  /**
   * Writes the text before code or a comment.
   *
   * @param sign the first character of the code
   * @param block whether white space from the beginning of a line is removed too
   */
  private void flush(char sign, boolean block) {
    out.append(stripped(data, startsLine, sign, block));
    data.setLength(0);
  }

  private static String stripped(CharSequence data, boolean startsLine, char sign, boolean block) {
    String before = data.toString();
    if (sign == '-') {
      return PythonMethods.strip(before, null, false, true);
    }
    int line = before.lastIndexOf('\n') + 1;
    boolean blank = PythonMethods.strip(before.substring(line), null, true, true).isEmpty();
    return block && sign != '+' && blank && (line > 0 || startsLine)
        ? before.substring(0, line)
        : before;
  }

  /**
   * Passes over the white space after code or a comment.
   *
   * @param sign the last character of the code
   * @param block whether a newline is removed too
   */
  private void skip(char sign, boolean block) {
    if (sign == '-') {
      while (at < text.length() && PythonMethods.isSpace(text.charAt(at))) {
        at++;
      }
    } else if (block && sign != '+' && text.startsWith("\n", at)) {
      at++;
    }
    startsLine = text.charAt(at - 1) == '\n';
  }

  private void comment() {
    int stop = text.indexOf("#}", at + 2);
    if (stop < 0) {
      throw new IllegalArgumentException(
          "comments must end with #}: one begins at character " + at);
    }
    flush(text.charAt(at + 2), true);
    at = stop + 2;
    skip(text.charAt(stop - 1), true);
  }

  private void raw(Matcher begin) {
    Matcher end = END_RAW.matcher(text);
    if (!end.find(begin.end())) {
      throw new IllegalArgumentException(
          "raw blocks must end with endraw: one begins at character " + at);
    }
    flush(sign(begin.group(1)), true);
    boolean atLine = text.charAt(begin.end() - 1) == '\n';
    String inside = text.substring(begin.end(), end.start());
    String written = stripped(inside, atLine, sign(end.group(1)), true);
    out.append("{{ '")
        .append(written.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n"))
        .append("' }}");
    at = end.end();
    startsLine = text.charAt(at - 1) == '\n';
  }

  private static char sign(String group) {
    return group.isEmpty() ? ' ' : group.charAt(0);
  }

  // ---- Code ----

  /** Code, and a copy of it in which strings are replaced, so that patterns do not match there. */
  private static final class Code {
    final StringBuilder written = new StringBuilder();
    final StringBuilder outsideStrings = new StringBuilder();

    void add(char c, boolean inString) {
      written.append(c);
      outsideStrings.append(inString ? '_' : c);
    }

    char sign(int index) {
      return index >= 0 && index < written.length() ? written.charAt(index) : ' ';
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
        string(c, code);
        continue;
      }
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
      code.add(c, false);
      at++;
    }
    if (at >= text.length()) {
      throw new IllegalArgumentException(
          "code must end with " + end + ": it begins at character " + start);
    }
    at += 2;
    check(code);
    boolean block = end.equals("%}");
    char first = code.sign(0);
    int length = code.written.length();
    char last = length > 1 ? code.sign(length - 1) : ' ';
    flush(first, block);
    write(code, first, last, text.substring(start, start + 2), end);
    skip(last, block);
  }

  /** Jinjava takes two adjacent braces of dictionaries for a delimiter. */
  private static void separate(Code code, char next) {
    if (next == '}' && code.sign(code.written.length() - 1) == '}') {
      code.add(' ', false);
    }
  }

  private void string(char quote, Code code) {
    int from = at;
    for (at++; at < text.length() && text.charAt(at) != quote; at++) {
      if (text.charAt(at) == '\\') {
        at++;
      }
    }
    at = Math.min(at + 1, text.length());
    for (int i = from; i < at; i++) {
      code.add(text.charAt(i), i > from && i < at - 1);
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

  private void write(Code code, char first, char last, String begin, String end) {
    int from = first == '-' || first == '+' ? 1 : 0;
    int to = code.written.length() - (last == '-' || (last == '+' && end.equals("%}")) ? 1 : 0);
    String inner = code.written.substring(from, Math.max(from, to)).strip();
    if (begin.equals("{%") && GENERATION.matcher(inner).matches()) {
      inner = inner.startsWith("end") ? "endif" : "if true";
    }
    out.append(begin).append(' ').append(inner).append(' ').append(end);
  }
}
