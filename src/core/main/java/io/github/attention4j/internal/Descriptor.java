package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.bindings.a4j_area_desc;
import io.github.attention4j.bindings.a4j_attention_desc;
import io.github.attention4j.bindings.a4j_convert_desc;
import io.github.attention4j.bindings.a4j_dropout_desc;
import io.github.attention4j.bindings.a4j_elementwise_desc;
import io.github.attention4j.bindings.a4j_gru_desc;
import io.github.attention4j.bindings.a4j_h;
import io.github.attention4j.bindings.a4j_kv_append_desc;
import io.github.attention4j.bindings.a4j_layer_norm_desc;
import io.github.attention4j.bindings.a4j_linear_attention_desc;
import io.github.attention4j.bindings.a4j_linear_desc;
import io.github.attention4j.bindings.a4j_merge_desc;
import io.github.attention4j.bindings.a4j_pair_scores_desc;
import io.github.attention4j.bindings.a4j_quantized_desc;
import io.github.attention4j.bindings.a4j_rms_norm_desc;
import io.github.attention4j.bindings.a4j_rope_desc;
import io.github.attention4j.bindings.a4j_storage;
import io.github.attention4j.bindings.a4j_view;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes the C structs of {@code a4j.h}; no other class does. No logic: each method puts its
 * arguments into the fields of the same names. A descriptor starts as zeros, so a zero need not be
 * written. Attention writes what is zero in most calls only if it is not zero: it has some forty
 * fields, and the JIT compiler stops inlining before the last of them.
 *
 * <pre>
 *   +--------------------------------------+-----------------+-----------------+
 *   | struct, its size from the bindings   | int32_t array   | int32_t array   |
 *   +--------------------------------------+-----------------+-----------------+
 *   0                                      tail
 * </pre>
 */
public final class Descriptor {
  // The constants of the header, as literals that a test compares with the bindings: a class that
  // reads them in its static fields initialises even if the JVM does not allow native access.
  public static final int ALIGN_TOP_LEFT = 0;
  public static final int ALIGN_BOTTOM_RIGHT = 1;
  public static final int ALIGN_OFFSETS = 2;
  public static final int STAGE_SCALED = 0;
  public static final int STAGE_CAPPED = 1;
  public static final int STAGE_LOGITS = 2;
  public static final int BEYOND_CLIP = 0;
  public static final int BEYOND_ZERO = 1;
  public static final int LAMBDA_AS_GIVEN = 0;
  public static final int LAMBDA_SIGMOID = 1;
  public static final int HARDEN_TOP_K = 1;
  public static final int HARDEN_SUBTRACT = 2;
  public static final int SHARED_BATCH = 1;
  public static final int SHARED_HEAD = 2;
  public static final int SHARED_ROW = 4;
  public static final int SHARED_KEY = 8;
  public static final long UNBOUNDED = -1;
  public static final int KEY_PAIRS = 0;
  public static final int KEY_HEADS = 1;
  public static final int ARITHMETIC_EXACT = 0;
  public static final int ARITHMETIC_BF16 = 1;
  public static final int PRODUCT_OWN = 0;
  public static final int PRODUCT_BLAS = 1;
  public static final int PRODUCT_PACKED = 2;
  public static final int PANEL = 48;

  /** The most elements of a row of 16 bits that norms take. */
  public static final int SHORT_ROW = 16384;

  public static final int PAIR_ADDITIVE = 0;
  public static final int PAIR_GAUSSIAN = 1;
  public static final int PAIR_BOXCAR = 2;
  public static final int PAIR_EPANECHIKOV = 3;
  public static final int IDENTITY = 0;
  public static final int RELU = 1;
  public static final int GELU = 2;
  public static final int GELU_TANH = 3;
  public static final int SILU = 4;
  public static final int SIGMOID = 5;
  public static final int TANH = 6;
  public static final int SET = 0;
  public static final int ADD = 1;
  public static final int MULTIPLY = 2;
  public static final int UPDATE_LINEAR = 0;
  public static final int UPDATE_GATED = 1;
  public static final int UPDATE_DELTA = 2;
  public static final int UPDATE_GATED_DELTA = 3;
  public static final int ROPE_HALF = 0;
  public static final int ROPE_INTERLEAVED = 1;

  /** In a class of its own, which is initialised after the native library is loaded. */
  private static final class Struct {
    static final int ABI_VERSION = a4j_h.A4J_ABI_VERSION();
    static final int F32 = a4j_h.A4J_F32();
    static final long ATTENTION_BYTES = a4j_attention_desc.sizeof();
    static final long MERGE_BYTES = a4j_merge_desc.sizeof();
    static final long APPEND_BYTES = a4j_kv_append_desc.sizeof();
    static final long LINEAR_BYTES = a4j_linear_desc.sizeof();
    static final long QUANTIZED_BYTES = a4j_quantized_desc.sizeof();
    static final long PAIR_SCORES_BYTES = a4j_pair_scores_desc.sizeof();
    static final long ELEMENTWISE_BYTES = a4j_elementwise_desc.sizeof();
    static final long CONVERT_BYTES = a4j_convert_desc.sizeof();
    static final long GRU_BYTES = a4j_gru_desc.sizeof();
    static final long LINEAR_ATTENTION_BYTES = a4j_linear_attention_desc.sizeof();
    static final long DROPOUT_BYTES = a4j_dropout_desc.sizeof();
    static final long AREA_BYTES = a4j_area_desc.sizeof();
    static final long RMS_NORM_BYTES = a4j_rms_norm_desc.sizeof();
    static final long LAYER_NORM_BYTES = a4j_layer_norm_desc.sizeof();
    static final long ROTARY_BYTES = a4j_rope_desc.sizeof();

    private Struct() {}
  }

  private Descriptor() {}

  /** The number that the header gives to a type that kernels read. */
  private static int code(DType dtype) {
    return switch (dtype) {
      case F32 -> Struct.F32;
      case BF16 -> a4j_h.A4J_BF16();
      case F16 -> a4j_h.A4J_F16();
      case I8 -> a4j_h.A4J_I8();
      case I32, I64, BOOL -> throw new IllegalArgumentException("not a type of kernels: " + dtype);
    };
  }

  // ---- Attention ----

  /**
   * The arrays that follow an attention descriptor. They are collected first, because their lengths
   * determine the size of the descriptor.
   */
  public static final class Tail {
    private final List<Object> arrays = new ArrayList<>();
    private long bytes = Struct.ATTENTION_BYTES;

    /** Appends an array, which must not change until the descriptor is made; returns its offset. */
    public long ints(int[] values) {
      return append(values, values.length);
    }

    /** Appends an array, which must not change until the descriptor is made; returns its offset. */
    public long floats(float[] values) {
      return append(values, values.length);
    }

    private long append(Object array, int length) {
      long offset = bytes;
      bytes += (long) length * Integer.BYTES;
      if (bytes > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(
            "lengths, offsets, ranges and other small arrays of one call must fit in "
                + Integer.MAX_VALUE
                + " bytes: bytes="
                + bytes);
      }
      arrays.add(array);
      return offset;
    }

    private void copyTo(MemorySegment d) {
      long offset = Struct.ATTENTION_BYTES;
      for (Object array : arrays) {
        MemorySegment from =
            array instanceof int[] ints
                ? MemorySegment.ofArray(ints)
                : MemorySegment.ofArray((float[]) array);
        MemorySegment.copy(from, 0, d, offset, from.byteSize());
        offset += from.byteSize();
      }
    }
  }

  /** Starts an attention descriptor with its tail. */
  public static MemorySegment attention(Workspaces.Lease lease, Tail tail) {
    MemorySegment d = attention(lease, tail.bytes);
    tail.copyTo(d);
    return d;
  }

  /** Starts an attention descriptor without a tail. */
  public static MemorySegment attention(Workspaces.Lease lease) {
    return attention(lease, Struct.ATTENTION_BYTES);
  }

  private static MemorySegment attention(Workspaces.Lease lease, long bytes) {
    MemorySegment d = lease.descriptor(bytes);
    a4j_attention_desc.size_bytes(d, (int) bytes);
    a4j_attention_desc.abi_version(d, Struct.ABI_VERSION);
    return d;
  }

  public static void numbers(MemorySegment d, int threads, float scale, float softCap) {
    a4j_attention_desc.threads(d, threads);
    a4j_attention_desc.scale(d, scale);
    if (softCap != 0) {
      a4j_attention_desc.softcap(d, softCap);
    }
  }

  /** Rounds q, k and v to bfloat16. */
  public static void bf16Products(MemorySegment d) {
    a4j_attention_desc.arithmetic(d, ARITHMETIC_BF16);
  }

  public static void keyLengths(MemorySegment d, long offset, long strideBatch, long strideRow) {
    a4j_attention_desc.key_lengths_offset(d, offset);
    a4j_attention_desc.key_lengths_stride_batch(d, strideBatch);
    a4j_attention_desc.key_lengths_stride_row(d, strideRow);
  }

  public static void placement(MemorySegment d, int align, long rowOffsetsOffset) {
    if (align != 0) {
      a4j_attention_desc.align(d, align);
      a4j_attention_desc.row_offsets_offset(d, rowOffsetsOffset);
    }
  }

  public static void window(MemorySegment d, long left, long right, long chunk, long keyLimit) {
    a4j_attention_desc.window_left(d, left);
    a4j_attention_desc.window_right(d, right);
    if (chunk != 0) {
      a4j_attention_desc.chunk(d, chunk);
    }
    a4j_attention_desc.key_limit(d, keyLimit);
  }

  public static void packed(MemorySegment d, long queryBeginsOffset, long keyBeginsOffset) {
    a4j_attention_desc.q_begins_offset(d, queryBeginsOffset);
    a4j_attention_desc.k_begins_offset(d, keyBeginsOffset);
  }

  public static void ranges(
      MemorySegment d,
      long rows,
      long lists,
      long startsOffset,
      long rangesOffset,
      long strideBatch,
      long strideHead) {
    a4j_attention_desc.range_rows(d, rows);
    a4j_attention_desc.range_lists(d, lists);
    a4j_attention_desc.range_starts_offset(d, startsOffset);
    a4j_attention_desc.ranges_offset(d, rangesOffset);
    a4j_attention_desc.range_stride_batch(d, strideBatch);
    a4j_attention_desc.range_stride_head(d, strideHead);
  }

  public static void heads(
      MemorySegment d, long slopesOffset, long slopesStrideBatch, long sinksOffset) {
    a4j_attention_desc.slopes_offset(d, slopesOffset);
    a4j_attention_desc.slopes_stride_batch(d, slopesStrideBatch);
    a4j_attention_desc.sinks_offset(d, sinksOffset);
  }

  public static void programs(
      MemorySegment d, long maskOffset, int maskWords, long scoreOffset, int scoreWords) {
    a4j_attention_desc.mask_program_offset(d, maskOffset);
    a4j_attention_desc.mask_program_words(d, maskWords);
    a4j_attention_desc.score_program_offset(d, scoreOffset);
    a4j_attention_desc.score_program_words(d, scoreWords);
  }

  public static void tableCount(MemorySegment d, int table, long count) {
    switch (table) {
      case 0 -> a4j_attention_desc.table_0_count(d, count);
      case 1 -> a4j_attention_desc.table_1_count(d, count);
      case 2 -> a4j_attention_desc.table_2_count(d, count);
      default -> a4j_attention_desc.table_3_count(d, count);
    }
  }

  public static void scoresStage(MemorySegment d, int stage) {
    a4j_attention_desc.scores_stage(d, stage);
  }

  public static void logsumexpStrides(MemorySegment d, long batch, long head, long map) {
    a4j_attention_desc.lse_stride_batch(d, batch);
    a4j_attention_desc.lse_stride_head(d, head);
    a4j_attention_desc.lse_stride_map(d, map);
  }

  public static void maps(MemorySegment d, int maps, int keyMap, int valueParts, int lambdaForm) {
    a4j_attention_desc.maps(d, maps);
    a4j_attention_desc.value_parts(d, valueParts);
    if (maps > 1) {
      a4j_attention_desc.lambda_form(d, lambdaForm);
      a4j_attention_desc.key_map(d, keyMap);
    }
  }

  public static void sizes(
      MemorySegment d,
      long batch,
      long headsQ,
      long headsKv,
      long lenQ,
      long lenK,
      long dimQk,
      long dimV) {
    a4j_attention_desc.batch(d, batch);
    a4j_attention_desc.heads_q(d, headsQ);
    a4j_attention_desc.heads_kv(d, headsKv);
    a4j_attention_desc.len_q(d, lenQ);
    a4j_attention_desc.len_k(d, lenK);
    a4j_attention_desc.dim_qk(d, dimQk);
    a4j_attention_desc.dim_v(d, dimV);
  }

  public static void query(
      MemorySegment d, DType dtype, long batch, long head, long map, long row) {
    view(a4j_attention_desc.q(d), dtype, batch, head, map, row);
  }

  public static void keys(MemorySegment d, DType dtype, long batch, long head, long map, long row) {
    view(a4j_attention_desc.k(d), dtype, batch, head, map, row);
  }

  public static void values(
      MemorySegment d, DType dtype, long batch, long head, long part, long row) {
    view(a4j_attention_desc.v(d), dtype, batch, head, part, row);
  }

  public static void out(MemorySegment d, DType dtype, long batch, long head, long row) {
    view(a4j_attention_desc.out(d), dtype, batch, head, 0, row);
  }

  /** Writes the type and the strides of a tensor. */
  public static void view(
      MemorySegment view, DType dtype, long batch, long head, long map, long row) {
    if (dtype != DType.F32) {
      a4j_view.dtype(view, code(dtype));
    }
    a4j_view.stride_batch(view, batch);
    a4j_view.stride_head(view, head);
    if (map != 0) {
      a4j_view.stride_map(view, map);
    }
    a4j_view.stride_row(view, row);
  }

  public static void maskStrides(MemorySegment d, long batch, long head, long row, long key) {
    a4j_attention_desc.mask_stride_batch(d, batch);
    a4j_attention_desc.mask_stride_head(d, head);
    a4j_attention_desc.mask_stride_row(d, row);
    a4j_attention_desc.mask_stride_key(d, key);
  }

  public static void keyMaskStride(MemorySegment d, long batch) {
    a4j_attention_desc.key_mask_stride_batch(d, batch);
  }

  public static void biasStrides(MemorySegment d, long batch, long head, long row, long key) {
    a4j_attention_desc.bias_stride_batch(d, batch);
    a4j_attention_desc.bias_stride_head(d, head);
    a4j_attention_desc.bias_stride_row(d, row);
    a4j_attention_desc.bias_stride_key(d, key);
  }

  public static void keep(
      MemorySegment d, float keepScale, long batch, long head, long row, long key) {
    a4j_attention_desc.keep_scale(d, keepScale);
    a4j_attention_desc.keep_stride_batch(d, batch);
    a4j_attention_desc.keep_stride_head(d, head);
    a4j_attention_desc.keep_stride_row(d, row);
    a4j_attention_desc.keep_stride_key(d, key);
  }

  public static void relative(MemorySegment d, long rows, long zero, int beyond, long valuesFirst) {
    a4j_attention_desc.relative_rows(d, rows);
    a4j_attention_desc.relative_zero(d, zero);
    a4j_attention_desc.beyond(d, beyond);
    a4j_attention_desc.relative_values_first(d, valuesFirst);
  }

  public static void relativeKeysStrides(MemorySegment d, long head, long row) {
    a4j_attention_desc.relative_keys_stride_head(d, head);
    a4j_attention_desc.relative_keys_stride_row(d, row);
  }

  public static void relativeValuesStrides(MemorySegment d, long head, long row) {
    a4j_attention_desc.relative_values_stride_head(d, head);
    a4j_attention_desc.relative_values_stride_row(d, row);
  }

  public static void dropout(MemorySegment d, float rate, float keepScale, long seed, int shared) {
    a4j_attention_desc.dropout(d, 1);
    a4j_attention_desc.dropout_rate(d, rate);
    a4j_attention_desc.keep_scale(d, keepScale);
    a4j_attention_desc.dropout_seed(d, seed);
    a4j_attention_desc.dropout_shared(d, shared);
  }

  public static void harden(MemorySegment d, int harden, long k) {
    a4j_attention_desc.harden(d, harden);
    a4j_attention_desc.harden_k(d, k);
  }

  public static void noise(MemorySegment d, float weight, long seed) {
    a4j_attention_desc.noisy(d, 1);
    a4j_attention_desc.noise_weight(d, weight);
    a4j_attention_desc.noise_seed(d, seed);
  }

  public static void noiseStrides(MemorySegment d, long batch, long head, long row, long key) {
    a4j_attention_desc.noise_stride_batch(d, batch);
    a4j_attention_desc.noise_stride_head(d, head);
    a4j_attention_desc.noise_stride_row(d, row);
    a4j_attention_desc.noise_stride_key(d, key);
  }

  public static void lambdaStrides(MemorySegment d, long batch, long head, long row) {
    a4j_attention_desc.lambda_stride_batch(d, batch);
    a4j_attention_desc.lambda_stride_head(d, head);
    a4j_attention_desc.lambda_stride_row(d, row);
  }

  // ---- Merging ----

  public static MemorySegment merge(
      Workspaces.Lease lease, int threads, long batch, long heads, long len, long dim) {
    MemorySegment d = lease.descriptor(Struct.MERGE_BYTES);
    a4j_merge_desc.size_bytes(d, (int) Struct.MERGE_BYTES);
    a4j_merge_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_merge_desc.dtype(d, Struct.F32);
    a4j_merge_desc.threads(d, threads);
    a4j_merge_desc.batch(d, batch);
    a4j_merge_desc.heads(d, heads);
    a4j_merge_desc.len(d, len);
    a4j_merge_desc.dim(d, dim);
    return d;
  }

  public static void mergeStridesA(MemorySegment d, long batch, long head, long row) {
    a4j_merge_desc.a_stride_batch(d, batch);
    a4j_merge_desc.a_stride_head(d, head);
    a4j_merge_desc.a_stride_row(d, row);
  }

  public static void mergeStridesB(MemorySegment d, long batch, long head, long row) {
    a4j_merge_desc.b_stride_batch(d, batch);
    a4j_merge_desc.b_stride_head(d, head);
    a4j_merge_desc.b_stride_row(d, row);
  }

  public static void mergeStridesOut(MemorySegment d, long batch, long head, long row) {
    a4j_merge_desc.out_stride_batch(d, batch);
    a4j_merge_desc.out_stride_head(d, head);
    a4j_merge_desc.out_stride_row(d, row);
  }

  // ---- Key/value cache ----

  /** Starts an append descriptor with the cache's lengths and the rows' counts in its tail. */
  public static MemorySegment append(
      Workspaces.Lease lease,
      int threads,
      DType dtype,
      long heads,
      long lenNew,
      long capacity,
      long dim,
      int[] lengths,
      int[] counts) {
    int batch = lengths.length;
    long countsOffset = Struct.APPEND_BYTES + (long) batch * Integer.BYTES;
    MemorySegment d = lease.descriptor(withTail(Struct.APPEND_BYTES, 2L * batch));
    a4j_kv_append_desc.size_bytes(d, (int) d.byteSize());
    a4j_kv_append_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_kv_append_desc.dtype(d, code(dtype));
    a4j_kv_append_desc.threads(d, threads);
    a4j_kv_append_desc.batch(d, batch);
    a4j_kv_append_desc.heads(d, heads);
    a4j_kv_append_desc.len_new(d, lenNew);
    a4j_kv_append_desc.capacity(d, capacity);
    a4j_kv_append_desc.dim(d, dim);
    a4j_kv_append_desc.lengths_offset(d, Struct.APPEND_BYTES);
    a4j_kv_append_desc.counts_offset(d, countsOffset);
    MemorySegment.copy(lengths, 0, d, ValueLayout.JAVA_INT, Struct.APPEND_BYTES, batch);
    MemorySegment.copy(counts, 0, d, ValueLayout.JAVA_INT, countsOffset, batch);
    return d;
  }

  public static void rowsStrides(MemorySegment d, long batch, long head, long row) {
    a4j_kv_append_desc.rows_stride_batch(d, batch);
    a4j_kv_append_desc.rows_stride_head(d, head);
    a4j_kv_append_desc.rows_stride_row(d, row);
  }

  /** The view of the cache in an append descriptor. */
  public static MemorySegment cache(MemorySegment d) {
    return a4j_kv_append_desc.cache(d);
  }

  /** The view of the keys in an attention descriptor. */
  public static MemorySegment keys(MemorySegment d) {
    return a4j_attention_desc.k(d);
  }

  /** The view of the values in an attention descriptor. */
  public static MemorySegment values(MemorySegment d) {
    return a4j_attention_desc.v(d);
  }

  public static void pages(
      MemorySegment view, long stridePage, int rows, long pages, long strideBatch) {
    a4j_view.stride_batch(view, stridePage);
    a4j_view.page_rows(view, rows);
    a4j_view.pages(view, pages);
    a4j_view.pages_stride_batch(view, strideBatch);
  }

  public static void scales(MemorySegment view, long batch, long head, long map, long row) {
    a4j_view.scale_stride_batch(view, batch);
    a4j_view.scale_stride_head(view, head);
    a4j_view.scale_stride_map(view, map);
    a4j_view.scale_stride_row(view, row);
  }

  // ---- Layers ----

  public static MemorySegment linear(
      Workspaces.Lease lease,
      int threads,
      DType x,
      DType out,
      Storage weight,
      int arithmetic,
      int product,
      int activation,
      int combine,
      long rows,
      long dimIn,
      long dimOut,
      long xStrideRow,
      long weightStrideRow,
      long outStrideRow) {
    MemorySegment d = lease.descriptor(Struct.LINEAR_BYTES);
    a4j_linear_desc.size_bytes(d, (int) Struct.LINEAR_BYTES);
    a4j_linear_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_linear_desc.dtype(d, code(x));
    a4j_linear_desc.out_dtype(d, code(out));
    a4j_linear_desc.threads(d, threads);
    put(a4j_linear_desc.weight(d), weight);
    a4j_linear_desc.arithmetic(d, arithmetic);
    a4j_linear_desc.product(d, product);
    a4j_linear_desc.activation(d, activation);
    a4j_linear_desc.combine(d, combine);
    a4j_linear_desc.rows(d, rows);
    a4j_linear_desc.dim_in(d, dimIn);
    a4j_linear_desc.dim_out(d, dimOut);
    a4j_linear_desc.x_stride_row(d, xStrideRow);
    a4j_linear_desc.weight_stride_row(d, weightStrideRow);
    a4j_linear_desc.out_stride_row(d, outStrideRow);
    return d;
  }

  /** Rows of quantised weights, from firstRow on; dtype and strideRow are those of x or out. */
  public static MemorySegment quantized(
      Workspaces.Lease lease,
      int threads,
      Storage storage,
      DType dtype,
      long firstRow,
      long rows,
      long dim,
      long strideRow) {
    MemorySegment d = lease.descriptor(Struct.QUANTIZED_BYTES);
    a4j_quantized_desc.size_bytes(d, (int) Struct.QUANTIZED_BYTES);
    a4j_quantized_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_quantized_desc.dtype(d, code(dtype));
    a4j_quantized_desc.threads(d, threads);
    put(a4j_quantized_desc.storage(d), storage);
    a4j_quantized_desc.first_row(d, firstRow);
    a4j_quantized_desc.rows(d, rows);
    a4j_quantized_desc.dim(d, dim);
    a4j_quantized_desc.stride_row(d, strideRow);
    return d;
  }

  /** How weights are stored: the fields of {@code a4j_storage}. */
  public record Storage(int dtype, int group, int scaleDtype, int minimums) {
    public static final int F32 = 0;
    public static final int BF16 = 1;
    public static final int F16 = 2;
    public static final int I8 = 3;
    public static final int I4 = 4;
    public static final int I6 = 5;

    /** Numbers one by one. */
    public static Storage of(DType dtype) {
      return new Storage(code(dtype), 0, 0, 0);
    }
  }

  private static void put(MemorySegment d, Storage storage) {
    a4j_storage.dtype(d, storage.dtype);
    a4j_storage.group(d, storage.group);
    a4j_storage.scale_dtype(d, storage.scaleDtype);
    a4j_storage.minimums(d, storage.minimums);
  }

  public static MemorySegment rmsNorm(
      Workspaces.Lease lease,
      int threads,
      DType x,
      DType out,
      long rows,
      long dim,
      long xStrideRow,
      long outStrideRow,
      float epsilon,
      float scale) {
    MemorySegment d = lease.descriptor(Struct.RMS_NORM_BYTES);
    a4j_rms_norm_desc.size_bytes(d, (int) Struct.RMS_NORM_BYTES);
    a4j_rms_norm_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_rms_norm_desc.dtype(d, code(x));
    a4j_rms_norm_desc.out_dtype(d, code(out));
    a4j_rms_norm_desc.threads(d, threads);
    a4j_rms_norm_desc.rows(d, rows);
    a4j_rms_norm_desc.dim(d, dim);
    a4j_rms_norm_desc.x_stride_row(d, xStrideRow);
    a4j_rms_norm_desc.out_stride_row(d, outStrideRow);
    a4j_rms_norm_desc.epsilon(d, epsilon);
    a4j_rms_norm_desc.scale(d, scale);
    return d;
  }

  public static MemorySegment layerNorm(
      Workspaces.Lease lease,
      int threads,
      DType x,
      DType out,
      long rows,
      long dim,
      long xStrideRow,
      long outStrideRow,
      float epsilon) {
    MemorySegment d = lease.descriptor(Struct.LAYER_NORM_BYTES);
    a4j_layer_norm_desc.size_bytes(d, (int) Struct.LAYER_NORM_BYTES);
    a4j_layer_norm_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_layer_norm_desc.dtype(d, code(x));
    a4j_layer_norm_desc.out_dtype(d, code(out));
    a4j_layer_norm_desc.threads(d, threads);
    a4j_layer_norm_desc.rows(d, rows);
    a4j_layer_norm_desc.dim(d, dim);
    a4j_layer_norm_desc.x_stride_row(d, xStrideRow);
    a4j_layer_norm_desc.out_stride_row(d, outStrideRow);
    a4j_layer_norm_desc.epsilon(d, epsilon);
    return d;
  }

  /** Starts a rotary descriptor with room for positions in its tail. */
  public static MemorySegment rotary(
      Workspaces.Lease lease,
      int threads,
      DType x,
      DType out,
      int style,
      long rotaryDim,
      long tableRows,
      long positions) {
    MemorySegment d = lease.descriptor(withTail(Struct.ROTARY_BYTES, positions));
    a4j_rope_desc.size_bytes(d, (int) d.byteSize());
    a4j_rope_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_rope_desc.dtype(d, code(x));
    a4j_rope_desc.out_dtype(d, code(out));
    a4j_rope_desc.threads(d, threads);
    a4j_rope_desc.style(d, style);
    a4j_rope_desc.rotary_dim(d, rotaryDim);
    a4j_rope_desc.table_rows(d, tableRows);
    a4j_rope_desc.positions_offset(d, positions == 0 ? 0 : Struct.ROTARY_BYTES);
    return d;
  }

  public static void rotarySizes(MemorySegment d, long batch, long heads, long len, long dim) {
    a4j_rope_desc.batch(d, batch);
    a4j_rope_desc.heads(d, heads);
    a4j_rope_desc.len(d, len);
    a4j_rope_desc.dim(d, dim);
  }

  public static void rotaryStridesX(MemorySegment d, long batch, long head, long row) {
    a4j_rope_desc.x_stride_batch(d, batch);
    a4j_rope_desc.x_stride_head(d, head);
    a4j_rope_desc.x_stride_row(d, row);
  }

  public static void rotaryStridesOut(MemorySegment d, long batch, long head, long row) {
    a4j_rope_desc.out_stride_batch(d, batch);
    a4j_rope_desc.out_stride_head(d, head);
    a4j_rope_desc.out_stride_row(d, row);
  }

  public static void positionStart(MemorySegment d, long start) {
    a4j_rope_desc.position_start(d, start);
  }

  public static void positionStrideBatch(MemorySegment d, long stride) {
    a4j_rope_desc.positions_stride_batch(d, stride);
  }

  public static void position(MemorySegment d, long index, int position) {
    putTail(d, Struct.ROTARY_BYTES, index, position);
  }

  // ---- Recurrent and additive attention ----

  /** Starts a descriptor of pair scores with room for key lengths in its tail. */
  public static MemorySegment pairScores(
      Workspaces.Lease lease,
      int threads,
      int form,
      float scale,
      boolean emptyRowsAlike,
      long keyLengths) {
    MemorySegment d = lease.descriptor(withTail(Struct.PAIR_SCORES_BYTES, keyLengths));
    a4j_pair_scores_desc.size_bytes(d, (int) d.byteSize());
    a4j_pair_scores_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_pair_scores_desc.dtype(d, Struct.F32);
    a4j_pair_scores_desc.threads(d, threads);
    a4j_pair_scores_desc.form(d, form);
    a4j_pair_scores_desc.scale(d, scale);
    a4j_pair_scores_desc.empty_rows(
        d, emptyRowsAlike ? a4j_h.A4J_EMPTY_ALIKE() : a4j_h.A4J_EMPTY_UNSEEN());
    a4j_pair_scores_desc.key_lengths_offset(d, keyLengths == 0 ? 0 : Struct.PAIR_SCORES_BYTES);
    return d;
  }

  public static void pairSizes(MemorySegment d, long batch, long lenQ, long lenK, long dim) {
    a4j_pair_scores_desc.batch(d, batch);
    a4j_pair_scores_desc.len_q(d, lenQ);
    a4j_pair_scores_desc.len_k(d, lenK);
    a4j_pair_scores_desc.dim(d, dim);
  }

  public static void pairStrides(MemorySegment d, long batchQ, long rowQ, long batchK, long rowK) {
    a4j_pair_scores_desc.q_stride_batch(d, batchQ);
    a4j_pair_scores_desc.q_stride_row(d, rowQ);
    a4j_pair_scores_desc.k_stride_batch(d, batchK);
    a4j_pair_scores_desc.k_stride_row(d, rowK);
  }

  public static void pairLengthsStrides(MemorySegment d, long batch, long row) {
    a4j_pair_scores_desc.key_lengths_stride_batch(d, batch);
    a4j_pair_scores_desc.key_lengths_stride_row(d, row);
  }

  public static void pairLength(MemorySegment d, long index, int length) {
    putTail(d, Struct.PAIR_SCORES_BYTES, index, length);
  }

  public static MemorySegment elementwise(
      Workspaces.Lease lease,
      int threads,
      DType x,
      DType y,
      DType out,
      int activation,
      int combine,
      float scale,
      long rows,
      long dim,
      long xStrideRow,
      long yStrideRow,
      long outStrideRow) {
    MemorySegment d = lease.descriptor(Struct.ELEMENTWISE_BYTES);
    a4j_elementwise_desc.size_bytes(d, (int) Struct.ELEMENTWISE_BYTES);
    a4j_elementwise_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_elementwise_desc.dtype(d, code(x));
    a4j_elementwise_desc.y_dtype(d, code(y));
    a4j_elementwise_desc.out_dtype(d, code(out));
    a4j_elementwise_desc.threads(d, threads);
    a4j_elementwise_desc.activation(d, activation);
    a4j_elementwise_desc.combine(d, combine);
    a4j_elementwise_desc.scale(d, scale);
    a4j_elementwise_desc.rows(d, rows);
    a4j_elementwise_desc.dim(d, dim);
    a4j_elementwise_desc.x_stride_row(d, xStrideRow);
    a4j_elementwise_desc.y_stride_row(d, yStrideRow);
    a4j_elementwise_desc.out_stride_row(d, outStrideRow);
    return d;
  }

  public static MemorySegment convert(
      Workspaces.Lease lease, int threads, DType from, DType to, long count) {
    MemorySegment d = lease.descriptor(Struct.CONVERT_BYTES);
    a4j_convert_desc.size_bytes(d, (int) Struct.CONVERT_BYTES);
    a4j_convert_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_convert_desc.dtype(d, code(from));
    a4j_convert_desc.threads(d, threads);
    a4j_convert_desc.rows(d, 1);
    a4j_convert_desc.dim(d, count);
    a4j_convert_desc.x_stride_row(d, count);
    a4j_convert_desc.out_stride_row(d, count);
    a4j_convert_desc.out_dtype(d, code(to));
    return d;
  }

  public static MemorySegment gru(
      Workspaces.Lease lease,
      int threads,
      long rows,
      long dim,
      long xStrideRow,
      long uStrideRow,
      long hStrideRow,
      long outStrideRow) {
    MemorySegment d = lease.descriptor(Struct.GRU_BYTES);
    a4j_gru_desc.size_bytes(d, (int) Struct.GRU_BYTES);
    a4j_gru_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_gru_desc.dtype(d, Struct.F32);
    a4j_gru_desc.threads(d, threads);
    a4j_gru_desc.rows(d, rows);
    a4j_gru_desc.dim(d, dim);
    a4j_gru_desc.x_stride_row(d, xStrideRow);
    a4j_gru_desc.u_stride_row(d, uStrideRow);
    a4j_gru_desc.h_stride_row(d, hStrideRow);
    a4j_gru_desc.out_stride_row(d, outStrideRow);
    return d;
  }

  // ---- Linear attention ----

  /** Starts a descriptor of linear attention; its strides follow. */
  public static MemorySegment linearAttention(
      Workspaces.Lease lease,
      int threads,
      int update,
      float scale,
      long batch,
      long headsQ,
      long headsKv,
      long len,
      long dimQk,
      long dimV,
      long decayDim) {
    MemorySegment d = lease.descriptor(Struct.LINEAR_ATTENTION_BYTES);
    a4j_linear_attention_desc.size_bytes(d, (int) Struct.LINEAR_ATTENTION_BYTES);
    a4j_linear_attention_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_linear_attention_desc.dtype(d, Struct.F32);
    a4j_linear_attention_desc.threads(d, threads);
    a4j_linear_attention_desc.update(d, update);
    a4j_linear_attention_desc.scale(d, scale);
    a4j_linear_attention_desc.batch(d, batch);
    a4j_linear_attention_desc.heads_q(d, headsQ);
    a4j_linear_attention_desc.heads_kv(d, headsKv);
    a4j_linear_attention_desc.len(d, len);
    a4j_linear_attention_desc.dim_qk(d, dimQk);
    a4j_linear_attention_desc.dim_v(d, dimV);
    a4j_linear_attention_desc.decay_dim(d, decayDim);
    return d;
  }

  public static void linearAttentionStridesQ(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.q_stride_batch(d, batch);
    a4j_linear_attention_desc.q_stride_head(d, head);
    a4j_linear_attention_desc.q_stride_row(d, row);
  }

  public static void linearAttentionStridesK(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.k_stride_batch(d, batch);
    a4j_linear_attention_desc.k_stride_head(d, head);
    a4j_linear_attention_desc.k_stride_row(d, row);
  }

  public static void linearAttentionStridesV(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.v_stride_batch(d, batch);
    a4j_linear_attention_desc.v_stride_head(d, head);
    a4j_linear_attention_desc.v_stride_row(d, row);
  }

  public static void linearAttentionStridesDecay(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.decay_stride_batch(d, batch);
    a4j_linear_attention_desc.decay_stride_head(d, head);
    a4j_linear_attention_desc.decay_stride_row(d, row);
  }

  public static void linearAttentionStridesBeta(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.beta_stride_batch(d, batch);
    a4j_linear_attention_desc.beta_stride_head(d, head);
    a4j_linear_attention_desc.beta_stride_row(d, row);
  }

  public static void linearAttentionStridesState(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.state_stride_batch(d, batch);
    a4j_linear_attention_desc.state_stride_head(d, head);
    a4j_linear_attention_desc.state_stride_row(d, row);
  }

  public static void linearAttentionStridesOut(MemorySegment d, long batch, long head, long row) {
    a4j_linear_attention_desc.out_stride_batch(d, batch);
    a4j_linear_attention_desc.out_stride_head(d, head);
    a4j_linear_attention_desc.out_stride_row(d, row);
  }

  // ---- Areas ----

  /** A whole descriptor of a dropout mask. */
  public static MemorySegment dropoutMask(
      Workspaces.Lease lease,
      int threads,
      float rate,
      long seed,
      int shared,
      long batch,
      long heads,
      long lenQ,
      long lenK) {
    MemorySegment d = lease.descriptor(Struct.DROPOUT_BYTES);
    a4j_dropout_desc.size_bytes(d, (int) Struct.DROPOUT_BYTES);
    a4j_dropout_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_dropout_desc.dtype(d, Struct.F32);
    a4j_dropout_desc.threads(d, threads);
    a4j_dropout_desc.shared(d, shared);
    a4j_dropout_desc.rate(d, rate);
    a4j_dropout_desc.seed(d, seed);
    a4j_dropout_desc.batch(d, batch);
    a4j_dropout_desc.heads(d, heads);
    a4j_dropout_desc.len_q(d, lenQ);
    a4j_dropout_desc.len_k(d, lenK);
    return d;
  }

  /** Starts a descriptor of area features. */
  public static MemorySegment areas(
      Workspaces.Lease lease, int threads, float epsilon, long batch, long heads, long dim) {
    MemorySegment d = lease.descriptor(Struct.AREA_BYTES);
    a4j_area_desc.size_bytes(d, (int) Struct.AREA_BYTES);
    a4j_area_desc.abi_version(d, Struct.ABI_VERSION);
    a4j_area_desc.dtype(d, Struct.F32);
    a4j_area_desc.threads(d, threads);
    a4j_area_desc.epsilon(d, epsilon);
    a4j_area_desc.batch(d, batch);
    a4j_area_desc.heads(d, heads);
    a4j_area_desc.dim(d, dim);
    return d;
  }

  public static void areaSizes(
      MemorySegment d, long height, long width, long maxHeight, long maxWidth) {
    a4j_area_desc.height(d, height);
    a4j_area_desc.width(d, width);
    a4j_area_desc.max_height(d, maxHeight);
    a4j_area_desc.max_width(d, maxWidth);
  }

  public static void areaStridesX(MemorySegment d, long batch, long head, long row) {
    a4j_area_desc.x_stride_batch(d, batch);
    a4j_area_desc.x_stride_head(d, head);
    a4j_area_desc.x_stride_row(d, row);
  }

  public static void areaStridesOut(
      MemorySegment d, long meanRow, long sumRow, long maxRow, long deviationRow) {
    a4j_area_desc.mean_stride_row(d, meanRow);
    a4j_area_desc.sum_stride_row(d, sumRow);
    a4j_area_desc.max_stride_row(d, maxRow);
    a4j_area_desc.deviation_stride_row(d, deviationRow);
  }

  // ---- The tail ----

  /** size_bytes is an int32_t: a tail that does not fit it is refused here. */
  private static long withTail(long structBytes, long ints) {
    Checks.inRange(
        "the number of lengths or positions of one call",
        ints,
        0,
        (Integer.MAX_VALUE - structBytes) / Integer.BYTES);
    return structBytes + ints * Integer.BYTES;
  }

  private static void putTail(MemorySegment d, long tail, long index, int value) {
    d.set(ValueLayout.JAVA_INT, tail + index * Integer.BYTES, value);
  }
}
