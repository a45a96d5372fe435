package io.github.attention4j;

/** Runs the golden cases of tensor2tensor, those that begin with D: a class for each family. */
final class GoldenT2t {
  private GoldenT2t() {}

  static GoldenCase.Run runner(String system) {
    return switch (system) {
      default -> throw new AssertionError("unknown system " + system);
    };
  }
}
