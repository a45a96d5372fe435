package io.github.attention4j.bench;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One workload with one number of threads, as the tables show it.
 *
 * <p>Our share of a limit and our lead are medians over rounds of ratios taken within a round. The
 * share of a peer is ours divided by our lead, so that shares and ratios agree; medians of times
 * and of their ratios need not.
 */
record PeersRow(Contenders.Outcome outcome) {
  /** Those that a user could choose instead of attention4j. */
  static final List<String> PEERS = List.of(Peers.ORT, Peers.TORCH, Peers.ONEDNN);

  /** Contenders of ours that show what Java itself can do. */
  static final List<String> OWN = List.of(Peers.VECTOR, Peers.PLAIN);

  /** The fastest of the peers. */
  record Best(String who, double ahead) {}

  String name() {
    return outcome.workload().name();
  }

  Workload workload() {
    return outcome.workload();
  }

  /** Whether its numbers are stored in fewer bits than float32's. */
  boolean isReduced() {
    return workload().storage() != Storage.F32;
  }

  int threads() {
    return outcome.threads();
  }

  boolean has(String who) {
    return outcome.result().has(who);
  }

  double millis(String who) {
    return has(who) ? outcome.result().median(who) / 1e6 : Double.NaN;
  }

  double gflops(String who) {
    return workload().flops() / outcome.result().median(who);
  }

  /** How many times faster we are. */
  double ahead(String who) {
    return has(who) && has(Peers.OURS) ? outcome.result().ratio(who, Peers.OURS) : Double.NaN;
  }

  /**
   * The share of the limit that counts here: reading for a step, else multiply-adds or, in 16 bits,
   * dot products of bfloat16. Weights of 8 and 4 bits count by the multiply-adds.
   */
  double share(String who) {
    String limit = bound();
    return has(who) && has(Peers.OURS) && has(limit)
        ? outcome.result().ratio(limit, Peers.OURS) / ahead(who)
        : Double.NaN;
  }

  /** A quarter and three quarters of the rounds had less than that of the limit; ours. */
  double[] shareQuartiles() {
    return has(bound())
        ? outcome.result().quartiles(bound(), Peers.OURS)
        : new double[] {Double.NaN, Double.NaN};
  }

  private String bound() {
    if (workload().bytes() > 0) {
      return LimitContender.SUM;
    }
    return workload().storage() == Storage.BF16 ? LimitContender.DOT : LimitContender.FMA;
  }

  Optional<Best> best() {
    return PEERS.stream()
        .filter(this::has)
        .map(who -> new Best(who, ahead(who)))
        .min((a, b) -> Double.compare(a.ahead, b.ahead));
  }

  /** The way that the contender chose; empty if there was only one. */
  String way(String who) {
    return has(who) ? outcome.ready().get(who).way() : "";
  }

  /** Everything, with the figures of each round. */
  Map<String, Object> json() {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("workload", name());
    fields.put("source", workload().source());
    fields.put("threads", threads());
    fields.put("flops", workload().flops());
    fields.put("bytes", workload().bytes());
    fields.put("time", outcome.time().toString());
    fields.put("rounds", outcome.result().rounds());
    fields.put("roundsRepeated", outcome.repeated());
    fields.put("roundsDisturbed", outcome.disturbed());
    Map<String, Object> contenders = new LinkedHashMap<>();
    outcome
        .ready()
        .forEach(
            (who, ready) -> {
              Map<String, Object> one = new LinkedHashMap<>();
              one.put("way", ready.way());
              one.put("error", ready.error());
              one.put("medianNanos", outcome.result().median(who));
              one.put("shareOfLimit", share(who));
              if (!who.equals(Peers.OURS) && has(Peers.OURS)) {
                one.put("timesOurs", ahead(who));
                one.put("timesOursQuartiles", outcome.result().quartiles(who, Peers.OURS));
              }
              one.put("nanos", outcome.result().figures().get(who).perRound());
              contenders.put(who, one);
            });
    fields.put("contenders", contenders);
    if (!outcome.failures().isEmpty()) {
      fields.put("failures", outcome.failures());
    }
    return fields;
  }
}
