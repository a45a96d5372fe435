/**
 * OpenBLAS for attention4j. On the class path or module path it changes nothing; {@code
 * -Da4j.product=blas} makes projections of many rows use it.
 */
module io.github.attention4j.openblas {
  requires io.github.attention4j;

  provides io.github.attention4j.internal.BlasBundle with
      io.github.attention4j.openblas.OpenBlas;
}
