package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Texts: how long they may be, several at once, and what happens when something fails. */
class SessionTest {
  /** The trained models of the demonstration. */
  private enum Trained {
    LLAMA,
    DIFFLLAMA;

    Path directory() {
      return Path.of("src/demo/main/resources/models", name().toLowerCase(Locale.ROOT));
    }
  }

  /** More tokens than are read in one part. */
  private static final int CONTEXT = 1300;

  private static final Sampler SAMPLER = Sampler.builder().temperature(0.9).seed(11).build();

  @TempDir private static Path directory;

  private static CausalLm tiny;

  private final Arena arena = Arena.ofConfined();
  private final int threads = A4j.threads();

  @BeforeAll
  static void openModel() throws IOException {
    TinyCheckpoint checkpoint =
        TinyCheckpoint.of("diffllama", "max_position_embeddings", "" + CONTEXT);
    tiny = CausalLm.open(checkpoint.write(directory));
  }

  @AfterAll
  static void closeModel() {
    tiny.close();
  }

  @AfterEach
  void closeArena() {
    arena.close();
    A4j.threads(threads);
  }

  // ---- Reading ----

  @Test
  void shouldReadLongPromptsInPartsWithoutADifference() {
    int[] text = text(CONTEXT);
    Tensor whole = tiny.logits(arena, text);
    CausalLm.Session session = tiny.newSession(arena);
    assertClose(whole.select(0, CONTEXT - 1), session.prefill(text));
    assertEquals(CONTEXT, session.length());
    session.truncate(700);
    assertClose(whole.select(0, 700), session.step(text[700]));
    assertClose(
        whole.select(0, CONTEXT - 1), session.prefill(Arrays.copyOfRange(text, 701, CONTEXT)));
  }

  @Test
  void shouldReturnTheSameTensorAgain() {
    CausalLm.Session session = tiny.newSession(arena, 10);
    Tensor logits = session.prefill(text(3));
    assertSame(logits, session.step(1));
    assertArrayEquals(new long[] {29}, logits.shape());
  }

  @Test
  void shouldGoOnWhereAGenerationEnded() {
    int[] prompt = text(20);
    int[] all = tiny.generate(prompt, 12, SAMPLER, token -> {});
    CausalLm.Session session = tiny.newSession(arena);
    int[] first = session.generate(prompt, 5, SAMPLER, token -> {});
    assertEquals(24, session.length());
    int[] rest = session.generate(new int[] {first[4]}, 7, SAMPLER, token -> {});
    assertArrayEquals(Arrays.copyOf(all, 5), first);
    assertArrayEquals(Arrays.copyOfRange(all, 5, 12), rest);
  }

  @Test
  void shouldBeginAnotherTextAfterForgetting() {
    CausalLm.Session session = tiny.newSession(arena);
    int[] first = session.generate(text(30), 20, SAMPLER, token -> {});
    session.truncate(0);
    assertEquals(0, session.length());
    assertArrayEquals(first, session.generate(text(30), 20, SAMPLER, token -> {}));
  }

  @Test
  void shouldStopAtTheTokenThatEndsATextAndTellIt(@TempDir Path other) throws IOException {
    int[] free = tiny.generate(text(9), 30, SAMPLER, token -> {});
    int end = free[6];
    int first = 0;
    while (free[first] != end) {
      first++;
    }
    for (String ends : List.of("" + end, "[1000, " + end + "]")) {
      TinyCheckpoint.of("diffllama", "eos_token_id", ends).write(other);
      try (CausalLm model = CausalLm.open(other)) {
        List<Integer> told = new ArrayList<>();
        int[] tokens = model.generate(text(9), 30, SAMPLER, told::add);
        assertArrayEquals(Arrays.copyOf(free, first + 1), tokens);
        assertEquals(first + 1, told.size());
      }
    }
  }

  @Test
  void shouldAddNothingWhereNothingIsWanted() {
    CausalLm.Session session = tiny.newSession(arena);
    assertEquals(0, session.generate(text(4), 0, SAMPLER, token -> {}).length);
    assertEquals(4, session.length());
  }

  @ParameterizedTest
  @EnumSource
  void shouldComputeTheSameBitsForEveryNumberOfThreads(Trained demo) throws IOException {
    try (CausalLm model = CausalLm.open(demo.directory())) {
      List<float[]> results = new ArrayList<>();
      for (int most : new int[] {1, 2, 3}) {
        A4j.threads(most);
        results.add(model.logits(arena, text(200)).toFloatArray());
        CausalLm.Session session = model.newSession(arena);
        session.prefill(text(40));
        results.add(session.step(3).toFloatArray());
      }
      for (int i = 2; i < results.size(); i++) {
        assertArrayEquals(results.get(i % 2), results.get(i));
      }
    }
  }

  // ---- Lengths and tokens ----

  @Test
  void shouldRefuseTextsLongerThanTheContextWithBothNumbers() {
    assertRefused(
        "text must fit the context: prompt=1301, maxNewTokens=0, context=1300",
        () -> tiny.generate(text(1301), 0, SAMPLER, token -> {}));
    assertRefused(
        "text must fit the context: prompt=1300, maxNewTokens=1, context=1300",
        () -> tiny.generate(text(1300), 1, SAMPLER, token -> {}));
    assertRefused(
        "text must fit the context: prompt=2, maxNewTokens=2147483647, context=1300",
        () -> tiny.generate(text(2), Integer.MAX_VALUE, SAMPLER, token -> {}));
    assertRefused(
        "text must fit the context: tokens=1301, context=1300",
        () -> tiny.logits(arena, text(1301)));
    assertRefused(
        "text must fit the context: tokens=1301, context=1300",
        () -> tiny.attentionWeights(arena, text(1301), 0));
    assertRefused(
        "capacity must lie in [1, context]: capacity=1301, context=1300",
        () -> tiny.newSession(arena, 1301));
    assertRefused(
        "capacity must lie in [1, context]: capacity=0, context=1300",
        () -> tiny.newSession(arena, 0));
  }

  @Test
  void shouldRefuseWhatTheSessionHasNoRoomForAndReadNothing() {
    CausalLm.Session session = tiny.newSession(arena, 10);
    session.prefill(text(8));
    assertRefused(
        "text must fit the capacity: read=8, tokens=3, capacity=10",
        () -> session.prefill(text(3)));
    assertRefused(
        "text must fit the capacity: read=8, prompt=1, maxNewTokens=2, capacity=10",
        () -> session.generate(text(1), 2, SAMPLER, token -> {}));
    assertEquals(8, session.length());
    session.step(1);
    session.step(1);
    assertRefused(
        "text must fit the capacity: read=10, tokens=1, capacity=10", () -> session.step(1));
    assertEquals(10, session.length());
    assertEquals(10, session.capacity());
  }

  @Test
  void shouldRefuseTokensThatDoNotExistAndReadNothing() {
    CausalLm.Session session = tiny.newSession(arena);
    assertRefused(
        "tokens[1] must be in the vocabulary: tokens[1]=29, vocabulary=29",
        () -> session.prefill(new int[] {0, 29}));
    assertRefused(
        "token must be in the vocabulary: token=-1, vocabulary=29", () -> session.step(-1));
    assertRefused(
        "prompt[0] must be in the vocabulary: prompt[0]=30, vocabulary=29",
        () -> session.generate(new int[] {30}, 1, SAMPLER, token -> {}));
    assertRefused(
        "tokens must have at least 1 token: tokens.length=0", () -> session.prefill(new int[0]));
    assertRefused(
        "tokens must have at least 1 token: tokens.length=0", () -> tiny.logits(arena, new int[0]));
    assertRefused(
        "prompt must have at least 1 token: prompt.length=0",
        () -> tiny.generate(new int[0], 1, SAMPLER, token -> {}));
    assertRefused(
        "maxNewTokens must not be negative: maxNewTokens=-1",
        () -> tiny.generate(text(1), -1, SAMPLER, token -> {}));
    assertEquals(0, session.length());
  }

  @Test
  void shouldRefuseToKeepMoreThanItHasRead() {
    CausalLm.Session session = tiny.newSession(arena);
    session.prefill(text(3));
    assertRefused(
        "length must lie in [0, tokens read]: length=4, read=3", () -> session.truncate(4));
    assertRefused(
        "length must lie in [0, tokens read]: length=-1, read=3", () -> session.truncate(-1));
  }

  @Test
  void shouldNameLayersThatDoNotExist() {
    assertThrows(IndexOutOfBoundsException.class, () -> tiny.attentionWeights(arena, text(3), 2));
    assertThrows(IndexOutOfBoundsException.class, () -> tiny.lambda(-1));
  }

  // ---- Failures ----

  @Test
  void shouldEndTheGenerationWithWhatTheListenerThrows() {
    CausalLm.Session session = tiny.newSession(arena);
    int[] calls = {0};
    IllegalStateException enough = new IllegalStateException("enough");
    assertSame(
        enough,
        assertThrows(
            IllegalStateException.class,
            () ->
                session.generate(
                    text(5),
                    100,
                    SAMPLER,
                    token -> {
                      if (++calls[0] == 3) {
                        throw enough;
                      }
                    })));
    assertEquals(7, session.length());
  }

  @Test
  void shouldForgetWhatItCouldNotFinish() throws Exception {
    int[] text = text(20);
    CausalLm.Session session = tiny.newSession(arena);
    session.prefill(Arrays.copyOf(text, 19));
    float[] wanted = session.step(text[19]).toFloatArray();
    session.truncate(19);
    try (ExecutorService other = Executors.newSingleThreadExecutor()) {
      Future<Class<?>> failure =
          other.submit(
              () -> assertThrows(RuntimeException.class, () -> session.step(text[19])).getClass());
      assertTrue(RuntimeException.class.isAssignableFrom(failure.get()));
    }
    assertEquals(19, session.length());
    assertArrayEquals(wanted, session.step(text[19]).toFloatArray());
  }

  @Test
  void shouldRefuseAnotherThreadThanThatOfItsArena() throws Exception {
    try (Arena confined = Arena.ofConfined()) {
      CausalLm.Session session = tiny.newSession(confined);
      session.prefill(text(3));
      Generation generation = Generation.builder().maxNewTokens(2).build();
      List<Executable> calls =
          List.of(
              () -> session.step(1),
              () -> session.prefill(text(2)),
              () -> session.generate(text(2), generation, token -> true),
              () -> session.generate(text(2), 2, Sampler.greedy(), token -> {}),
              () -> session.choose(generation, 1),
              () -> session.truncate(1),
              () -> session.fork(Arena.ofAuto(), 1),
              () -> session.save(Path.of("nowhere")),
              () -> tiny.step(List.of(session), new int[] {1}),
              session::close);
      List<Throwable> failures = new ArrayList<>();
      Thread other =
          Thread.ofPlatform()
              .name("other")
              .start(
                  () ->
                      calls.forEach(
                          call -> failures.add(assertThrows(RuntimeException.class, call))));
      other.join();
      assertEquals(calls.size(), failures.size());
      for (Throwable failure : failures) {
        assertEquals(IllegalStateException.class, failure.getClass());
        assertEquals(
            "session's arena must not be confined to another thread: thread=other",
            failure.getMessage());
      }
      assertEquals(3, session.length());
      session.step(1);
    }
  }

  @Test
  void shouldRefuseAClosedArena() {
    Arena closed = Arena.ofConfined();
    CausalLm.Session session = tiny.newSession(closed);
    session.prefill(text(3));
    closed.close();
    assertThrows(IllegalStateException.class, () -> session.step(1));
    assertEquals(3, session.length());
  }

  @Test
  void shouldSurviveThatItsArenaIsClosedMeanwhile() throws Exception {
    for (int round = 0; round < 20; round++) {
      Arena shared = Arena.ofShared();
      CausalLm.Session session = tiny.newSession(shared);
      CountDownLatch begun = new CountDownLatch(5);
      try (ExecutorService pool = Executors.newSingleThreadExecutor()) {
        Future<?> endless =
            pool.submit(
                () -> {
                  while (true) {
                    session.truncate(0);
                    session.generate(text(30), 200, SAMPLER, token -> begun.countDown());
                  }
                });
        begun.await();
        while (shared.scope().isAlive()) {
          try {
            shared.close();
          } catch (IllegalStateException stillInUse) {
            Thread.onSpinWait();
          }
        }
        Throwable failure = assertThrows(ExecutionException.class, endless::get).getCause();
        assertInstanceOf(IllegalStateException.class, failure);
      }
    }
  }

  // ---- Closing ----

  @Test
  void shouldRefuseEverythingOnceClosedAndCloseTwice() throws IOException {
    CausalLm model = CausalLm.open(Trained.LLAMA.directory());
    CausalLm.Session session = model.newSession(arena);
    session.prefill(text(3));
    model.close();
    assertDoesNotThrow(model::close);
    String wanted = "model has been closed: " + model;
    assertClosed(wanted, () -> session.step(1));
    assertClosed(wanted, () -> session.prefill(text(2)));
    assertClosed(wanted, () -> session.generate(text(2), 1, SAMPLER, token -> {}));
    assertClosed(wanted, () -> model.newSession(arena));
    assertClosed(wanted, () -> model.generate(text(2), 1, SAMPLER, token -> {}));
    assertClosed(wanted, () -> model.logits(arena, text(2)));
    assertClosed(wanted, () -> model.attentionWeights(arena, text(2), 0));
    assertEquals(3, session.length());
  }

  @Test
  void shouldEndGenerationsOfOtherThreadsWhenClosed() throws Exception {
    for (int round = 0; round < 20; round++) {
      CausalLm model = CausalLm.open(Trained.DIFFLLAMA.directory());
      CountDownLatch begun = new CountDownLatch(2);
      try (ExecutorService pool = Executors.newFixedThreadPool(2)) {
        List<Future<?>> endless = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
          endless.add(
              pool.submit(
                  () -> {
                    while (true) {
                      model.generate(text(10), 200, SAMPLER, token -> begun.countDown());
                    }
                  }));
        }
        begun.await();
        Thread.sleep(round % 5);
        model.close();
        for (Future<?> generation : endless) {
          Throwable failure = assertThrows(ExecutionException.class, generation::get).getCause();
          assertEquals("model has been closed: " + model, failure.getMessage());
        }
      }
    }
  }

  @Test
  void shouldLetTheListenerCloseTheModel() throws IOException {
    CausalLm model = CausalLm.open(Trained.LLAMA.directory());
    assertClosed(
        "model has been closed: " + model,
        () -> model.generate(text(3), 5, SAMPLER, token -> model.close()));
  }

  // ---- Several at once ----

  @ParameterizedTest
  @EnumSource
  void shouldWriteTheSameTextsAtOnceAsAlone(Trained demo) throws Exception {
    try (CausalLm model = CausalLm.open(demo.directory());
        ExecutorService pool = Executors.newFixedThreadPool(4)) {
      List<int[]> alone = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        alone.add(model.generate(text(10 + 7 * i), 120, sampler(i), token -> {}));
      }
      for (int round = 0; round < 3; round++) {
        List<Future<int[]>> together = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
          int seed = i;
          together.add(
              pool.submit(
                  () -> model.generate(text(10 + 7 * seed), 120, sampler(seed), token -> {})));
        }
        for (int i = 0; i < 4; i++) {
          assertArrayEquals(alone.get(i), together.get(i).get(), "text " + i);
        }
      }
    }
  }

  @Test
  void shouldPassASessionFromThreadToThread() throws Exception {
    int[] wanted = tiny.generate(text(5), 9, SAMPLER, token -> {});
    try (Arena shared = Arena.ofShared()) {
      CausalLm.Session session = tiny.newSession(shared);
      List<Integer> tokens = new ArrayList<>();
      Tensor[] logits = {session.prefill(text(5))};
      for (int i = 0; i < 9; i++) {
        int draw = 5 + i;
        Thread thread =
            Thread.ofVirtual()
                .start(
                    () -> {
                      tokens.add(SAMPLER.next(logits[0], draw));
                      logits[0] = session.step(tokens.getLast());
                    });
        thread.join();
      }
      assertArrayEquals(wanted, tokens.stream().mapToInt(Integer::intValue).toArray());
    }
  }

  // ---- Help ----

  private static Sampler sampler(int seed) {
    return Sampler.builder().temperature(0.8).topK(50).topP(0.95).seed(seed).build();
  }

  private static int[] text(int length) {
    int[] text = new int[length];
    Arrays.setAll(text, i -> (i * i + 5 * i) % 29);
    return text;
  }

  private static void assertClose(Tensor wanted, Tensor got) {
    assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 2e-5f);
  }

  private static void assertRefused(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  private static void assertClosed(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalStateException.class, call::run).getMessage());
  }
}
