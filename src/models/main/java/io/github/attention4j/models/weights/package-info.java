/** Reads the weights of encoders and decoders from checkpoints into the form they are used in. */
package io.github.attention4j.models.weights;
