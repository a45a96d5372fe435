package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.encoder.EncoderSpec.Reads;
import io.github.attention4j.models.encoder.EncoderSpec.Step;
import io.github.attention4j.models.files.Settings;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Turns the settings of one kind of model into a specification. */
@FunctionalInterface
public interface Family {
  /** Reads every setting that matters to the family. */
  EncoderSpec read(Settings settings);

  /** The families by {@code model_type}. */
  Map<String, Family> ALL =
      Map.ofEntries(
          Map.entry("bert", Bert::bert),
          Map.entry("roberta", Bert::roberta),
          Map.entry("xlm-roberta", Bert::roberta),
          Map.entry("camembert", Bert::roberta),
          Map.entry("electra", Bert::electra),
          Map.entry("distilbert", DistilBert::read),
          Map.entry("mpnet", Mpnet::read),
          Map.entry("albert", Albert::read),
          Map.entry("deberta-v2", DebertaV2::read),
          Map.entry("modernbert", ModernBert::read),
          Map.entry("nomic_bert", NomicBert::read),
          Map.entry("new", Gte::read),
          Map.entry("eurobert", EuroBert::read),
          Map.entry("qwen3", Qwen3::read));

  /**
   * Reads a configuration and refuses settings that would change the result but are not computed.
   *
   * @throws IllegalArgumentException if the family is not known, or a setting is refused
   */
  static EncoderSpec spec(Settings settings) {
    String type = settings.text("model_type");
    Family family = ALL.get(type);
    if (family == null) {
      throw settings.refused(
          "model_type",
          "a family of encoders: one of " + String.join(", ", new TreeSet<>(ALL.keySet())));
    }
    settings.ignore("num_labels", "label2id", "id2label", "sentence_transformers");
    settings.object("sentence_transformers").ignoreAll();
    settings.object("id2label").ignoreAll();
    settings.object("label2id").ignoreAll();
    settings.ignore("sbert_ce_default_activation_function");
    // These keys are about heads that are not computed, such as masked-word prediction.
    settings.ignore("tie_word_embeddings", "tie_weights_", "output_past");
    settings.ignore("directionality", "pooler_fc_size", "pooler_num_attention_heads");
    settings.ignore("pooler_num_fc_layers", "pooler_size_per_head", "pooler_type");
    EncoderSpec spec = family.read(settings);
    settings.requireAllRead();
    return spec;
  }

  /** The number of labels: the size of {@code id2label}, or {@code num_labels}; or else 0. */
  static int labels(Settings settings) {
    int named = settings.object("id2label").keys().size();
    return named > 0 ? named : settings.count("num_labels", 0);
  }

  /** The size of a head; {@code width} must be a multiple of {@code heads}. */
  static int headDim(Settings settings, String widthKey, int width, String headsKey, int heads) {
    if (width % heads != 0) {
      throw settings.refused(widthKey, "a multiple of " + headsKey + ", " + heads);
    }
    return width / heads;
  }

  /** An activation by its name in Transformers. */
  static Activation activation(Settings settings, String key, String otherwise) {
    return switch (settings.text(key, otherwise)) {
      case "gelu" -> Activation.GELU;
      case "gelu_new", "gelu_pytorch_tanh", "gelu_fast" -> Activation.GELU_TANH;
      case "relu" -> Activation.RELU;
      case "silu", "swish" -> Activation.SILU;
      case "tanh" -> Activation.TANH;
      case "sigmoid" -> Activation.SIGMOID;
      case "linear" -> Activation.IDENTITY;
      default ->
          throw settings.refused(
              key,
              "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish, tanh, sigmoid or"
                  + " linear");
    };
  }

  /** A step of a head. */
  static Step step(String name, boolean prefixed, Activation activation) {
    return new Step(EncoderSpec.Projection.of(name, true), prefixed, activation, null);
  }

  /** A head on the first token. */
  static EncoderSpec.Head head(Step... steps) {
    return new EncoderSpec.Head(Reads.FIRST, List.of(steps));
  }
}
