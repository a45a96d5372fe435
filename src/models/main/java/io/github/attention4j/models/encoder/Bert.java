package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Head;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/**
 * BERT (Devlin et al. 2018) and models with the same layers: RoBERTa, XLM-RoBERTa and CamemBERT,
 * whose positions count from the padding token, and ELECTRA, whose embeddings may be narrower than
 * the model.
 */
final class Bert {
  static final Head POOLER = Family.head(Family.step("pooler.dense", true, Activation.TANH));

  /** BERT's classifier, which other families share: a step after the pooler. */
  static final Head POOLED_CLASSIFIER =
      Family.head(
          Family.step("pooler.dense", true, Activation.TANH),
          Family.step("classifier", false, Activation.IDENTITY));

  /** RoBERTa's classifier, which other families share. */
  static final Head TWO_STEPS =
      Family.head(
          Family.step("classifier.dense", false, Activation.TANH),
          Family.step("classifier.out_proj", false, Activation.IDENTITY));

  private Bert() {}

  static EncoderSpec bert(Settings settings) {
    return read(settings, "bert.", -1, false, POOLER, POOLED_CLASSIFIER);
  }

  static EncoderSpec roberta(Settings settings) {
    int pad = settings.count("pad_token_id", 1);
    return read(settings, "roberta.", pad, false, POOLER, TWO_STEPS);
  }

  static EncoderSpec electra(Settings settings) {
    settings.ignore(
        "summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout");
    Head classifier =
        Family.head(
            Family.step("classifier.dense", false, Activation.GELU),
            Family.step("classifier.out_proj", false, Activation.IDENTITY));
    return read(settings, "electra.", -1, true, null, classifier);
  }

  private static EncoderSpec read(
      Settings settings, String prefix, int pad, boolean projects, Head pooler, Head classifier) {
    settings.require("position_embedding_type", "absolute");
    int width = settings.integer("hidden_size", 768);
    int heads = settings.integer("num_attention_heads", 12);
    double epsilon = settings.positive("layer_norm_eps", 1e-12);
    int positions = settings.positions("max_position_embeddings", 512);
    int types = settings.integer("type_vocab_size", 2);
    int hidden = settings.integer("intermediate_size", 3072);
    int narrow = projects ? settings.integer("embedding_size", 128) : width;
    Activation activation = Family.activation(settings, "hidden_act", "gelu");
    Heads plain =
        Heads.plain(
            heads, Family.headDim(settings, "hidden_size", width, "num_attention_heads", heads));
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("num_hidden_layers", 12); i++) {
      blocks.add(block("encoder.layer." + i + ".", plain, hidden, activation, epsilon));
    }
    return new EncoderSpec(
        settings.text("model_type"),
        prefix,
        settings.integer("vocab_size"),
        width,
        pad < 0 ? positions : positions - pad - 1,
        new Embedding(
            "embeddings.word_embeddings",
            "embeddings.position_embeddings",
            pad,
            "embeddings.token_type_embeddings",
            types,
            narrow,
            Norm.layer("embeddings.LayerNorm", epsilon),
            narrow == width ? null : Projection.of("embeddings_project", true)),
        blocks,
        null,
        null,
        pooler,
        classifier,
        Family.labels(settings));
  }

  /** A layer with BERT's tensor names. */
  static Block block(String layer, Heads heads, int hidden, Activation activation, double epsilon) {
    String self = layer + "attention.self.";
    return new Block(
        false,
        heads,
        new Projection(List.of(self + "query", self + "key", self + "value"), true),
        Projection.of(layer + "attention.output.dense", true),
        Norm.layer(layer + "attention.output.LayerNorm", epsilon),
        feedForward(layer, hidden, activation),
        Norm.layer(layer + "output.LayerNorm", epsilon));
  }

  static FeedForward feedForward(String layer, int hidden, Activation activation) {
    return new FeedForward(
        Projection.of(layer + "intermediate.dense", true),
        false,
        false,
        hidden,
        activation,
        Projection.of(layer + "output.dense", true));
  }
}
