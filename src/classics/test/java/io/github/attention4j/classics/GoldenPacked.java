package io.github.attention4j.classics;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import java.util.Arrays;

/** Packed sequences of different lengths. */
final class GoldenPacked {
  private GoldenPacked() {}

  static void run(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    Sequences queries = Sequences.ofBegins(golden.get("in.cu_seqlens_q"));
    Sequences keys = Sequences.ofBegins(golden.get("in.cu_seqlens_k"));
    golden.describes("layout");
    golden.describes("heads", q.size(1));
    golden.describes("kv_heads", k.size(1));
    golden.describes("head_dim", q.size(2));
    requireLengths(golden.integers("lens_q"), queries);
    requireLengths(golden.integers("lens_k"), keys);

    Attention.Builder builder = Attention.builder().mask(GoldenTest.causal(golden));
    GoldenTest.addScores(golden, builder);
    Tensor out = golden.wanted("out.output");
    Tensor lse = golden.wanted("out.lse");
    Extras extras = lse == null ? Extras.none() : Extras.none().logsumexp(lse);
    builder.build().forwardPacked(q, queries, k, v, keys, out, extras);
    golden.expect("out.output", out);
    if (lse != null) {
      golden.expect("out.lse", lse);
    }
  }

  private static void requireLengths(int[] lengths, Sequences sequences) {
    int[] own = new int[sequences.count()];
    Arrays.setAll(own, sequences::length);
    assertArrayEquals(lengths, own);
  }
}
