package io.github.attention4j.bench;

import java.util.List;

/** The limits of the machine, each as a contender of its own. */
final class LimitContender implements Contender {
  /** Multiply-adds that never leave the registers. */
  static final String FMA = "fma";

  /** The same of dot products of pairs of bfloat16, if the CPU has them. */
  static final String DOT = "dot";

  /** A vectorised sum over as many bytes as must be read. */
  static final String SUM = "sum";

  /** The matrix product of the BLAS that attention4j brings. */
  static final String SGEMM = "sgemm";

  /** The same sum at the speed of memory itself, for what might fit into a cache. */
  static final String MEMORY = "memory";

  /** More than a cache holds. */
  private static final double MEMORY_BYTES = 256 << 20;

  /** Not a limit, but it matters to two threads: how fast a core reads what another has written. */
  static final String HANDOVER = "handover";

  /** How much of it. */
  static final double HANDOVER_BYTES = 2 << 20;

  static final List<String> NAMES = List.of(FMA, DOT, SUM, SGEMM);

  private final String name;
  private final int threads;
  private final Sgemm sgemm;

  LimitContender(String name, int threads) {
    this.name = name;
    this.threads = threads;
    sgemm = name.equals(SGEMM) ? new Sgemm(threads) : null;
  }

  /**
   * Attention alone: attention4j's process sums the very keys and values that it reads, and the
   * process of the sum measures memory.
   */
  static boolean ofOurs(Workload workload) {
    return workload instanceof Workload.Step && workload.storage() == Storage.F32;
  }

  @Override
  public String about() {
    return switch (name) {
      case FMA -> "multiply-adds in registers, " + Limits.isa();
      case DOT -> "dot products of bfloat16 in registers, " + Limits.isa();
      case SUM ->
          "a vectorised sum, D: over the very keys and values, in attention4j's process; T2, W and"
              + " fewer bits: over as many bytes, "
              + Limits.isa();
      default -> sgemm.about();
    };
  }

  @Override
  public void warmUp() {}

  @Override
  public List<Opening> ways(Workload workload) {
    return switch (name) {
      case FMA ->
          List.of(
              () ->
                  new LimitWay(
                      () -> workload.flops() / Limits.fmaGflops(threads),
                      new LimitWay(Limits::handoverNanos, null)));
      case DOT ->
          Limits.dotGflops(1) == 0 || workload.storage() == Storage.F32
              ? List.of()
              : List.of(
                  () -> new LimitWay(() -> workload.flops() / Limits.dotGflops(threads), null));
      case SUM ->
          workload.bytes() == 0
              ? List.of()
              : List.of(
                  () ->
                      new SumWay(
                          threads,
                          ofOurs(workload) ? MEMORY_BYTES : workload.bytes(),
                          workload.bytes()));
      default -> List.of(() -> new LimitWay(() -> workload.flops() / sgemm.gflops(), null));
    };
  }
}
