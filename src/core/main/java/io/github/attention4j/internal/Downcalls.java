package io.github.attention4j.internal;

import io.github.attention4j.AttentionException;
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
import java.lang.foreign.MemorySegment;

/**
 * The operations of the native library, as Java methods. Only this class calls them through {@code
 * bindings} and turns their statuses into exceptions; {@link NativeLibrary} loads the library and
 * asks it about itself.
 *
 * <p>Every buffer is an argument of its own, so that the JVM keeps its arena open for the duration
 * of the call. Absent buffers are {@link MemorySegment#NULL}. Only the status is checked here.
 *
 * <p>Safe for any number of threads.
 */
public final class Downcalls {
  /** The first status that is not about the caller's arguments. */
  private static final int FIRST_MACHINE_STATUS = 40;

  private Downcalls() {}

  /** Whether projections of many rows are multiplied by a BLAS. If so, it is loaded now. */
  public static boolean multipliesByBlas() {
    boolean chosen = NativeLibrary.load().multipliesByBlas();
    if (chosen) {
      NativeLibrary.blas();
    }
    return chosen;
  }

  // ---- Attention ----

  private static long attentionWorkspaceBytes(MemorySegment descriptor) {
    long bytes = a4j_h.a4j_attention_workspace_bytes(descriptor);
    if (bytes < 0) {
      check("a4j_attention_workspace_bytes", (int) -bytes);
    }
    return bytes;
  }

  /** The buffers of one attention; NULL if absent. */
  public static final class AttentionBuffers {
    public MemorySegment q = MemorySegment.NULL;
    public MemorySegment k = MemorySegment.NULL;
    public MemorySegment v = MemorySegment.NULL;
    public MemorySegment keyScales = MemorySegment.NULL;
    public MemorySegment valueScales = MemorySegment.NULL;
    public MemorySegment keyPages = MemorySegment.NULL;
    public MemorySegment valuePages = MemorySegment.NULL;
    public MemorySegment mask = MemorySegment.NULL;
    public MemorySegment keyMask = MemorySegment.NULL;
    public MemorySegment bias = MemorySegment.NULL;
    public MemorySegment keep = MemorySegment.NULL;
    public MemorySegment relativeKeys = MemorySegment.NULL;
    public MemorySegment relativeValues = MemorySegment.NULL;
    public MemorySegment noise = MemorySegment.NULL;
    public MemorySegment lambda = MemorySegment.NULL;
    public final MemorySegment[] tables = {
      MemorySegment.NULL, MemorySegment.NULL, MemorySegment.NULL, MemorySegment.NULL
    };
    public MemorySegment out = MemorySegment.NULL;
    public MemorySegment logsumexp = MemorySegment.NULL;
    public MemorySegment weights = MemorySegment.NULL;
    public MemorySegment scores = MemorySegment.NULL;
    public MemorySegment work = MemorySegment.NULL;
  }

  /** Runs one attention without optional inputs and outputs. */
  public static void attention(
      Workspaces.Lease lease,
      MemorySegment descriptor,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment out) {
    try (Call _ = Call.begin("a4j_attention", a4j_attention_desc.layout(), descriptor)) {
      MemorySegment workspace = lease.workspace();
      int status = a4j_h.A4J_SMALL_WORKSPACE();
      if (workspace.byteSize() > 0) {
        status = attention(descriptor, q, k, v, out, workspace);
      }
      if (status == a4j_h.A4J_SMALL_WORKSPACE()) {
        workspace = lease.workspace(attentionWorkspaceBytes(descriptor));
        status = attention(descriptor, q, k, v, out, workspace);
      }
      check("a4j_attention", status);
    }
  }

  private static int attention(
      MemorySegment descriptor,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment out,
      MemorySegment workspace) {
    return a4j_h.a4j_attention(descriptor, q, k, v, out, workspace, workspace.byteSize());
  }

  /**
   * Runs one attention whose descriptor is in the lease, which also supplies the workspace. It
   * first tries the current workspace, because asking for the required size costs a plan of the
   * whole call.
   */
  public static void attention(
      Workspaces.Lease lease, MemorySegment descriptor, AttentionBuffers buffers) {
    try (Call call = Call.begin("a4j_attention_full", a4j_attention_desc.layout(), descriptor)) {
      if (call.isRecorded()) {
        call.moves(CallBytes.optional(a4j_attention_desc.layout(), descriptor, buffers));
      }
      MemorySegment workspace = lease.workspace();
      int status = a4j_h.A4J_SMALL_WORKSPACE();
      if (workspace.byteSize() > 0) {
        status = attention(descriptor, buffers, workspace);
      }
      if (status == a4j_h.A4J_SMALL_WORKSPACE()) {
        workspace = lease.workspace(attentionWorkspaceBytes(descriptor));
        status = attention(descriptor, buffers, workspace);
      }
      check("a4j_attention_full", status);
    }
  }

  private static int attention(
      MemorySegment descriptor, AttentionBuffers buffers, MemorySegment workspace) {
    return a4j_h.a4j_attention_full(
        descriptor,
        buffers.q,
        buffers.k,
        buffers.v,
        buffers.keyScales,
        buffers.valueScales,
        buffers.keyPages,
        buffers.valuePages,
        buffers.mask,
        buffers.keyMask,
        buffers.bias,
        buffers.keep,
        buffers.relativeKeys,
        buffers.relativeValues,
        buffers.noise,
        buffers.lambda,
        buffers.tables[0],
        buffers.tables[1],
        buffers.tables[2],
        buffers.tables[3],
        buffers.out,
        buffers.logsumexp,
        buffers.weights,
        buffers.scores,
        buffers.work,
        workspace,
        workspace.byteSize());
  }

  public static void merge(
      MemorySegment descriptor,
      MemorySegment a,
      MemorySegment logsumexpA,
      MemorySegment b,
      MemorySegment logsumexpB,
      MemorySegment out,
      MemorySegment logsumexp) {
    try (Call _ = Call.begin("a4j_merge", a4j_merge_desc.layout(), descriptor)) {
      check("a4j_merge", a4j_h.a4j_merge(descriptor, a, logsumexpA, b, logsumexpB, out, logsumexp));
    }
  }

  public static void append(
      MemorySegment descriptor,
      MemorySegment rows,
      MemorySegment cache,
      MemorySegment scales,
      MemorySegment pages) {
    try (Call _ = Call.begin("a4j_kv_append", a4j_kv_append_desc.layout(), descriptor)) {
      check("a4j_kv_append", a4j_h.a4j_kv_append(descriptor, rows, cache, scales, pages));
    }
  }

  // ---- Layers ----

  /** Runs one projection whose descriptor is in the lease, which also supplies the workspace. */
  public static void linear(
      Workspaces.Lease lease,
      MemorySegment descriptor,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment out) {
    try (Call _ = Call.begin("a4j_linear", a4j_linear_desc.layout(), descriptor)) {
      long workspaceBytes = a4j_h.a4j_linear_workspace_bytes(descriptor);
      if (workspaceBytes < 0) {
        check("a4j_linear_workspace_bytes", (int) -workspaceBytes);
      }
      MemorySegment workspace = lease.workspace(workspaceBytes);
      int status = a4j_h.a4j_linear(descriptor, x, weight, bias, out, workspace, workspaceBytes);
      check("a4j_linear", status);
    }
  }

  public static void linearPack(
      MemorySegment descriptor, MemorySegment weight, MemorySegment packed) {
    try (Call _ = Call.begin("a4j_linear_pack", a4j_linear_desc.layout(), descriptor)) {
      check("a4j_linear_pack", a4j_h.a4j_linear_pack(descriptor, weight, packed));
    }
  }

  /** The size in bytes of the packed rows that the descriptor describes. */
  public static long quantizedBytes(MemorySegment descriptor) {
    NativeLibrary.load();
    long bytes = a4j_h.a4j_quantized_bytes(descriptor);
    if (bytes < 0) {
      check("a4j_quantized_bytes", (int) -bytes);
    }
    return bytes;
  }

  public static void quantizedPack(
      MemorySegment descriptor,
      MemorySegment codes,
      MemorySegment scales,
      MemorySegment minimums,
      MemorySegment outerScales,
      MemorySegment outerMinimums,
      MemorySegment packed) {
    try (Call _ = Call.begin("a4j_quantized_pack", a4j_quantized_desc.layout(), descriptor)) {
      check(
          "a4j_quantized_pack",
          a4j_h.a4j_quantized_pack(
              descriptor, codes, scales, minimums, outerScales, outerMinimums, packed));
    }
  }

  public static void quantize(MemorySegment descriptor, MemorySegment x, MemorySegment packed) {
    try (Call _ = Call.begin("a4j_quantize", a4j_quantized_desc.layout(), descriptor)) {
      check("a4j_quantize", a4j_h.a4j_quantize(descriptor, x, packed));
    }
  }

  public static void dequantize(MemorySegment descriptor, MemorySegment packed, MemorySegment out) {
    try (Call _ = Call.begin("a4j_dequantize", a4j_quantized_desc.layout(), descriptor)) {
      check("a4j_dequantize", a4j_h.a4j_dequantize(descriptor, packed, out));
    }
  }

  public static void blocksPack(
      MemorySegment descriptor, int format, MemorySegment blocks, MemorySegment packed) {
    try (Call call = Call.begin("a4j_blocks_pack", a4j_quantized_desc.layout(), descriptor)) {
      if (call.isRecorded()) {
        call.moves(blocks.byteSize());
      }
      check("a4j_blocks_pack", a4j_h.a4j_blocks_pack(descriptor, format, blocks, packed));
    }
  }

  public static void blocksWiden(
      MemorySegment descriptor, int format, MemorySegment blocks, MemorySegment out) {
    try (Call call = Call.begin("a4j_blocks_widen", a4j_quantized_desc.layout(), descriptor)) {
      if (call.isRecorded()) {
        call.moves(blocks.byteSize());
      }
      check("a4j_blocks_widen", a4j_h.a4j_blocks_widen(descriptor, format, blocks, out));
    }
  }

  public static void rmsNorm(
      MemorySegment descriptor, MemorySegment x, MemorySegment weight, MemorySegment out) {
    try (Call _ = Call.begin("a4j_rms_norm", a4j_rms_norm_desc.layout(), descriptor)) {
      check("a4j_rms_norm", a4j_h.a4j_rms_norm(descriptor, x, weight, out));
    }
  }

  public static void layerNorm(
      MemorySegment descriptor,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment out,
      MemorySegment mean,
      MemorySegment invStdDev) {
    try (Call _ = Call.begin("a4j_layer_norm", a4j_layer_norm_desc.layout(), descriptor)) {
      check(
          "a4j_layer_norm",
          a4j_h.a4j_layer_norm(descriptor, x, weight, bias, out, mean, invStdDev));
    }
  }

  public static void rotary(
      MemorySegment descriptor,
      MemorySegment x,
      MemorySegment cos,
      MemorySegment sin,
      MemorySegment out) {
    try (Call _ = Call.begin("a4j_rope", a4j_rope_desc.layout(), descriptor)) {
      check("a4j_rope", a4j_h.a4j_rope(descriptor, x, cos, sin, out));
    }
  }

  // ---- Recurrent and additive attention ----

  public static void pairScores(
      MemorySegment descriptor,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment scores) {
    try (Call _ = Call.begin("a4j_pair_scores", a4j_pair_scores_desc.layout(), descriptor)) {
      check("a4j_pair_scores", a4j_h.a4j_pair_scores(descriptor, q, k, v, scores));
    }
  }

  public static void elementwise(
      MemorySegment descriptor, MemorySegment x, MemorySegment y, MemorySegment out) {
    try (Call _ = Call.begin("a4j_elementwise", a4j_elementwise_desc.layout(), descriptor)) {
      check("a4j_elementwise", a4j_h.a4j_elementwise(descriptor, x, y, out));
    }
  }

  public static void convert(MemorySegment descriptor, MemorySegment x, MemorySegment out) {
    try (Call _ = Call.begin("a4j_convert", a4j_convert_desc.layout(), descriptor)) {
      check("a4j_convert", a4j_h.a4j_convert(descriptor, x, out));
    }
  }

  public static void gru(
      MemorySegment descriptor,
      MemorySegment x,
      MemorySegment u,
      MemorySegment h,
      MemorySegment out) {
    try (Call _ = Call.begin("a4j_gru", a4j_gru_desc.layout(), descriptor)) {
      check("a4j_gru", a4j_h.a4j_gru(descriptor, x, u, h, out));
    }
  }

  /** Runs one linear attention whose descriptor is in the lease; its workspace is too. */
  public static void linearAttention(
      Workspaces.Lease lease,
      MemorySegment descriptor,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment beta,
      MemorySegment state,
      MemorySegment out) {
    try (Call _ =
        Call.begin("a4j_linear_attention", a4j_linear_attention_desc.layout(), descriptor)) {
      long bytes = a4j_h.a4j_linear_attention_workspace_bytes(descriptor);
      if (bytes < 0) {
        check("a4j_linear_attention_workspace_bytes", (int) -bytes);
      }
      MemorySegment workspace = lease.workspace(bytes);
      check(
          "a4j_linear_attention",
          a4j_h.a4j_linear_attention(
              descriptor, q, k, v, decay, beta, state, out, workspace, workspace.byteSize()));
    }
  }

  // ---- Areas ----

  public static void dropoutMask(MemorySegment descriptor, MemorySegment keep) {
    try (Call _ = Call.begin("a4j_dropout", a4j_dropout_desc.layout(), descriptor)) {
      check("a4j_dropout", a4j_h.a4j_dropout(descriptor, keep));
    }
  }

  public static void areaFeatures(
      MemorySegment descriptor,
      MemorySegment x,
      MemorySegment noise,
      MemorySegment mean,
      MemorySegment sum,
      MemorySegment max,
      MemorySegment deviation) {
    try (Call call = Call.begin("a4j_area_features", a4j_area_desc.layout(), descriptor)) {
      if (call.isRecorded() && noise.address() != 0) {
        call.moves(CallBytes.noise(a4j_area_desc.layout(), descriptor));
      }
      check(
          "a4j_area_features",
          a4j_h.a4j_area_features(descriptor, x, noise, mean, sum, max, deviation));
    }
  }

  // ---- Statuses ----

  private static void check(String function, int status) {
    if (status != a4j_h.A4J_OK()) {
      throw failure(function, status);
    }
  }

  private static RuntimeException failure(String function, int status) {
    String message = function + " refused the call: " + describe(status);
    return status > 0 && status < FIRST_MACHINE_STATUS
        ? new IllegalArgumentException(message)
        : new AttentionException(status, message);
  }

  private static String describe(int status) {
    return string(a4j_h.a4j_status_name(status)) + ", " + string(a4j_h.a4j_status_message(status));
  }

  private static String string(MemorySegment text) {
    return text.getString(0);
  }
}
