package io.github.attention4j.models;

/** How an encoder stores its matrices in memory; all else is stored as in the files. */
public enum WeightStorage {
  /**
   * Float32, packed for the matrix product. Matrices that are bfloat16 or float16 in the files stay
   * so, which does not change results: they are widened while they are multiplied. Those of int8
   * exports are widened to four times their size in the file; {@link #INT8} avoids that.
   */
  FLOAT32,

  /**
   * Bfloat16, packed for the matrix product: half the memory. If the processor can multiply
   * bfloat16, products also round their input to bfloat16, which is up to twice as fast; sums stay
   * float32. Cosines between texts change in the fourth digit.
   */
  BF16,

  /**
   * 8-bit codes with a scale for each 32 columns of a row: little more than a quarter of the
   * memory. Products use 8-bit instructions if the processor has them. Matrices whose rows are not
   * a multiple of 32 stay float32.
   */
  INT8
}
