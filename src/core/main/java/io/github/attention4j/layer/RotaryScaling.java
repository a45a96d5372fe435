package io.github.attention4j.layer;

import io.github.attention4j.internal.Checks;

/**
 * Scales the frequencies of rotary positions, so that a model that was trained on short sequences
 * can read longer ones. Every rule changes the frequencies {@code f_i = base^(−2i / rotaryDim)} of
 * the paper; {@link #yarn YaRN} also changes the length of the rotated vectors.
 *
 * <pre>{@code
 * RotaryScaling scaling = RotaryScaling.llama3(8, 1, 4, 8192);
 * RotaryTable table = RotaryTable.compute(arena, context, dim, 500_000, scaling);
 * }</pre>
 *
 * <p>The rules are those of Hugging Face's Transformers, computed in double. Immutable.
 */
public final class RotaryScaling {
  private static final RotaryScaling NONE =
      new RotaryScaling("none", RotaryScaling::plainFrequencies, 1);

  /** Computes the frequencies of a table. */
  @FunctionalInterface
  private interface Rule {
    double[] frequencies(int rotaryDim, double base, long positions);
  }

  private final String description;
  private final Rule rule;
  private final double magnitude;

  private RotaryScaling(String description, Rule rule, double magnitude) {
    this.description = description;
    this.rule = rule;
    this.magnitude = magnitude;
  }

  /**
   * Leaves the frequencies of the paper unchanged.
   *
   * @return no scaling
   */
  public static RotaryScaling none() {
    return NONE;
  }

  /**
   * Position interpolation (Chen et al., "Extending Context Window of Large Language Models via
   * Positional Interpolation", 2023): {@code f_i / factor}.
   *
   * @param factor how many times longer the sequences are, positive
   * @return the scaling
   * @throws IllegalArgumentException if factor is not a positive number
   */
  public static RotaryScaling linear(double factor) {
    checkPositive("factor", factor);
    return new RotaryScaling(
        "linear(factor=" + factor + ")",
        (rotaryDim, base, positions) -> {
          double[] frequencies = plainFrequencies(rotaryDim, base, positions);
          for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] /= factor;
          }
          return frequencies;
        },
        1);
  }

  /**
   * NTK-aware scaling (bloc97, 2023): replaces the base by {@code base · factor^(rotaryDim /
   * (rotaryDim − 2))}, which keeps the highest frequency and divides the lowest by the factor.
   *
   * @param factor how many times longer the sequences are, positive
   * @return the scaling, for a rotaryDim of more than 2
   * @throws IllegalArgumentException if factor is not a positive number
   */
  public static RotaryScaling ntk(double factor) {
    checkPositive("factor", factor);
    return new RotaryScaling(
        "ntk(factor=" + factor + ")",
        (rotaryDim, base, positions) -> ntkFrequencies(rotaryDim, base, factor),
        1);
  }

  /**
   * Dynamic NTK-aware scaling (emozilla, 2023): {@link #ntk} by {@code factor · n / original −
   * (factor − 1)}, where n is the number of positions of the table; no scaling if n is at most the
   * original. For a sequence that grows, compute a new table for its new length; keys that have
   * been rotated already keep their rotation.
   *
   * @param factor how fast the base grows, at least 1
   * @param originalPositions the length of the sequences that the model was trained on, at least 1
   * @return the scaling, for a rotaryDim of more than 2
   * @throws IllegalArgumentException if factor is not a number of at least 1, or originalPositions
   *     is less than 1
   */
  public static RotaryScaling dynamicNtk(double factor, long originalPositions) {
    checkAtLeastOne("factor", factor);
    Checks.positive("originalPositions", originalPositions);
    return new RotaryScaling(
        "dynamicNtk(factor=" + factor + ", originalPositions=" + originalPositions + ")",
        (rotaryDim, base, positions) ->
            positions <= originalPositions
                ? plainFrequencies(rotaryDim, base, positions)
                : ntkFrequencies(
                    rotaryDim, base, factor * positions / originalPositions - (factor - 1)),
        1);
  }

  /**
   * YaRN (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023)
   * with the paper's constants: between 32 and 1 turns over the original length, and magnitude
   * {@link #yarnMagnitude yarnMagnitude(factor, 1)}.
   *
   * @param factor how many times longer the sequences are, at least 1
   * @param originalPositions the length of the sequences that the model was trained on, at least 1
   * @return the scaling
   * @throws IllegalArgumentException as {@link #yarn(double, long, double, double, boolean)}
   */
  public static RotaryScaling yarn(double factor, long originalPositions) {
    return yarn(factor, originalPositions, 32, 1, true);
  }

  /**
   * YaRN: {@code f_i · (1 − γ_i) + f_i / factor · γ_i}. The ramp γ is linear in the index of the
   * pair, as in the authors' program: it rises from 0 at the pair that makes betaFast turns over
   * the original length to 1 at the pair that makes betaSlow turns. Pair {@code rotaryDim ·
   * ln(originalPositions / (2π · turns)) / (2 · ln(base))} makes that many turns. The magnitude is
   * {@link #yarnMagnitude yarnMagnitude(factor, 1)}; {@link #withMagnitude} replaces it.
   *
   * @param factor how many times longer the sequences are, at least 1
   * @param originalPositions the length of the sequences that the model was trained on, at least 1
   * @param betaFast pairs with more turns keep their frequency; 32 in the paper
   * @param betaSlow pairs with fewer turns are interpolated; 1 in the paper
   * @param truncate whether the ends of the ramp are rounded outwards to whole pairs, as is usual
   * @return the scaling
   * @throws IllegalArgumentException if factor is not a number of at least 1, originalPositions is
   *     less than 1, a beta is not a positive number, or betaFast is less than betaSlow
   */
  public static RotaryScaling yarn(
      double factor, long originalPositions, double betaFast, double betaSlow, boolean truncate) {
    checkAtLeastOne("factor", factor);
    Checks.positive("originalPositions", originalPositions);
    checkPositive("betaSlow", betaSlow);
    checkPositive("betaFast", betaFast);
    if (betaFast < betaSlow) {
      throw new IllegalArgumentException(
          "betaFast must be at least betaSlow: betaFast=" + betaFast + ", betaSlow=" + betaSlow);
    }
    return new RotaryScaling(
        "yarn(factor="
            + factor
            + ", originalPositions="
            + originalPositions
            + ", betaFast="
            + betaFast
            + ", betaSlow="
            + betaSlow
            + ", truncate="
            + truncate
            + ")",
        (rotaryDim, base, positions) -> {
          double first = pairThatTurns(betaFast, originalPositions, rotaryDim, base);
          double last = pairThatTurns(betaSlow, originalPositions, rotaryDim, base);
          if (truncate) {
            first = Math.floor(first);
            last = Math.ceil(last);
          }
          first = Math.max(first, 0);
          last = Math.min(last, rotaryDim - 1);
          if (last == first) {
            last += 0.001;
          }
          double[] frequencies = plainFrequencies(rotaryDim, base, positions);
          for (int i = 0; i < frequencies.length; i++) {
            double ramp = Math.clamp((i - first) / (last - first), 0.0, 1.0);
            frequencies[i] = frequencies[i] * (1 - ramp) + frequencies[i] / factor * ramp;
          }
          return frequencies;
        },
        yarnMagnitude(factor, 1));
  }

  /**
   * Returns the factor by which YaRN multiplies rotated queries and keys, {@code 0.1 · scale ·
   * ln(factor) + 1}, which sharpens the softmax of long sequences. DeepSeek's models use the
   * quotient of two of them.
   *
   * @param factor how many times longer the sequences are; 1 and less give 1
   * @param scale 1 in the paper
   * @return the magnitude
   */
  public static double yarnMagnitude(double factor, double scale) {
    return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
  }

  /**
   * The rule of Llama 3.1: pair i makes {@code turns = originalPositions · f_i / 2π} over the
   * original length. With more than highFrequencyFactor turns it keeps its frequency, with fewer
   * than lowFrequencyFactor turns the frequency is divided by the factor, and between them it is
   * {@code s · f_i + (1 − s) · f_i / factor} with {@code s = (turns − low) / (high − low)}.
   *
   * @param factor how many times longer the sequences are, positive; 8 in Llama 3.1
   * @param lowFrequencyFactor positive; 1 in Llama 3.1
   * @param highFrequencyFactor more than lowFrequencyFactor; 4 in Llama 3.1
   * @param originalPositions the length of the sequences that the model was trained on, at least 1;
   *     8192 in Llama 3.1
   * @return the scaling
   * @throws IllegalArgumentException if a factor is not a positive number, highFrequencyFactor is
   *     not more than lowFrequencyFactor, or originalPositions is less than 1
   */
  public static RotaryScaling llama3(
      double factor,
      double lowFrequencyFactor,
      double highFrequencyFactor,
      long originalPositions) {
    checkPositive("factor", factor);
    checkPositive("lowFrequencyFactor", lowFrequencyFactor);
    checkPositive("highFrequencyFactor", highFrequencyFactor);
    Checks.positive("originalPositions", originalPositions);
    if (highFrequencyFactor <= lowFrequencyFactor) {
      throw new IllegalArgumentException(
          "highFrequencyFactor must be more than lowFrequencyFactor: highFrequencyFactor="
              + highFrequencyFactor
              + ", lowFrequencyFactor="
              + lowFrequencyFactor);
    }
    return new RotaryScaling(
        "llama3(factor="
            + factor
            + ", lowFrequencyFactor="
            + lowFrequencyFactor
            + ", highFrequencyFactor="
            + highFrequencyFactor
            + ", originalPositions="
            + originalPositions
            + ")",
        (rotaryDim, base, positions) -> {
          double[] frequencies = plainFrequencies(rotaryDim, base, positions);
          double span = highFrequencyFactor - lowFrequencyFactor;
          for (int i = 0; i < frequencies.length; i++) {
            double turns = originalPositions * frequencies[i] / (2 * Math.PI);
            double keep = Math.clamp((turns - lowFrequencyFactor) / span, 0.0, 1.0);
            frequencies[i] = keep * frequencies[i] + (1 - keep) * frequencies[i] / factor;
          }
          return frequencies;
        },
        1);
  }

  /**
   * Returns this scaling with another magnitude, the factor of cosines and sines.
   *
   * @param magnitude positive; Hugging Face's {@code attention_factor}
   * @return a new scaling
   * @throws IllegalArgumentException if magnitude is not a positive number
   */
  public RotaryScaling withMagnitude(double magnitude) {
    checkPositive("magnitude", magnitude);
    return new RotaryScaling(description, rule, magnitude);
  }

  /**
   * Returns the factor of cosines and sines, and thus of the length of rotated vectors.
   *
   * @return 1 unless the rule is YaRN or {@link #withMagnitude} was called
   */
  public double magnitude() {
    return magnitude;
  }

  /**
   * Computes the angle between consecutive positions, for each pair.
   *
   * @param rotaryDim the number of channels that are rotated, even
   * @param base the base of the frequencies; 10 000 in the paper
   * @param positions the number of positions of the table
   * @return one frequency for each of the {@code rotaryDim / 2} pairs
   * @throws IllegalArgumentException if positions is negative, rotaryDim is odd or less than 2 (for
   *     NTK: less than 4), or base is not a positive number (for YaRN: is 1)
   */
  public double[] frequencies(int rotaryDim, double base, long positions) {
    Checks.inRange("positions", positions, 0, Long.MAX_VALUE);
    RotaryTable.checkRotaryDim(rotaryDim);
    checkPositive("base", base);
    return rule.frequencies(rotaryDim, base, positions);
  }

  /** Describes the rule and its parameters. */
  @Override
  public String toString() {
    return magnitude == 1 ? description : description + " with magnitude " + magnitude;
  }

  // ---- Rules ----

  private static double[] plainFrequencies(int rotaryDim, double base, long positions) {
    double[] frequencies = new double[rotaryDim / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = Math.pow(base, -2.0 * i / rotaryDim);
    }
    return frequencies;
  }

  private static double[] ntkFrequencies(int rotaryDim, double base, double factor) {
    if (rotaryDim == 2) {
      throw new IllegalArgumentException(
          "rotaryDim must be more than 2 to scale the base: rotaryDim=2");
    }
    double exponent = (double) rotaryDim / (rotaryDim - 2);
    return plainFrequencies(rotaryDim, base * Math.pow(factor, exponent), 0);
  }

  /** The index of the pair that makes this many turns over the original length; a fraction. */
  private static double pairThatTurns(
      double turns, long originalPositions, int rotaryDim, double base) {
    if (base == 1) {
      throw new IllegalArgumentException("base must not be 1 for YaRN: base=1.0");
    }
    return rotaryDim * Math.log(originalPositions / (2 * Math.PI * turns)) / (2 * Math.log(base));
  }

  private static void checkPositive(String name, double value) {
    if (!(value > 0) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(
          name + " must be a positive number: " + name + "=" + value);
    }
  }

  private static void checkAtLeastOne(String name, double value) {
    if (!(value >= 1) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(
          name + " must be a number of at least 1: " + name + "=" + value);
    }
  }
}
