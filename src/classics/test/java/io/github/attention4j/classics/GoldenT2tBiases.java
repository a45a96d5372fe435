package io.github.attention4j.classics;

import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AttentionBias;
import io.github.attention4j.classics.t2t.TimingSignal;
import java.lang.foreign.Arena;

/** Runs tensor2tensor's cases of bias helpers and timing signals. */
final class GoldenT2tBiases {
  private GoldenT2tBiases() {}

  static void biases(GoldenCase golden) {
    Arena arena = golden.arena();
    Tensor pad = golden.get("in.pad");
    Tensor coords = golden.get("in.coords");
    int length = (int) golden.integer("length", 0);
    golden.describes("lengths", "separators"); // say how the inputs were drawn
    golden.describes("batch", pad.size(0));
    golden.require(length == pad.size(1), "option length=" + length);
    int backward = (int) golden.integer("max_backward", -1);
    int forward = (int) golden.integer("max_forward", -1);
    golden.expect("out.local", AttentionBias.local(arena, length, backward, forward));
    golden.expect("out.lower_triangle", AttentionBias.lowerTriangle(arena, length));
    golden.expect("out.proximal", AttentionBias.proximal(arena, length));
    Tensor ignore = AttentionBias.ignorePadding(arena, pad);
    golden.expect("out.ignore_padding", ignore);
    golden.expect("out.to_padding", AttentionBias.toPadding(arena, ignore));
    golden.expect(
        "out.same_segment",
        AttentionBias.sameSegment(arena, golden.get("in.seg_q"), golden.get("in.seg_k")));
    golden.expect(
        "out.prepend_inputs_full_attention",
        AttentionBias.prependInputsFullAttention(arena, golden.get("in.prepend_pad")));
    golden.expect("out.batch_coordinates", AttentionBias.batchCoordinates(arena, coords, coords));
    golden.expect("out.future", AttentionBias.future(arena, coords, coords));
    golden.expect(
        "out.embedding_to_padding", AttentionBias.embeddingToPadding(arena, golden.get("in.emb")));
    golden.expectInts("out.padding_to_length", AttentionBias.paddingToLength(arena, pad));
  }

  static void timingSignal(GoldenCase golden) {
    TimingSignal signal =
        TimingSignal.of(golden.number("min_timescale", 1), golden.number("max_timescale", 1e4));
    int length = (int) golden.integer("length", 0);
    int channels = (int) golden.integer("channels", 0);
    int start = (int) golden.integer("start_index", 0);
    golden.expect("out.signal", signal.get1d(golden.arena(), length, channels, start));
  }
}
