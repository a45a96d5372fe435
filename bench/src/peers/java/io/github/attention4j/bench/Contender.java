package io.github.attention4j.bench;

import java.util.List;

/** One that takes part, alone in its process. */
interface Contender {
  /** Versions and settings, in a line. */
  String about();

  /** The ways in which it computes a workload; none if it cannot. */
  List<Opening> ways(Workload workload);

  /** Called once before the first turn, for what a compiler must see first. */
  default void warmUp() {}

  /** Prepares a way: inputs, sessions, whatever is not to be timed. */
  interface Opening {
    Way open() throws Exception;
  }
}
