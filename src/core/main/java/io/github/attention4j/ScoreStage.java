package io.github.attention4j;

/**
 * A stage of the computation from the products of queries and keys to the weights, for {@link
 * Extras#scores}. The last stage, the probabilities, is {@link Extras#weights}; these are the four
 * values of {@code qk_matmul_output_mode} of ONNX {@code Attention}.
 */
public enum ScoreStage {
  /** {@code scale · q kᵀ}, for every key, hidden or not. */
  SCALED,

  /** The same after soft-capping, for every key, hidden or not. */
  CAPPED,

  /** The input of softmax: with bias and ALiBi, and −∞ if the query does not see the key. */
  LOGITS
}
