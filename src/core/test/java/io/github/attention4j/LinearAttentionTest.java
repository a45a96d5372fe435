package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.LinearAttention.Rule;
import java.lang.foreign.Arena;
import java.util.Random;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** {@link LinearAttention} against its formulas in double, and what it refuses. */
class LinearAttentionTest {
  private static final int BATCH = 2;
  private static final int HEADS_KV = 2;
  private static final int HEADS_Q = 4;
  private static final int LEN = 11;
  private static final int DIM = 6;
  private static final int DIM_V = 19;

  private final Random random = new Random(27);
  private Arena arena;
  private Tensor q;
  private Tensor k;
  private Tensor v;
  private Tensor decay;
  private Tensor beta;
  private Tensor state;
  private Tensor out;

  @BeforeEach
  void makeTensors() {
    arena = Arena.ofConfined();
    q = random(1, BATCH, LEN, HEADS_Q * DIM).splitHeads(HEADS_Q);
    k = random(0.6, BATCH, LEN, HEADS_KV * DIM).splitHeads(HEADS_KV);
    v = random(1, BATCH, LEN, HEADS_KV * DIM_V).splitHeads(HEADS_KV);
    decay = random(0.5, BATCH, LEN, HEADS_KV * DIM).splitHeads(HEADS_KV);
    beta = random(0.7, BATCH, LEN, HEADS_KV).transpose(1, 2);
    state = random(1, BATCH, HEADS_KV, DIM, DIM_V);
    out =
        Tensor.allocate(arena, DType.F32, BATCH, LEN, HEADS_Q * DIM_V)
            .fill(Float.NaN)
            .splitHeads(HEADS_Q);
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  @ParameterizedTest
  @EnumSource
  void shouldFollowTheFormulaOfItsRule(Rule rule) {
    double[][][] wanted = reference(rule, decay, 1 / Math.sqrt(DIM));
    run(LinearAttention.of(rule), q, k, v, decay, beta, out);
    assertNear(wanted);
  }

  @Test
  void shouldDecayWholeHeads() {
    Tensor perHead = decay.select(3, 0);
    double[][][] wanted = reference(Rule.GATED_DELTA, perHead, 0.3);
    LinearAttention.of(Rule.GATED_DELTA).withScale(0.3).forward(q, k, v, perHead, beta, state, out);
    assertNear(wanted);
  }

  @Test
  void shouldTakeOneBetaForAllHeads() {
    beta = beta.slice(1, 0, 1).expand(1, HEADS_KV);
    double[][][] wanted = reference(Rule.DELTA, null, 1 / Math.sqrt(DIM));
    LinearAttention.of(Rule.DELTA).forward(q, k, v, null, beta, state, out);
    assertNear(wanted);
  }

  @ParameterizedTest
  @EnumSource
  void shouldGiveTheSameBitsInChunksAndSteps(Rule rule) {
    LinearAttention attention = LinearAttention.of(rule);
    final Tensor first = state.toF32(arena);
    run(attention, q, k, v, decay, beta, out);
    final float[] outAtOnce = out.toFloatArray();
    final float[] stateAtOnce = state.toFloatArray();

    state.copyFrom(first);
    Tensor fresh = Tensor.allocate(arena, DType.F32, BATCH, LEN, HEADS_Q * DIM_V);
    out = fresh.splitHeads(HEADS_Q);
    int[] chunks = {4, 1, 5, 1};
    int from = 0;
    for (int len : chunks) {
      run(
          attention,
          q.slice(2, from, len),
          k.slice(2, from, len),
          v.slice(2, from, len),
          decay.slice(2, from, len),
          beta.slice(2, from, len),
          out.slice(2, from, len));
      from += len;
    }
    assertEquals(LEN, from);
    assertArrayEquals(outAtOnce, out.toFloatArray());
    assertArrayEquals(stateAtOnce, state.toFloatArray());
  }

  @Test
  void shouldLeaveTheStateWhereThereAreNoTokens() {
    float[] before = state.toFloatArray();
    run(
        LinearAttention.of(Rule.GATED_DELTA),
        q.slice(2, 0, 0),
        k.slice(2, 0, 0),
        v.slice(2, 0, 0),
        decay.slice(2, 0, 0),
        beta.slice(2, 0, 0),
        out.slice(2, 0, 0));
    assertArrayEquals(before, state.toFloatArray());
  }

  @Test
  void shouldStartWithZeros() {
    LinearAttention attention = LinearAttention.of(Rule.LINEAR);
    Tensor fresh = attention.newState(arena, BATCH, HEADS_KV, DIM, DIM_V);
    assertArrayEquals(new long[] {BATCH, HEADS_KV, DIM, DIM_V}, fresh.shape());
    assertArrayEquals(new float[BATCH * HEADS_KV * DIM * DIM_V], fresh.toFloatArray());
    assertEquals(Rule.LINEAR, attention.rule());
  }

  @Test
  void shouldKeepNanInItsHead() {
    v.setFloat(Float.NaN, 1, 1, 3, 2);
    run(LinearAttention.of(Rule.GATED_DELTA), q, k, v, decay, beta, out);
    for (int b = 0; b < BATCH; b++) {
      for (int h = 0; h < HEADS_Q; h++) {
        for (int t = 0; t < LEN; t++) {
          for (int c = 0; c < DIM_V; c++) {
            boolean touched = b == 1 && h >= 2 && t >= 3 && c == 2;
            assertEquals(touched, Float.isNaN(out.getFloat(b, h, t, c)));
          }
        }
      }
    }
  }

  // ---- Refusals ----

  @Test
  void shouldRefuseTensorsThatDoNotFit() {
    refuses(
        "k.shape must be [batch, headsKv, len, dim] of q = [2, 2, 11, 6]: k.shape=[2, 2, 10, 6]",
        a -> a.forward(q, k.slice(2, 0, 10), v, decay, beta, state, out));
    refuses(
        "v.shape must be [batch, headsKv, len, dimV] of q and k = [2, 2, 11, 19]:"
            + " v.shape=[2, 1, 11, 19]",
        a -> a.forward(q, k, v.slice(1, 0, 1), decay, beta, state, out));
    refuses(
        "q.heads must be a multiple of k.heads: q.heads=3, k.heads=2",
        a -> a.forward(q.slice(1, 0, 3), k, v, decay, beta, state, out.slice(1, 0, 3)));
    refuses(
        "state.shape must be [batch, headsKv, dim, dimV] = [2, 2, 6, 19]:"
            + " state.shape=[2, 2, 6, 18]",
        a -> a.forward(q, k, v, decay, beta, state.slice(3, 0, 18), out));
    refuses(
        "out.shape must be [batch, headsQ, len, dimV] = [2, 4, 11, 19]: out.shape=[2, 2, 11, 19]",
        a -> a.forward(q, k, v, decay, beta, state, out.slice(1, 0, 2)));
    refuses(
        "decay.shape must be [batch, headsKv, len, dim] = [2, 2, 11, 6]:"
            + " decay.shape=[2, 2, 11, 5]",
        a -> a.forward(q, k, v, decay.slice(3, 0, 5), beta, state, out));
    refuses(
        "decay.shape must be [batch, headsKv, len] = [2, 2, 11]: decay.shape=[2, 2, 6]",
        a -> a.forward(q, k, v, decay.select(2, 0), beta, state, out));
    refuses(
        "beta.shape must be [batch, headsKv, len] = [2, 2, 11]: beta.shape=[2, 1, 11]",
        a -> a.forward(q, k, v, decay, beta.slice(1, 0, 1), state, out));
    refuses(
        "q.rank must be 4: q.rank=3, " + q.select(0, 0).layout(),
        a -> a.forward(q.select(0, 0), k, v, decay, beta, state, out));
    Tensor strided = q.transpose(2, 3);
    refuses(
        "q.stride(-1) must be 1, the elements of a row contiguous: q.stride(-1)=24",
        a -> a.forward(strided, k, v, decay, beta, state, out));
  }

  @Test
  void shouldRefuseOverlap() {
    Tensor same = k.slice(1, 0, 2);
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () ->
                    LinearAttention.of(Rule.LINEAR)
                        .forward(
                            q.slice(3, 0, 6),
                            k,
                            k,
                            null,
                            null,
                            Tensor.allocate(arena, DType.F32, BATCH, HEADS_KV, DIM, DIM),
                            q))
            .getMessage();
    assertTrue(message.startsWith("out must not overlap q: "), message);
    Tensor values = v;
    String state =
        assertThrows(
                IllegalArgumentException.class,
                () ->
                    LinearAttention.of(Rule.LINEAR)
                        .forward(
                            q.slice(2, 0, DIM),
                            same.slice(2, 0, DIM),
                            values.slice(2, 0, DIM),
                            null,
                            null,
                            values.slice(2, 0, DIM),
                            out.slice(2, 0, DIM)))
            .getMessage();
    assertTrue(state.startsWith("state must not overlap v: "), state);
  }

  @Test
  void shouldRefuseGatesThatTheRuleDoesNotHave() {
    refuses(
        "decay must be given: rule=GATED_DELTA, decay=null",
        a -> a.forward(q, k, v, null, beta, state, out));
    refuses(
        "beta must be given: rule=GATED_DELTA, beta=null",
        a -> a.forward(q, k, v, decay, null, state, out));
    LinearAttention linear = LinearAttention.of(Rule.LINEAR);
    assertEquals(
        "decay must be null: rule=LINEAR, decay=" + decay.layout(),
        assertThrows(
                IllegalArgumentException.class,
                () -> linear.forward(q, k, v, decay, null, state, out))
            .getMessage());
    assertEquals(
        "beta must be null: rule=LINEAR, beta=" + beta.layout(),
        assertThrows(
                IllegalArgumentException.class,
                () -> linear.forward(q, k, v, null, beta, state, out))
            .getMessage());
  }

  @Test
  void shouldRefuseScalesThatAreNoNumbers() {
    LinearAttention attention = LinearAttention.of(Rule.LINEAR);
    assertEquals(
        "scale must be a finite float: scale=NaN",
        assertThrows(IllegalArgumentException.class, () -> attention.withScale(Double.NaN))
            .getMessage());
    assertEquals(
        "scale must be a finite float: scale=1.0E39",
        assertThrows(IllegalArgumentException.class, () -> attention.withScale(1e39)).getMessage());
  }

  @Test
  void shouldRefuseClosedArenas() {
    Arena other = Arena.ofConfined();
    Tensor gone = Tensor.allocate(other, DType.F32, BATCH, HEADS_KV, DIM, DIM_V);
    other.close();
    assertEquals(
        "state is in an arena that has been closed: " + gone.layout(),
        assertThrows(
                IllegalStateException.class,
                () -> LinearAttention.of(Rule.GATED_DELTA).forward(q, k, v, decay, beta, gone, out))
            .getMessage());
  }

  // ---- Helpers ----

  private static void refuses(String message, Consumer<LinearAttention> call) {
    LinearAttention attention = LinearAttention.of(Rule.GATED_DELTA);
    assertEquals(
        message,
        assertThrows(IllegalArgumentException.class, () -> call.accept(attention)).getMessage());
  }

  private void run(
      LinearAttention attention,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor decay,
      Tensor beta,
      Tensor out) {
    Rule rule = attention.rule();
    attention.forward(
        q,
        k,
        v,
        rule == Rule.GATED || rule == Rule.GATED_DELTA ? decay : null,
        rule == Rule.DELTA || rule == Rule.GATED_DELTA ? beta : null,
        state,
        out);
  }

  private Tensor random(double range, long... shape) {
    Tensor tensor = Tensor.allocate(arena, DType.F32, shape);
    Tensor flat = tensor.reshape(tensor.count());
    for (long i = 0; i < flat.count(); i++) {
      flat.setFloat((float) (range * (2 * random.nextDouble() - 1)), i);
    }
    return tensor;
  }

  private double[][][] finalStates;

  /** Outputs by batch and query head, then token and column; leaves the states for comparison. */
  private double[][][] reference(Rule rule, Tensor decay, double scale) {
    boolean delta = rule == Rule.DELTA || rule == Rule.GATED_DELTA;
    boolean gated = rule == Rule.GATED || rule == Rule.GATED_DELTA;
    double[][][] outs = new double[BATCH * HEADS_Q][LEN][DIM_V];
    finalStates = new double[BATCH * HEADS_KV][DIM][DIM_V];
    for (int n = 0; n < BATCH * HEADS_KV; n++) {
      final int b = n / HEADS_KV;
      final int h = n % HEADS_KV;
      double[][] s = finalStates[n];
      for (int d = 0; d < DIM; d++) {
        for (int c = 0; c < DIM_V; c++) {
          s[d][c] = state.getFloat(b, h, d, c);
        }
      }
      for (int t = 0; t < LEN; t++) {
        for (int c = 0; c < DIM_V; c++) {
          double recalled = 0;
          for (int d = 0; d < DIM; d++) {
            if (gated) {
              s[d][c] *=
                  Math.exp(
                      decay.rank() == 3 ? decay.getFloat(b, h, t) : decay.getFloat(b, h, t, d));
            }
            recalled += s[d][c] * k.getFloat(b, h, t, d);
          }
          double written = v.getFloat(b, h, t, c);
          if (delta) {
            written = beta.getFloat(b, h, t) * (written - recalled);
          }
          for (int d = 0; d < DIM; d++) {
            s[d][c] += k.getFloat(b, h, t, d) * written;
          }
          for (int g = 0; g < HEADS_Q / HEADS_KV; g++) {
            int head = h * (HEADS_Q / HEADS_KV) + g;
            for (int d = 0; d < DIM; d++) {
              outs[b * HEADS_Q + head][t][c] += scale * s[d][c] * q.getFloat(b, head, t, d);
            }
          }
        }
      }
    }
    return outs;
  }

  private void assertNear(double[][][] wanted) {
    for (int n = 0; n < BATCH * HEADS_Q; n++) {
      for (int t = 0; t < LEN; t++) {
        for (int c = 0; c < DIM_V; c++) {
          assertEquals(wanted[n][t][c], out.getFloat(n / HEADS_Q, n % HEADS_Q, t, c), 5e-6);
        }
      }
    }
    for (int n = 0; n < BATCH * HEADS_KV; n++) {
      for (int d = 0; d < DIM; d++) {
        for (int c = 0; c < DIM_V; c++) {
          assertEquals(
              finalStates[n][d][c], state.getFloat(n / HEADS_KV, n % HEADS_KV, d, c), 5e-6);
        }
      }
    }
  }
}
