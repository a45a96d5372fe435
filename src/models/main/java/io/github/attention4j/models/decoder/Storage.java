package io.github.attention4j.models.decoder;

/** What matrices are kept as. */
public enum Storage {
  /** As the file stores them. */
  AS_STORED,

  /** Widened. */
  FLOAT32,

  /** Quantised to 8 bits, wherever rows are multiples of 32. */
  INT8,

  /** Quantised to 4 bits, likewise. */
  INT4
}
