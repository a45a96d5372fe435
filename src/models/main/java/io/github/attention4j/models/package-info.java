/**
 * Models from checkpoint files.
 *
 * <p>{@link io.github.attention4j.models.CausalLm} runs decoders from a checkpoint directory or a
 * GGUF file. A family of models is data: its settings become a specification that one interpreter
 * computes; settings that are not supported are refused by name. A model owns its weights, which
 * stay mapped if possible; the memory of a text (keys, values and intermediate results) belongs to
 * a session. {@link io.github.attention4j.models.Sampler} and {@link
 * io.github.attention4j.models.Generation} control how texts continue, {@link
 * io.github.attention4j.models.ChatTemplate} renders conversations, and {@link
 * io.github.attention4j.models.TextStream} turns tokens into text as they arrive.
 *
 * <p>{@link io.github.attention4j.models.TextEmbedder} turns texts into vectors, {@link
 * io.github.attention4j.models.Reranker} scores passages against a query, {@link
 * io.github.attention4j.models.TextClassifier} labels texts; all three are based on {@link
 * io.github.attention4j.models.TextEncoder}, which turns tokens into hidden states. {@link
 * io.github.attention4j.models.HuggingFaceTokenizer} turns text into tokens.
 *
 * <p>Models are immutable and safe for use by any number of threads.
 */
package io.github.attention4j.models;
