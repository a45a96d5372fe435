package io.github.attention4j.bench;

import java.util.List;
import java.util.Optional;

/**
 * Rows beside what was recorded on another machine: our share of this machine's limit over theirs
 * of that machine's.
 */
final class RecordedRows {
  /** Its keys and values are larger than any cache, so its sum reads memory. */
  private static final String FROM_MEMORY = "D4";

  private final List<PeersRow> rows;
  private final Recorded recorded;

  /** The best of those recorded, and how many times its share ours is. */
  record Best(String who, double share, double ahead) {}

  RecordedRows(List<PeersRow> rows, Recorded recorded) {
    this.rows = rows;
    this.recorded = recorded;
  }

  Recorded recorded() {
    return recorded;
  }

  /**
   * A share here as those recorded are counted: a step by the speed of memory, whether or not it
   * would fit into a cache.
   */
  double share(PeersRow row, String who) {
    if (row.workload().bytes() == 0) {
      return row.share(who);
    }
    return rows.stream()
        .filter(other -> other.name().equals(FROM_MEMORY) && other.threads() == row.threads())
        .filter(other -> other.has(LimitContender.SUM))
        .mapToDouble(other -> speed(row, who) / speed(other, LimitContender.SUM))
        .findFirst()
        .orElse(Double.NaN);
  }

  private static double speed(PeersRow row, String who) {
    return row.workload().bytes() / row.millis(who);
  }

  double ahead(String who, PeersRow row) {
    return share(row, Peers.OURS) / recorded.share(who, row.workload(), row.threads());
  }

  /** The best of all, or of those that can be had as they are shipped. */
  Optional<Best> best(PeersRow row, boolean asShipped) {
    return recorded
        .best(row.workload(), row.threads(), asShipped)
        .map(best -> new Best(best.who(), best.share(), share(row, Peers.OURS) / best.share()));
  }
}
