package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AreaAttention;
import io.github.attention4j.classics.t2t.Areas;
import io.github.attention4j.classics.t2t.AttentionBias;
import io.github.attention4j.classics.t2t.AttentionImage;
import io.github.attention4j.classics.t2t.AttentionType;
import io.github.attention4j.classics.t2t.RecentTokensMemory;
import io.github.attention4j.classics.t2t.Tensor2TensorAttention;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Snippets;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The guide's page for those who come from tensor2tensor does what it says. */
class Tensor2tensorGuideTest {
  @TempDir private Path directory;

  private final Random random = new Random(47);
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

  private SafeTensors weights(String prefix) throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (String name : new String[] {"q", "k", "v", "output_transform"}) {
      tensors.put(prefix + name + "/kernel", Checked.random(arena, random, 16, 16));
    }
    Path path = directory.resolve("weights.safetensors");
    SafeTensors.write(path, tensors, Map.of());
    return SafeTensors.open(path, arena);
  }

  @Test
  void shouldAttendLocally() throws Exception {
    SafeTensors file = weights("self_attention/multihead_attention/");
    Tensor x = Checked.random(arena, random, 2, 12, 16);
    Tensor out = floats(2, 12, 16);
    Path picture = directory.resolve("attention.png");

    Tensor2TensorAttention local =
        Tensor2TensorAttention.builder()
            .numHeads(2)
            .attentionType(AttentionType.LOCAL_MASK_RIGHT)
            .blockLength(4)
            .load(file, "self_attention/multihead_attention/", arena);
    Tensor weights = local.allocateWeights(arena, 2, 12, 12);
    local.forward(x, null, null, out, Extras.none().weights(weights)); // no memory, no bias
    AttentionImage.summary(weights).write(picture, 8); // make_image_summary

    assertTrue(Files.size(picture) > 0);
    // What the last block does not see does not matter.
    Tensor other = Checked.random(arena, random, 2, 12, 16);
    other.slice(1, 4, 8).copyFrom(x.slice(1, 4, 8));
    Tensor same = floats(2, 12, 16);
    local.forward(other, null, null, same);
    assertArrayEquals(out.slice(1, 8, 4).toFloatArray(), same.slice(1, 8, 4).toFloatArray(), 1e-6f);
  }

  @Test
  void shouldAttendToAreas() {
    Tensor q = floats(1, 2, 3, 16); // of zeros, so that all areas weigh the same
    Tensor k = Checked.random(arena, random, 1, 2, 20, 16);
    Tensor v = floats(1, 2, 20, 16).fill(1);
    Tensor pooled = floats(1, 2, 3, 16);

    Areas areas = new Areas(4, 2, 3); // a memory of 4 lines; areas of up to 2 x 3
    AreaAttention area =
        AreaAttention.builder(areas)
            .keyMode(AreaAttention.KeyMode.MEAN)
            .valueMode(AreaAttention.ValueMode.SUM)
            .scale(0.25)
            .build();
    area.forward(q, k, v, pooled);

    // 4 x 5 items: how many areas of each size there are, and how large they are.
    double count = (4 + 3) * (5 + 4 + 3);
    double items = (4 * 1 + 3 * 2) * (5 * 1 + 4 * 2 + 3 * 3);
    assertEquals(count, areas.count(20));
    assertEquals(items / count, pooled.getFloat(0, 1, 2, 7), 1e-5);
  }

  @Test
  void shouldStepAndReadChunksAsOnePass() throws Exception {
    String prefix = "";
    SafeTensors file = weights(prefix);
    Tensor x = Checked.random(arena, random, 2, 12, 16);
    Tensor steps = floats(2, 12, 16);
    Tensor chunks = floats(2, 12, 16);

    Tensor2TensorAttention decoder =
        Tensor2TensorAttention.builder().numHeads(2).load(file, prefix, arena);
    KvCache cache = decoder.allocateCache(arena, 2, 64);
    for (long s = 0; s < 12; s++) {
      Tensor step = steps.slice(1, s, 1);
      decoder.forwardCached(x.slice(1, s, 1), cache, Mask.none(), step, Extras.none());
    }
    RecentTokensMemory memory = RecentTokensMemory.allocate(arena, 2, 4, 8, 16);
    Tensor causal = AttentionBias.lowerTriangle(arena, 4); // of a chunk
    for (int c = 0; c < 3; c++) {
      Tensor chunk = x.slice(1, 4 * c, 4);
      Tensor result = chunks.slice(1, 4 * c, 4);
      decoder.forwardChunk(chunk, memory, new int[] {c, c}, causal, result, Extras.none());
    }

    Tensor whole = floats(2, 12, 16);
    decoder.forward(x, null, Mask.causal(Alignment.TOP_LEFT), whole);
    assertArrayEquals(whole.toFloatArray(), steps.toFloatArray(), 1e-4f);
    assertArrayEquals(whole.toFloatArray(), chunks.toFloatArray(), 1e-4f);
  }

  @Test
  void shouldStandInTheGuideLineByLine() {
    Snippets.requireRunBy(Tensor2tensorGuideTest.class, Path.of("src/guide/tensor2tensor.md"), 3);
  }
}
