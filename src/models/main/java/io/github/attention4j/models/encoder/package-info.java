/**
 * Text encoders as data: a family turns settings into an {@link
 * io.github.attention4j.models.encoder.EncoderSpec}, and one interpreter, {@link
 * io.github.attention4j.models.encoder.Encoder}, runs every specification. Not exported.
 */
package io.github.attention4j.models.encoder;
