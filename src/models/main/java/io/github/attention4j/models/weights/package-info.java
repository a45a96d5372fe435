/** Reads the weights of encoders and decoders from checkpoints. Not exported. */
package io.github.attention4j.models.weights;
