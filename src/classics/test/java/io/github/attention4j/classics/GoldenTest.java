package io.github.attention4j.classics;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.attention4j.A4j;
import io.github.attention4j.Alibi;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.layer.DifferentialAttention;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Compares the library with the results of reference implementations, computed in float64.
 *
 * <p>{@code -Dgolden.dir} names a directory with a {@code manifest.json} and one safetensors file a
 * case, instead of the cases among the test resources. {@code -Dgolden.systems=A,F.rope} selects
 * systems: a name selects itself and every name that continues it after a dot.
 *
 * <p>Each case runs on every kernel tier that this machine has, within the case's own tolerance;
 * every {@code out.*} tensor is compared, and an unknown option or tensor fails the case. Every
 * number that is compared comes from the public API: the test only rearranges tensors.
 */
class GoldenTest {
  @TestFactory
  List<DynamicTest> shouldMatchReferenceImplementations() throws Exception {
    Path directory = directory();
    List<String> selected = selectedSystems();
    List<DynamicTest> tests = new ArrayList<>();
    for (Map<String, Object> entry : cases(directory)) {
      String system = (String) entry.get("system");
      if (selected.isEmpty() || selected.stream().anyMatch(name -> covers(name, system))) {
        GoldenCase golden = new GoldenCase(directory, entry);
        tests.add(dynamicTest(golden.name(), () -> runOnEveryTier(system, golden)));
      }
    }
    assertFalse(tests.isEmpty(), "no case in " + directory + " is of the systems " + selected);
    return tests;
  }

  private static Path directory() throws URISyntaxException {
    String given = System.getProperty("golden.dir");
    return given == null || given.isBlank()
        ? Path.of(Objects.requireNonNull(GoldenTest.class.getResource("/golden")).toURI())
        : Path.of(given);
  }

  private static List<String> selectedSystems() {
    String given = System.getProperty("golden.systems", "");
    return List.of(given.split(",")).stream().map(String::strip).filter(s -> !s.isEmpty()).toList();
  }

  private static boolean covers(String name, String system) {
    return system.equals(name) || system.startsWith(name + ".");
  }

  @SuppressWarnings("unchecked")
  private static List<Map<String, Object>> cases(Path directory) throws IOException {
    Object manifest = Json.parse(Files.readAllBytes(directory.resolve("manifest.json")));
    return (List<Map<String, Object>>) ((Map<String, Object>) manifest).get("cases");
  }

  private static void runOnEveryTier(String system, GoldenCase golden) throws IOException {
    String before = A4j.isa();
    try {
      for (String isa : A4j.availableIsas()) {
        A4j.isa(isa);
        golden.run(runner(system));
      }
    } finally {
      A4j.isa(before);
    }
  }

  private static GoldenCase.Run runner(String system) {
    return switch (system) {
      case "A.sdpa", "A.sdpa_seed_3d" -> GoldenTest::attention;
      case "F.gqa", "F.rope", "F.alibi", "F.window", "F.softcap", "F.sinks", "F.combo" ->
          GoldenTest::attention;
      case "F.varlen" -> GoldenPacked::run;
      case "G.onnx_attention" -> GoldenOnnxAttention::run;
      case "G.onnx_linear_attention" -> GoldenOnnxLinearAttention::run;
      case "F.lse" ->
          golden -> {
            if (golden.has("split_at")) {
              decodingAndMerging(golden);
            } else {
              attention(golden);
            }
          };
      case "F.kv_cache" -> GoldenTest::cache;
      case "E.diff_seed", "E.diff_unilm" -> GoldenTest::differentialLayer;
      case "E.lambda" -> GoldenTest::lambda;
      default -> {
        if (system.startsWith("B.")) {
          yield GoldenD2l.runner(system);
        }
        GoldenCase.Run layer = GoldenLayers.runner(system);
        if (layer != null) {
          yield layer;
        }
        if (system.startsWith("C.")) {
          yield GoldenPaper.runner(system);
        }
        if (system.startsWith("D.")) {
          yield GoldenT2t.runner(system);
        }
        throw new AssertionError("unknown system " + system);
      }
    };
  }

  // ---- Attention ----

  private static void attention(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    describeShapes(golden, q, k, v);
    if (golden.has("rope")) {
      Tensor positionsQ = golden.holds("in.positions_q") ? golden.get("in.positions_q") : null;
      Tensor positionsK = golden.holds("in.positions_k") ? golden.get("in.positions_k") : null;
      golden.word("positions", "", "per_batch");
      golden.describes("start");
      q = rotated(golden, q, positionsQ, k.size(-2) - q.size(-2), "out.q_rotated");
      k = rotated(golden, k, positionsK, 0, "out.k_rotated");
    }
    Extras extras = Extras.none();
    Tensor lse = golden.wanted("out.lse");
    if (lse == null && golden.holds("out.row_fully_masked")) {
      lse = golden.floats(golden.get("out.row_fully_masked").shape());
    }
    if (lse != null) {
      extras = extras.logsumexp(lse);
    }
    Tensor weights = golden.wanted("out.weights");
    if (weights != null) {
      extras = extras.weights(weights);
    }
    if (golden.holds("in.keep")) {
      extras = extras.keep(golden.get("in.keep"), golden.number("dropout_p", 0));
    }
    Attention.Builder builder = Attention.builder().mask(mask(golden));
    addScores(golden, builder);
    Tensor out = golden.wanted("out.output");
    builder.build().forward(q, k, v, out, extras);
    golden.expect("out.output", out);
    if (golden.holds("out.lse")) {
      golden.expect("out.lse", lse);
    }
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
    if (golden.holds("out.row_fully_masked")) {
      golden.expectEmptyRows("out.row_fully_masked", lse);
    }
  }

  /** Scale, soft-cap, ALiBi and sinks. */
  static void addScores(GoldenCase golden, Attention.Builder builder) {
    if (golden.has("scale")) {
      builder.scale(golden.number("scale", 1));
    }
    if (golden.number("softcap", 0) != 0) {
      builder.softCap(golden.number("softcap", 0));
    }
    if (golden.flag("alibi")) {
      float[] own = Alibi.slopes((int) golden.get("in.q").size(1));
      if (golden.holds("w.alibi_slopes")) {
        golden.expect("w.alibi_slopes", Tensor.of(golden.arena(), own, own.length));
      }
      builder.alibi(alignment(golden), own);
    }
    if (golden.flag("sinks")) {
      builder.sinks(golden.get("w.sinks").toFloatArray());
    }
  }

  private static void describeShapes(GoldenCase golden, Tensor q, Tensor k, Tensor v) {
    golden.describes("layout", "input_scale", "weights", "mask_shape", "masked_rows");
    golden.describes("batch", q.size(0));
    golden.describes("len_q", q.size(-2));
    golden.describes("len_k", k.size(-2));
    golden.describes("head_dim", q.size(-1));
    golden.describes("embed", q.size(-1));
    golden.describes("value_dim", v.size(-1));
    if (q.rank() == 4) {
      golden.describes("heads", q.size(1));
      golden.describes("kv_heads", k.size(1));
    }
  }

  private static Mask mask(GoldenCase golden) {
    Mask mask = causal(golden);
    String kind =
        golden.word(
            "mask", "none", "none", "float", "bool", "neg_inf", "neg_inf_causal", "full_rows");
    if (kind.equals("neg_inf_causal") && !golden.holds("in.mask")) {
      return mask.and(Mask.causal(Alignment.TOP_LEFT));
    }
    golden.require(
        kind.equals("none") != golden.holds("in.mask"), "option mask=" + kind + " and in.mask");
    return golden.holds("in.mask") ? mask.and(dense(golden.get("in.mask"))) : mask;
  }

  private static Mask dense(Tensor tensor) {
    return tensor.dtype() == DType.BOOL ? Mask.allow(tensor) : Mask.bias(tensor);
  }

  private static Alignment alignment(GoldenCase golden) {
    return switch (golden.word("align", "bottom_right", "bottom_right", "top_left")) {
      case "top_left" -> Alignment.TOP_LEFT;
      default -> Alignment.BOTTOM_RIGHT;
    };
  }

  static Mask causal(GoldenCase golden) {
    Alignment align = alignment(golden);
    Object causal = golden.option("causal");
    Mask window = Mask.none();
    if (golden.has("window")) {
      int[] sides = golden.integers("window");
      golden.require(sides.length == 2, "option window has " + sides.length + " sides");
      window = Mask.window(sides[0], sides[1], align);
    }
    if (causal == null || causal.equals(false)) {
      return window;
    }
    String alignment =
        causal.equals(true) ? align.name().toLowerCase(Locale.ROOT) : (String) causal;
    return switch (alignment) {
      case "top_left" -> window.and(Mask.causal(Alignment.TOP_LEFT));
      case "bottom_right" -> window.and(Mask.causal(Alignment.BOTTOM_RIGHT));
      default -> throw new AssertionError("unknown option causal=" + causal);
    };
  }

  // ---- Rotary positions ----

  private static Tensor rotated(
      GoldenCase golden, Tensor x, Tensor positions, long start, String out) {
    long positionCount = start + x.size(-2);
    if (positions != null) {
      for (int position : positions.toIntArray()) {
        positionCount = Math.max(positionCount, position + 1L);
      }
    }
    RotaryEmbedding rotary = rotary(golden, x.size(-1), positionCount);
    Tensor rotated = golden.floats(x.shape());
    if (positions == null) {
      rotary.forward(x, rotated, start);
    } else {
      rotary.forward(x, rotated, positions);
    }
    if (golden.holds(out)) {
      golden.expect(out, rotated);
    }
    return rotated;
  }

  private static RotaryEmbedding rotary(GoldenCase golden, long dim, long positions) {
    int rotaryDim = (int) golden.integer("rotary_dim", dim);
    double base = golden.number("rope_base", 10_000);
    RotaryTable table = RotaryTable.compute(golden.arena(), (int) positions, rotaryDim, base);
    return RotaryEmbedding.of(table, style(golden, "rope"));
  }

  private static RotaryEmbedding.Style style(GoldenCase golden, String option) {
    return switch (golden.word(option, "interleaved", "interleaved", "half")) {
      case "half" -> RotaryEmbedding.Style.HALF;
      default -> RotaryEmbedding.Style.INTERLEAVED;
    };
  }

  // ---- Cache ----

  private static void cache(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k_new");
    Tensor v = golden.get("in.v_new");
    Tensor keys = golden.copy("in.k_cache");
    Tensor values = golden.copy("in.v_cache");
    int[] lengths = golden.get("in.cache_lens").toIntArray();
    golden.describes("layout", "cache_lens", "fill", "input_scale");
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("kv_heads", k.size(1));
    golden.describes("head_dim", q.size(3));
    golden.describes("len_new", q.size(2));
    golden.describes("max_len", keys.size(2));
    if (golden.has("rope")) {
      RotaryEmbedding rotary = rotary(golden, q.size(-1), keys.size(2) + q.size(2));
      Tensor turnedQ = golden.floats(q.shape());
      Tensor turnedK = golden.floats(k.shape());
      rotary.forward(q, turnedQ, lengths);
      rotary.forward(k, turnedK, lengths);
      q = turnedQ;
      k = turnedK;
    }
    KvCache cache = KvCache.of(keys, values, lengths);
    cache.append(k, v);
    Extras extras = Extras.none();
    Tensor lse = golden.wanted("out.lse");
    if (lse != null) {
      extras = extras.logsumexp(lse);
    }
    Tensor weights = golden.wanted("out.weights");
    if (weights != null) {
      extras = extras.weights(weights);
    }
    Tensor out = golden.wanted("out.output");
    Mask mask = causal(golden);
    Attention.Builder builder = Attention.builder().mask(mask);
    addScores(golden, builder);
    if (golden.flag("causal")) {
      builder.build().forward(q, cache, out, extras);
    } else {
      builder.mask(mask.and(Mask.keyLengths(cache.lengths())));
      Tensor allKeys = cache.keys(golden.arena());
      builder.build().forward(q, allKeys, cache.values(golden.arena()), out, extras);
    }
    golden.expect("out.output", out);
    golden.expect("out.k_cache", keys);
    golden.expect("out.v_cache", values);
    if (lse != null) {
      golden.expect("out.lse", lse);
    }
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
  }

  private static void decodingAndMerging(GoldenCase golden) {
    Tensor q = golden.get("in.q");
    Tensor k = golden.get("in.k");
    Tensor v = golden.get("in.v");
    long length = q.size(2);
    long split = golden.integer("split_at", 0);
    golden.describes("layout");
    golden.describes("batch", q.size(0));
    golden.describes("heads", q.size(1));
    golden.describes("kv_heads", k.size(1));
    golden.describes("head_dim", q.size(3));
    golden.describes("length", length);

    Attention attention = Attention.builder().build();
    Tensor out = golden.wanted("out.output");
    Tensor lse = golden.wanted("out.lse");
    KvCache cache = KvCache.allocate(golden.arena(), k.size(0), k.size(1), length, k.size(3));
    Tensor stepLse = golden.floats(q.size(0), q.size(1), 1);
    for (long i = 0; i < length; i++) {
      cache.append(k.slice(2, i, 1), v.slice(2, i, 1));
      Extras extras = Extras.none().logsumexp(stepLse);
      attention.forward(q.slice(2, i, 1), cache, out.slice(2, i, 1), extras);
      lse.slice(2, i, 1).copyFrom(stepLse);
    }
    golden.expect("out.output", out);
    golden.expect("out.lse", lse);

    Tensor last = q.slice(2, length - 1, 1);
    Tensor[] outs = new Tensor[2];
    Tensor[] lses = new Tensor[2];
    for (int part = 0; part < 2; part++) {
      long start = part == 0 ? 0 : split;
      long count = part == 0 ? split : length - split;
      String prefix = "out.last_part" + (part + 1);
      outs[part] = golden.wanted(prefix + "_output");
      lses[part] = golden.wanted(prefix + "_lse");
      attention.forward(
          last,
          k.slice(2, start, count),
          v.slice(2, start, count),
          outs[part],
          Extras.none().logsumexp(lses[part]));
      golden.expect(prefix + "_output", outs[part]);
      golden.expect(prefix + "_lse", lses[part]);
    }

    Attention.merge(outs[0], lses[0], outs[1], lses[1], outs[0], lses[0]);
    out.slice(2, length - 1, 1).copyFrom(outs[0]);
    lse.slice(2, length - 1, 1).copyFrom(lses[0]);
    golden.expect("out.output", out);
    golden.expect("out.lse", lse);
  }

  // ---- Differential attention ----

  private static void differentialLayer(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    long pairs = golden.integer("num_heads", 1);
    long pairsKv = golden.integer("num_kv_heads", pairs);
    long dim = x.size(2) / pairs / 2;
    int depth = (int) golden.integer("depth", 0);
    golden.describes("lambda_std", "input_scale");
    golden.describes("batch", x.size(0));
    golden.describes("length", x.size(1));
    golden.describes("embed_dim", x.size(2));
    boolean transposed =
        golden.word("linear_layout", "out_in", "out_in", "in_out").equals("in_out");
    DifferentialAttention.Builder builder =
        DifferentialAttention.builder(
                linear(golden, "w.q_proj", transposed),
                linear(golden, "w.k_proj", transposed),
                linear(golden, "w.v_proj", transposed),
                linear(golden, "w.out_proj", transposed))
            .pairs(pairs)
            .pairsKv(pairsKv)
            .lambda(
                golden.get("w.lambda_q1"),
                golden.get("w.lambda_k1"),
                golden.get("w.lambda_q2"),
                golden.get("w.lambda_k2"),
                depth);
    String keyMap = golden.word("kv_map", "pairwise", "pairwise", "repeat");
    builder.keyMap(keyMap.equals("repeat") ? Differential.KeyMap.HEADS : Differential.KeyMap.PAIRS);
    Mask causal = causal(golden);
    String kind = golden.word("mask", "none", "none", "float", "bool", "neg_inf");
    golden.require(
        kind.equals("none") != golden.holds("in.attn_mask"),
        "option mask=" + kind + " and in.attn_mask");
    builder.mask(golden.holds("in.attn_mask") ? dense(golden.get("in.attn_mask")) : causal);
    if (golden.flag("rope")) {
      RotaryTable table =
          golden.holds("in.rope_cos")
              ? RotaryTable.of(golden.get("in.rope_cos"), golden.get("in.rope_sin"))
              : RotaryTable.compute(golden.arena(), (int) x.size(1), (int) dim, 10_000);
      builder.rotary(RotaryEmbedding.of(table, style(golden, "rope_style")));
    }
    if (golden.flag("subln")) {
      builder.norm(RmsNorm.of(golden.get("w.subln"), 1e-5));
    }
    DifferentialAttention layer = builder.build();
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    Tensor heads = golden.wanted("out.heads_before_norm");
    layer.forward(x, out, new DifferentialAttention.Taps(weights, heads));
    golden.expect("out.output", out);
    if (weights != null) {
      golden.expect("out.weights", weights);
    }
    if (heads != null) {
      golden.expect("out.heads_before_norm", heads);
    }
    if (golden.holds("out.lambda_full")) {
      golden.expect("out.lambda_full", layer.lambda());
    }
    if (golden.holds("out.lambda_init")) {
      golden.expect("out.lambda_init", layer.lambdaInit());
    }
  }

  private static Linear linear(GoldenCase golden, String name, boolean transposed) {
    Tensor weight = golden.get(name);
    return Linear.of(transposed ? weight.transpose(0, 1).toF32(golden.arena()) : weight);
  }

  private static void lambda(GoldenCase golden) {
    Tensor q1 = golden.get("w.lambda_q1");
    Tensor k1 = golden.get("w.lambda_k1");
    Tensor q2 = golden.get("w.lambda_q2");
    Tensor k2 = golden.get("w.lambda_k2");
    int depths = (int) golden.integer("depths", 0);
    golden.describes("lambda_std");
    golden.describes("head_dim", q1.size(0));
    Tensor init = golden.floats(depths);
    Tensor full = golden.floats(depths);
    for (int depth = 0; depth < depths; depth++) {
      init.setFloat(Differential.lambdaInit(depth), depth);
      full.setFloat(Differential.lambda(q1, k1, q2, k2, depth), depth);
    }
    golden.expect("out.lambda_init", init);
    golden.expect("out.lambda_full", full);
  }
}
