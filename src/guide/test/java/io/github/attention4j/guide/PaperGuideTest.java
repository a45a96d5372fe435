package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.classics.paper.ResidualAttention;
import io.github.attention4j.classics.paper.SequenceMasks;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.testing.Snippets;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The guide's page on "Attention Is All You Need" does what it says. */
class PaperGuideTest {
  @Test
  void shouldWalkThroughThePaper() throws Exception {
    try (Arena arena = Arena.ofConfined()) {
      Path path =
          Path.of("src/classics/test/resources/golden/C_mha_self_causal_pad_corrected.safetensors");
      SafeTensors file = SafeTensors.open(path, arena);
      Tensor x = file.get("in.query");
      Tensor wanted = file.get("in.attn_mask");
      int batch = (int) x.size(0);
      int len = (int) x.size(1);
      int dim = (int) x.size(2);
      // The last query sees all that is not padding.
      Tensor tokens = Tensor.allocate(arena, DType.I32, batch, len);
      for (int b = 0; b < batch; b++) {
        for (int j = 0; j < len; j++) {
          tokens.setInt(wanted.getBoolean(b, len - 1, j) ? 0 : 7, b, j);
        }
      }
      Tensor out = Tensor.allocate(arena, DType.F32, batch, len, dim);
      Tensor attention = Tensor.allocate(arena, DType.F32, batch, 5, len, len);

      Tensor positions = PositionalEncoding.sinusoidal(arena, 512, dim).encoding(len);
      // Token 0 is padding; true = masked.
      Tensor padding = SequenceMasks.padMask(arena, tokens, tokens);
      Tensor later = SequenceMasks.sequenceMask(arena, tokens);
      Tensor masked = SequenceMasks.either(arena, padding, later);
      ResidualAttention layer = ResidualAttention.load(file, "w.", 5, arena);
      layer.forward(x, x, x, masked, out, Extras.none().weights(attention));

      assertArrayEquals(new long[] {len, dim}, positions.shape());
      assertEquals(Math.sin(2), positions.getFloat(2, 0), 1e-6);
      assertArrayEquals(file.get("out.output").toFloatArray(), out.toFloatArray(), 2e-5f);
      assertEquals(0, attention.getFloat(0, 1, 0, 1));
    }
  }

  @Test
  void shouldStandInTheGuideLineByLine() {
    Snippets.requireRunBy(PaperGuideTest.class, Path.of("src/guide/paper.md"), 1);
  }
}
