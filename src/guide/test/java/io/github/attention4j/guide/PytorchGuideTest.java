package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.IntExpression;
import io.github.attention4j.Mask;
import io.github.attention4j.Score;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.torch.TorchMultiheadAttention;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.MultiHeadAttention;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Snippets;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The guide's page for those who come from PyTorch does what it says. */
class PytorchGuideTest {
  private final Random random = new Random(31);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private float[] normal(int count) {
    return Checked.random(arena, random, count).toFloatArray();
  }

  @Test
  void shouldAttendAsScaledDotProductAttention() {
    float[] queries = normal(128 * 512);
    float[] keys = normal(128 * 128);
    float[] values = normal(128 * 128);

    // view(1, 128, 8, 64).transpose(1, 2)
    Tensor q = Tensor.of(arena, queries, 1, 128, 512).splitHeads(8);
    Tensor k = Tensor.of(arena, keys, 1, 128, 128).splitHeads(2);
    Tensor v = Tensor.of(arena, values, 1, 128, 128).splitHeads(2);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, 128, 64);
    Attention attention = Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build();
    attention.forward(q, k, v, out);

    // The first query of the last head sees the first key of the last key head alone.
    float[] first = Arrays.copyOfRange(values, 64, 128);
    assertArrayEquals(first, out.select(1, 7).select(1, 0).toFloatArray());
  }

  @Test
  void shouldAttendAsFlexAttention() {
    Tensor q = Checked.random(arena, random, 1, 2, 128, 16);
    Tensor k = Checked.random(arena, random, 1, 2, 128, 16);
    Tensor v = Checked.random(arena, random, 1, 2, 128, 16);
    Tensor out = Tensor.allocate(arena, DType.F32, q.shape());
    Tensor lse = Tensor.allocate(arena, DType.F32, 1, 2, 128);
    Tensor biases = Checked.random(arena, random, 255);
    Tensor documents = Tensor.allocate(arena, DType.I32, 128);
    for (int i = 0; i < 128; i++) {
      documents.setInt(i / 50, i);
    }

    // score_mod: score + bias[q_idx - kv_idx + 127];  mask_mod: doc[q_idx] == doc[kv_idx]
    Score.FloatTable bias = Score.floats(biases);
    Score.IntTable doc = Score.ints(documents);
    IntExpression offset = Score.query().minus(Score.key()).plus(127);
    Attention flex =
        Attention.builder()
            .score(Score.score().plus(bias.at(offset)))
            .mask(Mask.where(doc.at(Score.query()).equalTo(doc.at(Score.key()))))
            .build();
    flex.forward(q, k, v, out, Extras.none().logsumexp(lse));

    double sum = 0;
    for (int j = 100; j < 128; j++) {
      double logit = biases.getFloat(110 - j + 127);
      for (int d = 0; d < 16; d++) {
        logit += q.getFloat(0, 1, 110, d) * k.getFloat(0, 1, j, d) / 4.0;
      }
      sum += Math.exp(logit);
    }
    assertEquals(Math.log(sum), lse.getFloat(0, 1, 110), 1e-5);
  }

  @Test
  void shouldTakeASinkForTheZeroThatAddZeroAttnAppends() {
    Tensor q = Checked.random(arena, random, 1, 2, 5, 16);
    Tensor k = Checked.random(arena, random, 1, 2, 8, 16);
    Tensor v = Checked.random(arena, random, 1, 2, 8, 16);
    k.slice(2, 7, 1).fill(0);
    v.slice(2, 7, 1).fill(0);
    Tensor appended = Tensor.allocate(arena, DType.F32, q.shape());
    Attention.builder().build().forward(q, k, v, appended);
    Tensor out = Tensor.allocate(arena, DType.F32, q.shape());
    Attention attention = Attention.builder().sinks(new float[2]).build();
    attention.forward(q, k.slice(2, 0, 7), v.slice(2, 0, 7), out);
    assertArrayEquals(appended.toFloatArray(), out.toFloatArray(), 1e-6f);
  }

  @Test
  void shouldAttendAsTheModule() throws Exception {
    Path path = Path.of("src/classics/test/resources/golden/A_torch_mha_padding.safetensors");
    SafeTensors expected = SafeTensors.open(path, arena);
    Tensor query = expected.get("in.query");
    Tensor key = expected.get("in.key");
    Tensor value = expected.get("in.value");
    Tensor keyPaddingMask = expected.get("in.key_padding_mask");
    long batch = query.size(0);
    long lenQ = query.size(1);
    long lenK = key.size(1);
    Tensor out = Tensor.allocate(arena, DType.F32, query.shape());

    SafeTensors file = SafeTensors.open(path, arena);
    MultiHeadAttention attention = TorchMultiheadAttention.load(file, "w.", 3, arena);
    Mask mask = TorchMultiheadAttention.mask(keyPaddingMask, null, 3, arena);
    Tensor weights = Tensor.allocate(arena, DType.F32, batch, 3, lenQ, lenK);
    attention.forward(query, key, value, mask, out, Extras.none().weights(weights));
    Tensor average = Tensor.allocate(arena, DType.F32, batch, lenQ, lenK);
    TorchMultiheadAttention.averageHeads(weights, average);

    assertArrayEquals(expected.get("out.output").toFloatArray(), out.toFloatArray(), 1e-5f);
    assertArrayEquals(
        expected.get("out.weights_head_average").toFloatArray(), average.toFloatArray(), 1e-5f);
  }

  @Test
  void shouldStandInTheGuideLineByLine() {
    Snippets.requireRunBy(PytorchGuideTest.class, Path.of("src/guide/pytorch.md"), 3);
  }
}
