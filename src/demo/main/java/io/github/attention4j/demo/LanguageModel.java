package io.github.attention4j.demo;

import io.github.attention4j.Tensor;
import io.github.attention4j.models.CausalLm;
import java.lang.foreign.Arena;
import java.util.Arrays;

/**
 * The interface that a race needs of a language model, implemented by the library and by plain
 * Java.
 */
interface LanguageModel {

  /** Starts a text; readers of earlier texts must not be used any more. */
  Reader newReader();

  /**
   * The logits of the next token after each of the given ones, in one pass: [token][vocabulary].
   */
  float[][] logits(int[] tokens);

  /** The weights of every attention map: [layer][head or pair][query][key]. */
  float[][][][] attentionWeights(int[] tokens);

  /** Reads one text, a few tokens at a time, and caches their keys and values. */
  @FunctionalInterface
  interface Reader {

    /** Reads more of the text and returns the logits of the next token. */
    float[] read(int... tokens);
  }

  /**
   * The library.
   *
   * @param session reads all texts, one after another
   */
  record Library(CausalLm model, CausalLm.Session session) implements LanguageModel {
    @Override
    public Reader newReader() {
      session.truncate(0);
      return tokens ->
          (tokens.length == 1 ? session.step(tokens[0]) : session.prefill(tokens)).toFloatArray();
    }

    @Override
    public float[][] logits(int[] tokens) {
      try (Arena arena = Arena.ofConfined()) {
        return rows(model.logits(arena, tokens));
      }
    }

    @Override
    public float[][][][] attentionWeights(int[] tokens) {
      float[][][][] weights = new float[model.layers()][model.maps()][][];
      for (int layer = 0; layer < weights.length; layer++) {
        try (Arena arena = Arena.ofConfined()) {
          Tensor maps = model.attentionWeights(arena, tokens, layer);
          Arrays.setAll(weights[layer], map -> rows(maps.select(0, map)));
        }
      }
      return weights;
    }

    private static float[][] rows(Tensor matrix) {
      float[][] rows = new float[Math.toIntExact(matrix.size(0))][];
      Arrays.setAll(rows, row -> matrix.select(0, row).toFloatArray());
      return rows;
    }
  }

  /** Plain Java. */
  record Plain(PlainCausalLm model) implements LanguageModel {
    @Override
    public Reader newReader() {
      PlainCausalLm.Cache cache = model.newCache();
      return tokens -> model.read(tokens, cache);
    }

    @Override
    public float[][] logits(int[] tokens) {
      return model.forward(tokens);
    }

    @Override
    public float[][][][] attentionWeights(int[] tokens) {
      return model.attentionWeights(tokens);
    }
  }
}
