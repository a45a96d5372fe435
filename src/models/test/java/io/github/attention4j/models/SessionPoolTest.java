package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Sessions whose keys and values are in pages of a pool. */
class SessionPoolTest {
  private static final int CONTEXT = 1400;

  @TempDir private Path directory;

  private final Arena arena = Arena.ofConfined();

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private CausalLm open(String type) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of(type, "max_position_embeddings", "" + CONTEXT);
    if (type.equals("mistral")) {
      tiny.put("sliding_window", "70");
    }
    return CausalLm.open(tiny.write(Files.createTempDirectory(directory, type)));
  }

  private static int[] text(int length, int seed) {
    int[] text = new int[length];
    Arrays.setAll(text, i -> (i * i + (seed + 3) * i + seed) % 29);
    return text;
  }

  /**
   * Rows in pages give the same bits, unless there is a window: then they agree to within rounding,
   * that of weights in 16 bits included.
   */
  private static float tolerance(String type, DType cache) {
    return !type.equals("mistral") ? 0 : cache == DType.F32 ? 1e-5f : 5e-3f;
  }

  private static void assertClose(float[] wanted, float[] got, float tolerance) {
    if (tolerance == 0) {
      assertArrayEquals(wanted, got);
      return;
    }
    assertEquals(wanted.length, got.length);
    for (int i = 0; i < wanted.length; i++) {
      float allowed = tolerance * Math.max(1, Math.abs(wanted[i]));
      assertEquals(wanted[i], got[i], allowed, "element " + i);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "llama, F32",
    "llama, BF16",
    "mistral, F32",
    "mistral, F16",
    "diffllama, F32",
    "diffllama, BF16"
  })
  void shouldComputeWhatSessionsWithMemoryOfTheirOwnDo(String type, DType cache)
      throws IOException {
    float tolerance = tolerance(type, cache);
    try (CausalLm model = open(type)) {
      SessionPool pool = model.newPool(arena, cache, 4 * CONTEXT);
      long free = pool.freeTokens();
      CausalLm.Session own = model.newSession(arena, CONTEXT, cache);
      try (CausalLm.Session paged = model.newSession(arena, CONTEXT, pool)) {
        int[] text = text(CONTEXT, 1);
        int[] prompt = Arrays.copyOf(text, 1100);
        assertClose(
            own.prefill(prompt).toFloatArray(), paged.prefill(prompt).toFloatArray(), tolerance);
        for (int t = 1100; t < 1300; t++) {
          assertClose(
              own.step(text[t]).toFloatArray(), paged.step(text[t]).toFloatArray(), tolerance);
        }
        own.truncate(1250);
        paged.truncate(1250);
        assertClose(own.step(3).toFloatArray(), paged.step(3).toFloatArray(), tolerance);
        assertTrue(pool.freeTokens() < free);
      }
      assertEquals(free, pool.freeTokens());
    }
  }

  @ParameterizedTest
  @CsvSource({"llama, F32", "mistral, BF16", "diffllama, F16"})
  void shouldShareThePagesOfACommonBeginning(String type, DType cache) throws IOException {
    float tolerance = tolerance(type, cache);
    try (CausalLm model = open(type)) {
      SessionPool pool = model.newPool(arena, cache, 4 * CONTEXT);
      CausalLm.Session first = model.newSession(arena, CONTEXT, pool);
      int[] text = text(300, 1);
      first.prefill(text);
      int[] pages = {pool.pages().freePages()};
      CausalLm.Session fork = first.fork(arena, 290);
      assertEquals(pages[0], pool.pages().freePages());
      // The last page of each layer is written to, and so copied.
      CausalLm.Session alone = model.newSession(arena, CONTEXT, cache);
      alone.prefill(text);
      alone.truncate(290);
      assertClose(alone.step(5).toFloatArray(), fork.step(5).toFloatArray(), tolerance);
      assertEquals(pages[0] - model.layers(), pool.pages().freePages());
      CausalLm.Session whole = model.newSession(arena, CONTEXT, cache);
      whole.prefill(text);
      for (int token = 0; token < 100; token++) {
        assertClose(
            whole.step(token % 29).toFloatArray(),
            first.step(token % 29).toFloatArray(),
            tolerance);
        assertClose(
            alone.step(token % 7).toFloatArray(), fork.step(token % 7).toFloatArray(), tolerance);
      }
      first.close();
      assertClose(alone.step(1).toFloatArray(), fork.step(1).toFloatArray(), tolerance);
      fork.close();
      assertEquals(pool.pages().pages(), pool.pages().freePages());
    }
  }

  @Test
  void shouldLoseNothingWhenPagesRunOut() throws IOException {
    try (CausalLm model = open("llama")) {
      SessionPool pool = model.newPool(arena, DType.F32, 320);
      assertEquals(320, pool.tokens());
      CausalLm.Session one = model.newSession(arena, CONTEXT, pool);
      CausalLm.Session other = model.newSession(arena, CONTEXT, pool);
      CausalLm.Session wanted = model.newSession(arena);
      one.prefill(text(190, 1));
      wanted.prefill(text(190, 1));
      other.prefill(text(70, 2));
      assertEquals(0, pool.freeTokens());
      IllegalStateException full =
          assertThrows(IllegalStateException.class, () -> one.prefill(text(100, 3)));
      assertEquals(
          "pool must have free pages for the new rows: needed=2, free=0, pages=10",
          full.getMessage());
      assertEquals(190, one.length());
      assertArrayEquals(wanted.step(7).toFloatArray(), one.step(7).toFloatArray());
      // A step of both finds no page for one of them, and neither has read its token.
      one.step(8);
      wanted.step(8);
      assertEquals(192, one.length());
      assertThrows(
          IllegalStateException.class, () -> model.step(List.of(other, one), new int[] {1, 2}));
      assertEquals(70, other.length());
      assertEquals(192, one.length());
      other.close();
      assertArrayEquals(wanted.step(2).toFloatArray(), one.step(2).toFloatArray());
    }
  }

  @Test
  void shouldSaveAndRestoreASessionOfAPool() throws IOException {
    Path file = directory.resolve("session.safetensors");
    try (CausalLm model = open("llama")) {
      SessionPool pool = model.newPool(arena, DType.BF16, CONTEXT);
      CausalLm.Session session = model.newSession(arena, CONTEXT, pool);
      session.prefill(text(200, 1));
      session.save(file);
      CausalLm.Session restored = model.restoreSession(arena, file);
      assertArrayEquals(session.step(5).toFloatArray(), restored.step(5).toFloatArray());
    }
  }

  @Test
  void shouldRefuseWhatDoesNotFit() throws IOException {
    try (CausalLm model = open("llama");
        CausalLm other = open("llama")) {
      assertRefused(
          "cache must be F32, BF16 or F16: cache=I8", () -> model.newPool(arena, DType.I8, 9));
      assertRefused(
          "tokens must lie in [1, (2^31 - 1) * 64 / layers]: tokens=0, layers=2",
          () -> model.newPool(arena, DType.F32, 0));
      SessionPool pool = other.newPool(arena, DType.F32, 100);
      assertRefused(
          "pool must belong to this model: " + model, () -> model.newSession(arena, 9, pool));
      assertRefused(
          "capacity must lie in [1, context]: capacity=0, context=1400",
          () -> other.newSession(arena, 0, pool));
      CausalLm.Session session = other.newSession(arena, 9, pool);
      session.close();
      session.close();
      assertEquals(
          "session has been closed",
          assertThrows(IllegalStateException.class, () -> session.step(1)).getMessage());
    }
  }

  private static void assertRefused(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
