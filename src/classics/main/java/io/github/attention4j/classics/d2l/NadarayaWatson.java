package io.github.attention4j.classics.d2l;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Kernel regression (Nadaraya, 1964; Watson, 1964), the oldest attention: the prediction for a
 * query is the mean of all values, weighted by how near their keys are:
 *
 * <pre>
 *   out_i = Σ_j K(w · (q_i − k_j)) / Σ_j' K(w · (q_i − k_j')) · v_j
 *
 *   GAUSSIAN     K(x) = exp(−|x|² / 2)       CONSTANT     K(x) = 1
 *   BOXCAR       K(x) = 1 if |x| &lt; 1, else 0  EPANECHIKOV  K(x) = max(1 − |x|, 0)
 * </pre>
 *
 * These are the kernels of "Dive into Deep Learning" (chapter 11.2), the last in the book's own
 * form. {@code of} is the non-parametric estimator, w = 1; {@link #withSigma} is the book's {@code
 * gaussian_with_width}, w = 1 / sigma; {@link #load} reads the learned w of its parametric model.
 *
 * <pre>{@code
 * NadarayaWatson.of(NadarayaWatson.Kernel.GAUSSIAN).withSigma(0.5).forward(x, xTrain, yTrain, y);
 * }</pre>
 *
 * <p><b>Shapes.</b> All tensors are {@link DType#F32}. Queries are numbers {@code [n]} or vectors
 * {@code [n, dim]}, and |x| is Euclid's length. Keys and values are the same for all queries, or
 * each query has its own, as in the parametric model, which leaves each example out of its own
 * prediction ({@link #leaveOneOut}):
 *
 * <pre>
 *   queries   [n]          [n, dim]
 *   keys      [m]          [m, dim]        or, each query's own,  [n, m]   [n, m, dim]
 *   values    [m]          [m, dimV]                              [n, m]   [n, m, dimV]
 *   out       [n]          [n, dimV]
 *   weights   [n, m]       [n, m]
 * </pre>
 *
 * The weights are {@code [queries, keys]}; the book plots their transpose. With the boxcar and
 * Epanechikov kernels a query may have no key within reach; its output and weights are 0, while the
 * book divides 0 by 0.
 */
public final class NadarayaWatson {
  /** How the weight of a key falls with its distance. */
  public enum Kernel {
    /** {@code exp(−|x|² / 2)}. */
    GAUSSIAN,
    /** {@code 1} if {@code |x| < 1}, otherwise 0. */
    BOXCAR,
    /** 1 everywhere: the plain mean of all values. */
    CONSTANT,
    /** {@code max(1 − |x|, 0)}, a triangle; elsewhere the name means a parabola. */
    EPANECHIKOV
  }

  private final Kernel kernel;
  private final double w;

  private NadarayaWatson(Kernel kernel, double w) {
    this.kernel = kernel;
    this.w = w;
  }

  /**
   * Makes an estimator without parameters.
   *
   * @param kernel how weights fall
   * @return the estimator, with w = 1
   */
  public static NadarayaWatson of(Kernel kernel) {
    return new NadarayaWatson(Objects.requireNonNull(kernel, "kernel"), 1);
  }

  /**
   * Returns the same estimator with another factor on distances, the book's learned {@code w}.
   *
   * @param w finite; its sign does not matter
   * @return a new estimator
   * @throws IllegalArgumentException if w is infinite or NaN
   */
  public NadarayaWatson withW(double w) {
    if (!Float.isFinite((float) w)) {
      throw new IllegalArgumentException("w must be a finite float: w=" + w);
    }
    return new NadarayaWatson(kernel, w);
  }

  /**
   * Returns the same estimator with another width: w = 1 / sigma.
   *
   * @param sigma positive, the kernel's width
   * @return a new estimator
   * @throws IllegalArgumentException if sigma is not positive, or its inverse not finite
   */
  public NadarayaWatson withSigma(double sigma) {
    if (!(sigma > 0) || !Float.isFinite((float) (1 / sigma)) || Double.isInfinite(sigma)) {
      throw new IllegalArgumentException("sigma must be positive and finite: sigma=" + sigma);
    }
    return new NadarayaWatson(kernel, 1 / sigma);
  }

  /**
   * Reads the parametric model, a Gaussian whose {@code w} was learned.
   *
   * @param file holds {@code w}, one number, and nothing else below the prefix
   * @param prefix what its name begins with
   * @return the model
   * @throws IllegalArgumentException if w is missing or not one number, or a tensor is unknown
   */
  public static NadarayaWatson load(SafeTensors file, String prefix) {
    try (Arena arena = Arena.ofConfined()) {
      Weights weights = new Weights(file, prefix, arena);
      Tensor w = weights.get("w");
      weights.requireAllRead();
      if (w.count() != 1) {
        throw new IllegalArgumentException("w must have 1 element: w=" + w.layout());
      }
      return of(Kernel.GAUSSIAN).withW(w.reshape(1).getFloat(0));
    }
  }

  /**
   * Makes the keys or values of the parametric model: row i has all elements except the i-th, in
   * order.
   *
   * @param arena supplies the memory of the result
   * @param x {@code [n]} or {@code [n, dim]}, n at least 1. Not modified.
   * @return {@code [n, n − 1]} or {@code [n, n − 1, dim]}
   * @throws IllegalArgumentException if the rank is neither 1 nor 2, the type is not F32, or there
   *     is no element
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor leaveOneOut(Arena arena, Tensor x) {
    Objects.requireNonNull(arena, "arena");
    checkRank("x", Objects.requireNonNull(x, "x"), 1, 2);
    Checks.input("x", x);
    long n = x.size(0);
    Checks.positive("x.n", n);
    Tensor all =
        x.rank() == 1
            ? Tensor.allocate(arena, DType.F32, n, n - 1)
            : Tensor.allocate(arena, DType.F32, n, n - 1, x.size(1));
    for (long i = 0; i < n; i++) {
      Tensor others = all.select(0, i);
      others.slice(0, 0, i).copyFrom(x.slice(0, 0, i));
      others.slice(0, i, n - 1 - i).copyFrom(x.slice(0, i + 1, n - 1 - i));
    }
    return all;
  }

  /**
   * Predicts.
   *
   * @param queries {@code [n]} or {@code [n, dim]}. Not modified.
   * @param keys {@code [m]} or {@code [m, dim]}, or each query's own with n before. Not modified.
   * @param values {@code [m]} or {@code [m, dimV]}, or each query's own with n before. Not
   *     modified.
   * @param out {@code [n]} or {@code [n, dimV]}. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, or
   *     out is read-only or overlaps an input or itself
   * @throws OutOfMemoryError if there is no memory for rows of scores
   */
  public void forward(Tensor queries, Tensor keys, Tensor values, Tensor out) {
    run(queries, keys, values, out, null);
  }

  /**
   * Predicts and returns the weights.
   *
   * @param queries {@code [n]} or {@code [n, dim]}. Not modified.
   * @param keys {@code [m]} or {@code [m, dim]}, or each query's own with n before. Not modified.
   * @param values {@code [m]} or {@code [m, dimV]}, or each query's own with n before. Not
   *     modified.
   * @param out {@code [n]} or {@code [n, dimV]}. Modified.
   * @param weights {@code [n, m]}, contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     weights does not fit
   * @throws OutOfMemoryError if there is no memory for rows of scores
   */
  public void forward(Tensor queries, Tensor keys, Tensor values, Tensor out, Tensor weights) {
    run(queries, keys, values, out, Objects.requireNonNull(weights, "weights"));
  }

  private void run(Tensor queries, Tensor keys, Tensor values, Tensor out, Tensor weights) {
    checkRank("queries", Objects.requireNonNull(queries, "queries"), 1, 2);
    Objects.requireNonNull(keys, "keys");
    Objects.requireNonNull(values, "values");
    Checks.rank("out", Objects.requireNonNull(out, "out"), out.rank() == 2 ? 2 : 1);
    checkRank("keys", keys, queries.rank(), queries.rank() + 1);
    boolean own = keys.rank() == queries.rank() + 1;
    Checks.rank("values", values, out.rank() + (own ? 1 : 0));
    Checks.input("queries", queries);
    Checks.input("keys", keys);
    Checks.input("values", values);
    Checks.output("out", out);
    long n = queries.size(0);
    // Numbers are vectors of width 1; queries with keys of their own are batches of one query each.
    Tensor q = queries.rank() == 1 ? queries.unsqueeze(1) : queries;
    Tensor k = keys.rank() == (own ? 2 : 1) ? keys.unsqueeze(-1) : keys;
    Tensor v = values.rank() == (own ? 2 : 1) ? values.unsqueeze(-1) : values;
    Tensor o = out.rank() == 1 ? out.unsqueeze(1) : out;
    Checks.equal("keys", "queries", "dim", k.size(-1), q.size(1));
    Checks.equal("values", "keys", "m", v.size(-2), k.size(-2));
    if (own) {
      Checks.equal("keys", "queries", "n", k.size(0), n);
      Checks.equal("values", "queries", "n", v.size(0), n);
    }
    Checks.equal("out", "queries", "n", o.size(0), n);
    Checks.equal("out", "values", "dim", o.size(1), v.size(-1));
    Checks.disjoint("out", out, "queries", queries);
    Checks.disjoint("out", out, "keys", keys);
    if (weights != null) {
      Checks.shape("weights", weights, "[n, m]", n, k.size(-2));
      Checks.output("weights", weights);
      Checks.contiguous("weights", weights);
      Checks.disjoint("weights", weights, "queries", queries);
      Checks.disjoint("weights", weights, "keys", keys);
      weights = weights.unsqueeze(own ? 1 : 0);
    }
    int batchAt = own ? 1 : 0;
    PairScores scores =
        switch (kernel) {
          case GAUSSIAN -> new PairScores(Descriptor.PAIR_GAUSSIAN, w, null);
          case CONSTANT -> new PairScores(Descriptor.PAIR_GAUSSIAN, 0, null);
          case BOXCAR -> new PairScores(Descriptor.PAIR_BOXCAR, w, null);
          case EPANECHIKOV -> new PairScores(Descriptor.PAIR_EPANECHIKOV, w, null);
        };
    scores.attend(
        q.unsqueeze(batchAt),
        own ? k : k.unsqueeze(0),
        own ? v : v.unsqueeze(0),
        ValidLens.none(),
        o.unsqueeze(batchAt),
        weights);
  }

  private static void checkRank(String name, Tensor tensor, int rank, int otherRank) {
    if (tensor.rank() != rank && tensor.rank() != otherRank) {
      throw new IllegalArgumentException(
          name
              + ".rank must be "
              + rank
              + " or "
              + otherRank
              + ": "
              + name
              + ".rank="
              + tensor.rank());
    }
  }
}
