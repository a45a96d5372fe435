package io.github.attention4j.classics.d2l;

/**
 * The result of a beam search.
 *
 * @param tokens the text, without the leading bos but with eos if it ended
 * @param logProbability the sum of the logarithms of its tokens' probabilities
 * @param score {@code logProbability / tokens.length^alpha}, the highest of all texts that were
 *     kept
 */
@SuppressWarnings("ArrayRecordComponent") // Beams are never compared.
public record Beam(int[] tokens, double logProbability, double score) {}
