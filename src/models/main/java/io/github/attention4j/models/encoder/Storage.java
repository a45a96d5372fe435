package io.github.attention4j.models.encoder;

/** What the matrices of products are kept as. */
public enum Storage {
  /** Packed floats. */
  FLOAT32,

  /** Packed pairs of bfloat16, by which products may round their input too. */
  BF16,

  /** Quantised to 8 bits, wherever rows are multiples of 32. */
  INT8
}
