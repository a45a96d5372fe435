package io.github.attention4j.classics.d2l;

import io.github.attention4j.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/**
 * Generates tokens with a decoder, greedily or by beam search.
 *
 * <p>A beam of k keeps the k likeliest beginnings, extends each by every token, and again keeps the
 * k likeliest. Finished texts are set aside. The result is the best by {@code log P / length^alpha}
 * of all that finished or were kept at the last step.
 */
final class BeamSearch {
  private BeamSearch() {}

  /** A decoder over a batch of sequences. */
  interface Decoder {
    /**
     * Reads one token of each sequence, and returns the logits of the next, [batch, vocabulary].
     */
    Tensor step(int[] tokens);

    /** Continues sequence i from the state of sequence {@code parents[i]}. */
    void reorder(int[] parents);
  }

  /** A beginning, without bos. */
  private record Candidate(int parent, int[] tokens, double logProbability) {
    double score(double alpha) {
      return logProbability / Math.pow(Math.max(1, tokens.length), alpha);
    }
  }

  /** The likeliest token at each step, for each of a batch, until all have ended. */
  static int[][] greedy(Decoder decoder, int batch, int bos, int eos, int steps) {
    int[][] texts = new int[batch][];
    List<int[]> columns = new ArrayList<>();
    boolean[] ended = new boolean[batch];
    int[] tokens = new int[batch];
    Arrays.fill(tokens, bos);
    for (int step = 0; step < steps; step++) {
      Tensor logits = decoder.step(tokens);
      tokens = new int[batch];
      boolean all = true;
      for (int b = 0; b < batch; b++) {
        tokens[b] = likeliest(logits.select(0, b).toFloatArray());
        if (!ended[b] && tokens[b] == eos) {
          ended[b] = true;
          texts[b] = new int[step + 1];
        }
        all &= ended[b];
      }
      columns.add(tokens);
      if (all) {
        break;
      }
    }
    for (int b = 0; b < batch; b++) {
      texts[b] = texts[b] == null ? new int[columns.size()] : texts[b];
      for (int i = 0; i < texts[b].length; i++) {
        texts[b][i] = columns.get(i)[b];
      }
    }
    return texts;
  }

  /** The best text by beam search; the decoder holds one sequence for each beam. */
  static Beam search(Decoder decoder, int beams, int bos, int eos, int steps, double alpha) {
    List<Candidate> ended = new ArrayList<>();
    List<Candidate> kept = new ArrayList<>();
    // At first all sequences are the same, so that only one of them counts.
    kept.add(new Candidate(0, new int[0], 0));
    int[] tokens = new int[beams];
    Arrays.fill(tokens, bos);
    for (int step = 0; step < steps && !kept.isEmpty(); step++) {
      Tensor logits = decoder.step(tokens);
      List<Candidate> next = new ArrayList<>();
      for (int beam = 0; beam < kept.size(); beam++) {
        Candidate candidate = kept.get(beam);
        double[] logs = logSoftmax(logits.select(0, beam).toFloatArray());
        for (int token : likeliest(logs, beams)) {
          int[] longer = Arrays.copyOf(candidate.tokens, step + 1);
          longer[step] = token;
          next.add(new Candidate(beam, longer, candidate.logProbability + logs[token]));
        }
      }
      next.sort(Comparator.comparingDouble(Candidate::logProbability).reversed());
      kept = new ArrayList<>();
      for (Candidate candidate : next.subList(0, Math.min(beams, next.size()))) {
        (candidate.tokens[step] == eos ? ended : kept).add(candidate);
      }
      int[] parents = new int[beams];
      for (int beam = 0; beam < beams; beam++) {
        // Unused slots repeat the first sequence.
        Candidate candidate = kept.isEmpty() ? null : kept.get(beam < kept.size() ? beam : 0);
        parents[beam] = candidate == null ? 0 : candidate.parent;
        tokens[beam] = candidate == null ? bos : candidate.tokens[step];
      }
      if (step + 1 < steps && !kept.isEmpty()) {
        decoder.reorder(parents);
      }
    }
    ended.addAll(kept);
    Candidate best =
        ended.stream().max(Comparator.comparingDouble(one -> one.score(alpha))).orElseThrow();
    return new Beam(best.tokens, best.logProbability, best.score(alpha));
  }

  /** The first of the largest. */
  private static int likeliest(float[] logits) {
    int best = 0;
    for (int token = 1; token < logits.length; token++) {
      best = logits[token] > logits[best] ? token : best;
    }
    return best;
  }

  private static int[] likeliest(double[] logs, int count) {
    Integer[] tokens = new Integer[logs.length];
    Arrays.setAll(tokens, token -> token);
    Arrays.sort(tokens, (a, b) -> Double.compare(logs[b], logs[a]));
    return Arrays.stream(tokens).limit(count).mapToInt(token -> token).toArray();
  }

  private static double[] logSoftmax(float[] logits) {
    double max = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      max = Math.max(max, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - max);
    }
    double[] logs = new double[logits.length];
    for (int token = 0; token < logs.length; token++) {
      logs[token] = logits[token] - max - Math.log(sum);
    }
    return logs;
  }
}
