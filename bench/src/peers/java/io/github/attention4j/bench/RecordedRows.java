package io.github.attention4j.bench;

import java.util.Optional;

/**
 * Rows beside what was recorded on another machine: our share of this machine's limit over theirs
 * of that machine's.
 */
final class RecordedRows {
  private final Recorded recorded;

  /** The best recorded result, and how many times its share ours is. */
  record Best(String who, double share, double ahead) {}

  RecordedRows(Recorded recorded) {
    this.recorded = recorded;
  }

  /**
   * A share here as those recorded are counted: a step by the speed of memory, whether or not it
   * would fit into a cache.
   */
  double share(PeersRow row, String who) {
    if (row.workload().bytes() == 0) {
      return row.share(who);
    }
    if (row.workload().storage() != Storage.F32) {
      return row.share(who); // those sums come from as much memory
    }
    return row.has(LimitContender.MEMORY) && row.has(who)
        ? row.outcome().result().ratio(LimitContender.MEMORY, Peers.OURS) / row.ahead(who)
        : Double.NaN;
  }

  double ahead(String who, PeersRow row) {
    return share(row, Peers.OURS) / recorded.share(who, row.workload(), row.threads());
  }

  /** The best of all, or of those that run as they are shipped. */
  Optional<Best> best(PeersRow row, boolean asShipped) {
    return recorded
        .best(row.workload(), row.threads(), asShipped)
        .map(best -> new Best(best.who(), best.share(), share(row, Peers.OURS) / best.share()));
  }
}
