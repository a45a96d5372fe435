package io.github.attention4j.models;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Chooses the next token from the logits.
 *
 * <p>{@link #greedy} takes the likeliest token. Otherwise a token is drawn with the probabilities
 * {@code softmax(logits / temperature)}, of which {@code topK} keeps the k likeliest tokens, {@code
 * topP} then the fewest of the likeliest whose share of the rest reaches p; {@code minP}, {@code
 * typicalP}, {@code epsilonCutoff} and {@code etaCutoff} follow in this order, as in Hugging Face's
 * Transformers. Of equally likely tokens the smaller one counts as likelier.
 *
 * <p>Draws are numbered, and draw n of a seed is always the same: a SplitMix64 sequence (Steele,
 * Lea and Flood, "Fast splittable pseudorandom number generators", 2014) whose n-th number is
 * computed directly. A session numbers its draws by the token's position in the text.
 *
 * <pre>{@code
 * Sampler sampler = Sampler.builder().temperature(0.8).topP(0.95).seed(1).build();
 * }</pre>
 *
 * <p>Immutable and safe for any number of threads.
 */
public final class Sampler {
  private static final Sampler GREEDY = new Builder().temperature(0).build();

  private static final int[] NONE = {};

  private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

  private final double temperature;
  private final int topK;
  private final double topP;
  private final double minP;
  private final double typicalP;
  private final double epsilonCutoff;
  private final double etaCutoff;
  private final double repetitionPenalty;
  private final double presencePenalty;
  private final double frequencyPenalty;
  private final Map<Integer, Float> bias;
  private final Map<List<Integer>, Float> sequenceBias;
  private final Set<Integer> notFirst;
  private final int noRepeatNgram;
  private final int minNewTokens;
  private final int minLength;
  private final Set<Integer> ends;
  private final long seed;

  private Sampler(Builder builder) {
    temperature = builder.temperature;
    topK = builder.topK;
    topP = builder.topP;
    minP = builder.minP;
    typicalP = builder.typicalP;
    epsilonCutoff = builder.epsilonCutoff;
    etaCutoff = builder.etaCutoff;
    repetitionPenalty = builder.repetitionPenalty;
    presencePenalty = builder.presencePenalty;
    frequencyPenalty = builder.frequencyPenalty;
    bias = Map.copyOf(builder.bias);
    sequenceBias = Collections.unmodifiableMap(new LinkedHashMap<>(builder.sequenceBias));
    notFirst = Set.copyOf(builder.notFirst);
    noRepeatNgram = builder.noRepeatNgram;
    minNewTokens = builder.minNewTokens;
    minLength = builder.minLength;
    ends = builder.ends;
    seed = builder.seed;
  }

  /**
   * Returns the sampler that always takes the likeliest token.
   *
   * @return a deterministic sampler
   */
  public static Sampler greedy() {
    return GREEDY;
  }

  /**
   * Starts with temperature 1, no limits and seed 0.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Starts with the options of this sampler.
   *
   * @return a builder
   */
  public Builder toBuilder() {
    Builder builder = new Builder();
    builder.temperature = temperature;
    builder.topK = topK;
    builder.topP = topP;
    builder.minP = minP;
    builder.typicalP = typicalP;
    builder.epsilonCutoff = epsilonCutoff;
    builder.etaCutoff = etaCutoff;
    builder.repetitionPenalty = repetitionPenalty;
    builder.presencePenalty = presencePenalty;
    builder.frequencyPenalty = frequencyPenalty;
    builder.bias.putAll(bias);
    builder.sequenceBias.putAll(sequenceBias);
    builder.notFirst.addAll(notFirst);
    builder.noRepeatNgram = noRepeatNgram;
    builder.minNewTokens = minNewTokens;
    builder.minLength = minLength;
    builder.ends = ends;
    builder.seed = seed;
    return builder;
  }

  /**
   * Returns whether no token is drawn: the likeliest is taken, after penalties and biases.
   *
   * @return true at temperature 0
   */
  public boolean isGreedy() {
    return temperature == 0;
  }

  /**
   * Chooses the first token of a text, to which no penalty applies.
   *
   * @param logits of all tokens, {@code [vocabulary]}, of a float type; −∞ for a token that must
   *     not be chosen. Not modified.
   * @param draw the number of the draw; the same number gives the same token
   * @return the token
   * @throws IllegalArgumentException if logits have another rank or type, there is none, one is
   *     NaN, or the largest is infinite
   * @throws IllegalStateException if the logits' arena is closed
   */
  public int next(Tensor logits, long draw) {
    Objects.requireNonNull(logits, "logits");
    if (logits.rank() != 1) {
      throw new IllegalArgumentException(
          "logits.rank must be 1 [vocabulary]: logits.rank=" + logits.rank());
    }
    float[] values = logits.toFloatArray();
    adjust(values, NONE, 0, 0);
    return next(values, draw, new Scratch());
  }

  /**
   * Chooses the next token of a text.
   *
   * @param logits of all tokens, {@code [vocabulary]}, of a float type; −∞ for a token that must
   *     not be chosen. Not modified.
   * @param draw the number of the draw; the same number gives the same token
   * @param text the tokens so far. Not modified.
   * @param promptLength how many of them belong to the prompt
   * @return the token
   * @throws IllegalArgumentException as for {@link #next(Tensor, long)}, and if promptLength is not
   *     in {@code [0, text.length]} or a biased token is not in the vocabulary
   * @throws IllegalStateException if the logits' arena is closed
   */
  public int next(Tensor logits, long draw, int[] text, int promptLength) {
    Objects.requireNonNull(logits, "logits");
    Objects.requireNonNull(text, "text");
    if (promptLength < 0 || promptLength > text.length) {
      throw new IllegalArgumentException(
          "promptLength must lie in [0, text.length]: promptLength="
              + promptLength
              + ", text.length="
              + text.length);
    }
    float[] values = logits.toFloatArray();
    adjust(values, text, text.length, promptLength);
    return next(values, draw, new Scratch());
  }

  /** Applies penalties and biases. */
  void adjust(float[] logits, int[] text, int length, int promptLength) {
    biasSequences(logits, text, length);
    if (repetitionPenalty != 1) {
      Set<Integer> seen = new HashSet<>();
      for (int i = 0; i < length; i++) {
        int token = text[i];
        if (token >= 0 && token < logits.length && seen.add(token)) {
          double logit = logits[token];
          logits[token] =
              (float) (logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty);
        }
      }
    }
    if (presencePenalty != 0 || frequencyPenalty != 0) {
      Map<Integer, Integer> counts = new HashMap<>();
      for (int i = promptLength; i < length; i++) {
        counts.merge(text[i], 1, Integer::sum);
      }
      counts.forEach(
          (token, count) -> {
            if (token >= 0 && token < logits.length) {
              logits[token] -= (float) (presencePenalty + frequencyPenalty * count);
            }
          });
    }
    bias.forEach((token, value) -> logits[known("logit bias", token, logits)] += value);
    forbidRepeats(logits, text, length);
    if (length < minLength || length - promptLength < minNewTokens) {
      forbid("end token", ends, logits);
    }
    if (length == promptLength) {
      forbid("first token that is forbidden", notFirst, logits);
    }
  }

  private static int known(String what, int token, float[] logits) {
    if (token >= logits.length) {
      throw new IllegalArgumentException(
          what
              + " must be of a token in the vocabulary: token="
              + token
              + ", vocabulary="
              + logits.length);
    }
    return token;
  }

  private static void forbid(String what, Set<Integer> tokens, float[] logits) {
    for (int token : tokens) {
      logits[known(what, token, logits)] = Float.NEGATIVE_INFINITY;
    }
  }

  /**
   * As in Transformers, a sequence counts only if the text is at least as long as the whole of it.
   */
  private void biasSequences(float[] logits, int[] text, int length) {
    Map<Integer, Float> sums = new HashMap<>();
    sequenceBias.forEach(
        (sequence, value) -> {
          int before = sequence.size() - 1;
          boolean matches = before == 0 || before < length;
          for (int i = 0; matches && i < before; i++) {
            matches = sequence.get(i) == text[length - before + i];
          }
          if (matches) {
            sums.merge(known("sequence bias", sequence.getLast(), logits), value, Float::sum);
          }
        });
    sums.forEach((token, value) -> logits[token] += value);
  }

  private void forbidRepeats(float[] logits, int[] text, int length) {
    int before = noRepeatNgram - 1;
    for (int last = before; before >= 0 && last < length; last++) {
      boolean same = Arrays.equals(text, last - before, last, text, length - before, length);
      if (same && text[last] >= 0 && text[last] < logits.length) {
        logits[text[last]] = Float.NEGATIVE_INFINITY;
      }
    }
  }

  /** Memory for sampling, reused by callers that sample repeatedly. */
  static final class Scratch {
    private double[] weights = {};
    private long[] keys = {};

    private void reserve(int tokens) {
      if (weights.length < tokens) {
        weights = new double[tokens];
        keys = new long[tokens];
      }
    }
  }

  int next(float[] logits, long draw, Scratch scratch) {
    int best = largest(logits);
    if (temperature == 0 || topK == 1) {
      return best;
    }
    scratch.reserve(logits.length);
    double[] weights = scratch.weights;
    boolean sorted = topK < logits.length || topP < 1 || typicalP < 1;
    sorted |= epsilonCutoff > 0 || etaCutoff > 0;
    double sum = 0;
    for (int i = 0; i < logits.length; i++) {
      weights[i] = Math.exp(((double) logits[i] - logits[best]) / temperature);
      if (weights[i] < minP && !sorted) {
        weights[i] = 0;
      }
      sum += weights[i];
    }
    double uniform = uniform(draw);
    if (!sorted) {
      return drawn(weights, logits.length, uniform * sum, best);
    }
    long[] keys = scratch.keys;
    int kept = candidates(logits, weights, sum, keys);
    if (topK < kept) {
      keepLikeliest(keys, kept, topK);
      kept = topK;
      sum = sum(weights, keys, kept);
    }
    Arrays.sort(keys, 0, kept);
    kept = nucleus(weights, keys, kept, topP * sum);
    kept = atLeast(minP, weights, keys, kept);
    if (typicalP < 1) {
      kept = typical(weights, keys, kept);
    }
    if (epsilonCutoff > 0) {
      kept = atLeast(epsilonCutoff * sum(weights, keys, kept), weights, keys, kept);
    }
    if (etaCutoff > 0) {
      sum = sum(weights, keys, kept);
      double flat = Math.sqrt(etaCutoff) * Math.exp(-entropy(weights, keys, kept, sum));
      kept = atLeast(Math.min(etaCutoff, flat) * sum, weights, keys, kept);
    }
    return drawnFrom(weights, keys, kept, uniform);
  }

  private static int largest(float[] logits) {
    if (logits.length == 0) {
      throw new IllegalArgumentException("logits must have at least 1 token: logits=0");
    }
    int best = 0;
    for (int i = 0; i < logits.length; i++) {
      if (Float.isNaN(logits[i])) {
        throw new IllegalArgumentException("logits must be numbers: logits[" + i + "]=NaN");
      }
      if (logits[i] > logits[best]) {
        best = i;
      }
    }
    if (Float.isInfinite(logits[best])) {
      throw new IllegalArgumentException(
          "the largest of logits must be finite: logits[" + best + "]=" + logits[best]);
    }
    return best;
  }

  /** The token at which the running sum of the weights exceeds a given sum. */
  private static int drawn(double[] weights, int tokens, double wanted, int otherwise) {
    double sum = 0;
    for (int i = 0; i < tokens; i++) {
      sum += weights[i];
      if (sum > wanted) {
        return i;
      }
    }
    return otherwise;
  }

  /**
   * Lists the tokens that may be drawn. With top-k and top-p, all of them may; with top-p alone,
   * those below the least weight that matters are left out: even all tokens of the vocabulary with
   * less than {@code (1 − p) / vocabulary} of the sum would not have {@code 1 − p} of it.
   *
   * <p>A key sorts by falling logit, then by token: the logit's bits in an order that integers
   * understand, then the token.
   */
  private int candidates(float[] logits, double[] weights, double sum, long[] keys) {
    double least = topK < logits.length ? 0 : (1 - topP) / logits.length * sum;
    int kept = 0;
    for (int i = 0; i < logits.length; i++) {
      if (weights[i] > 0 && weights[i] >= least) {
        int bits = Float.floatToIntBits(logits[i] + 0f);
        int ordered = bits < 0 ? bits ^ 0x7fffffff : bits;
        keys[kept++] = ((long) ~ordered << 32) | i;
      }
    }
    return kept;
  }

  /**
   * Moves the {@code wanted} smallest keys to the front: a heap with the largest of them on top.
   */
  private static void keepLikeliest(long[] keys, int count, int wanted) {
    for (int i = wanted / 2 - 1; i >= 0; i--) {
      sink(keys, wanted, i);
    }
    for (int i = wanted; i < count; i++) {
      if (keys[i] < keys[0]) {
        keys[0] = keys[i];
        sink(keys, wanted, 0);
      }
    }
  }

  private static void sink(long[] heap, int size, int start) {
    long key = heap[start];
    int at = start;
    while (2 * at + 1 < size) {
      int child = 2 * at + 1;
      if (child + 1 < size && heap[child + 1] > heap[child]) {
        child++;
      }
      if (heap[child] <= key) {
        break;
      }
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = key;
  }

  /** Keeps keys in order until their weights reach {@code enough}; returns how many. */
  private static int nucleus(double[] weights, long[] keys, int kept, double enough) {
    int nucleus = 0;
    double share = 0;
    while (nucleus < kept && (nucleus == 0 || share < enough)) {
      share += weights[(int) keys[nucleus++]];
    }
    return nucleus;
  }

  /** Keeps the keys, sorted by falling weight, whose weight is at least this, or the largest. */
  private static int atLeast(double least, double[] weights, long[] keys, int kept) {
    double wanted = Math.min(least, weights[(int) keys[0]]);
    int left = kept;
    while (weights[(int) keys[left - 1]] < wanted) {
      left--;
    }
    return left;
  }

  /**
   * Keeps the tokens whose information {@code -ln p} is nearest to the entropy: the fewest whose
   * share reaches typicalP, and all that are as near as the farthest of them. They stay in order.
   */
  private int typical(double[] weights, long[] keys, int kept) {
    double sum = sum(weights, keys, kept);
    double entropy = entropy(weights, keys, kept, sum);
    double[] distance = new double[kept];
    Integer[] nearest = new Integer[kept];
    for (int i = 0; i < kept; i++) {
      distance[i] = Math.abs(-Math.log(weights[(int) keys[i]] / sum) - entropy);
      nearest[i] = i;
    }
    Arrays.sort(nearest, Comparator.comparingDouble(i -> distance[i]));
    int last = 0;
    double share = weights[(int) keys[nearest[0]]];
    while (last + 1 < kept && share < typicalP * sum) {
      share += weights[(int) keys[nearest[++last]]];
    }
    int left = 0;
    for (int i = 0; i < kept; i++) {
      if (distance[i] <= distance[nearest[last]]) {
        keys[left++] = keys[i];
      }
    }
    return left;
  }

  private static double sum(double[] weights, long[] keys, int kept) {
    double sum = 0;
    for (int i = 0; i < kept; i++) {
      sum += weights[(int) keys[i]];
    }
    return sum;
  }

  private static double entropy(double[] weights, long[] keys, int kept, double sum) {
    double entropy = 0;
    for (int i = 0; i < kept; i++) {
      double share = weights[(int) keys[i]] / sum;
      if (share > 0) { // the least weights vanish when they are divided
        entropy -= share * Math.log(share);
      }
    }
    return entropy;
  }

  private static int drawnFrom(double[] weights, long[] keys, int kept, double uniform) {
    double wanted = uniform * sum(weights, keys, kept);
    double passed = 0;
    for (int i = 0; i < kept; i++) {
      passed += weights[(int) keys[i]];
      if (passed > wanted) {
        return (int) keys[i];
      }
    }
    return (int) keys[0];
  }

  /** A number in [0, 1): the n-th of the seed's SplitMix64 sequence. */
  private double uniform(long n) {
    long z = seed + (n + 1) * GOLDEN_GAMMA;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    z ^= z >>> 31;
    return (z >>> 11) * 0x1p-53;
  }

  /**
   * Shows the options.
   *
   * @return for people
   */
  @Override
  public String toString() {
    String penalties =
        (repetitionPenalty != 1 ? ", repetitionPenalty=" + repetitionPenalty : "")
            + (presencePenalty != 0 ? ", presencePenalty=" + presencePenalty : "")
            + (frequencyPenalty != 0 ? ", frequencyPenalty=" + frequencyPenalty : "")
            + (bias.isEmpty() ? "" : ", logitBias=" + new TreeMap<>(bias))
            + (sequenceBias.isEmpty() ? "" : ", sequenceBias=" + sequenceBias)
            + (notFirst.isEmpty() ? "" : ", forbidFirst=" + new TreeSet<>(notFirst))
            + (noRepeatNgram > 0 ? ", noRepeatNgram=" + noRepeatNgram : "")
            + (minNewTokens > 0 ? ", minNewTokens=" + minNewTokens : "")
            + (minLength > 0 ? ", minLength=" + minLength : "");
    if (temperature == 0) {
      return "greedy" + penalties;
    }
    return "temperature="
        + temperature
        + (topK < Integer.MAX_VALUE ? ", topK=" + topK : "")
        + (topP < 1 ? ", topP=" + topP : "")
        + (minP > 0 ? ", minP=" + minP : "")
        + (typicalP < 1 ? ", typicalP=" + typicalP : "")
        + (epsilonCutoff > 0 ? ", epsilonCutoff=" + epsilonCutoff : "")
        + (etaCutoff > 0 ? ", etaCutoff=" + etaCutoff : "")
        + penalties
        + ", seed="
        + seed;
  }

  /** Collects the options of a {@link Sampler}. Not safe for use by several threads. */
  public static final class Builder {
    // Within these limits logits stay finite.
    private static final double LEAST_REPETITION = 1e-3;
    private static final double MOST_REPETITION = 1e3;
    private static final double MOST_PENALTY = 1e6;
    private static final double MOST_BIAS = 1e30;

    private double temperature = 1;
    private int topK = Integer.MAX_VALUE;
    private double topP = 1;
    private double minP;
    private double typicalP = 1;
    private double epsilonCutoff;
    private double etaCutoff;
    private double repetitionPenalty = 1;
    private double presencePenalty;
    private double frequencyPenalty;
    private final Map<Integer, Float> bias = new HashMap<>();
    private final Map<List<Integer>, Float> sequenceBias = new LinkedHashMap<>();
    private final Set<Integer> notFirst = new HashSet<>();
    private int noRepeatNgram;
    private int minNewTokens;
    private int minLength;
    private Set<Integer> ends = Set.of();
    private long seed;

    private Builder() {}

    /**
     * Sets the divisor of the logits: below 1 favours likely tokens, above 1 unlikely ones.
     *
     * @param temperature finite and not negative; 0 always takes the likeliest token
     * @return this builder
     * @throws IllegalArgumentException if the temperature is negative, NaN or infinite
     */
    public Builder temperature(double temperature) {
      if (!(temperature >= 0) || Double.isInfinite(temperature)) {
        throw new IllegalArgumentException(
            "temperature must be finite and not negative: temperature=" + temperature);
      }
      this.temperature = temperature;
      return this;
    }

    /**
     * Keeps only the k likeliest tokens.
     *
     * @param k at least 1; more than the vocabulary keeps all
     * @return this builder
     * @throws IllegalArgumentException if {@code k < 1}
     */
    public Builder topK(int k) {
      Checks.positive("topK", k);
      this.topK = k;
      return this;
    }

    /**
     * Keeps the fewest of the likeliest tokens whose share reaches p; at least one.
     *
     * @param p above 0 and at most 1, which keeps all
     * @return this builder
     * @throws IllegalArgumentException if p is outside (0, 1]
     */
    public Builder topP(double p) {
      if (!(p > 0 && p <= 1)) {
        throw new IllegalArgumentException("topP must lie in (0, 1]: topP=" + p);
      }
      this.topP = p;
      return this;
    }

    /**
     * Drops tokens less than p times as likely as the likeliest one, after temperature is applied.
     *
     * @param p at least 0, which keeps all, and less than 1
     * @return this builder
     * @throws IllegalArgumentException if p is outside [0, 1)
     */
    public Builder minP(double p) {
      this.minP = share("minP", p);
      return this;
    }

    /**
     * Keeps the tokens whose information {@code -ln probability} is nearest to its mean, the
     * entropy: the fewest whose share reaches p (Meister et al., "Locally Typical Sampling", 2022).
     *
     * @param p above 0 and at most 1, which keeps all
     * @return this builder
     * @throws IllegalArgumentException if p is outside (0, 1]
     */
    public Builder typicalP(double p) {
      if (!(p > 0 && p <= 1)) {
        throw new IllegalArgumentException("typicalP must lie in (0, 1]: typicalP=" + p);
      }
      this.typicalP = p;
      return this;
    }

    /**
     * Drops tokens less likely than this, but never the likeliest (Hewitt et al., "Truncation
     * Sampling as Language Model Desmoothing", 2022).
     *
     * @param epsilon at least 0, which keeps all, and less than 1
     * @return this builder
     * @throws IllegalArgumentException if epsilon is outside [0, 1)
     */
    public Builder epsilonCutoff(double epsilon) {
      this.epsilonCutoff = share("epsilonCutoff", epsilon);
      return this;
    }

    /**
     * Drops tokens less likely than {@code min(epsilon, √epsilon · exp(-entropy))}, but never the
     * likeliest: eta sampling of the same paper.
     *
     * @param epsilon at least 0, which keeps all, and less than 1
     * @return this builder
     * @throws IllegalArgumentException if epsilon is outside [0, 1)
     */
    public Builder etaCutoff(double epsilon) {
      this.etaCutoff = share("etaCutoff", epsilon);
      return this;
    }

    private static double share(String name, double value) {
      if (!(value >= 0 && value < 1)) {
        throw new IllegalArgumentException(name + " must lie in [0, 1): " + name + "=" + value);
      }
      return value;
    }

    /**
     * Makes tokens less likely that occur in the text, prompt included (Keskar et al., "CTRL",
     * 2019).
     *
     * @param penalty from 0.001 to 1000; 1 changes nothing, larger values reduce repetition
     * @return this builder
     * @throws IllegalArgumentException if the penalty is out of range
     */
    public Builder repetitionPenalty(double penalty) {
      this.repetitionPenalty =
          inRange("repetitionPenalty", penalty, LEAST_REPETITION, MOST_REPETITION);
      return this;
    }

    /**
     * Subtracts from the logit of each token that the model has added.
     *
     * @param penalty from −1 to 1 million; 0 changes nothing
     * @return this builder
     * @throws IllegalArgumentException if the penalty is out of range
     */
    public Builder presencePenalty(double penalty) {
      this.presencePenalty = inRange("presencePenalty", penalty, -MOST_PENALTY, MOST_PENALTY);
      return this;
    }

    /**
     * Subtracts from the logit of each token, once for each time that the model has added it.
     *
     * @param penalty from −1 to 1 million; 0 changes nothing
     * @return this builder
     * @throws IllegalArgumentException if the penalty is out of range
     */
    public Builder frequencyPenalty(double penalty) {
      this.frequencyPenalty = inRange("frequencyPenalty", penalty, -MOST_PENALTY, MOST_PENALTY);
      return this;
    }

    private static double inRange(String name, double value, double least, double most) {
      if (!(value >= least && value <= most)) {
        throw new IllegalArgumentException(
            name + " must lie in [" + least + ", " + most + "]: " + name + "=" + value);
      }
      return value;
    }

    /**
     * Adds to the logit of a token.
     *
     * @param token not negative
     * @param value what is added, from −10<sup>30</sup> to 10<sup>30</sup>; or −∞, which forbids
     *     the token
     * @return this builder
     * @throws IllegalArgumentException if the token is negative, or the value is out of range
     */
    public Builder logitBias(int token, double value) {
      bias.put(notNegative(token), bias("logitBias", value));
      return this;
    }

    /**
     * Adds to the logit of the last token of a sequence whenever the text, prompt included, ends
     * with the tokens before it, and before penalties apply. As in Transformers, the text must be
     * at least as long as the whole sequence.
     *
     * @param sequence at least one token. Copied.
     * @param value what is added, from −10<sup>30</sup> to 10<sup>30</sup>; or −∞, which forbids
     *     the sequence
     * @return this builder
     * @throws IllegalArgumentException if the sequence is empty, a token is negative, or the value
     *     is out of range
     */
    public Builder sequenceBias(int[] sequence, double value) {
      Checks.positive("sequence.length", sequence.length);
      for (int token : sequence) {
        notNegative(token);
      }
      sequenceBias.put(Arrays.stream(sequence).boxed().toList(), bias("sequenceBias", value));
      return this;
    }

    /**
     * Forbids a token as the first one after the prompt.
     *
     * @param token not negative
     * @return this builder
     * @throws IllegalArgumentException if the token is negative
     */
    public Builder forbidFirst(int token) {
      notFirst.add(notNegative(token));
      return this;
    }

    /**
     * Forbids n tokens in a row that occur in the text already, prompt included.
     *
     * @param n the length of the rows; 0, the default, allows all
     * @return this builder
     * @throws IllegalArgumentException if n is negative
     */
    public Builder noRepeatNgram(int n) {
      Checks.inRange("noRepeatNgram", n, 0, Integer.MAX_VALUE);
      this.noRepeatNgram = n;
      return this;
    }

    /**
     * Forbids the tokens that end a text while it is short.
     *
     * @param newTokens the fewest tokens before the end, without the prompt
     * @param length the fewest tokens before the end, prompt included
     * @param ends the tokens that end a text. Copied.
     * @return this builder
     * @throws IllegalArgumentException if a number or a token is negative
     */
    public Builder minTokens(int newTokens, int length, Set<Integer> ends) {
      Checks.inRange("newTokens", newTokens, 0, Integer.MAX_VALUE);
      Checks.inRange("length", length, 0, Integer.MAX_VALUE);
      ends.forEach(Builder::notNegative);
      this.minNewTokens = newTokens;
      this.minLength = length;
      this.ends = Set.copyOf(ends);
      return this;
    }

    private static int notNegative(int token) {
      if (token < 0) {
        throw new IllegalArgumentException("token must not be negative: token=" + token);
      }
      return token;
    }

    private static float bias(String name, double value) {
      return (float)
          (value == Double.NEGATIVE_INFINITY ? value : inRange(name, value, -MOST_BIAS, MOST_BIAS));
    }

    /**
     * Sets the seed of the random draws.
     *
     * @param seed any number
     * @return this builder
     */
    public Builder seed(long seed) {
      this.seed = seed;
      return this;
    }

    /**
     * Builds the sampler.
     *
     * @return an immutable sampler
     */
    public Sampler build() {
      return new Sampler(this);
    }
  }
}
