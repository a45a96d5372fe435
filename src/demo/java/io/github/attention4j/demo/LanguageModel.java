package io.github.attention4j.demo;

/**
 * What the demonstration asks of a language model, so that it can treat the library and plain Java
 * alike.
 */
interface LanguageModel {

  /** Begins a text. */
  Reader newReader();

  /** Logits of the token after each of the given ones, in one pass: [token][vocabulary]. */
  float[][] logits(int[] tokens);

  /** The weights of every attention map: [layer][head or pair][query][key]. */
  float[][][][] attentionWeights(int[] tokens);

  /** Reads one text, a few tokens at a time, and remembers their keys and values. */
  interface Reader {

    /** Reads more of the text: logits of the token after the last one. */
    float[] read(int... tokens);
  }
}
