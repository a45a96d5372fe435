package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;

/**
 * Copies of one way that take turns, so that the weights of a projection come from memory at each
 * call, as those of a model of many layers do.
 */
final class RotatingWay implements Way {
  /** The bytes of the weights of all copies, more than a cache holds. */
  private static final double LEAST_BYTES = 160 << 20;

  private final List<Way> copies;
  private int next;

  private RotatingWay(List<Way> copies) {
    this.copies = copies;
  }

  /** Opens as many copies as a projection's weights need. */
  static Way of(Workload.Product product, Contender.Opening opening) throws Exception {
    List<Way> copies = new ArrayList<>();
    try {
      do {
        copies.add(opening.open());
      } while (copies.size() * product.weightBytes() < LEAST_BYTES);
    } catch (Exception e) {
      copies.forEach(Way::close);
      throw e;
    }
    return new RotatingWay(copies);
  }

  @Override
  public String name() {
    return copies.getFirst().name();
  }

  @Override
  public void run() {
    copies.get(next++ % copies.size()).run();
  }

  /** The result of the copy that ran last. */
  @Override
  public float[] result() {
    return copies.get((next + copies.size() - 1) % copies.size()).result();
  }

  @Override
  public void close() {
    copies.forEach(Way::close);
  }
}
