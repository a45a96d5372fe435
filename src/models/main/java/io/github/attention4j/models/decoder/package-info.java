/**
 * Decoders as data: families turn settings into a {@link
 * io.github.attention4j.models.decoder.Specification}, and one interpreter, {@link
 * io.github.attention4j.models.decoder.Decoder}, runs every specification. Not exported.
 */
package io.github.attention4j.models.decoder;
