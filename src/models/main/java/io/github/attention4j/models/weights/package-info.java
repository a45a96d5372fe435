/** Reads the weights of encoders and decoders from checkpoints. */
package io.github.attention4j.models.weights;
