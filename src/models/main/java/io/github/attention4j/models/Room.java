package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;

/**
 * Room for what a model computes on its way through a number of tokens, and the views through which
 * its operations see it.
 *
 * <pre>
 *   packed  [1, rows, …]   | query heads | key heads | value heads |   one row for each token
 *   gateUp  [1, rows, …]   | gate                | up              |
 * </pre>
 *
 * <p>Views are made once: decoding uses the same ones for every token.
 */
final class Room {
  private final Config config;

  final Tensor x;
  final Tensor normed;
  final Tensor packed;
  final Tensor read;
  final Tensor gateUp;

  /** All query and key heads, which turn with their position in one operation. */
  final Tensor turned;

  final Tensor q;
  final Tensor k;
  final Tensor v;

  /** What the heads or pairs have read, as attention writes it. */
  final Tensor readByMap;

  /** The same, one row for each token and pair. */
  final Tensor readRows;

  final Tensor gate;
  final Tensor up;
  final Tensor last;
  final Tensor lastNormed;

  Room(Arena arena, Config config, int rows) {
    this(
        config,
        Tensor.allocate(arena, DType.F32, 1, rows, config.width()),
        Tensor.allocate(arena, DType.F32, 1, rows, config.width()),
        Tensor.allocate(arena, DType.F32, 1, rows, config.widthQ() + 2 * config.widthKv()),
        Tensor.allocate(arena, DType.F32, 1, rows, config.widthQ()),
        Tensor.allocate(arena, DType.F32, 1, rows, 2L * config.hidden()));
  }

  private Room(Config config, Tensor x, Tensor normed, Tensor packed, Tensor read, Tensor gateUp) {
    this.config = config;
    this.x = x;
    this.normed = normed;
    this.packed = packed;
    this.read = read;
    this.gateUp = gateUp;
    int heads = config.heads();
    int headsKv = config.headsKv();
    Tensor all = packed.splitHeads(heads + 2L * headsKv);
    turned = all.slice(1, 0, heads + headsKv);
    q = all.slice(1, 0, heads);
    k = all.slice(1, heads, headsKv);
    v = all.slice(1, heads + headsKv, headsKv);
    readByMap = read.splitHeads(config.maps());
    readRows = read.reshape(rows() * (long) config.maps(), config.widthQ() / config.maps());
    gate = gateUp.slice(2, 0, config.hidden());
    up = gateUp.slice(2, config.hidden(), config.hidden());
    last = x.select(0, 0).slice(0, rows() - 1, 1);
    lastNormed = normed.select(0, 0).slice(0, rows() - 1, 1);
  }

  /** For how many tokens there is room. */
  int rows() {
    return (int) x.size(1);
  }

  /** The beginning of this room, for fewer tokens. */
  Room first(int rows) {
    return rows == rows()
        ? this
        : new Room(
            config,
            x.slice(1, 0, rows),
            normed.slice(1, 0, rows),
            packed.slice(1, 0, rows),
            read.slice(1, 0, rows),
            gateUp.slice(1, 0, rows));
  }
}
