package io.github.attention4j;

/**
 * A stage on the way from the product of queries and keys to weights, at which {@link
 * Extras#scores} shows it. The last stage, the probabilities, is {@link Extras#weights}; together
 * they are the four of ONNX {@code Attention}'s {@code qk_matmul_output_mode}.
 */
public enum ScoreStage {
  /** {@code scale · q kᵀ}, for every key, seen or not. */
  SCALED,

  /** The same after soft-capping, for every key, seen or not. */
  CAPPED,

  /** What softmax takes: bias and ALiBi added, and −∞ where the query does not see the key. */
  LOGITS
}
