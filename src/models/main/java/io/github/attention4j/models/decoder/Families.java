package io.github.attention4j.models.decoder;

import io.github.attention4j.models.decoder.families.Cohere2;
import io.github.attention4j.models.decoder.families.DiffLlama;
import io.github.attention4j.models.decoder.families.Gemma2;
import io.github.attention4j.models.decoder.families.Gemma3;
import io.github.attention4j.models.decoder.families.Gpt2;
import io.github.attention4j.models.decoder.families.GptNeoX;
import io.github.attention4j.models.decoder.families.Granite;
import io.github.attention4j.models.decoder.families.Llama;
import io.github.attention4j.models.decoder.families.Mistral;
import io.github.attention4j.models.decoder.families.Mixtral;
import io.github.attention4j.models.decoder.families.Olmo2;
import io.github.attention4j.models.decoder.families.Phi3;
import io.github.attention4j.models.decoder.families.Qwen2;
import io.github.attention4j.models.decoder.families.Qwen3;
import io.github.attention4j.models.decoder.families.Qwen3Moe;
import io.github.attention4j.models.decoder.families.SmolLm3;
import io.github.attention4j.models.files.Settings;
import java.util.Map;
import java.util.TreeMap;

/** All families by {@code model_type}. */
public final class Families {
  private static final Map<String, Family> FAMILIES =
      new TreeMap<>(
          Map.ofEntries(
              Map.entry("cohere2", new Cohere2()),
              Map.entry("diffllama", new DiffLlama()),
              Map.entry("gemma2", new Gemma2()),
              Map.entry("gemma3_text", new Gemma3()),
              Map.entry("gpt2", new Gpt2()),
              Map.entry("gpt_neox", new GptNeoX()),
              Map.entry("granite", new Granite()),
              Map.entry("llama", new Llama()),
              Map.entry("mistral", new Mistral()),
              Map.entry("mixtral", new Mixtral()),
              Map.entry("olmo2", new Olmo2()),
              Map.entry("phi3", new Phi3()),
              Map.entry("qwen2", new Qwen2()),
              Map.entry("qwen3", new Qwen3()),
              Map.entry("qwen3_moe", new Qwen3Moe()),
              Map.entry("smollm3", new SmolLm3())));

  private Families() {}

  /** Whether there is a family of this {@code model_type}. */
  public static boolean has(String modelType) {
    return FAMILIES.containsKey(modelType);
  }

  /**
   * Reads the settings of a decoder of any family and refuses those that the family did not read.
   *
   * @throws IllegalArgumentException naming what is wrong or not supported
   */
  public static Specification read(Settings settings, Family.Layout layout) {
    Family family = FAMILIES.get(settings.text("model_type"));
    if (family == null) {
      throw settings.refused("model_type", "one of " + String.join(", ", FAMILIES.keySet()));
    }
    settings.require("quantization_config", null);
    settings.require("is_causal", true);
    Specification specification = family.read(settings, layout);
    settings.requireAllRead();
    return specification;
  }
}
