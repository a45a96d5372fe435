package io.github.attention4j.models;

import java.util.ArrayList;
import java.util.List;

/** Log-probabilities of the next token, computed in double. */
final class LogProbabilities {
  private LogProbabilities() {}

  /** {@code ln(Σ exp(logit))}. */
  static double logSumExp(float[] logits) {
    double largest = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      largest = Math.max(largest, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - largest);
    }
    return largest + Math.log(sum);
  }

  /** The likeliest tokens, likeliest first; of equals, the smaller one first. */
  static List<GeneratedToken.Alternative> likeliest(float[] logits, double logSumExp, int count) {
    int[] best = new int[Math.min(count, logits.length)];
    int kept = 0;
    for (int token = 0; token < logits.length; token++) {
      int at = kept;
      while (at > 0 && logits[token] > logits[best[at - 1]]) {
        at--;
      }
      if (at < best.length) {
        int moved = Math.min(kept, best.length - 1) - at;
        System.arraycopy(best, at, best, at + 1, moved);
        best[at] = token;
        kept = Math.min(kept + 1, best.length);
      }
    }
    List<GeneratedToken.Alternative> alternatives = new ArrayList<>();
    for (int token : best) {
      alternatives.add(new GeneratedToken.Alternative(token, logits[token] - logSumExp));
    }
    return alternatives;
  }
}
