package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class SchedulerTest {
  private static final int CONTEXT = 1400;

  @TempDir private Path directory;

  private CausalLm model;

  @BeforeEach
  void open() throws IOException {
    model =
        CausalLm.open(
            TinyCheckpoint.of("llama", "max_position_embeddings", "" + CONTEXT).write(directory));
  }

  @AfterEach
  void close() {
    model.close();
  }

  private static int[] text(int length, int seed) {
    int[] text = new int[length];
    Arrays.setAll(text, i -> (i * i + (seed + 3) * i + seed) % 29);
    return text;
  }

  private static Generation generation(int tokens, long seed) {
    return Generation.builder()
        .maxNewTokens(tokens)
        .sampler(Sampler.builder().temperature(0.8).presencePenalty(0.3).seed(seed).build())
        .logProbabilities(2)
        .build();
  }

  @Test
  void shouldWriteTheSameTextsWhoeverSharesTheirSteps() {
    int texts = 20;
    List<List<GeneratedToken>> wanted = new ArrayList<>();
    try (Scheduler alone = Scheduler.builder(model).sessions(1).promptPart(50).start()) {
      for (int i = 0; i < texts; i++) {
        List<GeneratedToken> told = new ArrayList<>();
        alone.submit(text(3 + 37 * i, i), generation(5 + 6 * i, i), told::add).join();
        wanted.add(told);
      }
    }
    try (Scheduler together = Scheduler.builder(model).sessions(18).promptPart(50).start()) {
      List<List<GeneratedToken>> got = new ArrayList<>();
      List<CompletableFuture<Generated>> results = new ArrayList<>();
      for (int i = 0; i < texts; i++) {
        List<GeneratedToken> told = new ArrayList<>();
        got.add(told);
        results.add(together.submit(text(3 + 37 * i, i), generation(5 + 6 * i, i), told::add));
      }
      for (int i = 0; i < texts; i++) {
        Generated result = results.get(i).join();
        assertEquals(Generated.Reason.LENGTH, result.reason());
        assertEquals(wanted.get(i), got.get(i), "text " + i);
        assertArrayEquals(
            got.get(i).stream().mapToInt(GeneratedToken::token).toArray(), result.tokens());
      }
      assertEquals(0, together.waiting());
    }
  }

  @Test
  void shouldReadALongPromptBetweenTheStepsOfOthers() throws Exception {
    try (Scheduler scheduler = Scheduler.builder(model).promptPart(10).start()) {
      CountDownLatch begun = new CountDownLatch(1);
      CountDownLatch submitted = new CountDownLatch(1);
      AtomicInteger written = new AtomicInteger();
      CompletableFuture<Generated> shortPrompt =
          scheduler.submit(
              text(4, 1),
              generation(400, 1),
              token -> {
                written.incrementAndGet();
                begun.countDown();
                await(submitted);
                return true;
              });
      assertTrue(begun.await(60, TimeUnit.SECONDS));
      AtomicInteger writtenBefore = new AtomicInteger();
      CompletableFuture<Generated> longPrompt =
          scheduler.submit(
              text(300, 2),
              generation(1, 2),
              token -> {
                writtenBefore.set(written.get());
                return true;
              });
      submitted.countDown();
      longPrompt.join();
      // 30 parts, and a step between two of them.
      assertTrue(writtenBefore.get() >= 29, "written=" + writtenBefore);
      assertTrue(writtenBefore.get() <= 32, "written=" + writtenBefore);
      shortPrompt.join();
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void shouldLetTextsWaitForMemoryRatherThanRunOutOfIt() {
    // Room for one of these at a time.
    try (Scheduler scheduler = Scheduler.builder(model).sessions(4).tokens(192).start()) {
      AtomicInteger most = new AtomicInteger();
      List<CompletableFuture<Generated>> results = new ArrayList<>();
      for (int i = 0; i < 5; i++) {
        results.add(
            scheduler.submit(
                text(100, i),
                generation(60, i),
                token -> {
                  most.accumulateAndGet(scheduler.active(), Math::max);
                  return true;
                }));
      }
      for (CompletableFuture<Generated> result : results) {
        assertEquals(60, result.join().tokens().length);
      }
      assertEquals(1, most.get());
      assertTrue(scheduler.fits(192));
      assertFalse(scheduler.fits(193));
      assertEquals(
          "prompt and new tokens must fit the memory for all texts: prompt=100, maxNewTokens=93,"
              + " tokens=192",
          assertThrows(
                  IllegalArgumentException.class,
                  () -> scheduler.submit(text(100, 1), generation(93, 1), token -> true))
              .getMessage());
    }
  }

  @Test
  void shouldEndOnlyTheTextThatFails() {
    try (Scheduler scheduler = Scheduler.builder(model).start()) {
      CompletableFuture<Generated> good =
          scheduler.submit(text(5, 1), generation(50, 1), token -> true);
      CompletableFuture<Generated> bad =
          scheduler.submit(
              text(5, 2),
              generation(50, 2),
              token -> {
                throw new UnsupportedOperationException("no more");
              });
      Generation wrong =
          Generation.builder()
              .processor(
                  (tokens, length, promptLength, logits) -> {
                    throw new IllegalStateException("no grammar");
                  })
              .build();
      CompletableFuture<Generated> worse = scheduler.submit(text(5, 3), wrong, token -> true);
      assertEquals("no more", failure(bad).getMessage());
      assertEquals("no grammar", failure(worse).getMessage());
      assertEquals(50, good.join().tokens().length);
      assertEquals(0, scheduler.active());
    }
  }

  private static Throwable failure(CompletableFuture<Generated> result) {
    return assertThrows(CompletionException.class, result::join).getCause();
  }

  @Test
  void shouldEndTextsThatAreCancelledOrStopped() {
    AtomicBoolean gone = new AtomicBoolean();
    try (Scheduler scheduler = Scheduler.builder(model).sessions(1).start()) {
      Generation endless =
          Generation.builder().maxNewTokens(1000).ignoreEnds().cancelled(gone::get).build();
      CompletableFuture<Generated> first = scheduler.submit(text(5, 1), endless, token -> true);
      CompletableFuture<Generated> waiting = scheduler.submit(text(5, 2), endless, token -> true);
      CompletableFuture<Generated> stopped =
          scheduler.submit(text(5, 3), generation(50, 3), token -> false);
      assertTrue(waiting.cancel(false));
      gone.set(true);
      Generated cancelled = first.join();
      assertTrue(cancelled.reason() != Generated.Reason.END, cancelled.toString());
      Generated one = stopped.join();
      assertEquals(Generated.Reason.STOPPED, one.reason());
      assertEquals(1, one.tokens().length);
      assertEquals(
          0,
          scheduler
              .submit(text(3, 1), Generation.builder().maxNewTokens(0).build(), token -> true)
              .join()
              .tokens()
              .length);
    }
  }

  @Test
  void shouldEndAllTextsWhenItIsClosed() {
    Scheduler scheduler = Scheduler.builder(model).sessions(1).start();
    Generation endless = Generation.builder().maxNewTokens(1300).ignoreEnds().build();
    CountDownLatch begun = new CountDownLatch(1);
    CompletableFuture<Generated> active =
        scheduler.submit(
            text(5, 1),
            endless,
            token -> {
              begun.countDown();
              pause();
              return true;
            });
    CompletableFuture<Generated> waiting = scheduler.submit(text(5, 2), endless, token -> true);
    await(begun);
    scheduler.close();
    scheduler.close();
    for (CompletableFuture<Generated> text : List.of(active, waiting)) {
      assertEquals(
          "scheduler has been closed",
          assertInstanceOf(IllegalStateException.class, failure(text)).getMessage());
    }
    assertThrows(
        IllegalStateException.class, () -> scheduler.submit(text(5, 1), endless, token -> true));
  }

  private static void pause() {
    try {
      Thread.sleep(2);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void shouldTellWhenTheModelIsClosed() {
    try (Scheduler scheduler = Scheduler.builder(model).start()) {
      model.close();
      assertInstanceOf(
          IllegalStateException.class,
          failure(scheduler.submit(text(5, 1), generation(5, 1), token -> true)));
    }
  }

  @Test
  void shouldRefuseOptionsOutOfRange() {
    Scheduler.Builder builder = Scheduler.builder(model);
    assertThrows(IllegalArgumentException.class, () -> builder.sessions(0));
    assertThrows(IllegalArgumentException.class, () -> builder.promptPart(513));
    assertThrows(IllegalArgumentException.class, () -> builder.tokens(0));
  }
}
