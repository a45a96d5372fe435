package io.github.attention4j;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Dropout.Dimension;
import io.github.attention4j.reference.Philox;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class DropoutTest {
  private static final long SEED = -0x1234_5678_9abc_def0L;

  private final Random random = new Random(23);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  /** The mask that a call draws, computed in plain Java. */
  private Tensor mask(double p, long seed, boolean[] shared, long... shape) {
    Tensor keep = Tensor.allocate(arena, DType.BOOL, shape);
    for (int b = 0; b < shape[0]; b++) {
      for (int h = 0; h < shape[1]; h++) {
        for (int i = 0; i < shape[2]; i++) {
          for (int j = 0; j < shape[3]; j++) {
            float u =
                Philox.uniform(
                    seed,
                    shared[0] ? 0 : b,
                    shared[1] ? 0 : h,
                    shared[2] ? 0 : i,
                    shared[3] ? 0 : j);
            keep.setBoolean(u >= (float) p, b, h, i, j);
          }
        }
      }
    }
    return keep;
  }

  private static Dimension[] dimensions(boolean[] shared) {
    return java.util.Arrays.stream(Dimension.values())
        .filter(dimension -> shared[dimension.ordinal()])
        .toArray(Dimension[]::new);
  }

  @Test
  void shouldDropWhatTheGeneratorSays() {
    assertEquals(0x6627e8d5L, Philox.words(new long[4], 0, 0)[0]);
    for (int[] sizes : new int[][] {{1, 2, 7}, {1, 1, 1300}, {3, 9, 600}, {2, 50, 131}}) {
      int batch = sizes[0];
      int lenQ = sizes[1];
      int lenK = sizes[2];
      Tensor q = random(arena, random, batch, 4, lenQ, 16);
      Tensor k = random(arena, random, batch, 2, lenK, 16);
      Tensor v = random(arena, random, batch, 2, lenK, 16);
      Tensor given = floats(q.shape());
      Tensor drawn = floats(q.shape());
      for (int flags = 0; flags < 16; flags++) {
        boolean[] shared = new boolean[4];
        for (int n = 0; n < 4; n++) {
          shared[n] = (flags >> n & 1) != 0;
        }
        Extras keep = Extras.none().keep(mask(0.3, SEED, shared, batch, 4, lenQ, lenK), 0.3);
        Extras dropout =
            Extras.none().dropout(Dropout.of(0.3, SEED).sharedAlong(dimensions(shared)));
        onEveryTier(
            () -> {
              Attention attention =
                  Attention.builder().mask(Mask.causal(Alignment.BOTTOM_RIGHT)).build();
              attention.forward(q, k, v, given, keep);
              attention.forward(q, k, v, drawn, dropout);
              assertArrayEquals(given.toFloatArray(), drawn.toFloatArray());
            });
      }
    }
  }

  @Test
  void shouldShowTheMaskThatItDraws() {
    for (int flags = 0; flags < 16; flags++) {
      boolean[] shared = new boolean[4];
      for (int n = 0; n < 4; n++) {
        shared[n] = (flags >> n & 1) != 0;
      }
      Dropout dropout = Dropout.of(0.7, SEED).sharedAlong(dimensions(shared));
      Tensor wanted = mask(0.7, SEED, shared, 3, 2, 5, 601);
      Tensor got = Tensor.allocate(arena, DType.BOOL, 3, 2, 5, 601);
      Tensor one = Tensor.allocate(arena, DType.BOOL, 3, 5, 601);
      onEveryTier(
          () -> {
            dropout.mask(got);
            assertEquals(-1, wanted.segment().mismatch(got.segment()));
            dropout.mask(one);
            assertEquals(
                -1, mask(0.7, SEED, shared, 3, 1, 5, 601).segment().mismatch(one.segment()));
          });
    }
    Tensor none = Tensor.allocate(arena, DType.BOOL, 0, 2, 5, 6);
    Dropout.of(0.5, 1).mask(none);
    refuse(
        "keep.dtype must be BOOL: keep.dtype=F32", () -> Dropout.of(0.5, 1).mask(floats(2, 3, 4)));
    refuse(
        "keep.rank must be 4 [batch, heads, lenQ, lenK] or 3 [batch, lenQ, lenK]: keep.rank=2",
        () -> Dropout.of(0.5, 1).mask(Tensor.allocate(arena, DType.BOOL, 3, 4)));
  }

  /** Four standard deviations; with a fixed seed the test is deterministic. */
  @Test
  void shouldDropAShareOfTheWeightsAndKeepTheirMean() {
    int rows = 400;
    int keys = 1000;
    double weights = rows * (double) keys;
    for (double p : new double[] {0, 0.1, 0.5, 0.9}) {
      Tensor keep = Tensor.allocate(arena, DType.BOOL, 1, rows, keys);
      Dropout dropout = Dropout.of(p, 77);
      dropout.mask(keep);
      long kept = 0;
      for (int i = 0; i < rows; i++) {
        for (int j = 0; j < keys; j++) {
          kept += keep.getBoolean(0, i, j) ? 1 : 0;
        }
      }
      assertEquals(1 - p, kept / weights, 4 * Math.sqrt(p * (1 - p) / weights));

      Tensor zeros = floats(1, rows, 1);
      Tensor ones = floats(1, keys, 1).fill(1);
      Tensor out = floats(1, rows, 1);
      Extras extras = Extras.none().dropout(dropout);
      Attention.builder().build().forward(zeros, floats(1, keys, 1), ones, out, extras);
      double sum = 0;
      for (float value : out.toFloatArray()) {
        sum += value;
      }
      assertEquals(1, sum / rows, 4 * Math.sqrt(p / (1 - p) / weights) + 1e-6);
    }
  }

  @Test
  void shouldDropTheSameWeightsOfBothMapsOfAPair() {
    Tensor q = random(arena, random, 2, 6, 20, 8);
    Tensor k = random(arena, random, 2, 6, 70, 8);
    Tensor v = random(arena, random, 2, 3, 70, 16);
    Tensor given = floats(2, 3, 20, 16);
    Tensor drawn = floats(2, 3, 20, 16);
    Differential attention = Differential.builder().build();
    Extras keep = Extras.none().keep(mask(0.5, 3, new boolean[4], 2, 3, 20, 70), 0.5);
    attention.forward(q, k, v, 0.8f, given, keep);
    attention.forward(q, k, v, 0.8f, drawn, Extras.none().dropout(Dropout.of(0.5, 3)));
    assertArrayEquals(given.toFloatArray(), drawn.toFloatArray());
  }

  @Test
  void shouldExcludeAMaskThatIsGiven() {
    Tensor keep = Tensor.allocate(arena, DType.BOOL, 3, 4);
    Dropout dropout = Dropout.of(0.5, 1);
    String message =
        "keep and dropout exclude each other: both choose the weights that are dropped";
    refuse(message, () -> Extras.none().keep(keep, 0.5).dropout(dropout));
    refuse(message, () -> Extras.none().dropout(dropout).keep(keep, 0.5));
    refuse("p must lie in [0, 1): p=1.0", () -> Dropout.of(1, 1));
    refuse("p must lie in [0, 1): p=0.99999999999", () -> Dropout.of(0.99999999999, 1));
    refuse("p must lie in [0, 1): p=NaN", () -> Dropout.of(Double.NaN, 1));
  }

  @Test
  void shouldDrawForPackedSequencesWhatItDrawsForBatches() {
    int[] lengthsQ = {1, 70, 5, 33};
    int[] lengthsK = {9, 70, 130, 33};
    Sequences queries = Sequences.ofLengths(lengthsQ);
    Sequences keys = Sequences.ofLengths(lengthsK);
    Tensor q = random(arena, random, queries.total(), 4, 16);
    Tensor k = random(arena, random, keys.total(), 2, 16);
    Tensor v = random(arena, random, keys.total(), 2, 10);
    Tensor longQ = floats(4, 4, 70, 16);
    Tensor longK = floats(4, 2, 130, 16);
    Tensor longV = floats(4, 2, 130, 10);
    for (int s = 0; s < 4; s++) {
      copy(q, queries, s, longQ);
      copy(k, keys, s, longK);
      copy(v, keys, s, longV);
    }
    Dropout dropout = Dropout.of(0.4, 77);
    Attention attention = Attention.builder().build();
    onEveryTier(
        () -> {
          Tensor packed = floats(queries.total(), 4, 10);
          Tensor padded = floats(4, 4, 70, 10);
          Tensor lse = floats(4, queries.total());
          Extras extras = Extras.ofDropout(dropout).logsumexp(lse);
          attention.forwardPacked(q, queries, k, v, keys, packed, extras);
          attention
              .withMask(Mask.keyLengths(lengthsK))
              .forward(longQ, longK, longV, padded, Extras.ofDropout(dropout));
          for (int s = 0; s < 4; s++) {
            float[] expected =
                padded.select(0, s).slice(1, 0, lengthsQ[s]).transpose(0, 1).toFloatArray();
            float[] got = packed.slice(0, queries.begins()[s], lengthsQ[s]).toFloatArray();
            assertArrayEquals(expected, got, 4e-6f, "sequence " + s);
          }
        });
    Tensor undropped = floats(queries.total(), 4, 10);
    attention.forwardPacked(q, queries, k, v, keys, undropped);
    Tensor dropped = floats(queries.total(), 4, 10);
    attention.forwardPacked(q, queries, k, v, keys, dropped, Extras.ofDropout(dropout));
    assertTrue(undropped.get(0, 0, 0) != dropped.get(0, 0, 0));
  }

  /** Copies a packed sequence to the start of a batch. */
  private static void copy(Tensor packed, Sequences sequences, int s, Tensor batches) {
    Tensor rows = packed.slice(0, sequences.begins()[s], sequences.length(s));
    batches.select(0, s).slice(1, 0, sequences.length(s)).copyFrom(rows.transpose(0, 1));
  }

  private static void refuse(String message, org.junit.jupiter.api.function.Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
