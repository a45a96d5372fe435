package io.github.attention4j.models;

/**
 * How an encoder keeps the matrices of its products in memory; the rest is as the files have it.
 */
public enum WeightStorage {
  /** Float32, packed for the matrix product. */
  FLOAT32,

  /**
   * Codes of 8 bits with a scale for each 32 columns of a row: little more than a quarter of the
   * memory. Products are computed in 8 bits too where the processor can. Matrices whose rows are no
   * multiple of 32 stay float32.
   */
  INT8
}
