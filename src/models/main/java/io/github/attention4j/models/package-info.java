/**
 * Models from checkpoint files.
 *
 * <p>{@link io.github.attention4j.models.CausalLm} runs decoders from a checkpoint directory or a
 * GGUF file. A family of models is data: a file turns its settings into one specification, which
 * one interpreter computes; what the files say is computed or refused by name. A model owns its
 * weights, which stay mapped where they can; what a text needs besides (keys, values and room to
 * compute) belongs to a session. {@link io.github.attention4j.models.Sampler} and {@link
 * io.github.attention4j.models.Generation} say how texts go on, {@link
 * io.github.attention4j.models.ChatTemplate} how conversations are written, and {@link
 * io.github.attention4j.models.TextStream} turns tokens into text as they come.
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
