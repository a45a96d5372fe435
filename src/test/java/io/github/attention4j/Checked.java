package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.reference.ReferenceAttention.Result;
import java.lang.foreign.Arena;
import java.util.Random;

/**
 * What the tests of computing classes share: random tensors, kernel tiers, and how near is near.
 */
public final class Checked {
  private Checked() {}

  /** Runs the same on every kernel tier that this machine has. */
  public static void onEveryTier(Runnable test) {
    String before = A4j.isa();
    try {
      for (String isa : A4j.availableIsas()) {
        A4j.isa(isa);
        try {
          test.run();
        } catch (AssertionError failure) {
          throw new AssertionError("on " + isa + ": " + failure.getMessage(), failure);
        }
      }
    } finally {
      A4j.isa(before);
    }
  }

  /** Normally distributed floats. */
  public static Tensor random(Arena arena, Random random, long... shape) {
    return randomize(Tensor.allocate(arena, DType.F32, shape), random);
  }

  static Tensor randomize(Tensor tensor, Random random) {
    float[] values = new float[(int) tensor.count()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return tensor.copyFrom(values);
  }

  /** True with probability p. */
  static Tensor randomBooleans(Arena arena, Random random, double p, long... shape) {
    Tensor tensor = Tensor.allocate(arena, DType.BOOL, shape);
    Tensor flat = tensor.reshape(tensor.count());
    for (long i = 0; i < flat.count(); i++) {
      flat.setBoolean(random.nextDouble() < p, i);
    }
    return tensor;
  }

  /** Scale, mask and dropout, as the reference takes them, and the two results. */
  record Expected(Result exact, Result textbook, double largestValue) {
    static Expected of(Tensor q, Tensor k, Tensor v, double scale, Entry bias, Entry keep) {
      return new Expected(
          ReferenceAttention.attention(q, k, v, scale, bias, keep),
          ReferenceAttention.inFloat(q, k, v, scale, bias, keep),
          largest(v));
    }

    static Expected of(
        Tensor q, Tensor k, Tensor v, double softCap, float[] sinks, Entry bias, Entry keep) {
      double scale = 1 / Math.sqrt(q.size(-1));
      return new Expected(
          ReferenceAttention.compute(q, k, v, scale, softCap, sinks, bias, keep, false),
          ReferenceAttention.compute(q, k, v, scale, softCap, sinks, bias, keep, true),
          largest(v));
    }

    static Expected of(Tensor q, Tensor k, Tensor v, Entry bias) {
      double scale = 1 / Math.sqrt(q.size(-1));
      return of(q, k, v, scale, bias, ReferenceAttention.KEEP_ALL);
    }

    void requireOut(String what, Tensor got) {
      requireNear(what + " out", exact.out(), textbook.out(), granted(largestValue), got);
    }

    void requireLogsumexp(String what, Tensor got) {
      requireNear(what + " logsumexp", exact.lse(), textbook.lse(), granted(1), got);
    }

    void requireWeights(String what, Tensor got) {
      requireNear(what + " weights", exact.weights(), textbook.weights(), granted(1), got);
    }

    /**
     * Rounding a logit once, which no float implementation can avoid, errs by its size in ulps of
     * 1, and moves the result by as much of the largest value.
     */
    private double granted(double largest) {
      double logit = 8;
      for (double lse : exact.lse()) {
        logit = Double.isFinite(lse) ? Math.max(logit, 8 + Math.abs(lse)) : logit;
      }
      return logit * Math.ulp(1f) * largest;
    }
  }

  private static double largest(Tensor tensor) {
    double largest = 0;
    for (float value : tensor.toFloatArray()) {
      largest = Math.max(largest, Math.abs(value));
    }
    return largest;
  }

  /**
   * The largest error is at most twice that of the textbook in float. Where a tensor is so small
   * that the textbook may be nearly exact by luck, a number of roundings of the largest value is
   * granted.
   */
  public static void requireNear(
      String what, double[] exact, double[] textbook, double granted, Tensor got) {
    float[] values = got.toFloatArray();
    double allowed = granted;
    double error = 0;
    int worst = -1;
    for (int i = 0; i < exact.length; i++) {
      if (Double.isInfinite(exact[i]) || Double.isNaN(exact[i])) {
        assertTrue(
            Float.compare((float) exact[i], values[i]) == 0,
            what + ": element " + i + " must be " + exact[i] + " and is " + values[i]);
        continue;
      }
      allowed = Math.max(allowed, 2 * Math.abs(textbook[i] - exact[i]));
      double here = Math.abs(values[i] - exact[i]);
      if (Double.isNaN(here)) {
        here = Double.POSITIVE_INFINITY;
      }
      if (here > error) {
        error = here;
        worst = i;
      }
    }
    assertTrue(
        error <= allowed,
        what
            + ": error "
            + error
            + " exceeds "
            + allowed
            + " at element "
            + worst
            + (worst < 0 ? "" : ", " + values[worst] + " for " + exact[worst]));
  }
}
