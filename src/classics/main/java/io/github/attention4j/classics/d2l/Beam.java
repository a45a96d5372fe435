package io.github.attention4j.classics.d2l;

/**
 * What a beam search found.
 *
 * @param tokens the text without its first token bos, and with eos if it ended with it
 * @param logProbability the sum of the logarithms of its tokens' probabilities
 * @param score {@code logProbability / tokens.length^alpha}, by which it is the best of all that
 *     were kept
 */
@SuppressWarnings("ArrayRecordComponent") // Beams are never compared.
public record Beam(int[] tokens, double logProbability, double score) {}
