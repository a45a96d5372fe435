package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryScaling;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Head;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.encoder.EncoderSpec.Reads;
import io.github.attention4j.models.encoder.EncoderSpec.Rotary;
import io.github.attention4j.models.encoder.EncoderSpec.Step;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/** ModernBERT (Warner et al. 2024): pre-norm, rotary, gated, with a window in most layers. */
final class ModernBert {
  private ModernBert() {}

  static EncoderSpec read(Settings settings) {
    settings.ignore("classifier_dropout", "deterministic_flash_attn", "reference_compile");
    settings.ignore("repad_logits_with_grad", "sparse_prediction", "sparse_pred_ignore_index");
    settings.ignore("decoder_bias", "initializer_cutoff_factor", "tie_word_embeddings");
    settings.ignore("position_embedding_type", "layer_norm_eps");
    int width = settings.integer("hidden_size", 768);
    int count = settings.integer("num_attention_heads", 12);
    int hidden = settings.integer("intermediate_size", 1152);
    int layers = settings.layers("num_hidden_layers", 22);
    double epsilon = settings.positive("norm_eps", 1e-5);
    boolean normBias = settings.flag("norm_bias", false);
    boolean attentionBias = settings.flag("attention_bias", false);
    boolean mlpBias = settings.flag("mlp_bias", false);
    int dim = Family.headDim(settings, "hidden_size", width, "num_attention_heads", count);
    Activation activation = Family.activation(settings, "hidden_activation", "gelu");
    int window = settings.integer("local_attention", 128) / 2;
    boolean[] global = globalLayers(settings, layers);
    double globalTheta = settings.positive("global_rope_theta", 160_000);
    // An explicit null means the global base.
    double localTheta =
        settings.positive(
            "local_rope_theta", settings.mentions("local_rope_theta") ? globalTheta : 10_000);
    Rotary globally = rotary(settings, "full_attention", globalTheta);
    Rotary locally = rotary(settings, "sliding_attention", localTheta);
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String layer = "layers." + i + ".";
      Heads heads =
          new Heads(
              count,
              count,
              dim,
              false,
              global[i] ? -1 : window,
              null,
              null,
              global[i] ? globally : locally,
              null);
      blocks.add(
          new Block(
              true,
              heads,
              Projection.of(layer + "attn.Wqkv", attentionBias),
              Projection.of(layer + "attn.Wo", attentionBias),
              i == 0 ? null : new Norm(layer + "attn_norm", false, normBias, epsilon),
              new FeedForward(
                  Projection.of(layer + "mlp.Wi", mlpBias),
                  true,
                  true,
                  hidden,
                  activation,
                  Projection.of(layer + "mlp.Wo", mlpBias)),
              new Norm(layer + "mlp_norm", false, normBias, epsilon)));
    }
    return new EncoderSpec(
        "modernbert",
        "model.",
        settings.integer("vocab_size"),
        width,
        settings.positions("max_position_embeddings", 8192),
        new Embedding(
            "embeddings.tok_embeddings",
            null,
            -1,
            null,
            0,
            width,
            new Norm("embeddings.norm", false, normBias, epsilon),
            null),
        blocks,
        new Norm("final_norm", false, normBias, epsilon),
        null,
        null,
        classifier(settings, normBias, epsilon),
        Family.labels(settings));
  }

  private static boolean[] globalLayers(Settings settings, int layers) {
    int every = settings.integer("global_attn_every_n_layers", 3);
    List<String> types = settings.texts("layer_types");
    if (!types.isEmpty() && types.size() != layers) {
      throw settings.refused("layer_types", "a list of " + layers + ", one for each layer");
    }
    boolean[] global = new boolean[layers];
    for (int i = 0; i < layers; i++) {
      String type =
          types.isEmpty()
              ? (i % every == 0 ? "full_attention" : "sliding_attention")
              : types.get(i);
      if (!type.equals("full_attention") && !type.equals("sliding_attention")) {
        throw settings.refused("layer_types", "of full_attention and sliding_attention");
      }
      global[i] = type.equals("full_attention");
    }
    return global;
  }

  private static Rotary rotary(Settings settings, String type, double oldTheta) {
    Settings parameters = settings.object("rope_parameters").object(type);
    parameters.require("rope_type", "default");
    return new Rotary(parameters.positive("rope_theta", oldTheta), RotaryScaling.none());
  }

  private static Head classifier(Settings settings, boolean normBias, double epsilon) {
    String pooling = settings.text("classifier_pooling", "cls");
    if (!pooling.equals("cls") && !pooling.equals("mean")) {
      throw settings.refused("classifier_pooling", "cls or mean");
    }
    return new Head(
        pooling.equals("mean") ? Reads.MEAN : Reads.FIRST,
        List.of(
            new Step(
                Projection.of("head.dense", settings.flag("classifier_bias", false)),
                false,
                Family.activation(settings, "classifier_activation", "gelu"),
                new Norm("head.norm", false, normBias, epsilon)),
            Family.step("classifier", false, Activation.IDENTITY)));
  }
}
