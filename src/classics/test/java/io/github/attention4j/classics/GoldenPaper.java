package io.github.attention4j.classics;

import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.classics.paper.ResidualAttention;
import io.github.attention4j.classics.paper.SequenceMasks;
import java.util.List;

/** Runs the golden cases of a walk through "Attention Is All You Need", those that begin with C. */
final class GoldenPaper {
  private GoldenPaper() {}

  static GoldenCase.Run runner(String system) {
    return switch (system) {
      case "C.positional_encoding" -> GoldenPaper::positionalEncoding;
      case "C.masks" -> GoldenPaper::masks;
      case "C.scaled_dot_product" -> GoldenPaper::scaledDotProduct;
      case "C.multi_head_attention" -> GoldenPaper::multiHeadAttention;
      default -> throw new AssertionError("unknown system " + system);
    };
  }

  private static void positionalEncoding(GoldenCase golden) {
    long len = golden.integer("seq_len", 0);
    int maxLen = (int) golden.integer("max_len", 0);
    int dim = (int) golden.integer("d_model", 0);
    Tensor encoding = PositionalEncoding.sinusoidal(golden.arena(), maxLen, dim).encoding(len);
    golden.expect("out.encoding", encoding);
  }

  private static void masks(GoldenCase golden) {
    Tensor seqQ = golden.get("in.seq_q");
    Tensor seqK = golden.get("in.seq_k");
    golden.describes("batch", seqQ.size(0));
    golden.describes("len_q", seqQ.size(1));
    golden.describes("len_k", seqK.size(1));
    requireLengths(golden, seqK);
    Tensor padding = SequenceMasks.padMask(golden.arena(), seqK, seqQ);
    Tensor later = SequenceMasks.sequenceMask(golden.arena(), seqK);
    golden.expectBooleans("out.pad_mask", padding);
    golden.expectBooleans("out.sequence_mask", later);
    if (golden.holds("out.combined")) {
      golden.expectBooleans("out.combined", SequenceMasks.either(golden.arena(), padding, later));
    }
  }

  /** The tokens of a sequence are 0 from its length on. */
  private static void requireLengths(GoldenCase golden, Tensor seq) {
    List<?> lengths = (List<?>) golden.option("lengths");
    for (int b = 0; b < seq.size(0); b++) {
      for (int i = 0; i < seq.size(1); i++) {
        golden.require(
            (seq.getInt(b, i) == 0) == (i >= (Long) lengths.get(b)), "option lengths=" + lengths);
      }
    }
  }

  private static void scaledDotProduct(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    golden.describes("layout");
    golden.describes("batch", q.size(0));
    golden.describes("len_q", q.size(1));
    golden.describes("len_k", k.size(1));
    golden.describes("dim", q.size(2));
    golden.require(golden.flag("mask") == golden.holds("in.mask"), "option mask and in.mask");
    Attention.Builder builder = Attention.builder().scale(golden.number("scale", 0));
    if (golden.holds("in.mask")) {
      builder.mask(SequenceMasks.hiding(golden.arena(), golden.get("in.mask")));
    }
    Tensor context = golden.wanted("out.context");
    Tensor attention = golden.wanted("out.attention");
    builder.build().forward(q, k, golden.get("in.v"), context, Extras.none().weights(attention));
    golden.expect("out.context", context);
    golden.expect("out.attention", attention);
  }

  private static void multiHeadAttention(GoldenCase golden) {
    Tensor query = golden.get("in.query");
    Tensor key = golden.get("in.key");
    Tensor value = golden.get("in.value");
    golden.describes("self", "lengths", "is_main");
    golden.describes("batch", query.size(0));
    golden.describes("len_q", query.size(1));
    golden.describes("len_k", key.size(1));
    golden.describes("model_dim", query.size(2));
    golden.word("variant", "corrected", "corrected");
    golden.word("split", "heads", "heads");
    golden.word("scale", "corrected", "corrected");
    golden.word("mask_repeat", "interleave", "interleave");
    golden.word("linear_layout", "out_in", "out_in");
    GoldenD2l.requireEpsilon(golden);
    long heads = golden.integer("num_heads", 0);
    String kind = golden.word("mask", "none", "none", "pad", "seq", "pad+seq");
    golden.require(
        kind.equals("none") != golden.holds("in.attn_mask"),
        "option mask=" + kind + " and in.attn_mask");
    Tensor mask = golden.holds("in.attn_mask") ? golden.get("in.attn_mask") : null;
    ResidualAttention layer =
        ResidualAttention.load(golden.weights("w."), "w.", heads, golden.arena());
    Tensor out = golden.wanted("out.output");
    Tensor attention = golden.floats(query.size(0), heads, query.size(1), key.size(1));
    layer.forward(query, key, value, mask, out, Extras.none().weights(attention));
    golden.expect("out.output", out);
    golden.expect("out.attention", GoldenD2l.batchAndHeads(attention));
  }
}
