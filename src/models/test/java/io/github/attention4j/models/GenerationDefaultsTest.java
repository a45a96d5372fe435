package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@code generation_config.json} and {@code general.sampling.*} say is obeyed or refused. */
class GenerationDefaultsTest {
  private static final int[] PROMPT = {3, 1, 4, 1, 5};

  @TempDir private Path directory;

  private CausalLm open(String generationConfig) throws IOException {
    Path place = TinyCheckpoint.of("llama").write(directory);
    Files.writeString(place.resolve("generation_config.json"), generationConfig);
    return CausalLm.open(place);
  }

  private static int[] generate(CausalLm model, Sampler sampler) {
    return model.generate(PROMPT, 24, sampler, token -> {});
  }

  @Test
  void shouldPenaliseRepetitionsOfGreedyTexts() throws IOException {
    try (CausalLm model = open("{\"repetition_penalty\": 1.5}")) {
      assertEquals("greedy, repetitionPenalty=1.5", model.defaultSampler().toString());
      Sampler wanted = Sampler.builder().temperature(0).repetitionPenalty(1.5).build();
      int[] text = generate(model, model.defaultSampler());
      assertArrayEquals(generate(model, wanted), text);
      assertFalse(Arrays.equals(generate(model, Sampler.greedy()), text));
    }
  }

  @Test
  void shouldNeverChooseSuppressedTokens() throws IOException {
    int favourite;
    try (CausalLm model = open("{}")) {
      favourite = generate(model, model.defaultSampler())[0];
    }
    try (CausalLm model = open("{\"suppress_tokens\": [0, " + favourite + "]}")) {
      int[] text = generate(model, model.defaultSampler());
      assertTrue(Arrays.stream(text).noneMatch(token -> token == 0 || token == favourite));
    }
    assertEquals(
        directory.resolve("generation_config.json")
            + ": suppress_tokens must be tokens in [0, vocabulary=29): suppress_tokens=a list of"
            + " 1 values",
        assertThrows(IllegalArgumentException.class, () -> open("{\"suppress_tokens\": [29]}"))
            .getMessage());
  }

  @Test
  void shouldChangeTextsAsTheFileSays() throws IOException {
    int[] plain;
    try (CausalLm model = open("{}")) {
      plain = generate(model, model.defaultSampler());
    }
    try (CausalLm model = open("{\"no_repeat_ngram_size\": 1}")) {
      int[] text = generate(model, model.defaultSampler());
      assertEquals(text.length, Arrays.stream(text).distinct().count());
      assertTrue(
          Arrays.stream(text).noneMatch(token -> Arrays.stream(PROMPT).anyMatch(p -> p == token)));
    }
    String words = "{\"bad_words_ids\": [[%d, %d]]}".formatted(plain[0], plain[1]);
    try (CausalLm model = open(words)) {
      int[] text = generate(model, model.defaultSampler());
      assertEquals(plain[0], text[0]);
      for (int i = 1; i < text.length; i++) {
        assertFalse(text[i - 1] == plain[0] && text[i] == plain[1], Arrays.toString(text));
      }
    }
    try (CausalLm model = open("{\"begin_suppress_tokens\": [%d]}".formatted(plain[0]))) {
      assertFalse(plain[0] == generate(model, model.defaultSampler())[0]);
    }
    String end = "{\"eos_token_id\": %d, \"%s\": %d}";
    try (CausalLm model = open(end.formatted(plain[0], "min_new_tokens", 0))) {
      assertArrayEquals(new int[] {plain[0]}, generate(model, model.defaultSampler()));
    }
    for (String least : List.of("min_new_tokens 6", "min_length 11")) {
      String[] setting = least.split(" ");
      try (CausalLm model =
          open(end.formatted(plain[0], setting[0], Integer.parseInt(setting[1])))) {
        int[] text = generate(model, model.defaultSampler());
        assertTrue(text.length >= 6, Arrays.toString(text));
        assertTrue(Arrays.stream(text).limit(6).noneMatch(token -> token == plain[0]));
      }
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      quoteCharacter = '`',
      value = {
        "'bad_words_ids': [[]] § bad_words_ids must be lists of tokens that are not empty",
        "'bad_words_ids': [[29]] § bad_words_ids must be tokens in [0, vocabulary=29)",
        "'begin_suppress_tokens': [29] § begin_suppress_tokens must be tokens in [0,"
            + " vocabulary=29)",
        "'sequence_bias': [[1, 2.0]] § sequence_bias must be pairs of a list of tokens and a"
            + " number",
        "'sequence_bias': [[[1], 1e99]] § sequenceBias must lie in [-1.0E30, 1.0E30]",
        "'typical_p': 1.5 § typicalP must lie in (0, 1]",
        "'eta_cutoff': 1 § etaCutoff must lie in [0, 1)",
        "'no_repeat_ngram_size': -1 § no_repeat_ngram_size must be an integer from 0 to 2^31-1",
      })
  void shouldNameTheFileAndWhatIsWrongInIt(String member, String wanted) {
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () -> open("{'do_sample': true, %s}".formatted(member).replace('\'', '"')))
            .getMessage();
    assertTrue(
        message.startsWith(directory.resolve("generation_config.json") + ": " + wanted + ": "),
        message);
  }

  @Test
  void shouldTellLimitsAndStopTexts() throws IOException {
    try (CausalLm model = open("{\"max_new_tokens\": 7, \"max_length\": 30}")) {
      assertEquals(7, model.maxNewTokens());
      assertEquals(Integer.MAX_VALUE, model.maxLength());
      assertEquals(List.of(), model.stopTexts());
    }
    try (CausalLm model = open("{\"max_length\": 30, \"stop_strings\": [\"a\", \"b c\"]}")) {
      assertEquals(Integer.MAX_VALUE, model.maxNewTokens());
      assertEquals(30, model.maxLength());
      assertEquals(List.of("a", "b c"), model.stopTexts());
    }
    try (CausalLm model = open("{\"max_length\": 20, \"stop_strings\": \"a\"}")) {
      assertEquals(Integer.MAX_VALUE, model.maxLength());
      assertEquals(List.of("a"), model.stopTexts());
    }
  }

  /** The files of Llama 2, 3 and 3.2, Qwen2.5, Qwen3, Gemma 2 and 3, Phi-3, SmolLM3 and others. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      quoteCharacter = '`',
      value = {
        "{'bos_token_id': 1, 'eos_token_id': 2, 'max_length': 4096, 'pad_token_id': 0,"
            + " 'temperature': 0.9, 'top_p': 0.6, 'transformers_version': '4.31.0'} § greedy",
        "{'bos_token_id': 1, 'do_sample': true, 'eos_token_id': [2, 3], 'temperature': 0.6,"
            + " 'max_length': 4096, 'top_p': 0.9, 'transformers_version': '4.40.0'}"
            + " § temperature=0.6, topP=0.9, seed=0",
        "{'bos_token_id': 1, 'pad_token_id': 1, 'do_sample': true, 'eos_token_id': [2, 1],"
            + " 'repetition_penalty': 1.05, 'temperature': 0.7, 'top_p': 0.8, 'top_k': 20,"
            + " 'transformers_version': '4.37.0'}"
            + " § temperature=0.7, topK=20, topP=0.8, repetitionPenalty=1.05, seed=0",
        "{'bos_token_id': 1, 'do_sample': true, 'eos_token_id': [2, 1], 'pad_token_id': 1,"
            + " 'temperature': 0.6, 'top_k': 20, 'top_p': 0.95, 'min_p': 0.0,"
            + " 'transformers_version': '4.51.0'} § temperature=0.6, topK=20, topP=0.95, seed=0",
        "{'_from_model_config': true, 'bos_token_id': 2, 'cache_implementation': 'hybrid',"
            + " 'eos_token_id': 1, 'pad_token_id': 0, 'transformers_version': '4.42.0'} § greedy",
        "{'bos_token_id': 2, 'cache_implementation': 'hybrid', 'do_sample': true,"
            + " 'eos_token_id': [1, 6], 'pad_token_id': 0, 'top_k': 64, 'top_p': 0.95,"
            + " 'transformers_version': '4.50.0'} § temperature=1.0, topK=64, topP=0.95, seed=0",
        "{'_from_model_config': true, 'bos_token_id': 1, 'eos_token_id': [2, 1, 7],"
            + " 'pad_token_id': 2, 'use_cache': false, 'transformers_version': '4.39.3'} § greedy",
        "{'do_sample': false, 'max_new_tokens': 2048, 'bos_token_id': 3} § greedy",
        "{'num_beams': 1, 'num_beam_groups': 1, 'num_return_sequences': 1, 'guidance_scale': 1.0,"
            + " 'typical_p': 1.0, 'epsilon_cutoff': 0.0, 'eta_cutoff': 0.0, 'min_length': 0,"
            + " 'diversity_penalty': 0.0, 'no_repeat_ngram_size': 0, 'bad_words_ids': null,"
            + " 'suppress_tokens': [], 'sequence_bias': {}, 'early_stopping': false,"
            + " 'length_penalty': 2.0, 'forced_eos_token_id': null, 'new_key': false} § greedy",
        "{'typical_p': 0.9, 'epsilon_cutoff': 0.1, 'top_h': 0.4, 'do_sample': false} § greedy",
        "{'typical_p': 0.9, 'epsilon_cutoff': 0.1, 'eta_cutoff': 0.2, 'do_sample': true}"
            + " § temperature=1.0, typicalP=0.9, epsilonCutoff=0.1, etaCutoff=0.2, seed=0",
        "{'sequence_bias': [[[1], 2.0], [[3, 4], -1]], 'bad_words_ids': [[5, 6], [7], [2, 7], [8]],"
            + " 'eos_token_id': [7, 9]} § greedy, sequenceBias={[1]=2.0, [3, 4]=-1.0,"
            + " [5, 6]=-Infinity, [2, 7]=-Infinity, [8]=-Infinity}",
        "{'begin_suppress_tokens': [2, 1], 'no_repeat_ngram_size': 3, 'min_length': 4,"
            + " 'eos_token_id': 7} § greedy, forbidFirst=[1, 2], noRepeatNgram=3, minLength=4",
        "{'min_length': 4, 'min_new_tokens': 5, 'eos_token_id': 7} § greedy, minNewTokens=5",
      })
  void shouldOpenWhatModelsHave(String file, String sampler) throws IOException {
    try (CausalLm model = open(file.replace('\'', '"'))) {
      assertEquals(sampler, model.defaultSampler().toString());
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "'encoder_repetition_penalty': 1.5",
        "'forced_eos_token_id': 1",
        "'forced_bos_token_id': 1",
        "'num_beams': 4",
        "'num_return_sequences': 2",
        "'guidance_scale': 1.5",
        "'penalty_alpha': 0.6",
        "'diversity_penalty': 0.5",
        "'max_time': 1.5",
        "'exponential_decay_length_penalty': [1, 2.0]",
        "'top_h': 0.4",
        "'an_invented_key': 1",
        "'another': 'x'",
      })
  void shouldRefuseWhatWouldChangeTheText(String member) {
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () -> open("{'do_sample': true, %s}".formatted(member).replace('\'', '"')))
            .getMessage();
    String wanted =
        "%s/generation_config.json: settings that would change the text and are not computed are"
            + " refused: %s=";
    assertTrue(message.startsWith(wanted.formatted(directory, member.split("'")[1])), message);
  }

  @Test
  void shouldSayWhichFileHasAValueOutOfRange() {
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () -> open("{\"do_sample\": true, \"temperature\": -1.0}"))
            .getMessage();
    assertTrue(message.startsWith(directory + "/generation_config.json: temperature "), message);
  }

  /** Before there was generation_config.json, config.json had its keys. */
  @Test
  void shouldReadOldModelsConfig() throws IOException {
    Path place = TinyCheckpoint.of("llama", "repetition_penalty", "1.5").write(directory);
    try (CausalLm model = CausalLm.open(place)) {
      assertEquals("greedy, repetitionPenalty=1.5", model.defaultSampler().toString());
    }
    TinyCheckpoint.of("llama", "num_beams", "4").write(directory);
    String message =
        assertThrows(IllegalArgumentException.class, () -> CausalLm.open(place)).getMessage();
    assertTrue(message.contains("num_beams=4"), message);
  }

  // ---- GGUF ----

  private static GenerationDefaults gguf(Map<String, ?> metadata) {
    return GenerationDefaults.ofGguf("m.gguf", metadata, Set.of());
  }

  @Test
  void shouldSampleAsTheMetadataSays() {
    assertEquals("greedy", gguf(Map.of("general.name", "x")).sampler().toString());
    assertEquals(
        "temperature=0.6, topK=20, topP=0.95, minP=0.05, seed=0",
        gguf(Map.of(
                "general.sampling.temp",
                (double) 0.6f,
                "general.sampling.top_k",
                20L,
                "general.sampling.top_p",
                (double) 0.95f,
                "general.sampling.min_p",
                (double) 0.05f,
                "general.sampling.penalty_last_n",
                64L,
                "general.sampling.penalty_repeat",
                1.0,
                "general.sampling.mirostat",
                0L,
                "general.sampling.xtc_probability",
                0.0))
            .sampler()
            .toString());
    assertEquals(
        "temperature=1.0, topK=64, seed=0",
        gguf(Map.of("general.sampling.top_k", 64L)).sampler().toString());
    assertEquals(
        "greedy, repetitionPenalty=1.1",
        gguf(Map.of(
                "general.sampling.temp",
                0.0,
                "general.sampling.penalty_last_n",
                -1L,
                "general.sampling.penalty_repeat",
                (double) 1.1f))
            .sampler()
            .toString());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"mirostat=2", "xtc_probability=5", "penalty_repeat=2", "sequence=\"k\"", "new=1"})
  void shouldRefuseMetadataThatWouldChangeTheText(String setting) {
    String[] parts = setting.split("=");
    Object value = parts[1].startsWith("\"") ? "k" : (Object) Long.valueOf(parts[1]);
    assertEquals(
        "m.gguf: settings that would change the text and are not computed are refused:"
            + " general.sampling."
            + setting,
        assertThrows(
                IllegalArgumentException.class,
                () -> gguf(Map.of("general.sampling." + parts[0], value)))
            .getMessage());
  }
}
