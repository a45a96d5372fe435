package io.github.attention4j.classics;

import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.torch.TorchMultiheadAttention;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.MultiHeadAttention;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;

/** Runs the golden cases of PyTorch's attention layer, and of ONNX's norms and rotary positions. */
final class GoldenLayers {
  private GoldenLayers() {}

  /** Returns what runs the cases of a system; null if it is none of these. */
  static GoldenCase.Run runner(String system) {
    return switch (system) {
      case "A.torch_mha" -> GoldenLayers::torch;
      case "G.onnx_layer_normalization" -> GoldenLayers::layerNormalization;
      case "G.onnx_rms_normalization" -> GoldenLayers::rmsNormalization;
      case "G.onnx_rotary_embedding" -> GoldenLayers::rotaryEmbedding;
      default -> null;
    };
  }

  // ---- PyTorch ----

  private static void torch(GoldenCase golden) {
    golden.word("linear_layout", "out_in", "out_in");
    boolean batchFirst = !golden.has("batch_first") || golden.flag("batch_first");
    Tensor queries = batchFirst(golden.get("in.query"), batchFirst);
    Tensor keys = batchFirst(golden.get("in.key"), batchFirst);
    Tensor values = batchFirst(golden.get("in.value"), batchFirst);
    golden.describes("batch", queries.size(0));
    golden.describes("len_q", queries.size(1));
    golden.describes("len_k", keys.size(1));
    golden.describes("embed", queries.size(2));
    golden.describes("kdim", keys.size(2));
    golden.describes("vdim", values.size(2));
    long heads = golden.integer("heads", 1);
    Tensor padding = given(golden, "key_padding", "in.key_padding_mask");
    Tensor mask = given(golden, "attn_mask", "in.attn_mask");
    MultiHeadAttention layer =
        TorchMultiheadAttention.load(golden.weights("w."), "w.", heads, golden.arena());
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.floats(queries.size(0), heads, queries.size(1), keys.size(1));
    layer.forward(
        queries,
        keys,
        values,
        TorchMultiheadAttention.mask(padding, mask, heads, golden.arena()),
        batchFirst(out, batchFirst),
        Extras.none().weights(weights));
    golden.expect("out.output", out);
    if (golden.holds("out.weights")) {
      golden.expect("out.weights", weights);
    }
    if (golden.holds("out.weights_head_average")) {
      Tensor average = golden.wanted("out.weights_head_average");
      TorchMultiheadAttention.averageHeads(weights, average);
      golden.expect("out.weights_head_average", average);
    }
  }

  private static Tensor batchFirst(Tensor x, boolean already) {
    return already ? x : x.transpose(0, 1);
  }

  /** The tensor that an option announces, or null. */
  private static Tensor given(GoldenCase golden, String option, String tensor) {
    Object said = golden.option(option);
    boolean none = said == null || said.equals(false) || said.equals("none");
    golden.require(
        none != golden.holds(tensor), "option " + option + "=" + said + " and " + tensor);
    return none ? null : golden.get(tensor);
  }

  // ---- ONNX ----

  private static void layerNormalization(GoldenCase golden) {
    Tensor x = golden.get("in.X");
    Tensor bias = golden.holds("in.B") ? golden.get("in.B") : null;
    golden.require(golden.integer("stash_type", 1) == 1, "option stash_type");
    LayerNorm norm =
        LayerNorm.of(golden.get("in.Scale"), bias, golden.number("epsilon", 1e-5))
            .withAxis((int) golden.integer("axis", -1));
    Tensor out = golden.wanted("out.Y");
    Tensor mean = golden.wanted("out.Mean");
    Tensor invStdDev = golden.wanted("out.InvStdDev");
    norm.forward(x, out, mean, invStdDev);
    golden.expect("out.Y", out);
    if (mean != null) {
      golden.expect("out.Mean", mean);
    }
    if (invStdDev != null) {
      golden.expect("out.InvStdDev", invStdDev);
    }
  }

  private static void rmsNormalization(GoldenCase golden) {
    golden.require(golden.integer("stash_type", 1) == 1, "option stash_type");
    RmsNorm norm =
        RmsNorm.of(golden.get("in.scale"), golden.number("epsilon", 1e-5))
            .withAxis((int) golden.integer("axis", -1));
    Tensor out = golden.wanted("out.Y");
    norm.forward(golden.get("in.X"), out);
    golden.expect("out.Y", out);
  }

  private static void rotaryEmbedding(GoldenCase golden) {
    Tensor x = golden.get("in.X");
    Tensor out = golden.wanted("out.Y");
    long heads = golden.integer("num_heads", 0);
    if (x.rank() == 4) {
      golden.require(heads == 0 || heads == x.size(1), "option num_heads=" + heads);
    }
    boolean split = x.rank() == 3;
    Tensor perHead = split ? x.splitHeads(heads) : x;
    Tensor turned = split ? out.splitHeads(heads) : out;
    RotaryTable table = RotaryTable.of(golden.get("in.cos_cache"), golden.get("in.sin_cache"));
    long rotaryDim = golden.integer("rotary_embedding_dim", 0);
    golden.require(
        table.rotaryDim() == (rotaryDim == 0 ? perHead.size(-1) : rotaryDim),
        "option rotary_embedding_dim=" + rotaryDim + ", the tables' " + table.rotaryDim());
    long interleaved = golden.integer("interleaved", 0);
    golden.require(interleaved == 0 || interleaved == 1, "option interleaved=" + interleaved);
    RotaryEmbedding rotary =
        RotaryEmbedding.of(
            table,
            interleaved == 1 ? RotaryEmbedding.Style.INTERLEAVED : RotaryEmbedding.Style.HALF);
    if (golden.holds("in.position_ids")) {
      rotary.forward(perHead, turned, golden.get("in.position_ids"));
    } else {
      rotary.forward(perHead, turned);
    }
    golden.expect("out.Y", out);
  }
}
