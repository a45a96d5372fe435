package io.github.attention4j.classics;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.ScoreStage;
import io.github.attention4j.Tensor;
import java.util.Arrays;

/**
 * ONNX {@code Attention}, opset 25: its attributes, inputs and outputs by the names that the
 * operator gives them.
 */
final class GoldenOnnxAttention {
  /**
   * The types that a case may request for its softmax, by ONNX's numbers. The result is a float
   * either way, within the case's tolerance.
   */
  private static final int FLOAT = 1;

  private static final int DOUBLE = 11;

  private GoldenOnnxAttention() {}

  static void run(GoldenCase golden) {
    final boolean flat = golden.get("in.Q").rank() == 3;
    final Tensor q = heads(golden.get("in.Q"), golden.integer("q_num_heads", 0));
    Tensor k = heads(golden.get("in.K"), golden.integer("kv_num_heads", 0));
    Tensor v = heads(golden.get("in.V"), golden.integer("kv_num_heads", 0));
    int past = 0;
    if (golden.holds("in.past_key")) {
      KvCache cache = cacheOf(golden, k.size(2));
      past = cache.longest();
      cache.append(k, v);
      k = cache.keys(golden.arena());
      v = cache.values(golden.arena());
    }
    if (golden.holds("out.present_key")) {
      golden.expect("out.present_key", k);
      golden.expect("out.present_value", v);
    }

    Mask mask = Mask.none();
    int[] offsets = new int[(int) q.size(0)];
    Arrays.fill(offsets, past);
    if (golden.holds("in.nonpad_kv_seqlen")) {
      int[] lengths = golden.get("in.nonpad_kv_seqlen").toIntArray();
      mask = Mask.keyLengths(lengths);
      for (int b = 0; b < lengths.length; b++) {
        offsets[b] = lengths[b] - (int) q.size(2);
      }
    }
    if (golden.integer("is_causal", 0) == 1) {
      mask = mask.and(Mask.causal(offsets));
    }
    int left = (int) golden.integer("left_window_size", -1);
    int right = (int) golden.integer("right_window_size", -1);
    mask = mask.and(Mask.window(left, right, offsets));
    if (golden.holds("in.attn_mask")) {
      Tensor dense = golden.get("in.attn_mask");
      Mask given =
          dense.dtype() == DType.BOOL ? Mask.allow(dense) : Mask.bias(dense.toF32(golden.arena()));
      mask = mask.and(given.paddedWithHidden());
      if (dense.size(-1) == 1) {
        mask = mask.and(firstKeyOnly(k.size(0)));
      }
    }
    Attention.Builder builder = Attention.builder().mask(mask);
    GoldenTest.addScores(golden, builder);

    long precision = golden.integer("softmax_precision", FLOAT);
    golden.require(
        precision == FLOAT || precision == DOUBLE,
        "softmax_precision=" + precision + " is neither float nor double");
    Extras extras = Extras.none();
    long mode = golden.integer("qk_matmul_output_mode", 0);
    Tensor scores = golden.wanted("out.qk_matmul_output");
    if (scores != null) {
      extras =
          switch ((int) mode) {
            case 0 -> extras.scores(ScoreStage.SCALED, scores);
            case 1 -> extras.scores(ScoreStage.CAPPED, scores);
            case 2 -> extras.scores(ScoreStage.LOGITS, scores);
            case 3 -> extras.weights(scores);
            default -> throw new AssertionError("unknown qk_matmul_output_mode=" + mode);
          };
    }
    final Tensor out = golden.wanted("out.Y");
    Tensor perHead = flat ? out.splitHeads(q.size(1)) : out;
    builder.build().forward(q, k, v, perHead, extras);
    golden.expect("out.Y", out);
    if (scores != null) {
      golden.expect("out.qk_matmul_output", scores);
    }
  }

  private static Tensor heads(Tensor tensor, long heads) {
    return tensor.rank() == 3 ? tensor.splitHeads(heads) : tensor;
  }

  /** ONNX pads a mask of one key with hidden keys; the library would broadcast it. */
  private static Mask firstKeyOnly(long batch) {
    int[] lengths = new int[(int) batch];
    Arrays.fill(lengths, 1);
    return Mask.keyLengths(lengths);
  }

  /** A cache with the past and room for `more` rows. */
  private static KvCache cacheOf(GoldenCase golden, long more) {
    Tensor keys = golden.get("in.past_key");
    Tensor values = golden.get("in.past_value");
    KvCache cache =
        KvCache.allocate(
            golden.arena(),
            keys.size(0),
            keys.size(1),
            keys.size(3),
            values.size(1),
            values.size(3),
            keys.size(2) + more);
    cache.append(keys, values);
    return cache;
  }
}
