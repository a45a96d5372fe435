/**
 * Models from checkpoint files.
 *
 * <p>{@link io.github.attention4j.models.CausalLm} is a Llama or DiffLlama language model, read
 * from a published checkpoint; {@link io.github.attention4j.models.Sampler} chooses the tokens of
 * the text that it writes. A model owns the memory of its weights; what a text needs besides (keys,
 * values and room to compute) belongs to a session.
 *
 * <p>A model is immutable and safe for use by any number of threads.
 */
package io.github.attention4j.models;
