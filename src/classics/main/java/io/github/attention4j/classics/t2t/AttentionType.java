package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;

/** How queries attend to keys, by the names of {@code attention_type}. */
public enum AttentionType {
  /**
   * Softmax over all keys, or over areas of keys if {@code max_area_width} or {@code
   * max_area_height} exceeds 1. Any memory, cache and bias.
   */
  DOT_PRODUCT,

  /**
   * A row of a table for each distance is added to keys and to values; distances beyond {@code
   * max_relative_position} use the outermost rows (Shaw et al. 2018). Self-attention, optionally
   * with cache or recurrent memory; dropout decisions are never shared.
   */
  DOT_PRODUCT_RELATIVE,

  /**
   * Tables of distances to the left, {@code max_relative_position} rows whose last is for distance
   * 0; zero beyond. For self-attention with a bias that hides the keys after a query.
   */
  DOT_PRODUCT_RELATIVE_V2,

  /**
   * Tables of distances to both sides, {@code 2 · max_relative_position - 1} rows, the middle one
   * for distance 0; zero beyond. Self-attention.
   */
  DOT_PRODUCT_UNMASKED_RELATIVE_V2,

  /** {@link LocalMasks#localWithinBlockMaskRight}. Self-attention without bias or dropout. */
  LOCAL_WITHIN_BLOCK_MASK_RIGHT,

  /**
   * The keys of {@link #LOCAL_MASK_RIGHT}, with tables of {@code 4 · block_length} distances to the
   * left, the last row for distance 0. Queries of the first block do not use the table of values.
   * Self-attention without bias.
   */
  LOCAL_RELATIVE_MASK_RIGHT,

  /** {@link LocalMasks#localMaskRight}. Self-attention without bias or dropout. */
  LOCAL_MASK_RIGHT,

  /**
   * {@link LocalMasks#localUnmasked(Tensor, int, int)}, with {@code block_width} as the width of
   * its filter. Self-attention without bias or dropout.
   */
  LOCAL_UNMASKED,

  /**
   * {@link LocalMasks#maskedDilated1d(Tensor, int, int, int, int)}, with {@code block_length} as
   * the size of query blocks and {@code block_width} as that of memory blocks. Self-attention
   * without bias or dropout.
   */
  MASKED_DILATED_1D,

  /**
   * {@link LocalMasks#unmaskedDilated1d(Tensor, int, int, int, int)}, with the same sizes.
   * Self-attention without bias or dropout.
   */
  UNMASKED_DILATED_1D;

  /**
   * Finds a type by the original's name.
   *
   * @param name for example {@code "local_mask_right"}
   * @return the type
   * @throws IllegalArgumentException if there is no such type
   */
  public static AttentionType of(String name) {
    Objects.requireNonNull(name, "name");
    for (AttentionType type : values()) {
      if (type.toString().equals(name)) {
        return type;
      }
    }
    throw new IllegalArgumentException(
        "attentionType must be one of " + Arrays.toString(values()) + ": attentionType=" + name);
  }

  /** Returns the original's name, for example {@code local_mask_right}. */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }

  boolean relative() {
    return this == DOT_PRODUCT_RELATIVE
        || this == DOT_PRODUCT_RELATIVE_V2
        || this == DOT_PRODUCT_UNMASKED_RELATIVE_V2
        || this == LOCAL_RELATIVE_MASK_RIGHT;
  }

  /** Whether keys are chosen by blocks. Such types ignore a bias. */
  boolean local() {
    return ordinal() >= LOCAL_WITHIN_BLOCK_MASK_RIGHT.ordinal();
  }

  boolean cached() {
    return this == DOT_PRODUCT || this == DOT_PRODUCT_RELATIVE;
  }
}
