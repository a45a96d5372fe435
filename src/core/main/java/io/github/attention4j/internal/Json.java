package io.github.attention4j.internal;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON as RFC 8259 defines it, without extensions: no comments, no trailing commas, no NaN.
 * Where the RFC leaves a choice, this is the stricter one: UTF-8 must be valid, surrogates must be
 * paired, and the names in an object must differ. Nesting is limited, so that hostile input causes
 * an exception rather than a stack overflow. {@link #parseAsPythonWrites} also accepts what
 * Python's {@code json} module adds to the RFC.
 */
public final class Json {
  /** Configurations and headers nest three or four deep. */
  static final int MAX_DEPTH = 64;

  private static final int SHOWN_CHARS = 80;

  private final String text;
  private final boolean python;
  private int at;

  private Json(String text, boolean python) {
    this.text = text;
    this.python = python;
  }

  /** Describes what is wrong with a text, and where. */
  public static final class MalformedException extends IOException {
    private static final long serialVersionUID = 1L;

    MalformedException(String message) {
      super(message);
    }
  }

  /**
   * Parses one JSON value, which may be surrounded by white space.
   *
   * @param utf8 the text. Not modified.
   * @return {@code Map<String, Object>} or {@code List<Object>} (both unmodifiable and in the
   *     text's order), {@link String}, {@link Long} (a number without fraction or exponent, if it
   *     fits), {@link Double} (every other number), {@link Boolean}, or null
   * @throws MalformedException if the bytes are not UTF-8, or the text is not JSON
   */
  public static Object parse(byte[] utf8) throws MalformedException {
    return new Json(decode(utf8), false).whole();
  }

  /**
   * Parses as {@link #parse}, and also accepts the literals {@code NaN}, {@code Infinity} and
   * {@code -Infinity}, and a byte-order mark before the text.
   *
   * @param utf8 the text. Not modified.
   * @return as {@link #parse}; the literals become {@link Double}
   * @throws MalformedException if the bytes are not UTF-8, or the text is not such JSON
   */
  public static Object parseAsPythonWrites(byte[] utf8) throws MalformedException {
    String text = decode(utf8);
    return new Json(text.startsWith("\uFEFF") ? text.substring(1) : text, true).whole();
  }

  /**
   * Writes a string as JSON, and escapes only what JSON requires.
   *
   * @param value any text
   * @return the text in double quotes
   */
  public static String quote(String value) {
    StringBuilder quoted = new StringBuilder(value.length() + 2).append('"');
    for (int i = 0; i < value.length(); i++) {
      char c = value.charAt(i);
      switch (c) {
        case '"', '\\' -> quoted.append('\\').append(c);
        case '\n' -> quoted.append("\\n");
        case '\r' -> quoted.append("\\r");
        case '\t' -> quoted.append("\\t");
        default -> {
          if (c < ' ') {
            quoted.append(String.format("\\u%04x", (int) c));
          } else {
            quoted.append(c);
          }
        }
      }
    }
    return quoted.append('"').toString();
  }

  /**
   * Formats any value for a message: strings are quoted, and long values are shortened.
   *
   * @param value what {@link #parse} returned
   * @return at most about 80 characters
   */
  public static String show(Object value) {
    if (value instanceof String string) {
      return string.length() <= SHOWN_CHARS
          ? quote(string)
          : quote(string.substring(0, SHOWN_CHARS)) + "…";
    }
    return switch (value) {
      case Map<?, ?> map -> "an object with " + map.size() + " members";
      case List<?> list -> "a list of " + list.size() + " values";
      case null, default -> String.valueOf(value);
    };
  }

  private static String decode(byte[] utf8) throws MalformedException {
    ByteBuffer bytes = ByteBuffer.wrap(utf8);
    CharBuffer chars = CharBuffer.allocate(utf8.length);
    if (StandardCharsets.UTF_8.newDecoder().decode(bytes, chars, true).isError()) {
      throw new MalformedException(
          "text must be valid UTF-8: it is not at byte " + bytes.position());
    }
    return chars.flip().toString();
  }

  private Object whole() throws MalformedException {
    skipSpace();
    Object value = value(0);
    skipSpace();
    if (at < text.length()) {
      throw unexpected("the end");
    }
    return value;
  }

  private Object value(int depth) throws MalformedException {
    if (depth > MAX_DEPTH) {
      throw new MalformedException(
          "nesting must be at most " + MAX_DEPTH + " deep: depth=" + depth + " at character " + at);
    }
    if (python && text.startsWith("NaN", at)) {
      return literal("NaN", Double.NaN);
    } else if (python && text.startsWith("Infinity", at)) {
      return literal("Infinity", Double.POSITIVE_INFINITY);
    } else if (python && text.startsWith("-Infinity", at)) {
      return literal("-Infinity", Double.NEGATIVE_INFINITY);
    }
    return switch (peek()) {
      case '{' -> object(depth);
      case '[' -> list(depth);
      case '"' -> string();
      case 't' -> literal("true", true);
      case 'f' -> literal("false", false);
      case 'n' -> literal("null", null);
      case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' -> number();
      default -> throw unexpected("a value");
    };
  }

  private Map<String, Object> object(int depth) throws MalformedException {
    Map<String, Object> members = new LinkedHashMap<>();
    expect('{');
    skipSpace();
    if (peek() != '}') {
      do {
        skipSpace();
        int start = at;
        if (peek() != '"') {
          throw unexpected("a name in double quotes");
        }
        String name = string();
        if (members.containsKey(name)) {
          throw new MalformedException(
              "names in an object must differ: " + show(name) + " again at character " + start);
        }
        skipSpace();
        expect(':');
        skipSpace();
        members.put(name, value(depth + 1));
        skipSpace();
      } while (skip(','));
    }
    if (!skip('}')) {
      throw unexpected("',' or '}'");
    }
    return Collections.unmodifiableMap(members);
  }

  private List<Object> list(int depth) throws MalformedException {
    List<Object> values = new ArrayList<>();
    expect('[');
    skipSpace();
    if (peek() != ']') {
      do {
        skipSpace();
        values.add(value(depth + 1));
        skipSpace();
      } while (skip(','));
    }
    if (!skip(']')) {
      throw unexpected("',' or ']'");
    }
    return Collections.unmodifiableList(values);
  }

  private String string() throws MalformedException {
    int start = at;
    expect('"');
    StringBuilder unescaped = null;
    int plainFrom = at;
    while (true) {
      int c = peek();
      if (c == '"') {
        break;
      } else if (c == '\\') {
        if (unescaped == null) {
          unescaped = new StringBuilder();
        }
        unescaped.append(text, plainFrom, at);
        at++;
        unescaped.append(escape());
        plainFrom = at;
      } else if (c < ' ') {
        throw unexpected("a character of a string, or '\"'");
      } else {
        at++;
      }
    }
    String plain = text.substring(plainFrom, at);
    at++;
    if (unescaped == null) {
      return plain;
    }
    String value = unescaped.append(plain).toString();
    if (value
        .codePoints()
        .anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE)) {
      throw new MalformedException(
          "surrogates must come in pairs: string at character " + start + " has one alone");
    }
    return value;
  }

  private char escape() throws MalformedException {
    char escaped =
        switch (peek()) {
          case '"' -> '"';
          case '\\' -> '\\';
          case '/' -> '/';
          case 'b' -> '\b';
          case 'f' -> '\f';
          case 'n' -> '\n';
          case 'r' -> '\r';
          case 't' -> '\t';
          case 'u' -> {
            int code = 0;
            for (int i = 0; i < 4; i++) {
              at++;
              int digit = peek() < 128 ? Character.digit(peek(), 16) : -1;
              if (digit < 0) {
                throw unexpected("a hexadecimal digit");
              }
              code = (code << 4) | digit;
            }
            yield (char) code;
          }
          default -> throw unexpected("one of \" \\ / b f n r t u");
        };
    at++;
    return escaped;
  }

  private Number number() throws MalformedException {
    int start = at;
    skip('-');
    if (!skip('0')) {
      digits();
    }
    boolean integer = true;
    if (skip('.')) {
      integer = false;
      digits();
    }
    if (skip('e') || skip('E')) {
      integer = false;
      if (!skip('-')) {
        skip('+');
      }
      digits();
    }
    String literal = text.substring(start, at);
    if (integer) {
      try {
        return Long.parseLong(literal);
      } catch (NumberFormatException tooLarge) {
        // It becomes a double, whose type tells the caller that it may not be exact.
      }
    }
    double value = Double.parseDouble(literal);
    if (Double.isInfinite(value)) {
      throw new MalformedException("number is too large for a double at character " + start);
    }
    return value;
  }

  private void digits() throws MalformedException {
    if (!isDigit(peek())) {
      throw unexpected("a digit");
    }
    while (isDigit(peek())) {
      at++;
    }
  }

  private static boolean isDigit(int c) {
    return c >= '0' && c <= '9';
  }

  private Object literal(String word, Object value) throws MalformedException {
    if (!text.startsWith(word, at)) {
      throw unexpected("'" + word + "'");
    }
    at += word.length();
    return value;
  }

  /** The current character, or -1 at the end. */
  private int peek() {
    return at < text.length() ? text.charAt(at) : -1;
  }

  private boolean skip(char c) {
    if (peek() != c) {
      return false;
    }
    at++;
    return true;
  }

  private void expect(char c) throws MalformedException {
    if (!skip(c)) {
      throw unexpected("'" + c + "'");
    }
  }

  private void skipSpace() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') {
      at++;
    }
  }

  private MalformedException unexpected(String wanted) {
    int c = peek();
    String got =
        c < 0
            ? "the end"
            : (c > ' ' && c < 127) ? "'" + (char) c + "'" : String.format("U+%04X", c);
    return new MalformedException("expected " + wanted + " but got " + got + " at character " + at);
  }
}
