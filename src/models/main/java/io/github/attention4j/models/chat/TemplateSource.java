package io.github.attention4j.models.chat;

import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A template's text made ready for Jinjava: what Jinjava writes in another way is rewritten, and
 * what it would silently take for something else is refused. Only code between delimiters is looked
 * at, and no string in it.
 */
public final class TemplateSource {
  private static final Pattern FILTER = Pattern.compile("\\|\\s*([A-Za-z_]\\w*)");
  private static final Pattern TEST = Pattern.compile("\\bis\\s+(?:not\\s+)?([A-Za-z_]\\w*)");
  private static final Pattern FILTERED_LOOP =
      Pattern.compile(
          "for\\s[^\\[({]*\\sin\\s(?:(?!\\selse\\s).)*\\sif\\s(?:(?!\\selse\\s).)*",
          Pattern.DOTALL);

  /** Marks the part of a text that a model has written, for training. */
  private static final Pattern GENERATION = Pattern.compile("(end)?generation");

  private final String text;
  private final Predicate<String> filters;
  private final Predicate<String> tests;
  private final StringBuilder out = new StringBuilder();
  private int at;

  private TemplateSource(String text, Predicate<String> filters, Predicate<String> tests) {
    this.text = text;
    this.filters = filters;
    this.tests = tests;
  }

  /**
   * Prepares a template.
   *
   * @param filters which filters there are
   * @param tests which tests there are
   * @throws IllegalArgumentException naming what is not supported
   */
  public static String prepare(String text, Predicate<String> filters, Predicate<String> tests) {
    return new TemplateSource(text, filters, tests).prepare();
  }

  private String prepare() {
    while (at < text.length()) {
      if (text.startsWith("{#", at)) {
        copyUpTo("#}");
      } else if (text.startsWith("{{", at)) {
        code("}}", false);
      } else if (text.startsWith("{%", at)) {
        code("%}", true);
      } else {
        out.append(text.charAt(at++));
      }
    }
    return out.toString();
  }

  private void copyUpTo(String end) {
    int stop = text.indexOf(end, at);
    stop = stop < 0 ? text.length() : stop + end.length();
    out.append(text, at, stop);
    at = stop;
  }

  private void code(String end, boolean tag) {
    int start = at;
    StringBuilder plain = new StringBuilder();
    StringBuilder written = new StringBuilder();
    at += 2;
    while (at < text.length() && !text.startsWith(end, at)) {
      char c = text.charAt(at);
      if (c == '"' || c == '\'') {
        int from = at;
        skipString(c);
        plain.append("''");
        written.append(text, from, at);
      } else {
        plain.append(c);
        written.append(c);
        at++;
      }
    }
    if (at >= text.length()) {
      throw new IllegalArgumentException(
          "code must end with " + end + ": it begins at character " + start);
    }
    at += 2;
    String inner = plain.toString();
    check(inner, tag);
    out.append(text, start, start + 2)
        .append(rewritten(written.toString(), inner, tag))
        .append(end);
  }

  private void skipString(char quote) {
    for (at++; at < text.length() && text.charAt(at) != quote; at++) {
      if (text.charAt(at) == '\\') {
        at++;
      }
    }
    at = Math.min(at + 1, text.length());
  }

  private void check(String code, boolean tag) {
    for (Matcher filter = FILTER.matcher(code); filter.find(); ) {
      if (!filters.test(filter.group(1))) {
        throw new IllegalArgumentException("filter " + filter.group(1) + " is not known");
      }
    }
    for (Matcher test = TEST.matcher(code); test.find(); ) {
      if (!tests.test(test.group(1))) {
        throw new IllegalArgumentException("test " + test.group(1) + " is not known");
      }
    }
    if (tag && FILTERED_LOOP.matcher(stripped(code)).matches()) {
      throw new IllegalArgumentException(
          "loops with a condition are not supported: " + stripped(code));
    }
  }

  private static String stripped(String code) {
    return code.replaceAll("^[-+]?\\s*|\\s*[-+]?$", "");
  }

  private static String rewritten(String code, String plain, boolean tag) {
    if (tag && GENERATION.matcher(stripped(plain)).matches()) {
      return code.replace("endgeneration", "endif").replace("generation", "if true");
    }
    return plain.contains("[::-1]") ? code.replace("[::-1]", "|reverse") : code;
  }
}
