package io.github.attention4j.classics;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AreaAttention;
import io.github.attention4j.classics.t2t.AreaNoise;
import io.github.attention4j.classics.t2t.AttentionType;
import io.github.attention4j.classics.t2t.Conv1d;
import io.github.attention4j.classics.t2t.Tensor2TensorAttention;
import io.github.attention4j.classics.t2t.Tensor2TensorAttentionBuilder;

/** Runs the cases of tensor2tensor's whole layer, {@code multihead_attention}. */
final class GoldenT2tLayer {
  private GoldenT2tLayer() {}

  // ---- Whole sequences ----

  static void run(GoldenCase golden) {
    if (golden.holds("in.q")) {
      function(golden);
      return;
    }
    Tensor query = golden.get("in.query_antecedent");
    Tensor memory = memory(golden);
    Tensor2TensorAttention layer = layer(golden, query);
    Mask bias = bias(golden);
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    layer.forward(query, memory, bias, noise(golden), out, extras(golden, weights));
    golden.expect("out.output", out);
    expectWeights(golden, weights);
  }

  private static AreaNoise noise(GoldenCase golden) {
    boolean training = golden.flag("training");
    boolean given = golden.holds("in.normal_noise");
    golden.require(training || !given, "there is noise, and no training");
    return given ? AreaNoise.of(golden.get("in.normal_noise")) : AreaNoise.none();
  }

  /** The function that the type names, without projections. */
  private static void function(GoldenCase golden) {
    golden.describes("semantics"); // the float32 behaviour, which is the library's
    golden.word("attention_type", "dot_product", "dot_product");
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("len_q", q.size(2));
    golden.describes("depth", q.size(3));
    golden.describes("length", k.size(2));
    golden.describes("value_depth", v.size(3));
    Mask bias = bias(golden);
    Attention.Builder builder = Attention.builder().scale(golden.number("scale", 1));
    if (golden.integer("hard_attention_k", 0) > 0) {
      builder.hardAttention((int) golden.integer("hard_attention_k", 0));
    }
    Attention attention = builder.mask(bias == null ? Mask.none() : bias).build();
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    attention.forward(q, k, v, out, extras(golden, weights));
    golden.expect("out.output", out);
    expectWeights(golden, weights);
  }

  private static void expectWeights(GoldenCase golden, Tensor weights) {
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
  }

  /** Null if the sequence attends to itself. */
  private static Tensor memory(GoldenCase golden) {
    boolean self = golden.has("self") ? golden.flag("self") : !golden.holds("in.memory_antecedent");
    golden.require(self != golden.holds("in.memory_antecedent"), "option self=" + self);
    if (self) {
      return null;
    }
    Tensor memory = golden.get("in.memory_antecedent");
    golden.describes("len_m", memory.size(1));
    golden.describes("memory_channels", memory.size(2));
    return memory;
  }

  /** Of the tensor; the options say how it was made. */
  static Mask bias(GoldenCase golden) {
    golden.describes("lengths");
    Object made = golden.option("bias");
    golden.require(
        !"none".equals(made) || !golden.holds("in.bias"), "option bias=none and in.bias");
    return golden.holds("in.bias") ? Mask.bias(golden.get("in.bias")) : null;
  }

  static Tensor2TensorAttention layer(GoldenCase golden, Tensor query) {
    golden.word("linear_layout", "in_out", "in_out");
    golden.describes("semantics"); // the float32 behaviour, which is the library's
    golden.describes("batch", query.size(0));
    golden.describes("len_q", query.size(1));
    golden.describes("channels", query.size(2));
    golden.require(golden.has("num_heads"), "there is no option num_heads");
    Tensor2TensorAttentionBuilder builder =
        Tensor2TensorAttention.builder()
            .attentionType(AttentionType.of((String) golden.option("attention_type")))
            .numHeads(golden.integer("num_heads", 0))
            .totalKeyDepth(golden.integer("total_key_depth", 0))
            .totalValueDepth(golden.integer("total_value_depth", 0))
            .outputDepth(golden.integer("output_depth", 0))
            .vars3d(golden.flag("vars_3d"))
            .qFilterWidth((int) golden.integer("q_filter_width", 1))
            .kvFilterWidth((int) golden.integer("kv_filter_width", 1))
            .qPadding(padding(golden, "q_padding"))
            .kvPadding(padding(golden, "kv_padding"))
            .blockLength((int) golden.integer("block_length", 128))
            .blockWidth((int) golden.integer("block_width", 128))
            .gapSize((int) golden.integer("gap_size", 0))
            .numMemoryBlocks((int) golden.integer("num_memory_blocks", 2))
            .headsShareRelativeEmbedding(golden.flag("heads_share_relative_embedding"))
            .addRelativeToValues(golden.flag("add_relative_to_values"));
    builder
        .hardAttentionK((int) golden.integer("hard_attention_k", 0))
        .gumbelNoiseWeight(golden.number("gumbel_noise_weight", 0))
        .dropoutRate(golden.number("dropout_rate", 0))
        .dropoutBroadcastDims(
            golden.has("dropout_broadcast_dims")
                ? golden.integers("dropout_broadcast_dims")
                : new int[0])
        .maxAreaWidth((int) golden.integer("max_area_width", 1))
        .maxAreaHeight((int) golden.integer("max_area_height", 1))
        .memoryHeight((int) golden.integer("memory_height", 1))
        .areaKeyMode(
            AreaAttention.KeyMode.of(
                golden.word(
                    "area_key_mode",
                    "mean",
                    "mean",
                    "max",
                    "sample",
                    "concat",
                    "max_concat",
                    "sum",
                    "sample_concat",
                    "sample_sum")))
        .areaValueMode(
            AreaAttention.ValueMode.of(
                golden.word("area_value_mode", "sum", "sum", "mean", "max")));
    if (golden.has("max_relative_position")) {
      builder.maxRelativePosition((int) golden.integer("max_relative_position", 0));
    }
    return builder.load(golden.weights("w."), "w.", golden.arena());
  }

  private static Conv1d.Padding padding(GoldenCase golden, String option) {
    return Conv1d.Padding.valueOf(golden.word(option, "VALID", "VALID", "SAME", "LEFT"));
  }

  /** Weights, and what a case of any family has drawn. */
  static Extras extras(GoldenCase golden, Tensor weights) {
    Extras extras = weights == null ? Extras.none() : Extras.none().weights(weights);
    if (golden.holds("in.gumbel_uniform")) {
      extras =
          extras.gumbelNoise(
              golden.number("gumbel_noise_weight", 0), golden.get("in.gumbel_uniform"));
    }
    if (golden.holds("in.keep")) {
      Tensor keep = golden.get("in.keep");
      if (golden.has("dropout_broadcast_dims")) {
        for (int dim : golden.integers("dropout_broadcast_dims")) {
          golden.require(keep.size(dim) == 1, "option dropout_broadcast_dims and in.keep " + keep);
        }
      }
      extras = extras.keep(keep, golden.number("dropout_rate", 0));
    }
    return extras;
  }

  // ---- Caches ----

  static void cache(GoldenCase golden) {
    Tensor query = golden.get("in.query_antecedent");
    Tensor2TensorAttention layer = layer(golden, query);
    long batch = query.size(0);
    long steps = query.size(1);
    golden.describes("steps", steps);
    golden.describes("decode_loop_step"); // both ways are compared
    Tensor bias = given(golden, steps);
    Tensor out = golden.wanted("out.output");
    KvCache cache = layer.allocateCache(golden.arena(), batch, steps);
    Tensor weights = null;
    for (long s = 0; s < steps; s++) {
      weights = layer.allocateWeights(golden.arena(), batch, 1, s + 1);
      layer.forwardCached(
          query.slice(1, s, 1),
          cache,
          bias == null ? Mask.none() : Mask.bias(row(bias, s).slice(3, 0, s + 1)),
          out.slice(1, s, 1),
          Extras.none().weights(weights));
      String after = "_after_" + (s + 1);
      expectCache(golden, "out.cache_k" + after, cache.keys(golden.arena()));
      expectCache(golden, "out.cache_v" + after, cache.values(golden.arena()));
    }
    golden.expect("out.output", out);
    expectCache(golden, "out.cache_k", cache.keys(golden.arena()));
    expectCache(golden, "out.cache_v", cache.values(golden.arena()));
    expectCache(golden, "out.last_step_weights", weights);
    if (golden.holds("out.full_causal")) {
      Tensor full = golden.wanted("out.full_causal");
      Mask causal = Mask.causal(Alignment.TOP_LEFT);
      layer.forward(query, null, bias == null ? causal : causal.and(Mask.bias(bias)), full);
      golden.expect("out.full_causal", full);
    }
    inPlace(golden, layer, query, bias);
  }

  /** The bias of a whole pass, or null. */
  private static Tensor given(GoldenCase golden, long steps) {
    golden.describes("bias");
    golden.describes("lengths");
    if (!golden.holds("in.bias")) {
      return null;
    }
    Tensor bias = golden.get("in.bias");
    golden.require(bias.size(3) == steps, "in.bias " + bias);
    return bias;
  }

  private static Tensor row(Tensor bias, long step) {
    return bias.size(2) == 1 ? bias : bias.slice(2, step, 1);
  }

  /** The same steps in a cache of full length, later positions hidden by the bias. */
  private static void inPlace(
      GoldenCase golden, Tensor2TensorAttention layer, Tensor query, Tensor given) {
    int steps = (int) query.size(1);
    Tensor out = golden.wanted("out.output");
    KvCache cache = layer.allocateFullCache(golden.arena(), query.size(0), steps);
    for (int s = 0; s < steps; s++) {
      Tensor bias =
          given == null ? golden.floats(1, 1, 1, steps) : row(given, s).toF32(golden.arena());
      bias.slice(3, s + 1, steps - s - 1).fill(-1e9f);
      layer.forwardCached(
          query.slice(1, s, 1), cache, s, Mask.bias(bias), out.slice(1, s, 1), Extras.none());
    }
    golden.expect("out.output", out);
    expectCache(golden, "out.cache_k", cache.keys(golden.arena()));
    expectCache(golden, "out.cache_v", cache.values(golden.arena()));
  }

  private static void expectCache(GoldenCase golden, String name, Tensor got) {
    if (golden.holds(name)) {
      golden.expect(name, got);
    }
  }

  static void encoderDecoderCache(GoldenCase golden) {
    Tensor query = golden.get("in.query_antecedent");
    Tensor2TensorAttention layer = layer(golden, query);
    Tensor memory = memory(golden);
    Mask bias = bias(golden);
    KvCache read = layer.readMemory(golden.arena(), memory);
    expectCache(golden, "out.k_encdec", read.keys(golden.arena()));
    expectCache(golden, "out.v_encdec", read.values(golden.arena()));
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    Mask given = bias == null ? Mask.none() : bias;
    layer.forwardMemory(query, read, given, out, extras(golden, weights));
    golden.expect("out.output", out);
    expectWeights(golden, weights);
    Tensor steps = golden.wanted("out.output");
    for (long s = 0; s < query.size(1); s++) {
      layer.forwardMemory(query.slice(1, s, 1), read, given, steps.slice(1, s, 1), Extras.none());
    }
    golden.expect("out.output", steps);
  }
}
