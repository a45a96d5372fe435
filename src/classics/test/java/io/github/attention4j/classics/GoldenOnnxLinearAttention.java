package io.github.attention4j.classics;

import io.github.attention4j.LinearAttention;
import io.github.attention4j.LinearAttention.Rule;
import io.github.attention4j.Tensor;

/** ONNX {@code LinearAttention}, opset 27, by the names that the operator gives its parts. */
final class GoldenOnnxLinearAttention {
  private GoldenOnnxLinearAttention() {}

  static void run(GoldenCase golden) {
    final long headsQ = golden.integer("q_num_heads", 0);
    final long headsKv = golden.integer("kv_num_heads", 0);
    // Only how a reference cuts the sequence.
    golden.describes("chunk_size");
    final Tensor q = golden.get("in.query").splitHeads(headsQ);
    final Tensor k = golden.get("in.key").splitHeads(headsKv);
    final Tensor v = golden.get("in.value").splitHeads(headsKv);
    LinearAttention attention =
        LinearAttention.of(
            switch (golden.word(
                "update_rule", "gated_delta", "linear", "gated", "delta", "gated_delta")) {
              case "linear" -> Rule.LINEAR;
              case "gated" -> Rule.GATED;
              case "delta" -> Rule.DELTA;
              default -> Rule.GATED_DELTA;
            });
    double scale = golden.number("scale", 0);
    if (scale != 0) {
      attention = attention.withScale(scale);
    }
    Tensor decay = golden.holds("in.decay") ? golden.get("in.decay") : null;
    if (decay != null) {
      decay = decay.size(2) == headsKv ? decay.transpose(1, 2) : decay.splitHeads(headsKv);
    }
    Tensor beta = golden.holds("in.beta") ? golden.get("in.beta").transpose(1, 2) : null;
    if (beta != null && beta.size(1) == 1) {
      beta = beta.expand(1, headsKv);
    }
    Tensor state = golden.wanted("out.present_state");
    if (state == null) {
      state = attention.newState(golden.arena(), q.size(0), headsKv, k.size(3), v.size(3));
    }
    if (golden.holds("in.past_state")) {
      state.copyFrom(golden.get("in.past_state"));
    }
    Tensor out = golden.wanted("out.output");
    attention.forward(q, k, v, decay, beta, state, out.splitHeads(headsQ));
    golden.expect("out.output", out);
    if (golden.holds("out.present_state")) {
      golden.expect("out.present_state", state);
    }
  }
}
