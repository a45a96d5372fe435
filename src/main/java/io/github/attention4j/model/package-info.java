/**
 * Whole models, and the blocks that they stack.
 *
 * <p>{@link io.github.attention4j.model.CausalLm} is a Llama or DiffLlama language model, read from
 * a published checkpoint; {@link io.github.attention4j.model.Sampler} chooses the tokens of the
 * text that it writes. It owns the memory of its weights; what a text needs beside it, keys, values
 * and room to compute, belongs to a session.
 *
 * <p>{@link io.github.attention4j.model.Transformer} is the encoder and decoder of the paper as
 * "Dive into Deep Learning" builds it, and {@link io.github.attention4j.model.BahdanauSeq2Seq} the
 * recurrent translator that came before. Like layers, they use tensors that the caller owns; what
 * their sequences have read belongs to a state.
 *
 * <p>A model is immutable and safe for any number of threads.
 */
package io.github.attention4j.model;
