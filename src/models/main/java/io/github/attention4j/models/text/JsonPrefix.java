package io.github.attention4j.models.text;

/**
 * The beginning of a JSON object, read character by character, which determines the characters that
 * may follow.
 *
 * <p>The grammar is RFC 8259's, with an object at the top, at most {@link #MOST_DEPTH} levels, and
 * at most {@link #MOST_SPACE} white-space characters in a row outside strings, because a language
 * model that may write white space forever sometimes does.
 */
final class JsonPrefix {
  static final int MOST_DEPTH = 64;
  static final int MOST_SPACE = 20;

  private static final String[] WORDS = {"true", "false", "null"};

  /** What is expected next. */
  private enum Expect {
    TOP,
    VALUE,
    VALUE_OR_END,
    KEY,
    KEY_OR_END,
    COLON,
    COMMA_OR_END,
    STRING,
    ESCAPED,
    HEX,
    WORD,
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    DONE
  }

  private Expect expect = Expect.TOP;

  /** The open brackets as bits, the innermost lowest: 1 for an object, 0 for an array. */
  private long objects;

  private int depth;
  private boolean key;
  private int hexLeft;
  private int word;
  private int wordAt;
  private int space;

  void copyFrom(JsonPrefix other) {
    expect = other.expect;
    objects = other.objects;
    depth = other.depth;
    key = other.key;
    hexLeft = other.hexLeft;
    word = other.word;
    wordAt = other.wordAt;
    space = other.space;
  }

  /** Whether the object is complete, so the text may end. */
  boolean complete() {
    return expect == Expect.DONE;
  }

  /** Reads text. Returns false if it cannot follow; then the state is undefined. */
  boolean accept(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (!accept(text.charAt(i))) {
        return false;
      }
    }
    return true;
  }

  /** Reads a character. Returns false if it cannot follow; then the state is undefined. */
  boolean accept(char c) {
    switch (expect) {
      case STRING -> {
        return inString(c);
      }
      case ESCAPED -> {
        return escaped(c);
      }
      case HEX -> {
        if (Character.digit(c, 16) < 0 || c > 'f') {
          return false;
        }
        if (--hexLeft == 0) {
          expect = Expect.STRING;
        }
        return true;
      }
      case WORD -> {
        if (c != WORDS[word].charAt(wordAt)) {
          return false;
        }
        if (++wordAt == WORDS[word].length()) {
          valueEnds();
        }
        return true;
      }
      case MINUS, ZERO, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS -> {
        Boolean inside = inNumber(c);
        if (inside != null) {
          return inside;
        }
        // The number ended before this character.
        valueEnds();
        return structure(c);
      }
      default -> {
        return structure(c);
      }
    }
  }

  private boolean inString(char c) {
    if (c == '"') {
      if (key) {
        key = false;
        expect = Expect.COLON;
      } else {
        valueEnds();
      }
    } else if (c == '\\') {
      expect = Expect.ESCAPED;
    } else {
      return c >= ' ';
    }
    return true;
  }

  private boolean escaped(char c) {
    if (c == 'u') {
      hexLeft = 4;
      expect = Expect.HEX;
      return true;
    }
    expect = Expect.STRING;
    return "\"\\/bfnrt".indexOf(c) >= 0;
  }

  /** Whether c may continue a number; null if the number is complete and c is not part of it. */
  private Boolean inNumber(char c) {
    boolean digit = c >= '0' && c <= '9';
    switch (expect) {
      case MINUS -> {
        expect = c == '0' ? Expect.ZERO : Expect.DIGITS;
        return digit;
      }
      case POINT -> {
        expect = Expect.FRACTION;
        return digit;
      }
      case EXPONENT -> {
        expect = digit ? Expect.EXPONENT_DIGITS : Expect.EXPONENT_SIGN;
        return digit || c == '+' || c == '-';
      }
      case EXPONENT_SIGN -> {
        expect = Expect.EXPONENT_DIGITS;
        return digit;
      }
      default -> {
        if (digit && expect != Expect.ZERO) {
          return true;
        }
        if (c == '.' && (expect == Expect.ZERO || expect == Expect.DIGITS)) {
          expect = Expect.POINT;
          return true;
        }
        if ((c == 'e' || c == 'E') && expect != Expect.EXPONENT_DIGITS) {
          expect = Expect.EXPONENT;
          return true;
        }
        return digit ? false : null;
      }
    }
  }

  private boolean structure(char c) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      return ++space <= MOST_SPACE && expect != Expect.DONE;
    }
    space = 0;
    switch (expect) {
      case TOP -> {
        return c == '{' && open(true);
      }
      case VALUE, VALUE_OR_END -> {
        return c == ']' && expect == Expect.VALUE_OR_END ? close(false) : value(c);
      }
      case KEY, KEY_OR_END -> {
        if (c == '}' && expect == Expect.KEY_OR_END) {
          return close(true);
        }
        key = true;
        expect = Expect.STRING;
        return c == '"';
      }
      case COLON -> {
        expect = Expect.VALUE;
        return c == ':';
      }
      case COMMA_OR_END -> {
        boolean object = (objects & 1) != 0;
        if (c == ',') {
          expect = object ? Expect.KEY : Expect.VALUE;
          return true;
        }
        return c == (object ? '}' : ']') && close(object);
      }
      default -> {
        return false;
      }
    }
  }

  private boolean value(char c) {
    switch (c) {
      case '{' -> {
        return open(true);
      }
      case '[' -> {
        return open(false);
      }
      case '"' -> expect = Expect.STRING;
      case '-' -> expect = Expect.MINUS;
      case '0' -> expect = Expect.ZERO;
      case 't', 'f', 'n' -> {
        word = "tfn".indexOf(c);
        wordAt = 1;
        expect = Expect.WORD;
      }
      default -> {
        expect = Expect.DIGITS;
        return c >= '1' && c <= '9';
      }
    }
    return true;
  }

  private boolean open(boolean object) {
    if (depth == MOST_DEPTH) {
      return false;
    }
    depth++;
    objects = objects << 1 | (object ? 1 : 0);
    expect = object ? Expect.KEY_OR_END : Expect.VALUE_OR_END;
    return true;
  }

  private boolean close(boolean object) {
    if (depth == 0 || ((objects & 1) != 0) != object) {
      return false;
    }
    depth--;
    objects >>>= 1;
    valueEnds();
    return true;
  }

  private void valueEnds() {
    expect = depth == 0 ? Expect.DONE : Expect.COMMA_OR_END;
  }
}
