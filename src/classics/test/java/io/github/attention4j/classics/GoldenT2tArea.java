package io.github.attention4j.classics;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AreaAttention;
import io.github.attention4j.classics.t2t.AreaNoise;
import io.github.attention4j.classics.t2t.Areas;

/** Runs tensor2tensor's cases of area attention, and of the features of areas. */
final class GoldenT2tArea {
  private GoldenT2tArea() {}

  static void run(GoldenCase golden) {
    if (golden.holds("in.features")) {
      features(golden);
    } else {
      attention(golden);
    }
  }

  static Areas areas(GoldenCase golden) {
    return new Areas(
        golden.integer("memory_height", 1),
        golden.integer("max_area_height", 1),
        golden.integer("max_area_width", 1));
  }

  private static void attention(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("len_q", q.size(2));
    golden.describes("length", k.size(2));
    golden.describes("depth", q.size(3));
    golden.describes("value_depth", v.size(3));
    golden.word("attention_type", "dot_product", "dot_product");
    AreaAttention attention = attention(golden, areas(golden));
    Tensor bias = golden.holds("in.bias") ? golden.get("in.bias") : null;
    requirePadding(golden, bias);
    AreaNoise noise = AreaNoise.none();
    boolean training = golden.flag("training");
    if (golden.holds("in.normal_noise")) {
      golden.require(training, "there is noise, and no training");
      noise = AreaNoise.of(golden.get("in.normal_noise"));
    } else {
      golden.require(
          !training || !attention.keyMode().samples(), "there is training, and no noise");
    }

    Tensor keys = golden.wanted("out.area_keys");
    attention.areaKeys(k, noise, keys);
    golden.expect("out.area_keys", keys);
    Tensor values = golden.wanted("out.area_values");
    attention.areaValues(v, values);
    golden.expect("out.area_values", values);
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    attention.forward(q, k, v, bias, noise, out, GoldenT2tLayer.extras(golden, weights));
    golden.expect("out.output", out);
    golden.expect("out.weights", weights);
    out.fill(Float.NaN);
    attention.forwardAreas(q, keys, values, bias, out, GoldenT2tLayer.extras(golden, null));
    golden.expect("out.output", out);
  }

  private static AreaAttention attention(GoldenCase golden, Areas areas) {
    AreaAttention.KeyMode keyMode =
        AreaAttention.KeyMode.of((String) golden.option("area_key_mode"));
    AreaAttention.Builder builder =
        AreaAttention.builder(areas)
            .keyMode(keyMode)
            .valueMode(AreaAttention.ValueMode.of((String) golden.option("area_value_mode")))
            .scale(golden.number("scale", 1))
            .temperature(golden.number("area_temperature", 1))
            .topKAreas((int) golden.integer("top_k_areas", 0));
    if (keyMode.hasWeights()) {
      builder.weights(golden.weights("w."), "w.", golden.arena());
    }
    return builder.build();
  }

  /** Lengths say again which elements of a bias mark padding. */
  private static void requirePadding(GoldenCase golden, Tensor bias) {
    Object made = golden.option("bias");
    golden.require(!"none".equals(made) || bias == null, "option bias=none and in.bias");
    if (bias == null || !golden.has("lengths")) {
      golden.describes("lengths");
      return;
    }
    int[] lengths = golden.integers("lengths");
    for (int b = 0; b < lengths.length; b++) {
      for (long j = 0; j < bias.size(3); j++) {
        golden.require(
            bias.getFloat(b, 0, 0, j) < -1 == j >= lengths[b], "option lengths, item " + j);
      }
    }
  }

  private static void features(GoldenCase golden) {
    Tensor features = golden.get("in.features");
    final long batch = features.size(0);
    final long length = features.size(1);
    golden.describes("batch", batch);
    golden.describes("length", length);
    golden.describes("depth", features.size(2));
    Areas areas = areas(golden);
    final long count = areas.count(length);
    Tensor mean = golden.wanted("out.area_mean");
    Tensor deviation = golden.wanted("out.area_std");
    Tensor sum = golden.wanted("out.area_sum");
    Tensor max = golden.wanted("out.area_max");
    double epsilon = golden.number("epsilon", Areas.DEFAULT_EPSILON);
    areas.features(features, epsilon, mean, deviation, sum, max);
    golden.expect("out.area_mean", mean);
    golden.expect("out.area_std", deviation);
    golden.expect("out.area_sum", sum);
    golden.expect("out.area_max", max);
    golden.expectInts(
        "out.area_heights",
        areas.heights(golden.arena(), length).reshape(1, count, 1).expand(0, batch));
    golden.expectInts(
        "out.area_widths",
        areas.widths(golden.arena(), length).reshape(1, count, 1).expand(0, batch));
    int[] lengths = golden.integers("lengths");
    Tensor valid = Tensor.allocate(golden.arena(), DType.I32, lengths.length);
    for (int b = 0; b < lengths.length; b++) {
      valid.setInt(lengths[b], b);
    }
    golden.expectBooleans(
        "out.lengths_to_area_mask_1d",
        Areas.of(areas.maxWidth()).lengthsMask(golden.arena(), valid, length));
  }
}
