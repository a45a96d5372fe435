package io.github.attention4j.classics;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.AddNorm;
import io.github.attention4j.classics.d2l.AdditiveAttention;
import io.github.attention4j.classics.d2l.BahdanauSeq2Seq;
import io.github.attention4j.classics.d2l.DotProductAttention;
import io.github.attention4j.classics.d2l.MaskedSoftmax;
import io.github.attention4j.classics.d2l.MultiHeadAttention;
import io.github.attention4j.classics.d2l.NadarayaWatson;
import io.github.attention4j.classics.d2l.PositionwiseFfn;
import io.github.attention4j.classics.d2l.Transformer;
import io.github.attention4j.classics.d2l.TransformerDecoderBlock;
import io.github.attention4j.classics.d2l.TransformerEncoderBlock;
import io.github.attention4j.classics.d2l.ValidLens;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.layer.LayerNorm;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/** Runs the golden cases of "Dive into Deep Learning", the systems that begin with B. */
final class GoldenD2l {
  private GoldenD2l() {}

  static GoldenCase.Run runner(String system) {
    return switch (system) {
      case "B.masked_softmax" -> GoldenD2l::maskedSoftmax;
      case "B.dot_product_attention" -> GoldenD2l::dotProductAttention;
      case "B.multi_head_attention" -> GoldenD2l::multiHeadAttention;
      case "B.transpose" -> GoldenD2l::transpose;
      case "B.additive_attention" -> GoldenD2l::additiveAttention;
      case "B.nadaraya_watson" -> GoldenD2l::nadarayaWatson;
      case "B.positional_encoding" -> GoldenD2l::positionalEncoding;
      case "B.positionwise_ffn" -> GoldenD2l::positionwiseFfn;
      case "B.addnorm" -> GoldenD2l::addNorm;
      case "B.encoder_block" -> GoldenD2l::encoderBlock;
      case "B.decoder_block" -> GoldenD2l::decoderBlock;
      case "B.transformer_greedy" -> GoldenD2l::transformer;
      case "B.bahdanau_seq2seq" -> GoldenD2l::bahdanauSeq2Seq;
      default -> throw new AssertionError("unknown system " + system);
    };
  }

  /** The lengths in a tensor, or none if the option says so. */
  static ValidLens validLens(GoldenCase golden, String option, String tensor) {
    Object described = golden.option(option);
    if (!golden.holds(tensor)) {
      golden.require("none".equals(described), "option " + option + "=" + described);
      return ValidLens.none();
    }
    Tensor lens = golden.get(tensor);
    boolean fits =
        described instanceof List<?> list
            ? Arrays.equals(flat(list), lens.toIntArray())
            : (lens.rank() + "d").equals(described);
    golden.require(fits, "option " + option + "=" + described);
    return ValidLens.of(lens);
  }

  /** The numbers of a list, or of a list of lists. */
  private static int[] flat(List<?> list) {
    return list.stream()
        .flatMap(each -> each instanceof List<?> row ? row.stream() : Stream.of(each))
        .mapToInt(each -> ((Number) each).intValue())
        .toArray();
  }

  private static ValidLens validLens(GoldenCase golden) {
    return validLens(golden, "valid_lens", "in.valid_lens");
  }

  // ---- Attention ----

  private static void maskedSoftmax(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    golden.describes("batch", x.size(0));
    golden.describes("len_q", x.size(1));
    golden.describes("len_k", x.size(2));
    Tensor weights = golden.wanted("out.weights");
    MaskedSoftmax.forward(x, validLens(golden), weights);
    golden.expect("out.weights", weights);
  }

  private static void dotProductAttention(GoldenCase golden) {
    Tensor queries = golden.get("in.queries");
    Tensor keys = golden.get("in.keys");
    Tensor values = golden.get("in.values");
    describeAttention(golden, queries, keys);
    golden.describes("dim", queries.size(2));
    golden.describes("value_dim", values.size(2));
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    ValidLens validLens = validLens(golden);
    DotProductAttention.forward(queries, keys, values, validLens, out, weights);
    golden.expect("out.output", out);
    golden.expect("out.weights", weights);
    out.fill(Float.NaN);
    DotProductAttention.forward(queries, keys, values, validLens, out);
    golden.expect("out.output", out);
  }

  private static void describeAttention(GoldenCase golden, Tensor queries, Tensor keys) {
    golden.describes("batch", queries.size(0));
    golden.describes("len_q", queries.size(1));
    golden.describes("len_k", keys.size(1));
  }

  private static void multiHeadAttention(GoldenCase golden) {
    Tensor queries = golden.get("in.queries");
    Tensor keys = golden.get("in.keys");
    Tensor values = golden.get("in.values");
    describeAttention(golden, queries, keys);
    golden.describes("query_size", queries.size(2));
    golden.describes("key_size", keys.size(2));
    golden.describes("value_size", values.size(2));
    golden.word("linear_layout", "out_in", "out_in");
    golden.require(golden.flag("bias") == golden.holds("w.b_q"), "option bias and w.b_q");
    long heads = golden.integer("num_heads", 0);
    MultiHeadAttention layer =
        MultiHeadAttention.load(golden.weights("w."), "w.", heads, golden.arena());
    golden.describes("num_hiddens", layer.layer().dimOut());
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.floats(queries.size(0), heads, queries.size(1), keys.size(1));
    layer.forward(queries, keys, values, validLens(golden), out, weights);
    golden.expect("out.output", out);
    golden.expect("out.weights", batchAndHeads(weights));
  }

  /** The book merges both into one dimension, in the same order. */
  static Tensor batchAndHeads(Tensor weights) {
    return weights.reshape(weights.size(0) * weights.size(1), weights.size(2), weights.size(3));
  }

  private static void transpose(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    long heads = golden.integer("num_heads", 0);
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("num_hiddens", x.size(2));
    Tensor split = MultiHeadAttention.transposeQkv(x, heads);
    golden.expect("out.transpose_qkv", batchAndHeads(split.toF32(golden.arena())));
    golden.expect("out.transpose_output", MultiHeadAttention.transposeOutput(split));
  }

  private static void additiveAttention(GoldenCase golden) {
    Tensor queries = golden.get("in.queries");
    Tensor keys = golden.get("in.keys");
    Tensor values = golden.get("in.values");
    describeAttention(golden, queries, keys);
    golden.describes("query_dim", queries.size(2));
    golden.describes("key_dim", keys.size(2));
    golden.describes("value_dim", values.size(2));
    golden.word("linear_layout", "out_in", "out_in");
    AdditiveAttention layer = AdditiveAttention.load(golden.weights("w."), "w.", golden.arena());
    golden.describes("num_hiddens", layer.hidden());
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    ValidLens validLens = validLens(golden);
    layer.forward(queries, keys, values, validLens, out, weights);
    golden.expect("out.output", out);
    golden.expect("out.weights", weights);
    out.fill(Float.NaN);
    layer.forward(queries, keys, values, validLens, out);
    golden.expect("out.output", out);
  }

  // ---- Kernel regression ----

  private static void nadarayaWatson(GoldenCase golden) {
    Tensor queries = golden.get("in.queries");
    Tensor keys = golden.get("in.keys");
    Tensor values = golden.get("in.values");
    boolean own = golden.flag("per_query");
    golden.describes("isolated");
    golden.describes("n_test", queries.size(0));
    golden.describes("n_train", keys.size(0));
    golden.describes("dim", queries.size(-1));
    golden.describes("value_dim", values.size(-1));
    golden.require(own == (keys.rank() > queries.rank()), "option per_query=" + own);
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    NadarayaWatson estimator =
        switch (golden.word(
            "kernel",
            "gaussian",
            "gaussian",
            "gaussian_sigma",
            "boxcar",
            "constant",
            "epanechikov")) {
          case "gaussian_sigma" ->
              NadarayaWatson.of(NadarayaWatson.Kernel.GAUSSIAN)
                  .withSigma(golden.number("sigma", 0));
          case "boxcar" -> NadarayaWatson.of(NadarayaWatson.Kernel.BOXCAR);
          case "constant" -> NadarayaWatson.of(NadarayaWatson.Kernel.CONSTANT);
          case "epanechikov" -> NadarayaWatson.of(NadarayaWatson.Kernel.EPANECHIKOV);
          default ->
              golden.has("w")
                  ? NadarayaWatson.load(golden.weights("w."), "w.")
                  : NadarayaWatson.of(NadarayaWatson.Kernel.GAUSSIAN);
        };
    golden.describes("w");
    estimator.forward(queries, keys, values, out, weights);
    golden.expect("out.output", out);
    golden.expect("out.weights", weights);
    out.fill(Float.NaN);
    estimator.forward(queries, keys, values, out);
    golden.expect("out.output", out);
  }

  // ---- Layers of the Transformer ----

  private static void positionalEncoding(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("num_hiddens", x.size(2));
    PositionalEncoding encoding =
        PositionalEncoding.sinusoidal(golden.arena(), 1000, (int) x.size(2));
    Tensor out = golden.wanted("out.output");
    encoding.forward(x, out);
    golden.expect("out.output", out);
    golden.expect("out.P", encoding.encoding(x.size(1)));
  }

  private static void positionwiseFfn(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("in_dim", x.size(2));
    golden.describes("hidden", golden.get("w.dense1.weight").size(0));
    golden.word("linear_layout", "out_in", "out_in");
    PositionwiseFfn ffn = PositionwiseFfn.load(golden.weights("w."), "w.", golden.arena());
    golden.describes("out_dim", ffn.dimOut());
    Tensor out = golden.wanted("out.output");
    ffn.forward(x, out);
    golden.expect("out.output", out);
  }

  private static void addNorm(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    Tensor y = golden.get("in.y");
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("dim", x.size(2));
    golden.describes("norm_dims", golden.get("w.ln.weight").rank());
    requireEpsilon(golden);
    Tensor out = golden.wanted("out.output");
    AddNorm.load(golden.weights("w."), "w.", golden.arena()).forward(x, y, out);
    golden.expect("out.output", out);
  }

  /** Layers read norms with the default epsilon, as the book does. */
  static void requireEpsilon(GoldenCase golden) {
    double epsilon = golden.number("eps", LayerNorm.DEFAULT_EPSILON);
    golden.require(epsilon == LayerNorm.DEFAULT_EPSILON, "option eps=" + epsilon);
  }

  // ---- Blocks and models ----

  private static void encoderBlock(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    describeBlock(golden, x);
    long heads = golden.integer("num_heads", 0);
    boolean bias = golden.flag("bias");
    golden.require(bias == golden.holds("w.attention.b_q"), "option bias=" + bias);
    golden.describes("ffn", golden.get("w.ffn.dense1.weight").size(0));
    TransformerEncoderBlock block =
        TransformerEncoderBlock.load(golden.weights("w."), "w.", heads, golden.arena());
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.floats(x.size(0), heads, x.size(1), x.size(1));
    ValidLens validLens = validLens(golden);
    block.forward(x, validLens, out, weights);
    golden.expect("out.output", out);
    golden.expect("out.weights", batchAndHeads(weights));
    out.fill(Float.NaN);
    block.forward(x, validLens, out);
    golden.expect("out.output", out);
  }

  private static void describeBlock(GoldenCase golden, Tensor x) {
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("num_hiddens", x.size(2));
    golden.word("linear_layout", "out_in", "out_in");
    requireEpsilon(golden);
  }

  private static void decoderBlock(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    Tensor encOutputs = golden.get("in.enc_outputs");
    describeBlock(golden, x);
    long heads = golden.integer("num_heads", 0);
    long batch = x.size(0);
    long len = x.size(1);
    golden.describes("enc_len", encOutputs.size(1));
    golden.describes("ffn", golden.get("w.ffn.dense1.weight").size(0));
    ValidLens validLens = validLens(golden, "enc_valid_lens", "in.enc_valid_lens");
    TransformerDecoderBlock block =
        TransformerDecoderBlock.load(golden.weights("w."), "w.", heads, golden.arena());
    Tensor out = golden.wanted("out.output");
    Tensor self = golden.floats(batch, heads, len, len);
    Tensor cross = golden.floats(batch, heads, len, encOutputs.size(1));
    block.forward(x, block.newState(golden.arena(), encOutputs, validLens, len), out, self, cross);
    golden.expect("out.output", out);
    golden.expect("out.self_weights", batchAndHeads(self));
    golden.expect("out.cross_weights", batchAndHeads(cross));
    out.fill(Float.NaN);
    var state = block.newState(golden.arena(), encOutputs, validLens, len);
    Tensor step = golden.floats(batch, 1, x.size(2));
    for (long i = 0; i < len; i++) {
      Tensor last = golden.floats(batch, heads, 1, i + 1);
      block.forward(x.slice(1, i, 1), state, step, last, null);
      out.slice(1, i, 1).copyFrom(step);
      if (i == len - 1) {
        golden.expect("out.last_step_self_weights", batchAndHeads(last));
      }
    }
    golden.expect("out.output", out);
  }

  private static void transformer(GoldenCase golden) {
    Tensor src = golden.get("in.src");
    long batch = src.size(0);
    long len = src.size(1);
    int steps = (int) golden.integer("steps", 0);
    int bos = (int) golden.integer("bos", 0);
    long heads = golden.integer("num_heads", 0);
    golden.describes("batch", batch);
    golden.describes("src_len", len);
    golden.describes("ffn", golden.get("w.encoder.blks.0.ffn.dense1.weight").size(0));
    golden.word("linear_layout", "out_in", "out_in");
    requireEpsilon(golden);
    ValidLens validLens = validLens(golden, "src_valid_lens", "in.src_valid_lens");
    Transformer model = Transformer.load(golden.weights("w."), "w.", heads, golden.arena());
    golden.describes("num_hiddens", model.dim());
    golden.describes("vocab", model.vocabulary());
    golden.describes("num_blocks", model.encoderBlocks());
    Tensor encoded = golden.wanted("out.encoder_outputs");
    Tensor maps = golden.floats(model.encoderBlocks(), batch, heads, len, len);
    model.encode(src, validLens, encoded, maps);
    golden.expect("out.encoder_outputs", encoded);
    golden.expect(
        "out.encoder_weights", maps.reshape(model.encoderBlocks(), batch * heads, len, len));

    Tensor logits = golden.wanted("out.teacher_forced_logits");
    Transformer.State whole = model.newState(golden.arena(), encoded, validLens, steps);
    model.decode(golden.get("in.teacher_tokens"), whole, logits);
    golden.expect("out.teacher_forced_logits", logits);

    int[][] texts = model.predict(src, validLens, bos, -1, steps);
    golden.expectInts("out.tokens_fixed_pos", ints(golden, texts));
    logits = golden.wanted("out.logits_fixed_pos");
    Transformer.State state = model.newState(golden.arena(), encoded, validLens, steps);
    for (int i = 0; i < steps; i++) {
      int[][] tokens = new int[(int) batch][1];
      for (int b = 0; b < batch; b++) {
        tokens[b][0] = i == 0 ? bos : texts[b][i - 1];
      }
      model.decode(ints(golden, tokens), state, logits.slice(1, i, 1));
    }
    golden.expect("out.logits_fixed_pos", logits);
  }

  private static void bahdanauSeq2Seq(GoldenCase golden) {
    Tensor src = golden.get("in.src");
    Tensor tgt = golden.get("in.tgt");
    long batch = src.size(0);
    int steps = (int) golden.integer("greedy_steps", 0);
    golden.describes("batch", batch);
    golden.describes("src_len", src.size(1));
    golden.describes("tgt_len", tgt.size(1));
    golden.word("linear_layout", "out_in", "out_in");
    golden.word("gru", "", "torch layout, gate rows r,z,n");
    ValidLens validLens = validLens(golden, "src_valid_lens", "in.src_valid_lens");
    BahdanauSeq2Seq model = BahdanauSeq2Seq.load(golden.weights("w."), "w.", golden.arena());
    golden.describes("vocab", model.vocabulary());
    golden.describes("embed_size", model.embedSize());
    golden.describes("num_hiddens", model.hidden());
    golden.describes("num_layers", model.layers());
    Tensor outputs = golden.wanted("out.encoder_outputs");
    Tensor encState = golden.wanted("out.encoder_state");
    model.encode(src, outputs, encState);
    golden.expect("out.encoder_outputs", outputs);
    golden.expect("out.encoder_state", encState);

    var state = model.newState(golden.arena(), outputs, encState, validLens);
    Tensor logits = golden.wanted("out.logits");
    Tensor weights = golden.wanted("out.attention_weights");
    Tensor contexts = golden.wanted("out.contexts");
    model.decode(tgt, state, logits, weights, contexts);
    golden.expect("out.logits", logits);
    golden.expect("out.attention_weights", weights);
    golden.expect("out.contexts", contexts);
    golden.expect("out.decoder_state", state.hidden());

    // Each text begins with its own token.
    int[][] texts = new int[(int) batch][];
    for (int b = 0; b < batch; b++) {
      ValidLens own = ValidLens.of(golden.get("in.src_valid_lens").getInt(b));
      texts[b] = model.predict(src.slice(0, b, 1), own, tgt.getInt(b, 0), -1, steps)[0];
    }
    golden.expectInts("out.greedy_tokens", ints(golden, texts));
    logits = golden.wanted("out.greedy_logits");
    state = model.newState(golden.arena(), outputs, encState, validLens);
    for (int i = 0; i < steps; i++) {
      int[][] tokens = new int[(int) batch][1];
      for (int b = 0; b < batch; b++) {
        tokens[b][0] = i == 0 ? tgt.getInt(b, 0) : texts[b][i - 1];
      }
      model.decode(ints(golden, tokens), state, logits.slice(1, i, 1));
    }
    golden.expect("out.greedy_logits", logits);
  }

  private static Tensor ints(GoldenCase golden, int[][] rows) {
    Tensor ints = Tensor.allocate(golden.arena(), DType.I32, rows.length, rows[0].length);
    for (int b = 0; b < rows.length; b++) {
      for (int i = 0; i < rows[b].length; i++) {
        ints.setInt(rows[b][i], b, i);
      }
    }
    return ints;
  }
}
