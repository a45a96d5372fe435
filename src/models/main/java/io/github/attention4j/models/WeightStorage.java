package io.github.attention4j.models;

/**
 * How an encoder keeps the matrices of its products in memory; the rest is as the files have it.
 */
public enum WeightStorage {
  /**
   * Float32, packed for the matrix product. Matrices that the files have in bfloat16 keep their 16
   * bits, which changes no result. Those in float16 and those of int8 exports are widened, to twice
   * and four times what the file takes: {@link #BF16} and {@link #INT8} avoid that.
   */
  FLOAT32,

  /**
   * Bfloat16, packed for the matrix product: half the memory. Products round their input to
   * bfloat16 too if the processor multiplies such numbers, which is up to twice as fast; sums stay
   * float32. Cosines between texts change in the fourth digit.
   */
  BF16,

  /**
   * Codes of 8 bits with a scale for each 32 columns of a row: little more than a quarter of the
   * memory. Products are computed in 8 bits too where the processor can. Matrices whose rows are no
   * multiple of 32 stay float32.
   */
  INT8
}
