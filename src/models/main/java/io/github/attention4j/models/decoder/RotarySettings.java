package io.github.attention4j.models.decoder;

import io.github.attention4j.internal.Json;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryScaling;
import io.github.attention4j.models.files.Settings;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * Reads rotary positions from wherever a version of Transformers puts them: {@code rope_theta} and
 * {@code rope_scaling} at the top level, or {@code rope_parameters}, whose members take precedence
 * over the top level, except for {@code original_max_position_embeddings}, where it is the other
 * way round. {@code rope_scaling}, unless null or empty, is another name of {@code
 * rope_parameters}; if both are present they must be equal.
 */
public final class RotarySettings {
  /** Far more than any head has: frequencies are computed before the tensors are compared. */
  private static final int MOST_CHANNELS = 1 << 16;

  private final Settings settings;
  private final Settings members;
  private final int context;
  private final double defaultBase;
  private Set<String> longRopeNames = Set.of();

  private RotarySettings(Settings settings, Settings members, int context, double defaultBase) {
    this.settings = settings;
    this.members = members;
    this.context = context;
    this.defaultBase = defaultBase;
  }

  /**
   * Finds the settings of a model with the same rotary positions in all layers.
   *
   * @param context {@code max_position_embeddings}
   * @param defaultBase the base if no key says one
   */
  public static RotarySettings of(Settings settings, int context, double defaultBase) {
    Settings members = members(settings);
    if (members.has("full_attention")) {
      members = members.object("full_attention");
    }
    return new RotarySettings(settings, members, context, defaultBase);
  }

  /**
   * Finds the settings of one type of layers, for a model that has several.
   *
   * @param type the member of {@code rope_parameters} that holds them in new files
   * @param baseKey the key of the base in old files
   * @param scaled whether {@code rope_scaling} of old files is about these layers
   */
  public static RotarySettings ofType(
      Settings settings,
      String type,
      String baseKey,
      boolean scaled,
      int context,
      double defaultBase) {
    Settings all = members(settings);
    boolean nested = all.has("full_attention") || all.has("sliding_attention");
    Settings members =
        nested ? all.object(type) : scaled ? all : Settings.of(settings.source(), Map.of());
    return new RotarySettings(settings, members, context, settings.positive(baseKey, defaultBase));
  }

  private static Settings members(Settings settings) {
    Settings scaling = settings.object("rope_scaling");
    Settings parameters = settings.object("rope_parameters");
    if (scaling.isEmpty()) {
      return parameters;
    }
    if (!parameters.isEmpty()) {
      Map<String, Object> one = comparable(settings, "rope_scaling");
      Map<String, Object> other = comparable(settings, "rope_parameters");
      if (!one.equals(other)) {
        throw settings.refused("rope_parameters", "equal to rope_scaling where both are there");
      }
      Settings chosen = parameters.has("rope_theta") ? parameters : scaling;
      (chosen == scaling ? parameters : scaling).ignoreAll();
      return chosen;
    }
    return scaling;
  }

  /**
   * Normalises old and new names, turns integers into numbers, and adds the base from the top
   * level.
   */
  private static Map<String, Object> comparable(Settings settings, String key) {
    Map<String, Object> comparable = new LinkedHashMap<>();
    Map<?, ?> members = (Map<?, ?>) settings.value(key);
    members.forEach(
        (name, value) -> {
          Object plain = value instanceof Number number ? (Object) number.doubleValue() : value;
          if (value != null) {
            comparable.putIfAbsent(name.equals("type") ? "rope_type" : (String) name, plain);
          }
        });
    if (settings.value("rope_theta") instanceof Number base) {
      comparable.putIfAbsent("rope_theta", base.doubleValue());
    }
    return comparable;
  }

  /**
   * The most positions of a text. Linear scaling maps {@code factor} times as many into the trained
   * range, YaRN {@code factor} times the original length.
   *
   * @param positions {@code max_position_embeddings}
   */
  public static int reach(Settings settings, int positions) {
    RotarySettings rotary = of(settings, positions, 1);
    double reach =
        switch (rotary.type()) {
          case "linear" -> rotary.members.atLeastOne("factor") * positions;
          case "yarn" -> rotary.members.positive("factor", 1) * rotary.original();
          default -> positions;
        };
    return (int) Math.clamp((long) reach, positions, Integer.MAX_VALUE);
  }

  /** The base of the frequencies. */
  private double base() {
    double outer = settings.positive("rope_theta", defaultBase);
    return members.positive("rope_theta", outer);
  }

  private double typedBase() {
    return members.positive("rope_theta", defaultBase);
  }

  private String type() {
    String old = members.text("type", "default");
    String type = members.text("rope_type", old);
    return longRopeNames.contains(type) ? "longrope" : type;
  }

  /** Accepts other names for {@code longrope}, which a family's old files use. */
  public RotarySettings withLongRopeNamed(String... names) {
    longRopeNames = Set.of(names);
    return this;
  }

  /** The length that scaling starts from: at the top level, else among the members. */
  private int original() {
    String key = "original_max_position_embeddings";
    int inner = members.integer(key, context);
    return settings.integer(key, inner);
  }

  /**
   * Reads everything, for heads with all channels rotated.
   *
   * @param dim the width of a head
   */
  public Specification.Rotary read(int dim) {
    requireWhole(settings);
    requireWhole(members);
    return read(dim, base(), RotaryEmbedding.Style.HALF);
  }

  /** Like {@link #read(int)}, with the type's own base. */
  public Specification.Rotary readTyped(int dim) {
    requireWhole(settings);
    requireWhole(members);
    return read(dim, typedBase(), RotaryEmbedding.Style.HALF);
  }

  /** Like {@link #read(int)}, with another pairing of channels. */
  public Specification.Rotary read(int dim, RotaryEmbedding.Style style) {
    requireWhole(settings);
    requireWhole(members);
    return read(dim, base(), style);
  }

  /**
   * Like {@link #read(int)}, for the first {@code int(dim · factor)} channels of each head.
   *
   * @param key the key of the factor, among the members or at the top level
   * @param otherwise the factor if absent
   */
  public Specification.Rotary readPartial(int dim, String key, double otherwise) {
    double factor = settings.positive(key, otherwise);
    if (!key.equals("partial_rotary_factor")) {
      factor = settings.positive("partial_rotary_factor", factor);
      factor = members.positive(key, factor);
    }
    factor = members.positive("partial_rotary_factor", factor);
    if (factor > 1) {
      throw settings.refused(key, "at most 1");
    }
    return read((int) (dim * factor), base(), RotaryEmbedding.Style.HALF);
  }

  private static void requireWhole(Settings settings) {
    if (settings.value("partial_rotary_factor") instanceof Object factor
        && !(factor instanceof Number number && number.doubleValue() == 1)) {
      throw settings.refused("partial_rotary_factor", "1");
    }
  }

  private Specification.Rotary read(int channels, double base, RotaryEmbedding.Style style) {
    if (channels % 2 != 0 || channels == 0) {
      throw new IllegalArgumentException(
          settings.source()
              + ": the part of head_dim that turns must be even, as rotary positions turn pairs of"
              + " channels: channels="
              + channels);
    }
    if (channels > MOST_CHANNELS) {
      throw new IllegalArgumentException(
          settings.source()
              + ": the part of head_dim that turns must have at most "
              + MOST_CHANNELS
              + " channels: channels="
              + channels);
    }
    String type = type();
    RotaryScaling scaling =
        switch (type) {
          case "default" -> RotaryScaling.none();
          case "linear" -> RotaryScaling.linear(members.atLeastOne("factor"));
          case "dynamic" -> dynamic();
          case "yarn" -> yarn();
          case "llama3" -> llama3();
          case "longrope" -> null;
          default ->
              throw members.refused(
                  members.has("rope_type") ? "rope_type" : "type",
                  "\"default\", \"linear\", \"dynamic\", \"yarn\", \"llama3\" or \"longrope\"");
        };
    if (scaling == null) {
      return longRope(channels, base, style);
    }
    return new Specification.Rotary(
        scaling.frequencies(channels, base, context), null, 0, scaling.magnitude(), style);
  }

  /** Without an original length, scaling begins at the end of the context. */
  private RotaryScaling dynamic() {
    double factor = members.atLeastOne("factor");
    if (original() != context) {
      throw members.refused(
          "original_max_position_embeddings", "max_position_embeddings, " + context);
    }
    return RotaryScaling.dynamicNtk(factor, context);
  }

  private RotaryScaling yarn() {
    int original = original();
    double factor =
        members.has("factor") ? members.atLeastOne("factor") : (double) context / original;
    double fast = members.positive("beta_fast", 32);
    double slow = members.positive("beta_slow", 1);
    if (fast < slow) {
      throw members.refused("beta_fast", "at least beta_slow, " + slow);
    }
    boolean truncate = members.flag("truncate", true);
    // The code of YaRN's authors only scales by the length of the text if this is false.
    members.require("finetuned", true);
    RotaryScaling scaling = RotaryScaling.yarn(factor, original, fast, slow, truncate);
    // Transformers treats 0 as absent.
    double mscale = members.number("mscale", 0);
    double mscaleAllDim = members.number("mscale_all_dim", 0);
    if (members.has("attention_factor")) {
      return scaling.withMagnitude(members.positive("attention_factor"));
    }
    if (mscale != 0 && mscaleAllDim != 0) {
      return scaling.withMagnitude(
          RotaryScaling.yarnMagnitude(factor, mscale)
              / RotaryScaling.yarnMagnitude(factor, mscaleAllDim));
    }
    return scaling;
  }

  private RotaryScaling llama3() {
    double factor = members.atLeastOne("factor");
    double low = members.positive("low_freq_factor");
    double high = members.positive("high_freq_factor");
    if (high <= low) {
      throw members.refused("high_freq_factor", "more than low_freq_factor, " + low);
    }
    return RotaryScaling.llama3(factor, low, high, original());
  }

  private Specification.Rotary longRope(int channels, double base, RotaryEmbedding.Style style) {
    int original = original();
    double[] shortFactors = factors("short_factor", channels / 2);
    double[] longFactors = factors("long_factor", channels / 2);
    double factor = members.positive("factor", (double) context / original);
    double magnitude =
        members.positive(
            "attention_factor",
            factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
    double[] shorts = RotaryScaling.none().frequencies(channels, base, context);
    double[] longs = shorts.clone();
    for (int i = 0; i < shorts.length; i++) {
      shorts[i] /= shortFactors[i];
      longs[i] /= longFactors[i];
    }
    return new Specification.Rotary(shorts, longs, original, magnitude, style);
  }

  private double[] factors(String key, int wanted) {
    double[] factors = members.numbers(key);
    if (factors.length != wanted) {
      throw members.refused(key, "a list of " + wanted + " numbers, one for each pair that turns");
    }
    for (double factor : factors) {
      if (!(factor > 0)) {
        throw members.refused(key, "a list of positive numbers, without " + Json.show(factor));
      }
    }
    return factors;
  }
}
