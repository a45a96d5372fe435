package io.github.attention4j.models;

import io.github.attention4j.Tensor;
import java.util.Arrays;
import java.util.Objects;

/** Guesses how a text continues, so a model can check several tokens at a time. */
@FunctionalInterface
public interface Drafter {
  /**
   * Proposes the next tokens.
   *
   * @param text the tokens so far. Not modified.
   * @param most the most tokens that can be used, at least 1
   * @return the guess; fewer tokens or none if there is no good guess
   */
  int[] propose(int[] text, int most);

  /**
   * Proposes what followed the last tokens of the text where they occurred before. Good for texts
   * that repeat parts of their prompt, and almost free.
   *
   * @param longest how many of the last tokens to look for first; then fewer, down to 2
   * @return a drafter without state, safe for any number of threads
   * @throws IllegalArgumentException if longest is less than 2
   */
  static Drafter ngrams(int longest) {
    if (longest < 2) {
      throw new IllegalArgumentException("longest must be at least 2: longest=" + longest);
    }
    return (text, most) -> {
      for (int n = Math.min(longest, text.length - 1); n >= 2; n--) {
        for (int at = text.length - n - 1; at >= 0; at--) {
          if (Arrays.equals(text, at, at + n, text, text.length - n, text.length)) {
            return Arrays.copyOfRange(text, at + n, Math.min(at + n + most, text.length));
          }
        }
      }
      return new int[0];
    };
  }

  /**
   * Proposes the likeliest tokens of a smaller model with the same vocabulary.
   *
   * @param session a session of that model, which is kept in step with the text. Modified.
   * @return a drafter for one text at a time
   */
  static Drafter of(CausalLm.Session session) {
    Objects.requireNonNull(session, "session");
    return (text, most) -> {
      int wanted = Math.min(most, session.capacity() - text.length);
      if (wanted < 1) {
        return new int[0];
      }
      int[] read = session.tokens();
      int same = Arrays.mismatch(read, text);
      // Reads at least the last token, for its logits.
      int kept = Math.min(same < 0 ? read.length : same, text.length - 1);
      session.truncate(kept);
      Tensor logits = session.prefill(Arrays.copyOfRange(text, kept, text.length));
      int[] proposed = new int[wanted];
      for (int i = 0; i < wanted; i++) {
        proposed[i] = Sampler.greedy().next(logits, i);
        if (i + 1 < wanted) {
          logits = session.step(proposed[i]);
        }
      }
      return proposed;
    };
  }
}
