/**
 * Models from checkpoint files.
 *
 * <p>{@link io.github.attention4j.models.CausalLm} is a language model, read from a published
 * checkpoint; {@link io.github.attention4j.models.Sampler} chooses the tokens of the text that it
 * writes. A model owns the memory of its weights; what a text needs besides (keys, values and room
 * to compute) belongs to a session.
 *
 * <p>{@link io.github.attention4j.models.TextEmbedder} makes vectors of texts, {@link
 * io.github.attention4j.models.Reranker} scores passages against a query, {@link
 * io.github.attention4j.models.TextClassifier} labels texts; below all three is {@link
 * io.github.attention4j.models.TextEncoder}, from token numbers to hidden states. {@link
 * io.github.attention4j.models.HuggingFaceTokenizer} makes the token numbers.
 *
 * <p>A model is immutable and safe for use by any number of threads.
 */
package io.github.attention4j.models;
