package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SamplerTest {
  private static final float[] LOGITS = logits(0.4, 0.1, 0.3, 0.2);

  private static final int DRAWS = 100_000;

  @Test
  void shouldTakeTheLikeliestWhenGreedy() {
    assertEquals(2, next(Sampler.greedy(), new float[] {-1, 0, 3, 2}, 0));
  }

  @Test
  void shouldTakeTheFirstOfEqualsWhenGreedy() {
    assertEquals(1, next(Sampler.greedy(), new float[] {-1, 3, 3, 2}, 5));
    assertEquals(0, next(Sampler.greedy(), new float[] {-0f, 0f}, 0));
  }

  @ParameterizedTest
  @ValueSource(doubles = {1, 0.5, 2})
  void shouldDrawWithTheProbabilitiesOfTheTemperature(double temperature) {
    double[] wanted = new double[4];
    double sum = 0;
    for (int i = 0; i < 4; i++) {
      wanted[i] = Math.exp(LOGITS[i] / temperature);
      sum += wanted[i];
    }
    double[] shares = shares(Sampler.builder().temperature(temperature).seed(7), LOGITS);
    for (int i = 0; i < 4; i++) {
      assertShare(wanted[i] / sum, shares[i], "token " + i);
    }
  }

  @Test
  void shouldDrawAmongTheKLikeliest() {
    double[] shares = shares(Sampler.builder().topK(2), LOGITS);
    assertShare(0.4 / 0.7, shares[0], "token 0");
    assertShare(0.3 / 0.7, shares[2], "token 2");
    assertEquals(1, shares[0] + shares[2]);
  }

  /** The shares, falling, are 0.4, 0.3, 0.2 and 0.1. */
  @ParameterizedTest
  @CsvSource({
    "1e-9, 1",
    "0.399, 1",
    "0.401, 2",
    "0.699, 2",
    "0.701, 3",
    "0.899, 3",
    "0.901, 4",
    "1, 4"
  })
  void shouldDrawAmongTheFewestThatReachP(double p, int tokens) {
    int[] byShare = {0, 2, 3, 1};
    Set<Integer> wanted = new TreeSet<>();
    double sum = 0;
    for (int i = 0; i < tokens; i++) {
      wanted.add(byShare[i]);
      sum += 0.4 - 0.1 * i;
    }
    double[] shares = shares(Sampler.builder().topP(p), LOGITS);
    for (int i = 0; i < 4; i++) {
      assertShare(wanted.contains(byShare[i]) ? (0.4 - 0.1 * i) / sum : 0, shares[byShare[i]], "");
    }
  }

  @Test
  void shouldCutByPWhatKLeft() {
    // Of 0.4, 0.3 and 0.2 are left; 0.4 is a share of 0.444, with 0.3 one of 0.778.
    double[] shares = shares(Sampler.builder().topK(3).topP(0.44), LOGITS);
    assertEquals(1, shares[0]);
    shares = shares(Sampler.builder().topK(3).topP(0.45), LOGITS);
    assertShare(0.4 / 0.7, shares[0], "token 0");
    assertShare(0.3 / 0.7, shares[2], "token 2");
    assertEquals(1, shares[0] + shares[2]);
  }

  @Test
  void shouldPreferTheSmallerTokenAmongEquals() {
    float[] equal = new float[9];
    double[] shares = shares(Sampler.builder().topK(3), equal);
    assertEquals(1, shares[0] + shares[1] + shares[2]);
    shares = shares(Sampler.builder().topP(0.3), equal);
    assertEquals(1, shares[0] + shares[1] + shares[2]);
  }

  @Test
  void shouldKeepAllWithLimitsThatExcludeNothing() {
    Sampler free = Sampler.builder().seed(3).build();
    Sampler wide = Sampler.builder().seed(3).topK(4).topP(1).build();
    for (int i = 0; i < 1000; i++) {
      assertEquals(next(free, LOGITS, i), next(wide, LOGITS, i));
    }
  }

  /** Against plain sorting, with many logits of either sign and the vocabulary of a real model. */
  @ParameterizedTest
  @CsvSource({"1, 1", "40, 1", "5000, 0.9", "40, 0.5", "100000, 0.8", "100000, 0.999999"})
  void shouldFindTheLikeliestOfMany(int topK, double topP) {
    SplittableRandom random = new SplittableRandom(5);
    float[] logits = new float[32_000];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = (float) (8 * random.nextDouble() - 4);
    }
    Integer[] sorted = new Integer[logits.length];
    Arrays.setAll(sorted, i -> i);
    Arrays.sort(sorted, (a, b) -> Float.compare(logits[b], logits[a]));
    int kept = Math.min(topK, logits.length);
    double sum = 0;
    for (int i = 0; i < kept; i++) {
      sum += Math.exp(logits[sorted[i]]);
    }
    double share = 0;
    int nucleus = 0;
    while (nucleus < kept && share < topP * sum) {
      share += Math.exp(logits[sorted[nucleus++]]);
    }
    Set<Integer> allowed = new TreeSet<>(Arrays.asList(sorted).subList(0, nucleus));
    Sampler sampler = Sampler.builder().topK(topK).topP(topP).build();
    Sampler.Scratch scratch = new Sampler.Scratch();
    Set<Integer> drawn = new TreeSet<>();
    for (int i = 0; i < 500; i++) {
      drawn.add(sampler.next(logits, i, scratch));
    }
    assertTrue(allowed.containsAll(drawn), () -> "allowed " + allowed.size() + ", got " + drawn);
    assertTrue(drawn.size() > Math.min(nucleus, 500) / 2, () -> "drawn " + drawn);
  }

  @Test
  void shouldNeverDrawWhatIsExcluded() {
    float[] logits = {Float.NEGATIVE_INFINITY, 1, Float.NEGATIVE_INFINITY, 1};
    double[] shares = shares(Sampler.builder().temperature(1e9), logits);
    assertEquals(0, shares[0] + shares[2]);
    shares = shares(Sampler.builder().topK(3), logits);
    assertEquals(0, shares[0] + shares[2]);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, Double.MIN_VALUE, 1e-30, 1e-4})
  void shouldBecomeGreedyAsTheTemperatureFalls(double temperature) {
    Sampler sampler = Sampler.builder().temperature(temperature).build();
    for (int i = 0; i < 1000; i++) {
      assertEquals(0, next(sampler, LOGITS, i));
    }
  }

  @Test
  void shouldSurviveLogitsWhoseExponentialOverflows() {
    double[] shares = shares(Sampler.builder(), new float[] {3e38f, -3e38f, 3e38f});
    assertShare(0.5, shares[0], "token 0");
    assertShare(0.5, shares[2], "token 2");
  }

  @Test
  void shouldNumberTheDrawsOfASplittableRandom() {
    float[] even = new float[1 << 20];
    Sampler sampler = Sampler.builder().seed(-99).build();
    SplittableRandom random = new SplittableRandom(-99);
    Sampler.Scratch scratch = new Sampler.Scratch();
    for (int i = 0; i < 20; i++) {
      int wanted = (int) (random.nextDouble() * even.length);
      assertEquals(wanted, sampler.next(even, i, scratch), "draw " + i);
    }
  }

  @Test
  void shouldDrawTheSameAgainAndOtherwiseForAnotherSeed() {
    StringBuilder first = new StringBuilder();
    StringBuilder again = new StringBuilder();
    StringBuilder other = new StringBuilder();
    for (int i = 0; i < 50; i++) {
      first.append(next(Sampler.builder().seed(1).build(), LOGITS, i));
      again.append(next(Sampler.builder().seed(1).build(), LOGITS, i));
      other.append(next(Sampler.builder().seed(2).build(), LOGITS, i));
    }
    assertEquals(first.toString(), again.toString());
    assertTrue(!first.toString().contentEquals(other));
  }

  @Test
  void shouldRefuseLogitsThatSayNothing() {
    assertEquals("logits must be numbers: logits[1]=NaN", refusal(new float[] {0, Float.NaN, 1}));
    assertEquals(
        "the largest of logits must be finite: logits[2]=Infinity",
        refusal(new float[] {0, 1, Float.POSITIVE_INFINITY}));
    assertEquals(
        "the largest of logits must be finite: logits[0]=-Infinity",
        refusal(new float[] {Float.NEGATIVE_INFINITY}));
    assertEquals("logits must have at least 1 token: logits=0", refusal(new float[0]));
    try (Arena arena = Arena.ofConfined()) {
      Tensor rows = Tensor.allocate(arena, DType.F32, 1, 4);
      assertEquals(
          "logits.rank must be 1 [vocabulary]: logits.rank=2",
          assertThrows(
                  IllegalArgumentException.class, () -> Sampler.builder().build().next(rows, 0))
              .getMessage());
    }
  }

  @Test
  void shouldRefuseOptionsOutsideTheirRange() {
    Sampler.Builder builder = Sampler.builder();
    assertRefused(
        "temperature must be finite and not negative: temperature=-0.1",
        () -> builder.temperature(-0.1));
    assertRefused(
        "temperature must be finite and not negative: temperature=NaN",
        () -> builder.temperature(Double.NaN));
    assertRefused(
        "temperature must be finite and not negative: temperature=Infinity",
        () -> builder.temperature(Double.POSITIVE_INFINITY));
    assertRefused("topK must be at least 1: topK=0", () -> builder.topK(0));
    assertRefused("topP must lie in (0, 1]: topP=0.0", () -> builder.topP(0));
    assertRefused("topP must lie in (0, 1]: topP=1.1", () -> builder.topP(1.1));
    assertRefused("topP must lie in (0, 1]: topP=NaN", () -> builder.topP(Double.NaN));
  }

  @Test
  void shouldShowItsOptions() {
    assertEquals("greedy", Sampler.greedy().toString());
    assertEquals(
        "temperature=0.8, topK=40, topP=0.9, seed=1",
        Sampler.builder().temperature(0.8).topK(40).topP(0.9).seed(1).build().toString());
    assertEquals("temperature=1.0, seed=0", Sampler.builder().build().toString());
    String all =
        "temperature=1.0, typicalP=0.9, epsilonCutoff=0.1, etaCutoff=0.2, sequenceBias={[1,"
            + " 2]=3.0}, forbidFirst=[4], noRepeatNgram=5, minNewTokens=6, minLength=7, seed=0";
    Sampler sampler =
        Sampler.builder()
            .typicalP(0.9)
            .epsilonCutoff(0.1)
            .etaCutoff(0.2)
            .sequenceBias(new int[] {1, 2}, 3)
            .forbidFirst(4)
            .noRepeatNgram(5)
            .minTokens(6, 7, Set.of(8))
            .build();
    assertEquals(all, sampler.toString());
    assertEquals(all, sampler.toBuilder().build().toString());
  }

  // ---- Penalties, biases, min-p ----

  @Test
  void shouldDropTokensThatAreFarLessLikelyThanTheLikeliest() {
    double[] shares = shares(Sampler.builder().minP(0.3), logits(0.5, 0.25, 0.2, 0.05));
    assertShare(0.5 / 0.95, shares[0], "0");
    assertShare(0.25 / 0.95, shares[1], "1");
    assertShare(0.2 / 0.95, shares[2], "2");
    assertEquals(0, shares[3]);
  }

  private static void assertKept(String wanted, Sampler.Builder builder) {
    double[] shares = shares(builder, LOGITS);
    Set<Integer> kept = new TreeSet<>();
    double sum = 0;
    for (String token : wanted.split(" ")) {
      kept.add(Integer.parseInt(token));
      sum += Math.exp(LOGITS[Integer.parseInt(token)]);
    }
    for (int i = 0; i < 4; i++) {
      assertShare(kept.contains(i) ? Math.exp(LOGITS[i]) / sum : 0, shares[i], "token " + i);
    }
  }

  /**
   * The shares are 0.4, 0.1, 0.3 and 0.2, so the entropy is 1.280, and the distances of -ln(share)
   * from it are 0.364, 1.023, 0.076 and 0.330.
   */
  @ParameterizedTest
  @CsvSource({
    "0.01, 2",
    "0.29, 2",
    "0.31, 2 3",
    "0.49, 2 3",
    "0.51, 0 2 3",
    "0.89, 0 2 3",
    "0.91, 0 1 2 3",
    "1, 0 1 2 3"
  })
  void shouldKeepWhatIsTypical(double p, String tokens) {
    assertKept(tokens, Sampler.builder().typicalP(p));
  }

  /** Of 0.4, 0.3 and 0.2, the entropy is 1.061 and the distances are 0.250, 0.038 and 0.443. */
  @Test
  void shouldKeepWhatIsTypicalOfWhatOtherLimitsLeave() {
    assertKept("2", Sampler.builder().topK(3).typicalP(0.33));
    assertKept("0 2", Sampler.builder().topP(0.85).typicalP(0.34));
    assertKept("0 2 3", Sampler.builder().minP(0.4).typicalP(0.78));
  }

  /**
   * The last weight is the least number, and 0 as a share of the sum. It is a candidate because the
   * small weights before it are lost when they are added to the large ones.
   */
  @Test
  void shouldKeepWhatIsTypicalBesideSharesThatVanish() {
    float[] logits = new float[1003];
    Arrays.fill(logits, 0, 1000, -1.957f);
    logits[1002] = -37.24f;
    Set<Integer> drawn = new HashSet<>();
    for (int seed = 0; seed < 64; seed++) {
      Sampler sampler = Sampler.builder().temperature(0.05).typicalP(0.9).seed(seed).build();
      drawn.add(sampler.next(logits, 0, new Sampler.Scratch()));
    }
    assertEquals(Set.of(1000, 1001), drawn);
  }

  @ParameterizedTest
  @CsvSource({"0.09, 0 1 2 3", "0.11, 0 2 3", "0.21, 0 2", "0.31, 0", "0.9, 0"})
  void shouldDropWhatIsLessLikelyThanEpsilon(double epsilon, String tokens) {
    assertKept(tokens, Sampler.builder().epsilonCutoff(epsilon));
  }

  /** The limit is min(epsilon, √epsilon · 0.2781): 0.088, 0.152, 0.215 and 0.05. */
  @ParameterizedTest
  @CsvSource({"0.1, 0 1 2 3", "0.3, 0 2 3", "0.6, 0 2", "0.05, 0 1 2 3"})
  void shouldDropWhatIsLessLikelyThanEtaSays(double epsilon, String tokens) {
    assertKept(tokens, Sampler.builder().etaCutoff(epsilon));
  }

  @Test
  void shouldBiasTheEndsOfSequences() {
    float[] logits = {0, 0, 0, 0};
    int[] text = {0, 3, 1};
    Sampler.Builder builder =
        Sampler.builder()
            .sequenceBias(new int[] {3, 1, 2}, 1.5)
            .sequenceBias(new int[] {2}, 0.25)
            .sequenceBias(new int[] {1, 0}, Double.NEGATIVE_INFINITY)
            .sequenceBias(new int[] {0, 1, 3}, 7)
            // As long as the text would be with its last token: not counted by Transformers.
            .sequenceBias(new int[] {0, 3, 1, 3}, 5);
    float none = Float.NEGATIVE_INFINITY;
    assertAdjusted(new float[] {none, 0, 1.75f, 0}, builder.build(), logits, text, 1);
    assertAdjusted(
        new float[] {none, 0, 1.75f, 0}, builder.build().toBuilder().build(), logits, text, 1);
    assertAdjusted(new float[] {0, 0, 0.25f, 0}, builder.build(), logits, new int[0], 0);
    // (0 + 3) / 2: biases come before the penalty.
    Sampler first = Sampler.builder().sequenceBias(new int[] {1}, 3).repetitionPenalty(2).build();
    assertAdjusted(new float[] {0, 1.5f, 0, 0}, first, logits, new int[] {1}, 0);
    assertRefused(
        "sequence bias must be of a token in the vocabulary: token=4, vocabulary=4",
        () -> next(Sampler.builder().sequenceBias(new int[] {4}, 1).build(), logits, 0));
  }

  @Test
  void shouldForbidRowsOfTokensThatTheTextHas() {
    float[] logits = {0, 1, 2, 3};
    float none = Float.NEGATIVE_INFINITY;
    int[] text = {1, 2, 3, 1, 2};
    assertAdjusted(
        new float[] {0, none, none, none},
        Sampler.builder().noRepeatNgram(1).build(),
        logits,
        text,
        5);
    assertAdjusted(
        new float[] {0, 1, 2, none}, Sampler.builder().noRepeatNgram(2).build(), logits, text, 5);
    assertAdjusted(
        new float[] {0, 1, 2, none}, Sampler.builder().noRepeatNgram(3).build(), logits, text, 0);
    for (int n : new int[] {0, 4, 5, 6, Integer.MAX_VALUE}) {
      assertAdjusted(logits, Sampler.builder().noRepeatNgram(n).build(), logits, text, 5);
    }
  }

  @Test
  void shouldForbidTheEndOfShortTextsAndFirstTokens() {
    float[] logits = {0, 1, 2, 3};
    float[] without = {0, Float.NEGATIVE_INFINITY, 2, Float.NEGATIVE_INFINITY};
    Sampler added = Sampler.builder().minTokens(2, 0, Set.of(1, 3)).build();
    assertAdjusted(without, added, logits, new int[5], 5);
    assertAdjusted(without, added, logits, new int[5], 4);
    assertAdjusted(logits, added, logits, new int[5], 3);
    Sampler whole = Sampler.builder().minTokens(0, 5, Set.of(1, 3)).build();
    assertAdjusted(without, whole, logits, new int[4], 1);
    assertAdjusted(logits, whole, logits, new int[5], 1);
    Sampler first = Sampler.builder().forbidFirst(1).forbidFirst(3).build();
    assertAdjusted(without, first, logits, new int[5], 5);
    assertAdjusted(logits, first, logits, new int[5], 4);
  }

  @Test
  void shouldDropUnlikelyTokensAfterTheNucleusIsFound() {
    double[] shares = shares(Sampler.builder().topP(0.5).minP(0.6), logits(0.4, 0.3, 0.2, 0.1));
    assertShare(4 / 7.0, shares[0], "0");
    assertShare(3 / 7.0, shares[1], "1");
    assertEquals(0, shares[2]);
    shares = shares(Sampler.builder().topK(3).minP(0.6), logits(0.4, 0.3, 0.2, 0.1));
    assertShare(4 / 7.0, shares[0], "0");
    assertEquals(0, shares[2]);
  }

  @Test
  void shouldPenaliseWhatTheTextHasAlready() {
    float[] logits = {2, 1.5f, -1, -1.5f, 0};
    int[] text = {0, 3, 3, 1, 1};
    Sampler.Builder greedy = Sampler.builder().temperature(0);
    assertAdjusted(
        new float[] {1, 0.75f, -1, -3, 0}, greedy.repetitionPenalty(2).build(), logits, text, 3);
    Sampler presence = Sampler.builder().presencePenalty(0.5).frequencyPenalty(0.25).build();
    assertAdjusted(new float[] {2, 0.5f, -1, -1.5f, 0}, presence, logits, text, 3);
    assertAdjusted(new float[] {2, 0.5f, -1, -2.25f, 0}, presence, logits, text, 2);
  }

  @Test
  void shouldAddBiasesAndForbidTokens() {
    float[] logits = {2, 1, 0};
    Sampler sampler =
        Sampler.builder()
            .temperature(0)
            .logitBias(0, Double.NEGATIVE_INFINITY)
            .logitBias(2, 1.5)
            .build();
    assertEquals(2, next(sampler, logits, 0));
    assertRefused(
        "logit bias must be of a token in the vocabulary: token=3, vocabulary=3",
        () -> next(Sampler.builder().logitBias(3, 1).build(), logits, 0));
  }

  @Test
  void shouldComputeWithTheLargestPenaltiesAndBiases() {
    float[] logits = {2, 1, -3};
    for (double sign : new double[] {-1, 1}) {
      for (double repetition : new double[] {1e-3, 1e3}) {
        Sampler sampler =
            Sampler.builder()
                .repetitionPenalty(repetition)
                .presencePenalty(sign * 1e6)
                .frequencyPenalty(sign * 1e6)
                .logitBias(0, sign * 1e30)
                .logitBias(1, -sign * 1e30)
                .build();
        int token = next(sampler, logits, 0);
        assertTrue(token >= 0 && token < 3);
      }
    }
  }

  @Test
  void shouldRefusePenaltiesOutsideTheirRange() {
    Sampler.Builder builder = Sampler.builder();
    assertRefused("minP must lie in [0, 1): minP=1.0", () -> builder.minP(1));
    assertRefused("typicalP must lie in (0, 1]: typicalP=0.0", () -> builder.typicalP(0));
    assertRefused(
        "epsilonCutoff must lie in [0, 1): epsilonCutoff=NaN",
        () -> builder.epsilonCutoff(Double.NaN));
    assertRefused("etaCutoff must lie in [0, 1): etaCutoff=-1.0", () -> builder.etaCutoff(-1));
    assertRefused(
        "sequence.length must be at least 1: sequence.length=0",
        () -> builder.sequenceBias(new int[0], 1));
    assertRefused(
        "token must not be negative: token=-1", () -> builder.sequenceBias(new int[] {0, -1}, 1));
    assertRefused(
        "sequenceBias must lie in [-1.0E30, 1.0E30]: sequenceBias=Infinity",
        () -> builder.sequenceBias(new int[] {0}, Double.POSITIVE_INFINITY));
    assertRefused(
        "noRepeatNgram must lie in [0, 2147483647]: noRepeatNgram=-1",
        () -> builder.noRepeatNgram(-1));
    assertRefused(
        "newTokens must lie in [0, 2147483647]: newTokens=-1",
        () -> builder.minTokens(-1, 0, Set.of()));
    assertRefused(
        "repetitionPenalty must lie in [0.001, 1000.0]: repetitionPenalty=0.0",
        () -> builder.repetitionPenalty(0));
    assertRefused(
        "repetitionPenalty must lie in [0.001, 1000.0]: repetitionPenalty=1.0E-300",
        () -> builder.repetitionPenalty(1e-300));
    assertRefused(
        "presencePenalty must lie in [-1000000.0, 1000000.0]: presencePenalty=NaN",
        () -> builder.presencePenalty(Double.NaN));
    assertRefused(
        "frequencyPenalty must lie in [-1000000.0, 1000000.0]: frequencyPenalty=-1.0E308",
        () -> builder.frequencyPenalty(-1e308));
    assertRefused("token must not be negative: token=-1", () -> builder.logitBias(-1, 1));
    assertRefused(
        "logitBias must lie in [-1.0E30, 1.0E30]: logitBias=1.0E308",
        () -> builder.logitBias(1, 1e308));
    assertRefused(
        "logitBias must lie in [-1.0E30, 1.0E30]: logitBias=NaN",
        () -> builder.logitBias(1, Double.NaN));
    try (Arena arena = Arena.ofConfined()) {
      assertRefused(
          "promptLength must lie in [0, text.length]: promptLength=2, text.length=1",
          () -> Sampler.greedy().next(Tensor.of(arena, new float[] {1}, 1), 0, new int[1], 2));
    }
  }

  private static void assertAdjusted(
      float[] wanted, Sampler sampler, float[] logits, int[] text, int promptLength) {
    float[] adjusted = logits.clone();
    sampler.adjust(adjusted, text, text.length, promptLength);
    assertArrayEquals(wanted, adjusted, 1e-6f);
  }

  private static void assertRefused(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  private static String refusal(float[] logits) {
    return assertThrows(
            IllegalArgumentException.class, () -> next(Sampler.builder().build(), logits, 0))
        .getMessage();
  }

  private static int next(Sampler sampler, float[] logits, long draw) {
    try (Arena arena = Arena.ofConfined()) {
      return sampler.next(Tensor.of(arena, logits, logits.length), draw);
    }
  }

  private static double[] shares(Sampler.Builder builder, float[] logits) {
    Sampler sampler = builder.build();
    Sampler.Scratch scratch = new Sampler.Scratch();
    int[] counts = new int[logits.length];
    for (int i = 0; i < DRAWS; i++) {
      counts[sampler.next(logits, i, scratch)]++;
    }
    return Arrays.stream(counts).mapToDouble(count -> (double) count / DRAWS).toArray();
  }

  /** Four standard deviations of a share of so many draws; none at all for 0 and 1. */
  private static void assertShare(double wanted, double got, String what) {
    double deviation = Math.sqrt(wanted * (1 - wanted) / DRAWS);
    assertEquals(wanted, got, 4 * deviation + 1e-9, what);
  }

  private static float[] logits(double... shares) {
    float[] logits = new float[shares.length];
    for (int i = 0; i < shares.length; i++) {
      logits[i] = (float) Math.log(shares[i]);
    }
    return logits;
  }
}
