package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * One call of the native attention operation, plain or differential: {@link Attention} and {@link
 * Differential} fill in the sizes and the strides, which are all that they differ in, and run it.
 *
 * <p>The arguments' types, shapes and memory are checked by the filling side for q, k, v and out,
 * and here for everything else.
 */
final class AttentionCall {
  final Tensor q;
  final Tensor k;
  final Tensor v;
  final Tensor out;

  /**
   * 4 where the tensors have a head dimension, 3 where they have one head and no dimension for it.
   */
  final int rank;

  long batch;
  long headsQ;
  long headsKv;
  long lenQ;
  long lenK;
  long dimQk;
  long dimV;
  int maps = 1;
  int keyMap = Descriptor.KEY_PAIRS;
  int valueParts = 1;

  long strideHeadQ;
  long strideMapQ;
  long strideHeadK;
  long strideMapK;
  long strideHeadV;
  long stridePartV;

  /** For differential attention: a tensor with its strides, or else one number for all. */
  Tensor lambda;

  float lambdaValue;
  long strideBatchLambda;
  long strideHeadLambda;
  long strideRowLambda;

  AttentionCall(Tensor q, Tensor k, Tensor v, Tensor out) {
    this.q = q;
    this.k = k;
    this.v = v;
    this.out = out;
    this.rank = q.rank();
    Checks.rankOf3Or4("q", q);
    checkMember("k", k);
    checkMember("v", v);
    checkMember("out", out);
    Checks.input("q", q);
    Checks.input("k", k);
    Checks.input("v", v);
    Checks.output("out", out);
    batch = q.size(0);
    lenQ = q.size(-2);
    lenK = k.size(-2);
    dimQk = q.size(-1);
    Checks.equal("k", "q", "batch", k.size(0), batch);
    Checks.equal("v", "k", "batch", v.size(0), k.size(0));
    Checks.equal("out", "q", "batch", out.size(0), batch);
    Checks.equal("k", "q", "dim", k.size(-1), dimQk);
    Checks.equal("v", "k", "lenK", v.size(-2), lenK);
    Checks.equal("out", "q", "lenQ", out.size(-2), lenQ);
    Checks.positive("q.dim", dimQk);
    Checks.positive("v.dim", v.size(-1));
    Checks.packedRows("q", q);
    Checks.packedRows("k", k);
    Checks.packedRows("v", v);
    Checks.packedRows("out", out);
  }

  private void checkMember(String name, Tensor tensor) {
    if (tensor.rank() != rank) {
      Checks.equal(name + ".rank", tensor.rank(), "q.rank", rank);
    }
  }

  /** The number of heads of a tensor: 1 where there is no dimension for it. */
  static long heads(Tensor tensor) {
    return tensor.rank() == 4 ? tensor.size(1) : 1;
  }

  static long headStride(Tensor tensor) {
    return tensor.rank() == 4 ? tensor.stride(1) : 0;
  }

  /** Checks what is left, and computes. */
  void run(Mask mask, Extras extras, float scale, int threads) {
    Checks.disjoint("out", out, "q", q);
    Checks.disjoint("out", out, "k", k);
    Checks.disjoint("out", out, "v", v);
    checkOutput("logsumexp", extras.logsumexp());
    checkOutput("weights", extras.weights());
    checkShapes(extras);
    if (extras.logsumexp() != null && extras.weights() != null) {
      Checks.disjoint("weights", extras.weights(), "logsumexp", extras.logsumexp());
    }
    checkInput("mask.allow", mask.allow(), DType.BOOL, extras);
    checkInput("mask.bias", mask.bias(), DType.F32, extras);
    checkInput("keep", extras.keep(), DType.BOOL, extras);
    checkInput("lambda", lambda, DType.F32, extras);
    if (mask.keyLengthsTensor() != null) {
      checkInput("mask.keyLengths", mask.keyLengthsTensor(), DType.I32, extras);
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      compute(lease, mask, extras, scale, threads);
    }
  }

  private void compute(Workspaces.Lease lease, Mask mask, Extras extras, float scale, int threads) {
    MemorySegment d =
        Descriptor.attention(lease, threads, scale, mask.hasKeyLengths() ? batches(mask) : 0);
    if (mask.hasKeyLengths()) {
      putKeyLengths(d, mask);
    }
    Descriptor.options(d, maps, keyMap, valueParts);
    Descriptor.window(d, mask.alignment(), Descriptor.UNBOUNDED, mask.windowRight(), lenK);
    Descriptor.logsumexpStrides(d, headsQ * maps * lenQ, maps * lenQ, lenQ);
    Descriptor.sizes(d, batch, headsQ, headsKv, lenQ, lenK, dimQk, dimV);
    Descriptor.queryStrides(d, q.stride(0), strideHeadQ, strideMapQ, q.stride(-2));
    Descriptor.keyStrides(d, k.stride(0), strideHeadK, strideMapK, k.stride(-2));
    Descriptor.valueStrides(d, v.stride(0), strideHeadV, stridePartV, v.stride(-2));
    Descriptor.outStrides(d, out.stride(0), headStride(out), out.stride(-2));
    Tensor allow = mask.allow();
    if (allow != null) {
      checkBroadcast("mask.allow", allow);
      Descriptor.maskStrides(
          d, strideBatch(allow), strideHead(allow), strideRow(allow), strideKey(allow));
    }
    Tensor bias = mask.bias();
    if (bias != null) {
      checkBroadcast("mask.bias", bias);
      Descriptor.biasStrides(
          d, strideBatch(bias), strideHead(bias), strideRow(bias), strideKey(bias));
    }
    Tensor keep = extras.keep();
    if (keep != null) {
      checkBroadcast("keep", keep);
      Descriptor.keep(
          d,
          extras.keepScale(),
          strideBatch(keep),
          strideHead(keep),
          strideRow(keep),
          strideKey(keep));
    }
    MemorySegment lambdas = MemorySegment.NULL;
    if (maps == 2) {
      Descriptor.lambdaStrides(d, strideBatchLambda, strideHeadLambda, strideRowLambda);
      lambdas = lambda == null ? lease.scalar(lambdaValue) : Checks.first(lambda);
    }
    if (out.count() == 0) {
      return;
    }
    Downcalls.attention(
        lease,
        d,
        Checks.first(q),
        Checks.first(k),
        Checks.first(v),
        Checks.firstOrNull(allow),
        Checks.firstOrNull(bias),
        Checks.firstOrNull(keep),
        lambdas,
        Checks.first(out),
        Checks.firstOrNull(extras.logsumexp()),
        Checks.firstOrNull(extras.weights()));
  }

  // ---- Key lengths ----

  private int batches(Mask mask) {
    Checks.equal("mask.keyLengths.length", mask.keyLengthsCount(), "q.batch", batch);
    return Math.toIntExact(batch);
  }

  private void putKeyLengths(MemorySegment d, Mask mask) {
    for (int b = 0; b < batch; b++) {
      int length = mask.keyLength(b);
      if (length < 0 || length > lenK) {
        Checks.inRange("mask.keyLengths[" + b + "]", length, 0, lenK);
      }
      Descriptor.keyLength(d, b, length);
    }
  }

  // ---- Outputs beside out ----

  private void checkOutput(String name, Tensor tensor) {
    if (tensor != null) {
      Checks.output(name, tensor);
      Checks.contiguous(name, tensor);
      Checks.disjoint(name, tensor, "q", q);
      Checks.disjoint(name, tensor, "k", k);
      Checks.disjoint(name, tensor, "v", v);
      Checks.disjoint(name, tensor, "out", out);
    }
  }

  private void checkShapes(Extras extras) {
    if (extras.logsumexp() != null) {
      if (maps == 2) {
        Checks.shape(
            "logsumexp", extras.logsumexp(), "[batch, pairs, 2, lenQ]", batch, headsQ, 2, lenQ);
      } else if (rank == 4) {
        Checks.shape("logsumexp", extras.logsumexp(), "[batch, heads, lenQ]", batch, headsQ, lenQ);
      } else {
        Checks.shape("logsumexp", extras.logsumexp(), "[batch, lenQ]", batch, lenQ);
      }
    }
    if (extras.weights() != null) {
      if (rank == 4) {
        Checks.shape(
            "weights", extras.weights(), "[batch, heads, lenQ, lenK]", batch, headsQ, lenQ, lenK);
      } else {
        Checks.shape("weights", extras.weights(), "[batch, lenQ, lenK]", batch, lenQ, lenK);
      }
    }
  }

  // ---- Inputs beside q, k and v ----

  private void checkInput(String name, Tensor tensor, DType dtype, Extras extras) {
    if (tensor != null) {
      Checks.input(name, tensor, dtype);
      Checks.disjoint("out", out, name, tensor);
      if (extras.logsumexp() != null) {
        Checks.disjoint("logsumexp", extras.logsumexp(), name, tensor);
      }
      if (extras.weights() != null) {
        Checks.disjoint("weights", extras.weights(), name, tensor);
      }
    }
  }

  /** Whether the tensor's dimensions, aligned from the last, are those of the weights or 1. */
  private void checkBroadcast(String name, Tensor tensor) {
    int t = tensor.rank();
    boolean fits =
        t <= rank
            && (t < 1 || fits(tensor.size(-1), lenK))
            && (t < 2 || fits(tensor.size(-2), lenQ))
            && (t < 3 || fits(tensor.size(-3), rank == 4 ? headsQ : batch))
            && (t < 4 || fits(tensor.size(-4), batch));
    if (!fits) {
      throw new IllegalArgumentException(
          name
              + " must broadcast to "
              + (rank == 4
                  ? "[batch, heads, lenQ, lenK] = "
                      + Arrays.toString(new long[] {batch, headsQ, lenQ, lenK})
                  : "[batch, lenQ, lenK] = " + Arrays.toString(new long[] {batch, lenQ, lenK}))
              + ": "
              + name
              + ".shape="
              + Arrays.toString(tensor.shape()));
    }
  }

  private static boolean fits(long size, long wanted) {
    return size == wanted || size == 1;
  }

  private long strideBatch(Tensor tensor) {
    return stride(tensor, rank);
  }

  private long strideHead(Tensor tensor) {
    return rank == 4 ? stride(tensor, 3) : 0;
  }

  private static long strideRow(Tensor tensor) {
    return stride(tensor, 2);
  }

  private static long strideKey(Tensor tensor) {
    return stride(tensor, 1);
  }

  private static long stride(Tensor tensor, int fromEnd) {
    return fromEnd > tensor.rank() || tensor.size(-fromEnd) == 1 ? 0 : tensor.stride(-fromEnd);
  }
}
