package io.github.attention4j.classics;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.RelativePositions;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.LocalMasks;

/** Runs tensor2tensor's cases of attention with relative positions. */
final class GoldenT2tRelative {
  private GoldenT2tRelative() {}

  static void run(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    golden.describes("rel"); // a short form of attention_type
    golden.describes("semantics"); // the float32 behaviour, which is the library's
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("length", k.size(2));
    golden.describes("len_q", q.size(2));
    golden.describes("depth", q.size(3));
    golden.describes("value_depth", v.size(3));
    String type =
        golden.word(
            "attention_type",
            "",
            "dot_product_relative",
            "dot_product_relative_v2",
            "dot_product_unmasked_relative_v2",
            "local_relative_mask_right");
    Attention.Builder attention = Attention.builder().scale(golden.number("scale", 1));
    Mask bias = GoldenT2tLayer.bias(golden);
    if (bias != null) {
      attention.mask(bias);
    }
    if (golden.has("hard_attention_k")) {
      attention.hardAttention((int) golden.integer("hard_attention_k", 0));
    }
    int most = (int) golden.integer("max_relative_position", 0);
    switch (type) {
      case "dot_product_relative" -> {
        Tensor keys = golden.get("w.relative_positions_keys");
        Tensor values = golden.get("w.relative_positions_values");
        RelativePositions positions = RelativePositions.clipped(most, keys, values);
        attention.relative(Alignment.BOTTOM_RIGHT, positions);
      }
      case "dot_product_relative_v2" ->
          attention.relative(
              Alignment.TOP_LEFT, RelativePositions.masked(most, keys(golden), values(golden)));
      case "dot_product_unmasked_relative_v2" ->
          attention.relative(
              Alignment.TOP_LEFT, RelativePositions.unmasked(most, keys(golden), values(golden)));
      default -> {
        int length = (int) q.size(2);
        int block = (int) golden.integer("block_length", 0);
        attention.mask(LocalMasks.localMaskRight(length, block));
        attention.relative(
            Alignment.TOP_LEFT,
            RelativePositions.localMaskRight(length, block, keys(golden), values(golden)));
      }
    }
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    Extras extras = GoldenT2tLayer.extras(golden, weights);
    attention.build().forward(q, k, v, out, extras);
    golden.expect("out.output", out);
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
  }

  /** One table for all heads, or one for each. */
  private static Tensor keys(GoldenCase golden) {
    Tensor keys = golden.get("w.key_relative_embeddings");
    boolean shared = golden.flag("heads_share_relative_embedding");
    golden.require(shared == (keys.rank() == 2), "option heads_share_relative_embedding=" + shared);
    return keys;
  }

  private static Tensor values(GoldenCase golden) {
    boolean added = golden.flag("add_relative_to_values");
    golden.require(
        added == golden.holds("w.value_relative_embeddings"),
        "option add_relative_to_values=" + added);
    return added ? golden.get("w.value_relative_embeddings") : null;
  }
}
