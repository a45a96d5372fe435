package io.github.attention4j.models.files;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;

/** A tensor of a checkpoint file, in whatever form the file stores it. */
public interface Stored {
  /** The element type as the file's format spells it, such as {@code BF16} or {@code Q4_K}. */
  String type();

  /** The sizes, slowest first. A copy. */
  long[] shape();

  /** How many bytes the file spends on it. */
  long bytes();

  /** Whether {@link #floats} can decode it. */
  boolean isReadable();

  /**
   * The tensor as it is stored, mapped and read-only: F32, BF16 or F16 aligned to its elements.
   * Null if it is stored in another form.
   */
  Tensor inPlace();

  /**
   * The tensor in its type in the file if that is F32, BF16 or F16, otherwise decoded. Not to be
   * modified.
   *
   * @param temporary where it is copied to if it cannot be used in place
   */
  default Tensor tensor(Arena temporary) {
    Tensor inPlace = inPlace();
    return inPlace != null ? inPlace : floats(temporary);
  }

  /**
   * Packs the codes and scales of a matrix that is stored quantised, which loses nothing. Null if
   * it is stored in another form.
   *
   * @param arena supplies the memory
   */
  QuantizedWeights quantized(Arena arena);

  /** Decodes the tensor, which is exact, to newly allocated floats. */
  Tensor floats(Arena arena);

  /**
   * Decodes one row of a matrix, which is exact.
   *
   * @param row from 0
   * @param out F32 {@code [columns]}, contiguous. Modified.
   */
  void row(long row, Tensor out);
}
