package io.github.attention4j.demo;

import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/**
 * Prints text as its bytes arrive: indented, only whole characters, and without control characters,
 * which a model may produce and a terminal would execute.
 */
final class TextStream {
  private final PrintStream out;
  private final String indent;
  private final CharsetDecoder decoder =
      StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPLACE)
          .onUnmappableCharacter(CodingErrorAction.REPLACE);
  private final ByteBuffer bytes = ByteBuffer.allocate(8);
  private final CharBuffer characters = CharBuffer.allocate(8);
  private boolean lineStart = true;

  TextStream(PrintStream out, String indent) {
    this.out = out;
    this.indent = indent;
  }

  /** Prints bytes, of which the last may be an incomplete character. */
  void print(int... tokens) {
    for (int token : tokens) {
      bytes.put((byte) token).flip();
      decoder.decode(bytes, characters, false);
      bytes.compact();
      show();
    }
    out.flush();
  }

  /** Ends the text and its line. */
  void end() {
    bytes.flip();
    decoder.decode(bytes, characters, true);
    show();
    if (!lineStart) {
      out.println();
    }
  }

  /** Text on one line, without control characters. */
  static String printable(String text) {
    StringBuilder shown = new StringBuilder();
    for (char c : text.toCharArray()) {
      shown.append(Character.isISOControl(c) ? '?' : c);
    }
    return shown.toString();
  }

  private void show() {
    StringBuilder shown = new StringBuilder();
    for (char c : characters.flip().toString().toCharArray()) {
      if (lineStart) {
        shown.append(indent);
      }
      lineStart = c == '\n';
      shown.append(lineStart ? System.lineSeparator() : Character.isISOControl(c) ? "?" : c);
    }
    characters.clear();
    out.print(shown);
  }
}
