package io.github.attention4j.models;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * Turns tokens into text as they arrive, in whole characters: the bytes of an incomplete character
 * are held back until it is complete. It also detects stop texts; it does not return any part of
 * one, and holds back text that may become one.
 *
 * <pre>{@code
 * TextStream stream = new TextStream(tokenizer, List.of("\nUser:"));
 * model.generate(prompt, 100, sampler, token -> show(stream.add(token)));
 * show(stream.finish());
 * }</pre>
 *
 * <p>All pieces together are the decoded text up to the stop. Not safe for use by several threads.
 */
public final class TextStream {
  private static final char REPLACEMENT = '\uFFFD';

  /** An incomplete character has at most three bytes, each of which may be replaced. */
  private static final int MOST_INCOMPLETE = 3;

  private final Tokenizer tokenizer;
  private final List<String> stops;
  private final int longestStop;

  /** The tokens whose text has not been returned completely, and a few before them. */
  private int[] window = new int[16];

  private int count;

  /** How many of the window's tokens have been returned before and only provide context. */
  private int context;

  /** How many characters of the window's text have been used. */
  private int taken;

  /** Text that may be the beginning of a stop text. */
  private final StringBuilder held = new StringBuilder();

  private String stop;

  /**
   * Starts a text.
   *
   * @param tokenizer decodes the tokens; special ones are left out
   */
  public TextStream(Tokenizer tokenizer) {
    this(tokenizer, List.of());
  }

  /**
   * Starts a text that ends at any of the given stop texts.
   *
   * @param tokenizer decodes the tokens; special ones are left out
   * @param stops the texts, none of them empty. Copied.
   * @throws IllegalArgumentException if a stop is empty
   */
  public TextStream(Tokenizer tokenizer, List<String> stops) {
    this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
    this.stops = List.copyOf(stops);
    if (this.stops.contains("")) {
      throw new IllegalArgumentException("stops must not be empty texts: stops=" + stops);
    }
    longestStop = this.stops.stream().mapToInt(String::length).max().orElse(0);
  }

  /**
   * Adds the next token.
   *
   * @param token a token
   * @return what can be shown now; empty after a stop
   */
  public String add(int token) {
    if (stop != null) {
      return "";
    }
    if (count == window.length) {
      window = Arrays.copyOf(window, 2 * count);
    }
    window[count++] = token;
    String text = decoded();
    int end = text.length();
    while (end > taken
        && text.charAt(end - 1) == REPLACEMENT
        && text.length() - end < MOST_INCOMPLETE) {
      end--;
    }
    String complete = end > taken ? text.substring(taken, end) : "";
    taken = Math.max(taken, end);
    if (end == text.length()) {
      String latest = tokenizer.decode(Arrays.copyOfRange(window, context, count), true);
      if (!latest.isEmpty()) {
        // The tokens returned now provide context for the next. Special tokens have no text: after
        // them alone, a tokenizer would drop the space of the next one as if it began the text.
        System.arraycopy(window, context, window, 0, count - context);
        count -= context;
        context = count;
        taken = latest.length();
      }
    }
    return withoutStops(complete, false);
  }

  /**
   * Ends the text.
   *
   * @return the text held back; an incomplete character becomes U+FFFD
   */
  public String finish() {
    if (stop != null) {
      return "";
    }
    String text = decoded();
    String rest = text.length() > taken ? text.substring(taken) : "";
    taken = text.length();
    return withoutStops(rest, true);
  }

  /**
   * Returns the stop text that was found.
   *
   * @return the stop text, or null if there was none
   */
  public String stop() {
    return stop;
  }

  private String decoded() {
    return tokenizer.decode(Arrays.copyOf(window, count), true);
  }

  private String withoutStops(String text, boolean last) {
    held.append(text);
    int first = -1;
    for (String each : stops) {
      int at = held.indexOf(each);
      if (at >= 0 && (first < 0 || at < first)) {
        first = at;
        stop = each;
      }
    }
    int give = first >= 0 ? first : last ? held.length() : held.length() - heldBack();
    String given = held.substring(0, give);
    held.delete(0, first >= 0 ? held.length() : give);
    return given;
  }

  /** The length of the longest suffix of the text that is a prefix of a stop text. */
  private int heldBack() {
    for (int length = Math.min(longestStop - 1, held.length()); length > 0; length--) {
      String end = held.substring(held.length() - length);
      for (String each : stops) {
        if (each.startsWith(end)) {
          return length;
        }
      }
    }
    return 0;
  }
}
