/**
 * Whole models, read from published checkpoints. {@link io.github.attention4j.model.CausalLm} is a
 * Llama or DiffLlama language model; {@link io.github.attention4j.model.Sampler} chooses the tokens
 * of the text that it writes.
 *
 * <p>A model is immutable, owns the memory of its weights, and is safe for any number of threads;
 * what a text needs beside it, keys, values and room to compute, belongs to a session.
 */
package io.github.attention4j.model;
