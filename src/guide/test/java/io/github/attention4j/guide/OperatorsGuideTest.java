package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.Alibi;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.LinearAttention;
import io.github.attention4j.Mask;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Snippets;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The guide's page on the operators of engines does what it says. */
class OperatorsGuideTest {
  private final Random random = new Random(43);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  @Test
  void shouldAttendAsFlashAttention() {
    Tensor q = Checked.random(arena, random, 13, 8, 16);
    Tensor k = Checked.random(arena, random, 13, 2, 16);
    Tensor v = Checked.random(arena, random, 13, 2, 16);
    Tensor out = Tensor.allocate(arena, DType.F32, 13, 8, 16);
    Tensor lse = Tensor.allocate(arena, DType.F32, 8, 13);
    Tensor cuSeqlens = Tensor.allocate(arena, DType.I32, 4);
    cuSeqlens.setInt(5, 1);
    cuSeqlens.setInt(6, 2);
    cuSeqlens.setInt(13, 3);

    // flash_attn_varlen_func(q, k, v, cu, cu, max, max, causal=True, window_size=(255, 0),
    //                        softcap=30.0, alibi_slopes=slopes)
    Sequences sequences = Sequences.ofBegins(cuSeqlens); // [0, 5, 6, 13]
    Attention attention =
        Attention.builder()
            .mask(Mask.window(255, 0, Alignment.BOTTOM_RIGHT))
            .softCap(30)
            .alibi(Alignment.BOTTOM_RIGHT, Alibi.slopes(8))
            .build();
    attention.forwardPacked(q, sequences, k, v, sequences, out, Extras.none().logsumexp(lse));

    for (int first : new int[] {0, 5, 6}) {
      double logit = 0;
      for (int d = 0; d < 16; d++) {
        logit += q.getFloat(first, 7, d) * k.getFloat(first, 1, d) / 4.0;
      }
      assertEquals(30 * Math.tanh(logit / 30), lse.getFloat(7, first), 1e-5);
      assertEquals(v.getFloat(first, 1, 3), out.getFloat(first, 7, 3));
    }
  }

  @Test
  void shouldStepAsOnnxAttention() {
    Tensor presentKey = Checked.random(arena, random, 1, 2, 8, 16);
    Tensor presentValue = Checked.random(arena, random, 1, 2, 8, 16);
    int pastLength = 5;
    Tensor q = Checked.random(arena, random, 1, 4, 2, 16);
    Tensor k = Checked.random(arena, random, 1, 2, 2, 16);
    Tensor v = Checked.random(arena, random, 1, 2, 2, 16);
    Tensor y = Tensor.allocate(arena, DType.F32, 1, 4, 2, 16);
    double scale = 0.2;
    double softcap = 3;

    KvCache cache = KvCache.of(presentKey, presentValue, pastLength); // room for more
    cache.append(k, v);
    Attention.builder().scale(scale).softCap(softcap).build().forward(q, cache, y);

    Tensor whole = Tensor.allocate(arena, DType.F32, 1, 4, 2, 16);
    Attention.builder()
        .scale(scale)
        .softCap(softcap)
        .mask(Mask.causal(pastLength))
        .build()
        .forward(q, presentKey.slice(2, 0, 7), presentValue.slice(2, 0, 7), whole);
    assertArrayEquals(whole.toFloatArray(), y.toFloatArray(), 1e-6f);
  }

  @Test
  void shouldKeepAStateAsOnnxLinearAttention() {
    Tensor query = Checked.random(arena, random, 1, 3, 64);
    Tensor key = Checked.random(arena, random, 1, 3, 32);
    Tensor value = Checked.random(arena, random, 1, 3, 32);
    Tensor decay = Checked.random(arena, random, 1, 3, 32);
    Tensor beta = Checked.random(arena, random, 1, 3, 2);
    Tensor output = Tensor.allocate(arena, DType.F32, 1, 3, 64);

    LinearAttention attention = LinearAttention.of(LinearAttention.Rule.GATED_DELTA);
    Tensor state = attention.newState(arena, 1, 2, 16, 16); // zeros; or your past_state
    attention.forward(
        query.splitHeads(4),
        key.splitHeads(2),
        value.splitHeads(2),
        decay.splitHeads(2),
        beta.transpose(1, 2),
        state,
        output.splitHeads(4));

    // The first token finds a state of zeros and writes k (beta v)ᵀ.
    double product = 0;
    for (int d = 0; d < 16; d++) {
      product += query.getFloat(0, 0, 48 + d) * key.getFloat(0, 0, 16 + d);
    }
    double written = beta.getFloat(0, 0, 1) * value.getFloat(0, 0, 16 + 5);
    assertEquals(product / 4 * written, output.getFloat(0, 0, 48 + 5), 1e-5);
  }

  @Test
  void shouldStandInTheGuideLineByLine() {
    Snippets.requireRunBy(OperatorsGuideTest.class, Path.of("src/guide/operators.md"), 3);
  }
}
