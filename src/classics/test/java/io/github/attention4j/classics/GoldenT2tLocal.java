package io.github.attention4j.classics;

import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.LocalMasks;
import java.util.List;

/** Runs tensor2tensor's cases of local and dilated attention. */
final class GoldenT2tLocal {
  private GoldenT2tLocal() {}

  static void run(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    golden.describes("which"); // a short form of attention_type
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("length", k.size(2));
    golden.describes("len_q", q.size(2));
    golden.describes("depth", q.size(3));
    golden.describes("value_depth", v.size(3));
    requireZeroKeys(golden, k);
    Mask mask = mask(golden, k);
    double scale = golden.number("scale", 1);
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    Attention attention = Attention.builder().scale(scale).mask(mask).build();
    attention.forward(
        q, k, v, out, weights == null ? Extras.none() : Extras.none().weights(weights));
    golden.expect("out.output", out);
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
  }

  /** Pairs of a batch and a key that is zero in all heads. */
  private static void requireZeroKeys(GoldenCase golden, Tensor k) {
    if (!golden.has("zero_keys")) {
      return;
    }
    for (Object pair : (List<?>) golden.option("zero_keys")) {
      List<?> place = (List<?>) pair;
      for (float value :
          k.select(0, (Long) place.get(0)).select(1, (Long) place.get(1)).toFloatArray()) {
        golden.require(value == 0, "option zero_keys has " + pair);
      }
    }
  }

  private static Mask mask(GoldenCase golden, Tensor k) {
    int length = (int) k.size(2);
    String type =
        golden.word(
            "attention_type",
            "",
            "local_within_block_mask_right",
            "local_mask_right",
            "local_unmasked",
            "masked_dilated_1d",
            "unmasked_dilated_1d");
    return switch (type) {
      case "local_within_block_mask_right" ->
          LocalMasks.localWithinBlockMaskRight(size(golden, "block_length"));
      case "local_mask_right" -> LocalMasks.localMaskRight(length, size(golden, "block_length"));
      case "local_unmasked" ->
          LocalMasks.localUnmasked(k, size(golden, "block_length"), size(golden, "filter_width"));
      case "masked_dilated_1d" ->
          LocalMasks.maskedDilated1d(
              k,
              size(golden, "query_block_size"),
              size(golden, "memory_block_size"),
              size(golden, "gap_size"),
              size(golden, "num_memory_blocks"));
      case "unmasked_dilated_1d" ->
          LocalMasks.unmaskedDilated1d(
              k,
              size(golden, "query_block_size"),
              size(golden, "memory_block_size"),
              size(golden, "gap_size"),
              size(golden, "num_memory_blocks"));
      default -> throw new AssertionError("no attention_type");
    };
  }

  private static int size(GoldenCase golden, String option) {
    golden.require(golden.has(option), "there is no option " + option);
    return (int) golden.integer(option, 0);
  }
}
