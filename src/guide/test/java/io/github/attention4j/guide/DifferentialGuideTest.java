package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.DifferentialAttention;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Snippets;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The guide's page on the Differential Transformer does what it says. */
class DifferentialGuideTest {
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private SafeTensors golden(String name) throws IOException {
    return SafeTensors.open(
        Path.of("src/classics/test/resources/golden", name + ".safetensors"), arena);
  }

  @Test
  void shouldBeTheBasicForm() throws Exception {
    SafeTensors seed = golden("E_diff_seed_e32_h4_depth0");
    Tensor lambdaQ1 = seed.get("w.lambda_q1");
    Tensor lambdaK1 = seed.get("w.lambda_k1");
    Tensor lambdaQ2 = seed.get("w.lambda_q2");
    Tensor lambdaK2 = seed.get("w.lambda_k2");
    Tensor x = seed.get("in.x");
    Tensor out = Tensor.allocate(arena, DType.F32, x.shape());

    DifferentialAttention first =
        DifferentialAttention.builder(
                Linear.of(seed.get("w.q_proj")),
                Linear.of(seed.get("w.k_proj")),
                Linear.of(seed.get("w.v_proj")),
                Linear.of(seed.get("w.out_proj")))
            .pairs(4)
            .lambda(lambdaQ1, lambdaK1, lambdaQ2, lambdaK2, 0)
            .build();
    first.forward(x, out);

    assertArrayEquals(seed.get("out.output").toFloatArray(), out.toFloatArray(), 1e-5f);
  }

  @Test
  void shouldBeVersionOne() throws Exception {
    SafeTensors file = golden("E_diff_ms_mha");
    Tensor lambdaQ1 = file.get("w.lambda_q1");
    Tensor lambdaK1 = file.get("w.lambda_k1");
    Tensor lambdaQ2 = file.get("w.lambda_q2");
    Tensor lambdaK2 = file.get("w.lambda_k2");
    Linear query = Linear.of(file.get("w.q_proj"));
    Linear key = Linear.of(file.get("w.k_proj"));
    Linear value = Linear.of(file.get("w.v_proj"));
    Linear output = Linear.of(file.get("w.out_proj"));
    Tensor subln = file.get("w.subln");
    RotaryTable table = RotaryTable.of(file.get("in.rope_cos"), file.get("in.rope_sin"));
    int depth = 0;
    Tensor x = file.get("in.x");
    Tensor out = Tensor.allocate(arena, DType.F32, x.shape());

    DifferentialAttention v1 =
        DifferentialAttention.builder(query, key, value, output)
            .pairs(2)
            .pairsKv(2)
            .lambda(lambdaQ1, lambdaK1, lambdaQ2, lambdaK2, depth)
            .rotary(RotaryEmbedding.of(table, RotaryEmbedding.Style.INTERLEAVED))
            .norm(RmsNorm.of(subln, 1e-5))
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    v1.forward(x, out);

    assertArrayEquals(file.get("out.output").toFloatArray(), out.toFloatArray(), 1e-5f);
  }

  @Test
  void shouldBeVersionTwo() {
    Random random = new Random(41);
    Tensor q = Checked.random(arena, random, 1, 20, 8 * 16).splitHeads(8);
    Tensor k = Checked.random(arena, random, 1, 20, 2 * 16).splitHeads(2);
    Tensor v = Checked.random(arena, random, 1, 20, 2 * 16).splitHeads(2);
    Tensor lambda = Checked.random(arena, random, 1, 20, 4);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 4, 20, 16);

    Differential v2 =
        Differential.builder()
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .keyMap(Differential.KeyMap.SHARED)
            .lambdaForm(Differential.LambdaForm.SIGMOID)
            .build();
    v2.forward(q, k, v, lambda.transpose(1, 2), out); // lambda: a projection [batch, length, pairs]

    // The first token sees itself alone, in both maps.
    double rest = 1 - 1 / (1 + Math.exp(-lambda.getFloat(0, 0, 2)));
    assertEquals(rest * v.getFloat(0, 1, 0, 5), out.getFloat(0, 2, 0, 5), 1e-6);
  }

  @Test
  void shouldStandInTheGuideLineByLine() {
    Snippets.requireRunBy(DifferentialGuideTest.class, Path.of("src/guide/differential.md"), 3);
  }
}
