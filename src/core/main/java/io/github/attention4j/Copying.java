package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Objects;

/** Attention over floats on the heap, which are copied because native code cannot read them. */
final class Copying {
  private Copying() {}

  /** Contiguous floats, on or off the heap, in either byte order. */
  record Floats(String name, MemorySegment segment, ByteOrder order) {
    static Floats of(String name, float[] values) {
      Objects.requireNonNull(values, name);
      return new Floats(name, MemorySegment.ofArray(values), ByteOrder.nativeOrder());
    }

    /** The remaining floats of a buffer, whose position does not change. */
    static Floats of(String name, FloatBuffer values) {
      Objects.requireNonNull(values, name);
      return new Floats(name, MemorySegment.ofBuffer(values), values.order());
    }

    long count() {
      return segment.byteSize() / Float.BYTES;
    }

    private ValueLayout.OfFloat layout() {
      return ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(order);
    }

    void copyTo(MemorySegment to) {
      MemorySegment.copy(segment, layout(), 0, to, ValueLayout.JAVA_FLOAT, 0, count());
    }

    void copyFrom(MemorySegment from) {
      MemorySegment.copy(from, ValueLayout.JAVA_FLOAT, 0, segment, layout(), 0, count());
    }
  }

  static void forward(
      Attention attention, AttentionShape shape, Floats q, Floats k, Floats v, Floats out) {
    Objects.requireNonNull(shape, "shape");
    requireCount(
        q, "batch * headsQ * lenQ * dim", shape.batch(), shape.headsQ(), shape.lenQ(), shape.dim());
    requireCount(
        k,
        "batch * headsKv * lenK * dim",
        shape.batch(),
        shape.headsKv(),
        shape.lenK(),
        shape.dim());
    requireCount(
        v,
        "batch * headsKv * lenK * dimV",
        shape.batch(),
        shape.headsKv(),
        shape.lenK(),
        shape.dimV());
    requireCount(
        out,
        "batch * headsQ * lenQ * dimV",
        shape.batch(),
        shape.headsQ(),
        shape.lenQ(),
        shape.dimV());
    if (out.segment.isReadOnly()) {
      throw new IllegalArgumentException("out must be writable: it is read-only");
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      Pieces pieces = new Pieces(lease.inputs(bytes(q) + bytes(k) + bytes(v) + bytes(out)));
      MemorySegment ownQ = pieces.next(bytes(q));
      MemorySegment ownK = pieces.next(bytes(k));
      MemorySegment ownV = pieces.next(bytes(v));
      final MemorySegment ownOut = pieces.next(bytes(out));
      q.copyTo(ownQ);
      k.copyTo(ownK);
      v.copyTo(ownV);
      long batch = shape.batch();
      attention.forward(
          Tensor.of(ownQ, DType.F32, batch, shape.headsQ(), shape.lenQ(), shape.dim()),
          Tensor.of(ownK, DType.F32, batch, shape.headsKv(), shape.lenK(), shape.dim()),
          Tensor.of(ownV, DType.F32, batch, shape.headsKv(), shape.lenK(), shape.dimV()),
          Tensor.of(ownOut, DType.F32, batch, shape.headsQ(), shape.lenQ(), shape.dimV()));
      out.copyFrom(ownOut);
    }
  }

  /** Cuts a segment into pieces that start at multiples of 64 bytes. */
  static final class Pieces {
    private final MemorySegment segment;
    private long at;

    Pieces(MemorySegment segment) {
      this.segment = segment;
    }

    MemorySegment next(long bytes) {
      MemorySegment piece = segment.asSlice(at, bytes);
      at += whole(bytes);
      return piece;
    }

    static long whole(long bytes) {
      return Math.addExact(bytes, 63) & -64;
    }
  }

  private static long bytes(Floats floats) {
    return Pieces.whole(floats.count() * Float.BYTES);
  }

  private static void requireCount(Floats floats, String wanted, long... sizes) {
    long count = Checks.saturatedProduct(sizes);
    if (floats.count() != count) {
      throw new IllegalArgumentException(
          "%s.length must equal %s: %s.length=%d, %s=%d"
              .formatted(floats.name, wanted, floats.name, floats.count(), wanted, count));
    }
  }
}
