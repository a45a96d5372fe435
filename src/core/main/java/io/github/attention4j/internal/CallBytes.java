package io.github.attention4j.internal;

import io.github.attention4j.bindings.a4j_h;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.stream.LongStream;

/**
 * The least number of bytes that a call has to move between memory and the CPU: the elements of its
 * tensors, by the sizes in its descriptor, each counted once, however often a stride of 0 repeats
 * it.
 *
 * <ul>
 *   <li>An operand that the result is combined with is read and written, so it counts twice; so
 *       does the state of linear attention.
 *   <li>Keys and values count up to the length of each batch, whether a row sees them or not.
 *   <li>Quantised weights count as packed, with their scales; float weights packed in panels count
 *       without the zeros beyond the last output.
 *   <li>Not counted are tensors with one number for each row or column (biases, weights of norms,
 *       scales of keys and values, logsumexp, lambda, means), tables (rotary, relative, those of
 *       programs), page numbers, and workspaces.
 * </ul>
 *
 * <p>Only read while a recording is on.
 */
final class CallBytes {
  private static final int F32 = Float.BYTES;

  private final DescriptorFields fields;
  private final MemorySegment descriptor;

  private CallBytes(GroupLayout layout, MemorySegment descriptor) {
    this.fields = DescriptorFields.of(layout);
    this.descriptor = descriptor;
  }

  /**
   * The bytes of the tensors that every call of a function has.
   *
   * @throws IllegalArgumentException if it is not a function with a descriptor
   */
  static long of(String function, GroupLayout layout, MemorySegment descriptor) {
    CallBytes d = new CallBytes(layout, descriptor);
    return switch (function) {
      case "a4j_attention", "a4j_attention_full" -> d.attention();
      case "a4j_merge" -> 3 * F32 * d.product("batch", "heads", "len", "dim");
      case "a4j_kv_append" ->
          d.tail("counts_offset").sum()
              * d.product("heads", "dim")
              * (d.element("dtype") + d.element("cache.dtype"));
      case "a4j_linear" -> d.linear();
      case "a4j_linear_pack" ->
          d.product("dim_in", "dim_out") * (d.element("weight.dtype") + d.packedElement());
      case "a4j_quantized_pack" ->
          d.product("rows", "dim")
              + d.scales("storage", d.get("rows"), d.get("dim"))
              + d.quantized("storage", d.get("rows"), d.get("dim"));
      case "a4j_quantize", "a4j_dequantize" ->
          d.product("rows", "dim") * d.element("dtype")
              + d.quantized("storage", d.get("rows"), d.get("dim"));
      case "a4j_blocks_pack" -> d.quantized("storage", d.get("rows"), d.get("dim"));
      case "a4j_blocks_widen" -> d.product("rows", "dim") * d.element("dtype");
      case "a4j_rms_norm", "a4j_layer_norm", "a4j_convert" ->
          d.product("rows", "dim") * (d.element("dtype") + d.element("out_dtype"));
      case "a4j_rope" ->
          d.product("batch", "heads", "len", "dim") * (d.element("dtype") + d.element("out_dtype"));
      case "a4j_elementwise" ->
          d.product("rows", "dim")
              * (d.element("dtype")
                  + (d.get("combine") == Descriptor.SET ? 0 : d.element("y_dtype"))
                  + d.element("out_dtype"));
      case "a4j_gru" -> (3 + 3 + 1 + 1) * F32 * d.product("rows", "dim");
      case "a4j_pair_scores" ->
          F32
              * (d.product("batch", "len_q", "dim")
                  + d.product("batch", "len_k", "dim")
                  + d.product("batch", "len_q", "len_k"));
      case "a4j_linear_attention" -> d.linearAttention();
      case "a4j_dropout" -> d.product("batch", "heads", "len_q", "len_k");
      case "a4j_area_features" -> d.areaFeatures();
      default -> throw new IllegalArgumentException("no descriptor: " + function);
    };
  }

  /** The bytes of the tensors that only some calls of attention have. */
  static long optional(
      GroupLayout layout, MemorySegment descriptor, Downcalls.AttentionBuffers buffers) {
    CallBytes d = new CallBytes(layout, descriptor);
    long whole = F32 * d.product("batch", "heads_q", "len_q", "len_k");
    return d.broadcast(buffers.mask, "mask", 1)
        + d.broadcast(buffers.bias, "bias", F32)
        + d.broadcast(buffers.keep, "keep", 1)
        + d.broadcast(buffers.noise, "noise", F32)
        + (isThere(buffers.keyMask)
            ? d.along("batch", "key_mask_stride_batch") * d.get("len_k")
            : 0)
        + (isThere(buffers.weights) ? whole : 0)
        + (isThere(buffers.scores) ? whole * d.get("maps") : 0);
  }

  /** The bytes of the noise of areas. */
  static long noise(GroupLayout layout, MemorySegment descriptor) {
    return new CallBytes(layout, descriptor).areas();
  }

  // ---- Attention ----

  private long attention() {
    long queries = batches("q", "q_begins_offset", get("len_q"));
    long outs = isGiven("q_begins_offset") ? queries : get("batch") * get("len_q");
    return queries * heads("q", "heads_q") * get("maps") * get("dim_qk") * element("q.dtype")
        + keys("k") * heads("k", "heads_kv") * get("maps") * get("dim_qk") * element("k.dtype")
        + keys("v") * heads("v", "heads_kv") * get("dim_v") * element("v.dtype")
        + outs * get("heads_q") * get("dim_v") * element("out.dtype");
  }

  /** The rows of keys or values of one head in all batches. */
  private long keys(String view) {
    if (isGiven("key_lengths_offset") && get("key_lengths_stride_row") == 0) {
      LongStream lengths = tail("key_lengths_offset");
      return isShared(view) ? lengths.max().orElse(0) : lengths.sum();
    }
    return batches(view, "k_begins_offset", Math.min(get("len_k"), get("key_limit")));
  }

  /** The rows of one head in all batches. */
  private long batches(String view, String begins, long rows) {
    if (isGiven(begins)) {
      return tail(begins, get("batch"));
    }
    return isShared(view) ? rows : get("batch") * rows;
  }

  private boolean isShared(String view) {
    return get(view + ".page_rows") == 0 && get(view + ".stride_batch") == 0;
  }

  private long heads(String view, String heads) {
    return get(view + ".stride_head") == 0 ? 1 : get(heads);
  }

  /** The bytes of a tensor of every row and key, if it is there. */
  private long broadcast(MemorySegment tensor, String name, long bytes) {
    return isThere(tensor)
        ? bytes
            * along("batch", name + "_stride_batch")
            * along("heads_q", name + "_stride_head")
            * along("len_q", name + "_stride_row")
            * along("len_k", name + "_stride_key")
        : 0;
  }

  private long along(String size, String stride) {
    return get(stride) == 0 ? 1 : get(size);
  }

  private static boolean isThere(MemorySegment tensor) {
    return tensor.address() != 0;
  }

  // ---- Layers ----

  private long linear() {
    long weight = product("dim_in", "dim_out");
    boolean isOperand = get("combine") != Descriptor.SET;
    return product("rows", "dim_in") * element("dtype")
        + (isQuantized("weight")
            ? quantized("weight", get("dim_out"), get("dim_in"))
            : weight * weightElement())
        + product("rows", "dim_out") * element("out_dtype") * (isOperand ? 2 : 1);
  }

  private int weightElement() {
    return get("product") == Descriptor.PRODUCT_PACKED ? packedElement() : element("weight.dtype");
  }

  /** In panels, weights have their own type unless they are rounded. */
  private int packedElement() {
    return get("arithmetic") == Descriptor.ARITHMETIC_BF16 ? 2 : element("weight.dtype");
  }

  private boolean isQuantized(String storage) {
    return get(storage + ".group") != 0;
  }

  /** The bytes of quantised weights in blocks of whole rows. */
  private long quantized(String storage, long rows, long columns) {
    int bits =
        switch ((int) get(storage + ".dtype")) {
          case Descriptor.Storage.I4 -> 4;
          case Descriptor.Storage.I6 -> 6;
          default -> 8;
        };
    long block = a4j_h.A4J_QUANTIZED_ROWS();
    long whole = Math.ceilDiv(rows, block) * block;
    return whole * columns * bits / 8 + scales(storage, whole, columns);
  }

  /** The bytes of the scales of quantised weights, and of their minimums. */
  private long scales(String storage, long rows, long columns) {
    long bytes = rows * (columns / get(storage + ".group")) * element(storage + ".scale_dtype");
    if (get(storage + ".scale_dtype") == Descriptor.Storage.I8) {
      bytes += rows * (columns / a4j_h.A4J_QUANTIZED_SPAN()) * 2;
    }
    return bytes * (1 + get(storage + ".minimums"));
  }

  // ---- Others ----

  private long linearAttention() {
    long update = get("update");
    boolean decays = update == Descriptor.UPDATE_GATED || update == Descriptor.UPDATE_GATED_DELTA;
    return F32
        * (product("batch", "heads_q", "len") * (get("dim_qk") + get("dim_v"))
            + product("batch", "heads_kv", "len")
                * (get("dim_qk") + get("dim_v") + (decays ? get("decay_dim") : 0))
            + 2 * product("batch", "heads_kv", "dim_qk", "dim_v"));
  }

  private long areaFeatures() {
    long features = 0;
    for (String feature : List.of("mean", "sum", "max", "deviation")) {
      features += get(feature + "_stride_row") == 0 ? 0 : areas();
    }
    return F32 * product("batch", "heads", "height", "width", "dim") + features;
  }

  /** The bytes of one feature of all areas. */
  private long areas() {
    return F32
        * product("batch", "heads", "dim")
        * corners(get("height"), get("max_height"))
        * corners(get("width"), get("max_width"));
  }

  /** How many places areas have along one side, of all their sizes. */
  private static long corners(long side, long most) {
    long sizes = Math.min(side, most);
    return sizes * (side + 1) - sizes * (sizes + 1) / 2;
  }

  // ---- Reading the descriptor ----

  private long product(String... sizes) {
    long product = 1;
    for (String size : sizes) {
      product *= get(size);
    }
    return product;
  }

  /** The bytes of an element of a type. */
  private int element(String dtype) {
    return switch ((int) get(dtype)) {
      case Descriptor.Storage.F32 -> F32;
      case Descriptor.Storage.BF16, Descriptor.Storage.F16 -> 2;
      default -> 1;
    };
  }

  private long get(String field) {
    return fields.get(descriptor, field);
  }

  private boolean isGiven(String offset) {
    return get(offset) != 0;
  }

  /** Number i of the list in the tail that begins at the offset in a field. */
  private long tail(String offset, long i) {
    return descriptor.get(ValueLayout.JAVA_INT, get(offset) + i * Integer.BYTES);
  }

  /** The numbers of all batches in such a list. */
  private LongStream tail(String offset) {
    return LongStream.range(0, get("batch")).map(b -> tail(offset, b));
  }
}
