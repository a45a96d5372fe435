package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What configurations leave out or write differently: each golden model is changed in a way whose
 * effect is known, and compared with itself.
 */
class EncoderSettingsTest {
  private static final int[] TEXT = {2, 17, 41, 90, 7, 250, 33, 33, 8, 120, 61, 5, 3};

  @TempDir Path directory;

  // ---- Classifiers ----

  /** Transformers leaves id2label out of the file of two labels without names. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "bert_classifier",
        "roberta_classifier",
        "distilbert_classifier",
        "modernbert_classifier",
        "deberta_v2_classifier"
      })
  void shouldCountLabelsWithoutNamesByTheRowsOfTheHead(String model) throws Exception {
    GoldenCopy.of(model, directory);
    List<String> names;
    float[] expected;
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      names = classifier.labels();
      expected = classifier.logits(List.of(TEXT), null).getFirst();
    }
    String config = Files.readString(directory.resolve("config.json"));
    String without = config.replaceAll("(?s)\"(id2label|label2id)\": \\{.*?\\},", "");
    assertFalse(without.contains("LABEL_0"), without);
    Files.writeString(directory.resolve("config.json"), without);
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      assertEquals(names, classifier.labels());
      assertArrayEquals(expected, classifier.logits(List.of(TEXT), null).getFirst());
    }
  }

  /** Embedding models often have a pooler, and names of labels from the model they began with. */
  @Test
  void shouldOpenAnEncoderWithNamesOfLabelsAndNoHead() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert", directory);
    copy.edit(
        "config.json", "\"model_type\"", "\"id2label\": {\"0\": \"LABEL_0\"}, \"model_type\"");
    try (TextEncoder encoder = TextEncoder.open(directory)) {
      assertTrue(encoder.hasPooler());
    }
    GoldenCopy.refuses(
        "the head's tensors are missing for bert", () -> TextClassifier.open(directory));
  }

  @Test
  void shouldLetLabelsHoldAtOnce() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_cross_encoder", directory);
    copy.weights(
        tensors -> {
          Tensor weight = tensors.get("classifier.weight");
          Tensor three = Tensor.allocate(Arena.ofAuto(), DType.F32, 3, weight.size(1));
          for (int i = 0; i < 3; i++) {
            three.slice(0, i, 1).copyFrom(weight);
          }
          tensors.put("classifier.weight", three);
          tensors.put("classifier.bias", Tensor.of(Arena.ofAuto(), new float[] {-1, 0, 2}, 3));
        });
    String config = Files.readString(directory.resolve("config.json"));
    Files.writeString(
        directory.resolve("config.json"),
        config
            .replaceAll("(?s)\"(id2label|label2id)\": \\{.*?\\},", "")
            .replace(
                "\"model_type\"",
                "\"problem_type\": \"multi_label_classification\"," + " \"model_type\""));
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      TextClassifier.Result result = classifier.classify("Bread.");
      for (int i = 0; i < 3; i++) {
        double expected = 1 / (1 + Math.exp(-(double) result.logits()[i]));
        assertEquals(expected, result.probabilities()[i], 1e-6);
      }
      assertEquals("LABEL_2", result.label());
    }
    copy.edit("config.json", "multi_label_classification", "ranking");
    GoldenCopy.refuses("problem_type must be", () -> TextClassifier.open(directory));
  }

  /** These heads have the tensors of a classifier of texts. */
  @Test
  void shouldRefuseHeadsOfOtherTasks() throws Exception {
    GoldenCopy copy = GoldenCopy.of("modernbert_classifier", directory);
    copy.edit("config.json", "ForSequenceClassification", "ForTokenClassification");
    GoldenCopy.refuses(
        "architectures must be of a model ForSequenceClassification",
        () -> TextClassifier.open(directory));
  }

  // ---- Sizes ----

  /** Of these sizes, the first would take 550 GB before all wrong tensors could be named. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "vocab_size | 2147483647 | word_embeddings.weight must hold floats [2147483647, 64]",
        "type_vocab_size | 33554432 | token_type_embeddings.weight must hold floats [33554432, 64]",
        "max_position_embeddings | 262144 | position_embeddings.weight must hold floats [262144",
        "num_hidden_layers | 65537 | num_hidden_layers must be at most 65536: num_hidden_layers",
      })
  void shouldTakeNoMemoryForWhatNoFileHolds(String key, String value, String sentence)
      throws Exception {
    GoldenCopy.of("bert", directory);
    Path file = directory.resolve("config.json");
    String config = Files.readString(file);
    String changed = config.replaceAll("\"" + key + "\": \\d+", "\"" + key + "\": " + value);
    assertNotEquals(config, changed);
    Files.writeString(file, changed);
    GoldenCopy.refuses(sentence, () -> TextEncoder.open(directory));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "bert",
        "mpnet",
        "deberta_v2_classifier",
        "modernbert",
        "nomic_bert",
        "qwen3_embedding"
      })
  void shouldRefuseMorePositionsThanTablesMayHave(String model) throws Exception {
    GoldenCopy.of(model, directory);
    Path file = directory.resolve("config.json");
    String config = Files.readString(file);
    String changed =
        config.replaceAll("\"(max_position_embeddings|n_positions)\": \\d+", "\"$1\": 262145");
    assertNotEquals(config, changed);
    Files.writeString(file, changed);
    GoldenCopy.refuses("must be at most 262144", () -> TextEncoder.open(directory));
  }

  // ---- Positions ----

  /** A padding token inside a text has the padding token's own position. */
  @ParameterizedTest
  @ValueSource(strings = {"roberta", "mpnet"})
  void shouldGivePaddingTokensTheirOwnPosition(String model) throws Exception {
    GoldenCopy copy = GoldenCopy.of(model, directory);
    int pad = 1;
    int stand = 200;
    float[] expected = hidden(7, 9, pad);
    copy.weights(
        tensors -> {
          Tensor words = tensors.get("embeddings.word_embeddings.weight");
          Tensor positions = tensors.get("embeddings.position_embeddings.weight");
          for (long i = 0; i < words.size(1); i++) {
            float moved = positions.getFloat(pad, i) - positions.getFloat(pad + 3, i);
            words.setFloat(words.getFloat(pad, i) + moved, stand, i);
          }
        });
    assertArrayEquals(expected, hidden(7, 9, stand), 1e-5f);
  }

  @Test
  void shouldUse32BucketsOfALargerTable() throws Exception {
    GoldenCopy copy = GoldenCopy.of("mpnet", directory);
    float[] expected = hidden(TEXT);
    copy.edit(
        "config.json",
        "\"relative_attention_num_buckets\": 32",
        "\"relative_attention_num_buckets\": 40");
    String name = "encoder.relative_attention_bias.weight";
    copy.weights(
        tensors -> {
          Tensor table = tensors.get(name);
          Tensor larger = Tensor.allocate(Arena.ofAuto(), DType.F32, 40, table.size(1));
          larger.fill(Float.NaN);
          larger.slice(0, 0, 32).copyFrom(table);
          tensors.put(name, larger);
        });
    assertArrayEquals(expected, hidden(TEXT));
    copy.edit(
        "config.json",
        "\"relative_attention_num_buckets\": 40",
        "\"relative_attention_num_buckets\": 31");
    GoldenCopy.refuses(
        "relative_attention_num_buckets must be at least 32", () -> TextEncoder.open(directory));
  }

  // ---- Other spellings and defaults ----

  @ParameterizedTest
  @CsvSource({
    "deberta_v2_classifier, '\"norm_rel_ebd\": \"layer_norm\"',"
        + " '\"norm_rel_ebd\": \"None | Layer_Norm\"'",
    "deberta_v2_classifier, '\"pos_att_type\": \"p2c|c2p\"', '\"pos_att_type\": [\"C2P\","
        + " \"p2c\"]'",
    "qwen3_embedding, '\"rms_norm_eps\": 1e-06,', ''",
    "eurobert, '\"rms_norm_eps\": 1e-05,', ''",
  })
  void shouldReadTheSameFrom(String model, String from, String to) throws Exception {
    GoldenCopy copy = GoldenCopy.of(model, directory);
    float[] expected = hidden(TEXT);
    copy.edit("config.json", from, to);
    assertArrayEquals(expected, hidden(TEXT));
  }

  /** What transformers 5 writes for the Nomic BERT that it contains. */
  @Test
  void shouldReadNomicBertAsTransformersSavesIt() throws Exception {
    GoldenCopy copy = GoldenCopy.of("nomic_bert", directory);
    float[] expected = hidden(TEXT);
    Files.writeString(
        directory.resolve("config.json"),
        """
        {"architectures": ["NomicBertForSequenceClassification"], "attention_probs_dropout_prob": 0.0,
         "bos_token_id": null, "classifier_dropout": null, "dtype": "float32", "head_dim": 16,
         "hidden_act": "silu", "hidden_dropout_prob": 0.0, "hidden_size": 64,
         "initializer_range": 0.02, "intermediate_size": 128, "layer_norm_eps": 1e-12,
         "max_position_embeddings": 256, "model_type": "nomic_bert", "num_attention_heads": 4,
         "num_hidden_layers": 2, "pad_token_id": 0,
         "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
         "transformers_version": "5.17.0", "type_vocab_size": 2, "vocab_size": 400}
        """);
    copy.weights(
        tensors -> {
          Map<String, Tensor> bare = new LinkedHashMap<>(tensors);
          tensors.clear();
          bare.forEach((name, tensor) -> tensors.put("nomic_bert." + name, tensor));
          Tensor dense = Tensor.allocate(Arena.ofAuto(), DType.F32, 64, 64);
          for (int i = 0; i < 64; i++) {
            dense.setFloat(1, i, i);
          }
          Tensor classifier = Tensor.allocate(Arena.ofAuto(), DType.F32, 2, 64);
          classifier.setFloat(1, 0, 5);
          classifier.setFloat(2, 1, 7);
          tensors.put("nomic_bert.pooler.dense.weight", dense);
          tensors.put(
              "nomic_bert.pooler.dense.bias", Tensor.allocate(Arena.ofAuto(), DType.F32, 64));
          tensors.put("classifier.weight", classifier);
          tensors.put("classifier.bias", Tensor.of(Arena.ofAuto(), new float[] {0, 1}, 2));
        });
    assertArrayEquals(expected, hidden(TEXT));
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      float[] logits = classifier.logits(List.of(TEXT), null).getFirst();
      assertEquals(Math.tanh(expected[5]), logits[0], 1e-6);
      assertEquals(2 * Math.tanh(expected[7]) + 1, logits[1], 1e-6);
    }
  }

  @ParameterizedTest
  @CsvSource({"eurobert, 250000.0", "qwen3_embedding, 1000000"})
  void shouldReadTheRotaryBaseWhereNewerConfigurationsHaveIt(String model, String base)
      throws Exception {
    GoldenCopy copy = GoldenCopy.of(model, directory);
    float[] expected = hidden(TEXT);
    copy.edit(
        "config.json",
        "\"rope_theta\": " + base,
        "\"rope_theta\": 7.0, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": "
            + base
            + "}");
    assertArrayEquals(expected, hidden(TEXT));
  }

  @Test
  void shouldTurnLocalLayersLikeGlobalOnesIfTheirBaseIsNull() throws Exception {
    GoldenCopy copy = GoldenCopy.of("modernbert", directory);
    float[] other = hidden(TEXT);
    copy.edit("config.json", "\"local_rope_theta\": 10000.0", "\"local_rope_theta\": 160000.0");
    float[] expected = hidden(TEXT);
    copy.edit("config.json", "\"local_rope_theta\": 160000.0", "\"local_rope_theta\": null");
    assertArrayEquals(expected, hidden(TEXT));
    assertFalse(Arrays.equals(other, expected));
  }

  @Test
  void shouldHaveThePoolerOfGte() throws Exception {
    GoldenCopy copy = GoldenCopy.of("gte", directory);
    try (TextEncoder encoder = TextEncoder.open(directory)) {
      assertFalse(encoder.hasPooler());
    }
    copy.weights(
        tensors -> {
          Tensor weight = Tensor.allocate(Arena.ofAuto(), DType.F32, 48, 48);
          Tensor bias = Tensor.allocate(Arena.ofAuto(), DType.F32, 48);
          for (int i = 0; i < 48; i++) {
            weight.setFloat(0.5f, i, 47 - i);
            bias.setFloat(0.01f * i, i);
          }
          tensors.put("pooler.dense.weight", weight);
          tensors.put("pooler.dense.bias", bias);
        });
    try (TextEncoder encoder = TextEncoder.open(directory);
        Arena arena = Arena.ofConfined()) {
      Tensor hidden = encoder.encode(arena, TEXT);
      Tensor pooled = encoder.pool(arena, hidden, Sequences.ofLengths(TEXT.length));
      for (int i = 0; i < 48; i++) {
        double expected = Math.tanh(0.5 * hidden.getFloat(0, 47 - i) + 0.01 * i);
        assertEquals(expected, pooled.getFloat(0, i), 1e-6);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"bert.", "0.auto_model.", "encoder.model."})
  void shouldReadWeightsBelowAnyPrefix(String prefix) throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert", directory);
    float[] expected = hidden(TEXT);
    copy.weights(
        tensors -> {
          Map<String, Tensor> bare = new LinkedHashMap<>(tensors);
          tensors.clear();
          bare.forEach((name, tensor) -> tensors.put(prefix + name, tensor));
        });
    assertArrayEquals(expected, hidden(TEXT));
  }

  /** A tokenizer may give types that the model never gets. */
  @Test
  void shouldGiveTheModelWhatTheTokenizersConfigurationLists() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_cross_encoder", directory);
    float typed;
    try (Reranker reranker = Reranker.open(directory)) {
      typed = reranker.score("Who repairs the engine?", List.of("Bread."))[0];
    }
    copy.edit("tokenizer_config.json", "\"token_type_ids\",", "");
    try (Reranker reranker = Reranker.open(directory);
        HuggingFaceTokenizer tokenizer =
            HuggingFaceTokenizer.open(directory.resolve("tokenizer.json"))) {
      float score = reranker.score("Who repairs the engine?", List.of("Bread."))[0];
      int[] tokens = tokenizer.encodePair("Who repairs the engine?", "Bread.").tokens();
      assertEquals(reranker.scoreTokens(List.of(tokens), null)[0], score);
      assertNotEquals(typed, score);
    }
  }

  // ---- sentence-transformers ----

  @Test
  void shouldReadTheTransformerFromItsOwnDirectory() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_st_dense", directory);
    float[] expected = vector();
    Path own = Files.createDirectory(directory.resolve("0_Transformer"));
    for (String name :
        List.of("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")) {
      Files.move(directory.resolve(name), own.resolve(name));
    }
    Files.move(
        directory.resolve("sentence_bert_config.json"),
        own.resolve("sentence_distilbert_config.json"));
    copy.edit("modules.json", "\"path\": \"\"", "\"path\": \"0_Transformer\"");
    assertArrayEquals(expected, vector());
    try (TextEmbedder embedder = TextEmbedder.open(directory);
        TextEncoder encoder = TextEncoder.open(directory)) {
      assertEquals(64, embedder.maxTokens());
      assertEquals(64, encoder.width());
    }
    copy.edit("modules.json", "\"path\": \"0_Transformer\"", "\"path\": \"../elsewhere\"");
    GoldenCopy.refuses("path must be inside the directory", () -> TextEmbedder.open(directory));
  }

  @Test
  void shouldConcatenatePoolingsInTheOrderOfTheirList() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_st_mean", directory);
    copy.edit("modules.json", "sentence_transformers.models.Normalize", "x.Dropout");
    float[] mean = vector();
    pooling("\"cls\"");
    float[] first = vector();
    pooling("[\"mean\", \"cls\"]");
    float[] both = Arrays.copyOf(mean, 2 * mean.length);
    System.arraycopy(first, 0, both, mean.length, first.length);
    assertArrayEquals(both, vector());
    pooling("[\"mean\", \"median\"]");
    GoldenCopy.refuses(
        "pooling_mode must be of cls, max, mean", () -> TextEmbedder.open(directory));
    Files.writeString(
        directory.resolve("1_Pooling/config.json"),
        "{\"word_embedding_dimension\": 64, \"pooling_mode_cls_token\": false}");
    assertArrayEquals(mean, vector());
  }

  private void pooling(String mode) throws IOException {
    Files.writeString(
        directory.resolve("1_Pooling/config.json"),
        "{\"embedding_dimension\": 64, \"pooling_mode\": " + mode + "}");
  }

  @Test
  void shouldReadWhatNewerFilesOfModulesSay() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_st_dense", directory);
    float[] expected = vector();
    copy.edit("config_sentence_transformers.json", "\"prompts\": {", "\"prompts\": {\"q\": null,");
    String features = "\"module_input_name\": \"sentence_embedding\"";
    copy.edit("2_Dense/config.json", "{", "{" + features + ", \"module_output_name\": null, ");
    Files.createDirectory(directory.resolve("3_Normalize"));
    Files.writeString(directory.resolve("3_Normalize/config.json"), "{" + features + "}");
    copy.edit(
        "sentence_bert_config.json",
        "{",
        "{\"transformer_task\": \"feature-extraction\", \"module_output_name\":"
            + " \"token_embeddings\", \"modality_config\": {\"text\": {\"method\": \"forward\","
            + " \"method_output_name\": \"last_hidden_state\"}}, \"query_length\": null,");
    assertArrayEquals(expected, vector());
    copy.edit("sentence_bert_config.json", "\"query_length\": null", "\"query_length\": 32");
    GoldenCopy.refuses("query_length=32", () -> TextEmbedder.open(directory));
    copy.edit("sentence_bert_config.json", "feature-extraction", "fill-mask");
    GoldenCopy.refuses("transformer_task must be", () -> TextEmbedder.open(directory));
    copy.edit("3_Normalize/config.json", "sentence_embedding", "token_embeddings");
    GoldenCopy.refuses(
        "module_input_name must be \"sentence_embedding\"", () -> TextEmbedder.open(directory));
  }

  @Test
  void shouldAddTheResidualOfDense() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_st_dense", directory);
    GoldenCopy dense = new GoldenCopy(directory.resolve("2_Dense"));
    copy.edit("modules.json", "models.Normalize", "models.Dropout");
    float[] expected = vector();
    copy.edit("modules.json", "models.Dense", "models.Dropout");
    float[] pooled = vector();
    copy.edit(
        "modules.json",
        "\"2_Dense\",\n    \"type\": \"sentence_transformers.models.Dropout\"",
        "\"2_Dense\",\n    \"type\": \"sentence_transformers.models.Dense\"");
    int in = pooled.length;
    int out = expected.length;
    assertNotEquals(in, out);
    dense.edit("config.json", "{", "{\"use_residual\": true, ");
    GoldenCopy.refuses("residual.weight", () -> TextEmbedder.open(directory));
    float[] identity = new float[out * in];
    for (int i = 0; i < out; i++) {
      identity[i * in + in - 1 - i] = 2;
    }
    dense.weights(
        tensors -> tensors.put("residual.weight", Tensor.of(Arena.ofAuto(), identity, out, in)));
    float[] got = vector();
    for (int i = 0; i < out; i++) {
      assertEquals(expected[i] + 2 * pooled[in - 1 - i], got[i], 1e-6);
    }
  }

  /** The most tokens of a text where no table of positions has a row for each. */
  @ParameterizedTest
  @CsvSource({
    "nomic_bert, n_positions",
    "modernbert, max_position_embeddings",
    "eurobert, max_position_embeddings",
    "qwen3_embedding, max_position_embeddings"
  })
  void shouldReadTheMostTokensOfAText(String model, String key) throws Exception {
    GoldenCopy copy = GoldenCopy.of(model, directory);
    int most = integer(Files.readString(directory.resolve("config.json")), key);
    copy.edit("config.json", "\"" + key + "\": " + most, "\"" + key + "\": " + TEXT.length);
    try (TextEncoder encoder = TextEncoder.open(directory);
        Arena arena = Arena.ofConfined()) {
      assertEquals(TEXT.length, encoder.maxTokens());
      assertEquals(TEXT.length, encoder.encode(arena, TEXT).size(0));
      GoldenCopy.refuses(
          TEXT.length + 1 + "", () -> encoder.encode(arena, Arrays.copyOf(TEXT, TEXT.length + 1)));
    }
  }

  /** With a huge base only the first pair of each head is turned by a full rotation. */
  @Test
  void shouldTurnAPartOfNomicBertsHeads() throws Exception {
    GoldenCopy copy = GoldenCopy.of("nomic_bert", directory);
    String config = Files.readString(directory.resolve("config.json"));
    Matcher base = Pattern.compile("\"rotary_emb_base\": [0-9.]+").matcher(config);
    assertTrue(base.find(), config);
    copy.edit("config.json", base.group(), "\"rotary_emb_base\": 1e300");
    float[] expected = hidden();
    int width = integer(config, "n_embd");
    int heads = integer(config, "n_head");
    int dim = width / heads;
    copy.weights(
        tensors -> {
          for (String name : List.copyOf(tensors.keySet())) {
            if (name.endsWith("attn.Wqkv.weight")) {
              Tensor rows = tensors.get(name);
              float[] all = rows.toFloatArray();
              for (int head = 0; head < 2 * heads; head++) {
                swap(all, head * dim + 1, head * dim + dim / 2, width);
              }
              tensors.put(name, Tensor.of(Arena.ofAuto(), all, rows.shape()));
            }
          }
        });
    copy.edit(
        "config.json", "\"rotary_emb_fraction\": 1.0", "\"rotary_emb_fraction\": " + 2.0 / dim);
    float[] got = hidden();
    for (int i = 0; i < got.length; i++) {
      assertEquals(expected[i], got[i], 1e-5);
    }
    copy.edit(
        "config.json", "\"rotary_emb_fraction\": " + 2.0 / dim, "\"rotary_emb_fraction\": 1.5");
    GoldenCopy.refuses(
        "rotary_emb_fraction must be from 0 to 1", () -> TextEncoder.open(directory));
    copy.edit(
        "config.json", "\"rotary_emb_fraction\": 1.5", "\"rotary_emb_fraction\": " + 1.0 / dim);
    GoldenCopy.refuses("even number of channels of " + dim, () -> TextEncoder.open(directory));
    copy.edit("config.json", "\"rotary_emb_fraction\": " + 1.0 / dim, "\"rotary_emb_fraction\": 0");
    float[] none = hidden();
    assertTrue(Math.abs(none[0] - got[0]) > 1e-4 || Math.abs(none[1] - got[1]) > 1e-4);
  }

  private float[] hidden() throws IOException {
    try (TextEncoder encoder = TextEncoder.open(directory);
        Arena arena = Arena.ofConfined()) {
      return encoder.encode(arena, TEXT).toFloatArray();
    }
  }

  private static int integer(String config, String key) {
    Matcher found = Pattern.compile("\"" + key + "\": ([0-9]+)").matcher(config);
    assertTrue(found.find(), config);
    return Integer.parseInt(found.group(1));
  }

  private static void swap(float[] rows, int a, int b, int width) {
    for (int i = 0; i < width; i++) {
      float kept = rows[a * width + i];
      rows[a * width + i] = rows[b * width + i];
      rows[b * width + i] = kept;
    }
  }

  @Test
  void shouldScoreAsSavedCrossEncodersSay() throws Exception {
    GoldenCopy copy = GoldenCopy.of("bert_cross_encoder", directory);
    float logit;
    try (Reranker reranker = Reranker.open(directory)) {
      logit = reranker.scoreTokens(List.of(TEXT), null)[0];
    }
    Path saved = directory.resolve("config_sentence_transformers.json");
    Files.writeString(
        saved,
        "{\"model_type\": \"CrossEncoder\", \"prompts\": {}, \"default_prompt_name\": null,"
            + " \"activation_fn\": \"torch.nn.modules.activation.Tanh\"}");
    modules("x.Transformer");
    try (Reranker reranker = Reranker.open(directory)) {
      assertEquals(Math.tanh(logit), reranker.scoreTokens(List.of(TEXT), null)[0], 1e-6);
    }
    modules("x.LogitScore");
    GoldenCopy.refuses("type=\"x.LogitScore\"", () -> Reranker.open(directory));
    modules("x.Transformer");
    copy.edit(
        saved.getFileName().toString(),
        "\"default_prompt_name\": null",
        "\"default_prompt_name\": \"q\"");
    GoldenCopy.refuses("default_prompt_name=\"q\"", () -> Reranker.open(directory));
  }

  private void modules(String type) throws IOException {
    Files.writeString(
        directory.resolve("modules.json"),
        "[{\"idx\": 0, \"path\": \"\", \"type\": \"" + type + "\"}]");
  }

  private float[] vector() throws IOException {
    try (TextEmbedder embedder = TextEmbedder.open(directory)) {
      return embedder.embed("The old sailor counts the water level.");
    }
  }

  // ---- Files ----

  private float[] hidden(int... tokens) throws IOException {
    try (TextEncoder encoder = TextEncoder.open(directory);
        Arena arena = Arena.ofConfined()) {
      return encoder.encode(arena, tokens).toFloatArray();
    }
  }
}
