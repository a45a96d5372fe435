package io.github.attention4j.models.weights;

import io.github.attention4j.layer.Quantization;

/** How matrices are stored in memory. */
public enum Storage {
  /** As the file stores them: mapped if the kernels can read them there. */
  AS_STORED(false, null),

  /** As float32. */
  FLOAT32(false, null),

  /** Quantised to 8 bits with float16 scales if rows are multiples of 32, otherwise float32. */
  INT8(false, Quantization.symmetric(8)),

  /** Quantised to 4 bits with float16 scales if rows are multiples of 32, otherwise float32. */
  INT4(false, Quantization.symmetric(4)),

  /** Packed as float32 for the product with many rows. */
  PACKED(true, null),

  /** Packed as bfloat16; products may also round their input to bfloat16. */
  PACKED_BF16(true, null),

  /** Quantised to 8 bits with float32 scales if rows are multiples of 32, otherwise packed. */
  PACKED_INT8(true, new Quantization(8, 32, Quantization.Scales.F32, false));

  final boolean packed;
  final Quantization quantization;

  Storage(boolean packed, Quantization quantization) {
    this.packed = packed;
    this.quantization = quantization;
  }
}
