package io.github.attention4j.models.files;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;

/** A tensor of a checkpoint file, in whatever form the file stores it. */
public interface Stored {
  /** The element type in the file format's spelling, such as {@code BF16} or {@code Q4_K}. */
  String type();

  /** The sizes, slowest first. A copy. */
  long[] shape();

  /** How many bytes it has in the file. */
  long bytes();

  /** Whether {@link #floats} can decode it. */
  boolean isReadable();

  /**
   * The stored tensor, mapped and read-only, if it is F32, BF16 or F16 and aligned to its elements;
   * otherwise null.
   */
  Tensor inPlace();

  /**
   * The tensor in the file's type if that is F32, BF16 or F16, otherwise decoded. Must not be
   * modified.
   *
   * @param temporary the arena of the copy if it cannot be used in place
   */
  default Tensor tensor(Arena temporary) {
    Tensor inPlace = inPlace();
    return inPlace != null ? inPlace : floats(temporary);
  }

  /**
   * Packs the codes and scales of a matrix that is stored quantised, without loss. Null if it is
   * stored in another form.
   *
   * @param arena supplies the memory
   */
  QuantizedWeights quantized(Arena arena);

  /** Decodes the tensor exactly to newly allocated floats. */
  Tensor floats(Arena arena);

  /**
   * Decodes one row of a matrix exactly.
   *
   * @param row from 0
   * @param out F32 {@code [columns]}, contiguous. Modified.
   */
  void row(long row, Tensor out);
}
