/**
 * The attention of tensor2tensor under its own names: {@link
 * io.github.attention4j.classics.t2t.Tensor2TensorAttention} is {@code multihead_attention} with
 * all of its attention types. The package also has area attention, local and dilated masks,
 * convolutional projections, recurrent memories, timing signals and image summaries.
 *
 * <p>The general rules of {@link io.github.attention4j.layer} also hold here. Classes that say
 * nothing else about threads are immutable, and safe for any number of them.
 */
package io.github.attention4j.classics.t2t;
