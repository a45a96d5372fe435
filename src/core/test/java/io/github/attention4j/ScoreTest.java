package io.github.attention4j;

import static io.github.attention4j.Score.batch;
import static io.github.attention4j.Score.constant;
import static io.github.attention4j.Score.floats;
import static io.github.attention4j.Score.head;
import static io.github.attention4j.Score.ints;
import static io.github.attention4j.Score.key;
import static io.github.attention4j.Score.position;
import static io.github.attention4j.Score.query;
import static io.github.attention4j.Score.score;
import static io.github.attention4j.Score.where;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Score.IntTable;
import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class ScoreTest {
  private static final double HIDDEN = Double.NEGATIVE_INFINITY;

  private final Random random = new Random(20_241_205);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  /** 2 batches, 4 query heads on 2: few rows as in decoding, one tile, and several tiles. */
  private final class Problem {
    final Tensor q;
    final Tensor k;
    final Tensor v;

    Problem(int lenQ, int lenK) {
      q = random(arena, random, 2, 4, lenQ, 24);
      k = random(arena, random, 2, 2, lenK, 24);
      v = random(arena, random, 2, 2, lenK, 20);
    }

    float[] run(Attention attention) {
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, q.size(2), 20);
      attention.forward(q, k, v, out);
      return out.toFloatArray();
    }

    float[] run(Differential differential) {
      Tensor values = Tensor.allocate(arena, DType.F32, 2, 1, k.size(2), 40);
      values.copyFrom(random(arena, new Random(3), 2, 1, k.size(2), 40));
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 2, q.size(2), 40);
      differential.forward(q, k, values, 0.3f, out);
      return out.toFloatArray();
    }
  }

  private static Attention.Builder plain() {
    return Attention.builder();
  }

  private static Attention masked(BoolExpression sees) {
    return plain().mask(Mask.where(sees)).build();
  }

  private static Attention scored(FloatExpression score) {
    return plain().score(score).build();
  }

  private static void requireSame(float[] wanted, float[] got) {
    assertArrayEquals(wanted, got, 2e-6f);
  }

  /** Both give the same result for few and for many rows, on every tier. */
  private void requireSame(Attention builtIn, Attention own) {
    int[][] lengths = {{1, 200}, {5, 70}, {100, 100}, {150, 333}};
    for (int[] length : lengths) {
      Problem problem = new Problem(length[0], length[1]);
      onEveryTier(() -> requireSame(problem.run(builtIn), problem.run(own)));
    }
  }

  // ---- FlexAttention's examples ----

  @Test
  void shouldWriteAlibiAsAnExpression() {
    float[] slopes = Alibi.slopes(4);
    Tensor table = Tensor.of(arena, slopes, 4);
    for (Alignment alignment : Alignment.values()) {
      IntExpression distance = position(alignment).minus(key()).abs();
      requireSame(
          plain().alibi(alignment, slopes).build(),
          scored(score().minus(floats(table).at(head()).times(distance.toFloat()))));
    }
  }

  @Test
  void shouldWriteSoftCappingAsAnExpression() {
    requireSame(
        plain().scale(3).softCap(2.5).build(),
        plain().scale(3).score(score().dividedBy(2.5f).tanh().times(2.5f)).build());
  }

  @Test
  void shouldWriteCausalMasksAndWindowsAsExpressions() {
    requireSame(
        plain().mask(Mask.causal(Alignment.TOP_LEFT)).build(), masked(query().atLeast(key())));
    IntExpression row = position(Alignment.BOTTOM_RIGHT);
    requireSame(
        plain().mask(Mask.window(40, 3, Alignment.BOTTOM_RIGHT)).build(),
        masked(row.minus(key()).atMost(40).and(key().minus(row).lessThan(4))));
    IntExpression at = position(7, -3);
    requireSame(
        plain().mask(Mask.causal(7, -3)).build(),
        scored(where(at.atLeast(key()), score(), Float.NEGATIVE_INFINITY)));
    requireSame(
        plain().mask(Mask.chunks(32, Alignment.TOP_LEFT)).build(),
        masked(query().dividedBy(32).equalTo(key().dividedBy(32))));
  }

  @Test
  void shouldWriteRelativePositionsAsAnExpression() {
    int length = 150;
    int keys = 333;
    Tensor bias = random(arena, random, 4, length + keys);
    FloatExpression relative =
        score().plus(floats(bias).at(head(), key().minus(query()).plus(length)));
    Problem problem = new Problem(length, keys);
    requireReference(problem, scored(relative), (b, h, i, j) -> bias.getFloat(h, j - i + length));
    // Outside the table, the nearest element.
    FloatExpression outside =
        score().plus(floats(bias).at(constant(9), key().minus(query()).times(1000)));
    requireReference(
        problem,
        scored(outside),
        (b, h, i, j) -> bias.getFloat(3, Math.clamp((long) (j - i) * 1000, 0, length + keys - 1)));
  }

  @Test
  void shouldWriteDocumentsAsAMask() {
    int length = 180;
    int[][] documents = new int[2][length];
    Tensor table = Tensor.allocate(arena, DType.I32, 2, length);
    for (int b = 0; b < 2; b++) {
      for (int i = 0; i < length; i++) {
        documents[b][i] = i / (b == 0 ? 50 : 77);
        table.setInt(documents[b][i], b, i);
      }
    }
    IntTable document = ints(table);
    BoolExpression same = document.at(batch(), query()).equalTo(document.at(batch(), key()));
    Problem problem = new Problem(length, length);
    requireReference(
        problem, masked(same), (b, h, i, j) -> documents[b][i] == documents[b][j] ? 0 : HIDDEN);
    requireReference(
        problem,
        plain().mask(Mask.where(same).and(Mask.causal(Alignment.TOP_LEFT))).build(),
        (b, h, i, j) -> documents[b][i] == documents[b][j] && j <= i ? 0 : HIDDEN);
    requireReference(
        problem,
        plain().mask(Mask.where(same).and(Mask.where(query().atLeast(key())))).build(),
        (b, h, i, j) -> documents[b][i] == documents[b][j] && j <= i ? 0 : HIDDEN);
  }

  private void requireReference(Problem p, Attention attention, Entry bias) {
    double scale = 1 / Math.sqrt(24);
    ReferenceAttention.Result wanted =
        ReferenceAttention.attention(p.q, p.k, p.v, scale, bias, ReferenceAttention.KEEP_ALL);
    onEveryTier(
        () -> {
          float[] got = p.run(attention);
          for (int n = 0; n < got.length; n++) {
            assertEquals(wanted.out()[n], got[n], 4e-6, () -> "on " + A4j.isa());
          }
        });
  }

  @Test
  void shouldComputeOnlyTheBlocksThatAMaskShows() {
    Problem problem = new Problem(1000, 1000);
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 1000, 20);
    Tensor work = Tensor.allocate(arena, DType.I64, 1);
    Attention documents = masked(query().dividedBy(100).equalTo(key().dividedBy(100)));
    documents.forward(problem.q, problem.k, problem.v, out, Extras.none().work(work));
    long all = 2L * 4 * 1000 * 1000;
    long done = work.segment().get(ValueLayout.JAVA_LONG, 0);
    assertTrue(done >= all / 10 && done < all / 3, () -> done + " of " + all);
  }

  // ---- With everything else ----

  @Test
  void shouldScoreBothMapsOfAPair() {
    Tensor slopes = Tensor.of(arena, new float[] {0.5f, 0.25f}, 2);
    IntExpression distance = query().minus(key()).abs();
    FloatExpression alibi = score().minus(floats(slopes).at(head()).times(distance.toFloat()));
    for (int lenQ : new int[] {1, 90}) {
      Problem problem = new Problem(lenQ, 130);
      onEveryTier(
          () ->
              requireSame(
                  problem.run(
                      Differential.builder().alibi(Alignment.TOP_LEFT, 0.5f, 0.25f).build()),
                  problem.run(Differential.builder().score(alibi).build())));
    }
  }

  @Test
  void shouldCountWithinPackedSequences() {
    Sequences sequences = Sequences.ofLengths(3, 60, 0, 1, 77);
    Tensor q = random(arena, random, 141, 4, 16);
    Tensor k = random(arena, random, 141, 2, 16);
    Tensor v = random(arena, random, 141, 2, 16);
    Tensor wanted = Tensor.allocate(arena, DType.F32, 141, 4, 16);
    Tensor got = Tensor.allocate(arena, DType.F32, 141, 4, 16);
    onEveryTier(
        () -> {
          plain()
              .mask(Mask.causal(Alignment.TOP_LEFT))
              .alibi(Alignment.TOP_LEFT, 1, 2, 3, 4)
              .build()
              .forwardPacked(q, sequences, k, v, sequences, wanted);
          plain()
              .mask(Mask.where(query().atLeast(key())))
              .score(score().minus(head().plus(1).times(query().minus(key()).abs()).toFloat()))
              .build()
              .forwardPacked(q, sequences, k, v, sequences, got);
          requireSame(wanted.toFloatArray(), got.toFloatArray());
        });
  }

  @Test
  void shouldFollowBiasSoftCapAndAlibi() {
    Problem problem = new Problem(50, 60);
    Tensor bias = random(arena, random, 50, 60);
    Attention before =
        plain().softCap(1).alibi(Alignment.TOP_LEFT, 1, 1, 1, 1).mask(Mask.bias(bias)).build();
    Attention doubled =
        plain()
            .softCap(1)
            .alibi(Alignment.TOP_LEFT, 1, 1, 1, 1)
            .mask(Mask.bias(bias))
            .score(score().times(2))
            .build();
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 50, 20);
    Tensor wanted = Tensor.allocate(arena, DType.F32, 2, 4, 50, 60);
    Tensor got = Tensor.allocate(arena, DType.F32, 2, 4, 50, 60);
    before.forward(
        problem.q, problem.k, problem.v, out, Extras.none().scores(ScoreStage.LOGITS, wanted));
    doubled.forward(
        problem.q, problem.k, problem.v, out, Extras.none().scores(ScoreStage.LOGITS, got));
    float[] logits = wanted.toFloatArray();
    for (int n = 0; n < logits.length; n++) {
      logits[n] *= 2;
    }
    assertArrayEquals(logits, got.toFloatArray(), 1e-6f);
  }

  @Test
  void shouldNeverLetWhatIsHiddenTouchTheResult() {
    for (int lenQ : new int[] {1, 100}) {
      Problem problem = new Problem(lenQ, 100);
      Attention byMask = masked(key().lessThan(60));
      Attention byScore = scored(where(key().lessThan(60), score(), Float.NEGATIVE_INFINITY));
      Attention ofNan = scored(where(key().lessThan(60), score(), score().log().times(0)));
      onEveryTier(
          () -> {
            final float[] wanted = problem.run(byMask);
            for (int b = 0; b < 2; b++) {
              for (int h = 0; h < 2; h++) {
                for (int c = 0; c < 20; c++) {
                  problem.k.setFloat(Float.NaN, b, h, 70 + c, c);
                  problem.v.setFloat(c % 2 == 0 ? Float.NaN : Float.POSITIVE_INFINITY, b, h, 80, c);
                }
              }
            }
            assertArrayEquals(wanted, problem.run(byMask), 0);
            assertArrayEquals(wanted, problem.run(byScore), 2e-6f);
            for (float x : problem.run(ofNan)) {
              assertTrue(Float.isNaN(x));
            }
            problem.k.slice(2, 60, 40).copyFrom(random(arena, random, 2, 2, 40, 24));
            problem.v.slice(2, 60, 40).copyFrom(random(arena, random, 2, 2, 40, 20));
          });
    }
  }

  @Test
  void shouldGiveZerosWhereNothingIsSeen() {
    for (int lenQ : new int[] {1, 70}) {
      Problem problem = new Problem(lenQ, 100);
      onEveryTier(
          () -> {
            for (float x : problem.run(masked(key().lessThan(0)))) {
              assertEquals(0, x);
            }
            for (float x : problem.run(scored(constant(Float.NEGATIVE_INFINITY)))) {
              assertEquals(0, x);
            }
          });
    }
  }

  @Test
  void shouldComputeEveryOperation() {
    IntExpression i = query();
    IntExpression j = key();
    FloatExpression x = i.toFloat().dividedBy(7).minus(1);
    FloatExpression y = j.toFloat().times(0.3f).negated();
    requireScores(
        x.plus(y).min(x.times(y)).max(-2),
        (a, b) -> {
          double u = a / 7.0 - 1;
          double w = -0.3 * b;
          return Math.max(Math.min(u + w, u * w), -2);
        });
    requireScores(
        x.abs().sqrt().plus(y.exp()),
        (a, b) -> Math.sqrt(Math.abs(a / 7.0 - 1)) + Math.exp(-0.3 * b));
    requireScores(
        j.plus(1).toFloat().log().times(x.tanh()),
        (a, b) -> Math.log(b + 1) * Math.tanh(a / 7.0 - 1));
    requireScores(
        i.minus(j).times(3).dividedBy(-7).toFloat(), (a, b) -> Math.floorDiv(3 * (a - b), -7));
    requireScores(i.minus(j).modulo(5).toFloat(), (a, b) -> Math.floorMod(a - b, 5));
    requireScores(
        i.min(j).plus(i.max(9)).negated().abs().toFloat(),
        (a, b) -> Math.min(a, b) + Math.max(a, 9));
    requireScores(
        x.times(10).toInt().toFloat(), (a, b) -> (int) ((float) ((float) (a / 7f) - 1f) * 10f));
    requireScores(
        where(x.lessThan(y.plus(1)).or(i.equalTo(j)).not(), constant(1), 2).toFloat(),
        (a, b) -> !(a / 7f - 1f < -(b * 0.3f) + 1f || a == b) ? 1 : 2);
    requireScores(
        where(x.greaterThan(0).and(y.atLeast(-3)).and(i.atMost(20)).and(j.greaterThan(2)), x, y),
        (a, b) ->
            a / 7f - 1f > 0 && -(b * 0.3f) >= -3 && a <= 20 && b > 2 ? a / 7.0 - 1 : -0.3 * b);
    requireScores(
        where(x.atMost(0).or(y.equalTo(0)), x, -1),
        (a, b) -> a / 7f - 1f <= 0 || b == 0 ? a / 7.0 - 1 : -1);
  }

  @FunctionalInterface
  private interface Pair {
    double at(int i, int j);
  }

  private void requireScores(FloatExpression expression, Pair wanted) {
    Problem problem = new Problem(30, 40);
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 30, 20);
    Tensor scores = Tensor.allocate(arena, DType.F32, 2, 4, 30, 40);
    scored(expression)
        .forward(
            problem.q, problem.k, problem.v, out, Extras.none().scores(ScoreStage.LOGITS, scores));
    for (int i = 0; i < 30; i++) {
      for (int j = 0; j < 40; j++) {
        double exact = wanted.at(i, j);
        assertEquals(
            exact, scores.getFloat(1, 2, i, j), 2e-6 * (1 + Math.abs(exact)), "at " + i + ", " + j);
      }
    }
  }

  // ---- Code ----

  @Test
  void shouldComputeTheSameOnceAndConstantsNever() {
    IntExpression far = query().minus(key());
    FloatExpression twice = far.toFloat().plus(query().minus(key()).toFloat());
    assertEquals(5, Program.of(twice).words(List.of()).length);
    FloatExpression folded = score().times(constant(2).plus(3).times(4).toFloat().sqrt());
    assertEquals(4, Program.of(folded).words(List.of()).length);
    assertEquals(2, Program.of(constant(1f).plus(1).minus(constant(1f))).words(List.of()).length);
  }

  @Test
  void shouldReadFourTables() {
    FloatExpression sum = score();
    Tensor[] tables = new Tensor[5];
    for (int t = 0; t < 5; t++) {
      tables[t] = Tensor.of(arena, new float[] {t, t + 1}, 2);
    }
    for (int t = 0; t < 4; t++) {
      sum = sum.plus(floats(tables[t]).at(key()));
    }
    final FloatExpression four = sum;
    requireReference(new Problem(9, 9), scored(four), (b, h, i, j) -> j == 0 ? 6 : 10);
    requireMessage(
        "expressions of one call may read at most 4 different tables: 5",
        () -> scored(four.plus(floats(tables[4]).at(key()))));
    Mask mask = Mask.where(floats(tables[4]).at(query()).greaterThan(1));
    requireMessage(
        "expressions of one call may read at most 4 different tables: 5",
        () -> plain().mask(mask).score(four).build());
    Mask shared = Mask.where(floats(tables[3]).at(key()).greaterThan(3));
    requireReference(
        new Problem(9, 9),
        plain().mask(shared).score(four).build(),
        (b, h, i, j) -> j == 0 ? HIDDEN : 0);
  }

  // ---- What is refused ----

  private static void requireMessage(String wanted, Executable call) {
    assertEquals(wanted, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldRefuseTablesThatCannotBeRead() {
    Tensor floats = Tensor.allocate(arena, DType.F32, 4, 6);
    requireMessage("table.dtype must be I32: table.dtype=F32", () -> ints(floats));
    requireMessage(
        "table.dtype must be F32: table.dtype=I32",
        () -> floats(Tensor.allocate(arena, DType.I32, 3)));
    requireMessage(
        "table.rank must be 1, 2 or 3: table.rank=0",
        () -> floats(Tensor.allocate(arena, DType.F32)));
    requireMessage(
        "table must have 1 to 2147483647 elements: table.shape=[0]",
        () -> floats(Tensor.allocate(arena, DType.F32, 0)));
    requireMessage(
        "table must be contiguous (copy it first): table.shape=[6, 4], table.strides=[1, 6]",
        () -> floats(floats.transpose(0, 1)));
    requireMessage(
        "indices.length must equal table.rank: indices.length=1, table.rank=2",
        () -> floats(floats).at(key()));
  }

  @Test
  void shouldRefuseExpressionsThatAreTooLong() {
    FloatExpression chain = score();
    for (int n = 0; n < 31; n++) {
      chain = chain.plus((n + 2) / 4096f);
    }
    final FloatExpression full = chain;
    requireReference(new Problem(2, 3), scored(full), (b, h, i, j) -> 0); // 64
    requireMessage(
        "an expression may have at most 64 different operations, constants and inputs: 65",
        () -> scored(full.plus(0.25f)));
    FloatExpression right = score().times(100);
    for (int n = 0; n < 31; n++) {
      right = key().toFloat().times(n + 2f).plus(right);
    }
    final FloatExpression tooLong = right;
    assertThrows(IllegalArgumentException.class, () -> scored(tooLong));
    FloatExpression deep = constant(1f);
    for (int n = 0; n < 100_000; n++) {
      deep = deep.plus(1);
    }
    final FloatExpression bottomless = deep;
    requireMessage("an expression may be at most 1000 operations deep", () -> scored(bottomless));
  }

  @Test
  void shouldRefuseExpressionsThatNeedTooManyValuesAtOnce() {
    FloatExpression[] terms = new FloatExpression[34];
    for (int n = 0; n < terms.length; n++) {
      terms[n] = n == 0 ? score() : terms[n - 1].tanh();
    }
    scored(chosen(terms, 30)); // 31 at once
    final FloatExpression tooMany = chosen(terms, 33);
    requireMessage(
        "an expression may need at most 32 values at once: write a long sum as a chain, a + b + c +"
            + " d, not as a sum of sums",
        () -> scored(tooMany));
  }

  /**
   * Uses the first `count` terms, a multiple of 3, after the term that follows them, so that all
   * are live at once.
   */
  private static FloatExpression chosen(FloatExpression[] terms, int count) {
    FloatExpression last = terms[count];
    for (int n = 0; n < count; n += 3) {
      last = where(last.lessThan(terms[n]), terms[n + 1], terms[n + 2]);
    }
    return last;
  }

  @Test
  void shouldRefuseMasksThatReadTheScore() {
    requireMessage(
        "a mask must not read the score, which is computed only for keys that the mask shows;"
            + " use Score.where in a score",
        () -> Mask.where(score().greaterThan(0)));
  }

  @Test
  void shouldRefuseSeveralAlignments() {
    IntExpression top = position(Alignment.TOP_LEFT);
    IntExpression bottom = position(Alignment.BOTTOM_RIGHT);
    requireMessage(
        "an expression must have one alignment: TOP_LEFT and BOTTOM_RIGHT",
        () -> Mask.where(top.atMost(bottom)));
    Mask causal = Mask.causal(Alignment.TOP_LEFT);
    requireMessage(
        "an intersection must have one alignment: TOP_LEFT and BOTTOM_RIGHT",
        () -> causal.and(Mask.where(bottom.atLeast(key()))));
    requireMessage(
        "mask, ALiBi and score must have one alignment: TOP_LEFT and BOTTOM_RIGHT",
        () -> plain().mask(causal).score(score().plus(bottom.toFloat())).build());
  }

  @Test
  void shouldRefuseTablesThatLieInTheOutputOrAreClosed() {
    Problem problem = new Problem(3, 4);
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 3, 20);
    Attention reads = scored(score().plus(floats(out.select(0, 0).select(0, 0)).at(head(), key())));
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () -> reads.forward(problem.q, problem.k, problem.v, out))
            .getMessage();
    assertTrue(message.startsWith("out must not overlap table"), message);
    Attention closed;
    try (Arena other = Arena.ofConfined()) {
      closed = scored(score().plus(floats(random(other, random, 4)).at(key())));
    }
    IllegalStateException stale =
        assertThrows(
            IllegalStateException.class,
            () -> closed.forward(problem.q, problem.k, problem.v, out));
    assertTrue(
        stale.getMessage().startsWith("table is in an arena that has been closed"),
        stale.getMessage());
  }

  @Test
  void shouldNameWhatIsMissing() {
    for (Executable call :
        new Executable[] {
          () -> score().plus((FloatExpression) null),
          () -> key().equalTo((IntExpression) null),
          () -> key().equalTo(1).and(null),
          () -> where(null, score(), 1),
          () -> floats(Tensor.allocate(arena, DType.F32, 1)).at((IntExpression) null)
        }) {
      assertEquals("operand", assertThrows(NullPointerException.class, call).getMessage());
    }
    assertEquals(
        "table", assertThrows(NullPointerException.class, () -> floats(null)).getMessage());
    assertEquals(
        "sees", assertThrows(NullPointerException.class, () -> Mask.where(null)).getMessage());
    assertEquals(
        "score", assertThrows(NullPointerException.class, () -> plain().score(null)).getMessage());
  }
}
