package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Sessions that share steps, beginnings and files, and drafts that several tokens are read of. */
class SharedSessionsTest {
  private static final int CONTEXT = 1400;

  private static final Sampler SAMPLER = Sampler.builder().temperature(0.9).seed(5).build();

  @TempDir private Path directory;

  private final Arena arena = Arena.ofConfined();

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private CausalLm open(String type) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of(type, "max_position_embeddings", "" + CONTEXT);
    if (type.equals("mistral")) {
      tiny.put("sliding_window", "9");
    }
    Path place = Files.createTempDirectory(directory, type);
    return CausalLm.open(tiny.write(place));
  }

  // ---- Caches of 16 bits ----

  @ParameterizedTest
  @CsvSource({"llama, BF16", "llama, F16", "diffllama, BF16", "mistral, F16"})
  void shouldStoreKeysAndValuesInSixteenBits(String type, DType cache) throws IOException {
    Path file = directory.resolve("session.safetensors");
    try (CausalLm model = open(type)) {
      int[] text = text(900, 1);
      float[] wanted = model.logits(arena, text).select(0, 899).toFloatArray();
      CausalLm.Session session = model.newSession(arena, CONTEXT, cache);
      session.prefill(Arrays.copyOf(text, 800));
      CausalLm.Session fork = session.fork(arena, 800);
      session.save(file);
      CausalLm.Session restored = model.restoreSession(arena, file);
      for (int t = 800; t < 900; t++) {
        float[] got = session.step(text[t]).toFloatArray();
        assertArrayEquals(got, fork.step(text[t]).toFloatArray());
        assertArrayEquals(got, restored.step(text[t]).toFloatArray());
        if (t == 899) {
          assertArrayEquals(wanted, got, cache == DType.BF16 ? 0.1f : 0.02f);
          assertFalse(Arrays.equals(wanted, got));
        }
      }
      assertRefused(
          "cache must be F32, BF16 or F16: cache=I32", () -> model.newSession(arena, 5, DType.I32));
    }
  }

  // ---- Windows ----

  @Test
  void shouldReadThroughWindowsWhatAWholePassReads() throws IOException {
    try (CausalLm model = open("mistral")) {
      int[] text = text(CONTEXT, 1);
      Tensor whole = model.logits(arena, text);
      CausalLm.Session session = model.newSession(arena);
      session.prefill(Arrays.copyOf(text, 600));
      for (int t = 600; t < text.length; t++) {
        assertClose(whole.select(0, t), session.step(text[t]));
      }
    }
  }

  @Test
  void shouldReadAgainWhatWindowsHaveForgottenWhenATextIsCut() throws IOException {
    try (CausalLm model = open("mistral")) {
      int[] text = text(CONTEXT, 1);
      Tensor whole = model.logits(arena, text);
      CausalLm.Session session = model.newSession(arena);
      session.prefill(Arrays.copyOf(text, 1300));
      for (int length : new int[] {1299, 1290, 700, 20, 3}) {
        session.truncate(length);
        assertEquals(length, session.length());
        assertClose(whole.select(0, length), session.step(text[length]));
      }
    }
  }

  // ---- One step of several ----

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama", "mistral"})
  void shouldGiveEachTextTheBitsThatItGetsAlone(String type) throws IOException {
    String before = A4j.isa();
    try (CausalLm model = open(type)) {
      for (String tier : A4j.availableIsas()) {
        A4j.isa(tier);
        int count = 19;
        List<CausalLm.Session> alone = new ArrayList<>();
        List<CausalLm.Session> together = new ArrayList<>();
        for (int i = 0; i < count; i++) {
          int[] prompt = text(3 + 11 * i, i);
          alone.add(model.newSession(arena));
          together.add(model.newSession(arena));
          alone.get(i).prefill(prompt);
          together.get(i).prefill(prompt);
        }
        for (int step = 0; step < 12; step++) {
          // One leaves after each step.
          together.subList(count - step, together.size()).clear();
          int[] tokens = text(together.size(), step);
          List<Tensor> logits = model.step(together, tokens);
          for (int i = 0; i < tokens.length; i++) {
            assertArrayEquals(
                alone.get(i).step(tokens[i]).toFloatArray(), logits.get(i).toFloatArray());
            assertEquals(alone.get(i).length(), together.get(i).length());
          }
        }
      }
    } finally {
      A4j.isa(before);
    }
  }

  @Test
  void shouldRefuseAStepThatDoesNotFitAndReadNothing() throws IOException {
    try (CausalLm model = open("llama");
        CausalLm other = open("llama")) {
      CausalLm.Session one = model.newSession(arena, 4);
      CausalLm.Session two = model.newSession(arena);
      one.prefill(text(4, 0));
      two.prefill(text(4, 0));
      assertRefused(
          "text must fit the capacity: read=4, tokens=1, capacity=4",
          () -> model.step(List.of(two, one), new int[] {1, 1}));
      assertRefused(
          "there must be one token for each session: sessions=1, tokens=2",
          () -> model.step(List.of(two), new int[] {1, 1}));
      assertRefused(
          "sessions must differ: sessions[1] comes twice",
          () -> model.step(List.of(two, two), new int[] {1, 1}));
      assertRefused(
          "tokens[0] must be in the vocabulary: tokens[0]=29, vocabulary=29",
          () -> model.step(List.of(two), new int[] {29}));
      assertRefused(
          "sessions[0] must belong to this model", () -> other.step(List.of(two), new int[] {1}));
      assertEquals(4, two.length());
    }
  }

  // ---- Copies ----

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama", "mistral"})
  void shouldGoOnFromACommonBeginning(String type) throws IOException {
    try (CausalLm model = open(type)) {
      int[] text = text(900, 2);
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text);
      for (int length : new int[] {900, 899, 450, 0}) {
        CausalLm.Session fork = session.fork(arena, length);
        assertEquals(length, fork.length());
        assertArrayEquals(Arrays.copyOf(text, length), fork.tokens());
        CausalLm.Session fresh = model.newSession(arena);
        if (length > 0) {
          fresh.prefill(Arrays.copyOf(text, length));
        }
        int[] more = text(40, 3);
        assertClose(fresh.prefill(more), fork.prefill(more));
      }
      assertEquals(900, session.length());
      assertRefused(
          "length must lie in [0, tokens read]: length=901, read=900",
          () -> session.fork(arena, 901));
    }
  }

  @Test
  void shouldChooseFromTheLogitsThatAForkTookAlong() throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text(30, 2));
      Generation generation = Generation.builder().sampler(SAMPLER).build();
      CausalLm.Session fork = session.fork(arena, 30);
      assertEquals(session.choose(generation, 30), fork.choose(generation, 30));
      CausalLm.Session shorter = session.fork(arena, 29);
      assertEquals(
          "a session must have read its last token to choose the next one: length=29, last read=-1",
          assertThrows(IllegalStateException.class, () -> shorter.choose(generation, 29))
              .getMessage());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama", "mistral"})
  void shouldGoOnWhereASavedSessionWas(String type) throws IOException {
    Path file = directory.resolve("session.safetensors");
    try (CausalLm model = open(type)) {
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text(700, 2));
      session.save(file);
      CausalLm.Session restored = model.restoreSession(arena, file);
      assertEquals(session.capacity(), restored.capacity());
      assertArrayEquals(session.tokens(), restored.tokens());
      Generation generation = Generation.builder().sampler(SAMPLER).build();
      assertEquals(session.choose(generation, 700), restored.choose(generation, 700));
      for (int token : text(20, 4)) {
        assertArrayEquals(session.step(token).toFloatArray(), restored.step(token).toFloatArray());
      }
    }
  }

  @Test
  void shouldRefuseTheSessionOfAnotherModel() throws IOException {
    Path file = directory.resolve("session.safetensors");
    try (CausalLm model = open("llama");
        CausalLm other = open("diffllama")) {
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text(7, 2));
      session.save(file);
      String message =
          assertThrows(IllegalArgumentException.class, () -> other.restoreSession(arena, file))
              .getMessage();
      assertTrue(message.startsWith(file + ": model must be \"diffllama 29x12x2 "), message);
    }
  }

  // ---- Drafts ----

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama", "mistral"})
  void shouldWriteTheSameTextWithDraftsAsWithout(String type) throws IOException {
    try (CausalLm model = open(type);
        CausalLm small = open("llama")) {
      for (Sampler sampler : List.of(Sampler.greedy(), SAMPLER)) {
        Generation plain = Generation.builder().maxNewTokens(60).sampler(sampler).build();
        int[] wanted = model.newSession(arena).generate(text(30, 1), plain, token -> true).tokens();
        int[] calls = {0};
        Drafter exact =
            (text, most) -> {
              calls[0]++;
              int from = text.length - 30;
              return Arrays.copyOfRange(wanted, from, Math.min(from + most, wanted.length));
            };
        Drafter wrongSometimes =
            (text, most) -> {
              int[] proposed = exact.propose(text, most);
              for (int i = 2; i < proposed.length; i += 3) {
                proposed[i] = (proposed[i] + 1) % 29;
              }
              return proposed;
            };
        for (Drafter drafter :
            List.of(
                exact,
                wrongSometimes,
                Drafter.ngrams(3),
                Drafter.of(small.newSession(arena)),
                (text, most) -> new int[0])) {
          CausalLm.Session session = model.newSession(arena);
          calls[0] = 0;
          List<Integer> told = new ArrayList<>();
          Generated got =
              session.generate(
                  text(30, 1),
                  Generation.builder().maxNewTokens(60).sampler(sampler).drafter(drafter).build(),
                  token -> told.add(token.token()));
          assertArrayEquals(wanted, got.tokens());
          assertEquals(60, told.size());
          assertEquals(89, session.length());
          if (drafter == exact) {
            assertTrue(calls[0] <= 8, "passes=" + calls[0]);
          }
        }
      }
    }
  }

  /** Log-probabilities tell logits apart that greedy choices do not. */
  @ParameterizedTest
  @CsvSource({
    "llama, AS_STORED",
    "llama, FLOAT32",
    "llama, INT8",
    "llama, INT4",
    "mistral, AS_STORED",
    "diffllama, FLOAT32"
  })
  void shouldGiveDraftedTokensTheBitsOfOneAtATime(String type, LoadOptions.Weights weights)
      throws IOException {
    TinyCheckpoint tiny =
        TinyCheckpoint.of(
            type,
            "max_position_embeddings",
            "" + CONTEXT,
            "hidden_size",
            "64",
            "intermediate_size",
            "96",
            "num_key_value_heads",
            "2",
            "head_dim",
            "16");
    if (type.equals("mistral")) {
      tiny.put("sliding_window", "9");
    }
    Path place = tiny.write(Files.createTempDirectory(directory, type));
    LoadOptions options = LoadOptions.builder().weights(weights).build();
    String before = A4j.isa();
    try (CausalLm model = CausalLm.open(place, options)) {
      for (String tier : A4j.availableIsas()) {
        A4j.isa(tier);
        for (int length : new int[] {5, 700}) {
          assertSameWithDrafts(model, length);
        }
      }
    } finally {
      A4j.isa(before);
    }
  }

  private void assertSameWithDrafts(CausalLm model, int length) {
    Generation.Builder generation = Generation.builder().maxNewTokens(90).logProbabilities(5);
    List<GeneratedToken> wanted = new ArrayList<>();
    model.newSession(arena).generate(text(length, 1), generation.build(), wanted::add);
    Drafter drafter =
        (text, most) -> {
          int from = text.length - length;
          int[] proposed = new int[Math.min(most, wanted.size() - from)];
          for (int i = 0; i < proposed.length; i++) {
            int right = wanted.get(from + i).token();
            proposed[i] = i == (text.length % 9) ? (right + 1) % 29 : right;
          }
          return proposed;
        };
    List<GeneratedToken> got = new ArrayList<>();
    model
        .newSession(arena)
        .generate(text(length, 1), generation.drafter(drafter).build(), got::add);
    assertEquals(wanted, got);
  }

  @Test
  void shouldReadNoMoreThanTheTextWhenAListenerStopsAmongAcceptedTokens() throws IOException {
    try (CausalLm model = open("llama")) {
      Generation plain = Generation.builder().maxNewTokens(20).build();
      int[] wanted = model.newSession(arena).generate(text(30, 1), plain, token -> true).tokens();
      CausalLm.Session session = model.newSession(arena);
      List<Integer> told = new ArrayList<>();
      Generated got =
          session.generate(
              text(30, 1),
              Generation.builder()
                  .maxNewTokens(20)
                  .drafter(
                      (text, most) ->
                          Arrays.copyOfRange(
                              wanted,
                              text.length - 30,
                              Math.min(text.length - 30 + most, wanted.length)))
                  .build(),
              token -> {
                told.add(token.token());
                return told.size() < 5;
              });
      assertEquals(Generated.Reason.STOPPED, got.reason());
      assertArrayEquals(Arrays.copyOf(wanted, 5), got.tokens());
      assertEquals(34, session.length());
      assertClose(
          model.logits(arena, concat(text(30, 1), Arrays.copyOf(wanted, 5))).select(0, 34),
          session.step(wanted[4]));
    }
  }

  @Test
  void shouldRefuseDraftsOfAnotherVocabulary() throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      assertRefused(
          "proposed[1] must be in the vocabulary: proposed[1]=99, vocabulary=29",
          () ->
              session.generate(
                  text(5, 1),
                  Generation.builder().drafter((text, most) -> new int[] {99}).build(),
                  token -> true));
    }
  }

  @Test
  void shouldKeepTheTextThatItHasReadWhenTheModelIsClosedBeforeADraftIsChecked()
      throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      Drafter closing =
          (text, most) -> {
            model.close();
            return new int[] {1, 2};
          };
      Generation generation = Generation.builder().maxNewTokens(9).drafter(closing).build();
      assertThrows(
          IllegalStateException.class,
          () -> session.generate(text(5, 1), generation, token -> true));
      assertArrayEquals(text(5, 1), session.tokens());
    }
  }

  // ---- Interrupting ----

  @Test
  void shouldEndBetweenPartsOfAPromptAndReadNothingOfIt() throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text(5, 1));
      Thread.currentThread().interrupt();
      String message =
          assertThrows(CancellationException.class, () -> session.prefill(text(1300, 1)))
              .getMessage();
      assertTrue(Thread.interrupted());
      assertEquals("thread was interrupted: read=517 of 1305 tokens", message);
      assertEquals(5, session.length());
      assertClose(
          model.logits(arena, concat(text(5, 1), text(3, 7))).select(0, 7),
          session.prefill(text(3, 7)));
    }
  }

  @Test
  void shouldEndWhenItIsCancelled() throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      session.prefill(text(4, 1));
      int[] asked = {0};
      Generation inPrompt =
          Generation.builder().maxNewTokens(9).cancelled(() -> ++asked[0] == 2).build();
      Generated nothing = session.generate(text(CONTEXT - 100, 2), inPrompt, token -> true);
      assertEquals(new Generated(new int[0], Generated.Reason.CANCELLED), nothing);
      assertEquals(4, session.length());
      List<Integer> told = new ArrayList<>();
      Generation afterThree =
          Generation.builder().maxNewTokens(9).cancelled(() -> told.size() == 3).build();
      Generated three = session.generate(text(5, 2), afterThree, token -> told.add(token.token()));
      assertEquals(Generated.Reason.CANCELLED, three.reason());
      assertEquals(told, Arrays.stream(three.tokens()).boxed().toList());
      assertEquals(11, session.length());
    }
  }

  @Test
  void shouldEndBetweenTwoTokens() throws IOException {
    try (CausalLm model = open("llama")) {
      CausalLm.Session session = model.newSession(arena);
      assertThrows(
          CancellationException.class,
          () ->
              session.generate(
                  text(5, 1), 10, SAMPLER, token -> Thread.currentThread().interrupt()));
      assertTrue(Thread.interrupted());
      assertEquals(5, session.length());
    }
  }

  // ---- Options ----

  @Test
  void shouldSayHowLikelyTokensAre() throws IOException {
    try (CausalLm model = open("llama")) {
      int[] prompt = text(12, 1);
      float[] logits = model.logits(arena, prompt).select(0, 11).toFloatArray();
      double sum = 0;
      for (float logit : logits) {
        sum += Math.exp(logit);
      }
      List<GeneratedToken> told = new ArrayList<>();
      model
          .newSession(arena)
          .generate(
              prompt, Generation.builder().maxNewTokens(1).logProbabilities(3).build(), told::add);
      GeneratedToken token = told.getFirst();
      assertEquals(3, token.likeliest().size());
      assertEquals(token.token(), token.likeliest().getFirst().token());
      assertEquals(Math.log(Math.exp(logits[token.token()]) / sum), token.logProbability(), 1e-5);
      double previous = 0;
      for (GeneratedToken.Alternative each : token.likeliest()) {
        assertEquals(Math.log(Math.exp(logits[each.token()]) / sum), each.logProbability(), 1e-5);
        assertTrue(each.logProbability() <= previous);
        previous = each.logProbability();
      }
    }
  }

  @Test
  void shouldLetTheCallerDecideWhichTokensAreAllowed() throws IOException {
    try (CausalLm model = open("llama")) {
      List<Integer> lengths = new ArrayList<>();
      Generated got =
          model
              .newSession(arena)
              .generate(
                  text(12, 1),
                  Generation.builder()
                      .maxNewTokens(9)
                      .sampler(SAMPLER)
                      .processor(
                          (tokens, length, promptLength, logits) -> {
                            lengths.add(length);
                            assertEquals(12, promptLength);
                            for (int i = 0; i < logits.length; i++) {
                              if (i % 7 != length % 7) {
                                logits[i] = Float.NEGATIVE_INFINITY;
                              }
                            }
                          })
                      .build(),
                  token -> true);
      for (int i = 0; i < 9; i++) {
        assertEquals((12 + i) % 7, got.tokens()[i] % 7);
        assertEquals(12 + i, lengths.get(i));
      }
    }
  }

  @Test
  void shouldStopAtTokensOfTheCallerAndIgnoreEndsOnRequest() throws IOException {
    try (CausalLm model = open("llama")) {
      Generation free = Generation.builder().maxNewTokens(20).sampler(SAMPLER).build();
      int[] all = model.newSession(arena).generate(text(9, 1), free, token -> true).tokens();
      Generation stopping =
          Generation.builder().maxNewTokens(20).sampler(SAMPLER).stopTokens(Set.of(all[6])).build();
      Generated got = model.newSession(arena).generate(text(9, 1), stopping, token -> true);
      assertEquals(Generated.Reason.END, got.reason());
      assertEquals(all[6], got.tokens()[got.tokens().length - 1]);
      assertTrue(got.tokens().length <= 7);
    }
    TinyCheckpoint tiny = TinyCheckpoint.of("llama", "eos_token_id", "[0,1,2,3,4,5,6,7,8,9,10]");
    try (CausalLm model =
        CausalLm.open(tiny.write(Files.createDirectory(directory.resolve("e"))))) {
      Generation.Builder generation = Generation.builder().maxNewTokens(30).sampler(SAMPLER);
      assertNotEquals(
          30,
          model
              .newSession(arena)
              .generate(text(9, 1), generation.build(), token -> true)
              .tokens()
              .length);
      assertEquals(
          30,
          model
              .newSession(arena)
              .generate(text(9, 1), generation.ignoreEnds().build(), token -> true)
              .tokens()
              .length);
    }
  }

  @Test
  void shouldSampleAsTheFilesSay() throws IOException {
    Path place = TinyCheckpoint.of("llama").write(directory);
    try (CausalLm model = CausalLm.open(place)) {
      assertEquals("greedy", model.defaultSampler().toString());
    }
    Files.writeString(
        place.resolve("generation_config.json"),
        "{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.9, \"top_k\": 20}");
    try (CausalLm model = CausalLm.open(place)) {
      assertEquals("temperature=0.6, topK=20, topP=0.9, seed=0", model.defaultSampler().toString());
    }
  }

  // ---- Help ----

  private static int[] text(int length, int seed) {
    int[] text = new int[length];
    Arrays.setAll(text, i -> (i * i + (5 + seed) * i + seed) % 29);
    return text;
  }

  private static int[] concat(int[] one, int[] other) {
    int[] both = Arrays.copyOf(one, one.length + other.length);
    System.arraycopy(other, 0, both, one.length, other.length);
    return both;
  }

  private static void assertClose(Tensor wanted, Tensor got) {
    assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 3e-5f);
  }

  private static void assertRefused(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
