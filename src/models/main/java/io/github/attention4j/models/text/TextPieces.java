package io.github.attention4j.models.text;

import io.github.attention4j.models.Tokenizer;
import java.util.Arrays;
import java.util.List;

/**
 * Turns tokens into text as they come: whole characters only, and nothing that may turn out to be
 * part of a stop text.
 *
 * <p>A token's text depends on the tokens before it, so the last tokens are decoded together, and
 * what they add to those already shown is new. Belongs to one text and one thread.
 */
final class TextPieces {
  /** A character has at most 4 bytes; what is still incomplete after so many tokens is invalid. */
  private static final int MOST_PARTS = 4;

  private final Tokenizer tokenizer;
  private final String[] stops;

  /** Tokens that are decoded together: those of the last piece, then the ones after it. */
  private int[] window = new int[16];

  private int tokens;
  private int shownTokens;
  private int shownChars;

  /** Text that may be the beginning of a stop text. */
  private final StringBuilder held = new StringBuilder();

  private boolean stopped;

  TextPieces(Tokenizer tokenizer, List<String> stops) {
    this.tokenizer = tokenizer;
    this.stops = stops.toArray(String[]::new);
  }

  /** Whether a stop text has come; it and what follows it is never returned. */
  boolean stopped() {
    return stopped;
  }

  /** Adds a token; returns the text that is now certain, often empty. */
  String add(int token) {
    if (tokens == window.length) {
      window = Arrays.copyOf(window, 2 * tokens);
    }
    window[tokens++] = token;
    String text = tokenizer.decode(Arrays.copyOf(window, tokens), true);
    boolean partial = text.endsWith("\uFFFD") && tokens - shownTokens < MOST_PARTS;
    int certain = partial ? text.length() - 1 : text.length();
    String piece = certain > shownChars ? text.substring(shownChars, certain) : "";
    if (partial) {
      shownChars = Math.max(shownChars, certain);
    } else {
      // The next tokens are decoded after those of this piece.
      int kept = tokens - shownTokens;
      System.arraycopy(window, shownTokens, window, 0, kept);
      tokens = kept;
      shownTokens = kept;
      shownChars = tokenizer.decode(Arrays.copyOf(window, kept), true).length();
    }
    return withoutStops(piece);
  }

  /** Ends the text; returns what was held back. */
  String end() {
    if (stopped) {
      return "";
    }
    String text = tokenizer.decode(Arrays.copyOf(window, tokens), true);
    String rest = text.length() > shownChars ? text.substring(shownChars) : "";
    String last = withoutStops(rest);
    if (stopped) {
      return last;
    }
    String all = last + held;
    held.setLength(0);
    return all;
  }

  private String withoutStops(String piece) {
    if (stopped || piece.isEmpty()) {
      return "";
    }
    held.append(piece);
    int stop = -1;
    for (String each : stops) {
      int at = held.indexOf(each);
      if (at >= 0 && (stop < 0 || at < stop)) {
        stop = at;
      }
    }
    stopped = stop >= 0;
    int free = stopped ? stop : held.length() - possibleStop();
    String text = held.substring(0, free);
    held.delete(0, stopped ? held.length() : free);
    return text;
  }

  /** The length of the longest end of the held text that begins a stop text. */
  private int possibleStop() {
    int longest = 0;
    for (String each : stops) {
      for (int size = Math.min(each.length() - 1, held.length()); size > longest; size--) {
        if (each.startsWith(held.substring(held.length() - size))) {
          longest = size;
        }
      }
    }
    return longest;
  }
}
