/**
 * Experiments: attention4j against plain Java, against a tuned Vector API implementation, and
 * against the limits of the machine.
 *
 * <p>Every contender gets the same numbers and its result is checked against a float64 reference
 * before a single time is taken. A contender that is easy to beat proves nothing, so {@link
 * io.github.attention4j.bench.VectorAttention} is tuned as far as the Vector API lets us.
 */
package io.github.attention4j.bench;
