/**
 * The attention of tensor2tensor under its own names: {@link
 * io.github.attention4j.classics.t2t.Tensor2TensorAttention} is {@code multihead_attention} with
 * all of its attention types; beside it are area attention, local and dilated masks, convolutional
 * projections, recurrent memories, timing signals and image summaries.
 *
 * <p>What {@link io.github.attention4j.layer} says of layers holds here too.
 */
package io.github.attention4j.classics.t2t;
