package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Map;
import java.util.TreeMap;

/**
 * Memory for the intermediate results of a pass, and the views of it that operations use.
 *
 * <pre>
 *   packed  [1, rows, …]   | query heads | key heads | value heads |   one row for each token
 *   gateUp  [1, rows, …]   | gate                | up              |
 * </pre>
 *
 * <p>Views are created once and used for every token.
 */
public final class Room {
  private final Specification specification;

  final Tensor x;
  final Tensor normed;
  final Tensor packed;
  final Tensor read;
  final Tensor inner;

  /** The result of a branch before it is added to x. */
  final Tensor branch;

  /** All query and key heads, which one operation rotates. */
  final Tensor turned;

  final Tensor q;
  final Tensor k;
  final Tensor v;

  /** All query heads, and all key heads, each as rows of full width. */
  final Tensor qRows;

  final Tensor kRows;

  /** The output of attention by heads or pairs. */
  final Tensor readByMap;

  /** The same, one row for each token and pair. */
  final Tensor readRows;

  private final Map<Integer, Hidden> hidden = new TreeMap<>();

  /** The inner rows of a feed-forward network of one width. */
  record Hidden(Tensor both, Tensor gate, Tensor up) {}

  Room(Arena arena, Specification specification, int rows) {
    this(
        specification,
        Tensor.allocate(arena, DType.F32, 1, rows, specification.width()),
        Tensor.allocate(arena, DType.F32, 1, rows, specification.width()),
        Tensor.allocate(
            arena, DType.F32, 1, rows, widthQ(specification) + 2 * widthKv(specification)),
        Tensor.allocate(arena, DType.F32, 1, rows, widthQ(specification)),
        Tensor.allocate(arena, DType.F32, 1, rows, mostInner(specification)),
        Tensor.allocate(arena, DType.F32, 1, rows, specification.width()));
  }

  private Room(
      Specification specification,
      Tensor x,
      Tensor normed,
      Tensor packed,
      Tensor read,
      Tensor inner,
      Tensor branch) {
    this.specification = specification;
    this.x = x;
    this.normed = normed;
    this.packed = packed;
    this.read = read;
    this.inner = inner;
    this.branch = branch;
    int heads = specification.attention().heads();
    int headsKv = specification.attention().headsKv();
    Tensor all = packed.splitHeads(heads + 2L * headsKv);
    turned = all.slice(1, 0, heads + headsKv);
    q = all.slice(1, 0, heads);
    k = all.slice(1, heads, headsKv);
    v = all.slice(1, heads + headsKv, headsKv);
    qRows = packed.slice(2, 0, widthQ(specification));
    kRows = packed.slice(2, widthQ(specification), widthKv(specification));
    readByMap = read.splitHeads(specification.maps());
    readRows =
        read.reshape(
            rows() * (long) specification.maps(), widthQ(specification) / specification.maps());
  }

  private static long widthQ(Specification specification) {
    return (long) specification.attention().heads() * specification.attention().dim();
  }

  private static long widthKv(Specification specification) {
    return (long) specification.attention().headsKv() * specification.attention().dim();
  }

  private static long mostInner(Specification specification) {
    long most = 0;
    for (Specification.Block block : specification.blocks()) {
      for (Specification.Network network : block.feedForward().networks()) {
        most = Math.max(most, (network.gated() ? 2L : 1L) * network.hidden());
      }
    }
    return most;
  }

  /** The number of tokens that fit. */
  public int rows() {
    return (int) x.size(1);
  }

  /** The beginning of this room, for fewer tokens. */
  public Room first(int rows) {
    return rows == rows()
        ? this
        : new Room(
            specification,
            x.slice(1, 0, rows),
            normed.slice(1, 0, rows),
            packed.slice(1, 0, rows),
            read.slice(1, 0, rows),
            inner.slice(1, 0, rows),
            branch.slice(1, 0, rows));
  }

  /** The inner rows of a gated network of this width. */
  Hidden gated(int width) {
    return hidden.computeIfAbsent(
        width,
        w -> new Hidden(inner.slice(2, 0, 2L * w), inner.slice(2, 0, w), inner.slice(2, w, w)));
  }

  /** The inner rows of a network of this width without a gate. */
  Tensor ungated(int width) {
    return hidden.computeIfAbsent(-width, w -> new Hidden(null, null, inner.slice(2, 0, -w))).up();
  }

  /** A view {@code [1, …]} of some of the rows. */
  static Tensor rows(Tensor of, int from, int rows) {
    return of.slice(of.rank() - 2, from, rows);
  }
}
