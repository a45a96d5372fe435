/**
 * The layers of <i>Attention Is All You Need</i> (Vaswani et al. 2017) under the paper's names:
 * sinusoidal positions, padding and sequence masks, and multi-head attention with its residual
 * connection and norm.
 *
 * <p>The general rules of {@link io.github.attention4j.layer} also hold here. Classes that say
 * nothing else about threads are immutable, and safe for any number of them.
 */
package io.github.attention4j.classics.paper;
