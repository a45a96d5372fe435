package io.github.attention4j.classics;

/** Runs the golden cases of tensor2tensor, those that begin with D: a class for each family. */
final class GoldenT2t {
  private GoldenT2t() {}

  static GoldenCase.Run runner(String system) {
    return switch (system) {
      case "D.local_within_block_mask_right",
          "D.local_mask_right",
          "D.local_unmasked",
          "D.masked_dilated_1d",
          "D.unmasked_dilated_1d" ->
          GoldenT2tLocal::run;
      case "D.bias_helpers" -> GoldenT2tBiases::biases;
      case "D.timing_signal" -> GoldenT2tBiases::timingSignal;
      case "D.dot_product_relative",
          "D.dot_product_relative_v2",
          "D.dot_product_unmasked_relative_v2",
          "D.local_relative_mask_right" ->
          GoldenT2tRelative::run;
      case "D.area_attention" -> GoldenT2tArea::run;
      case "D.recurrent_memory" -> GoldenT2tMemory::run;
      case "D.dot_product", "D.multihead_by_type" -> GoldenT2tLayer::run;
      case "D.cache" -> GoldenT2tLayer::cache;
      case "D.encdec_cache" -> GoldenT2tLayer::encoderDecoderCache;
      default -> throw new AssertionError("unknown system " + system);
    };
  }
}
