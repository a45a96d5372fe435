/**
 * Decoders: what a family's settings say about a model ({@link
 * io.github.attention4j.models.decoder.Specification}), and the one interpreter that computes it.
 * Not exported.
 */
package io.github.attention4j.models.decoder;
