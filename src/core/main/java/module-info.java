/**
 * Attention on off-heap memory at native speed.
 *
 * <p>Start Java with {@code --enable-native-access=io.github.attention4j}.
 */
module io.github.attention4j {
  requires static jdk.jfr;

  exports io.github.attention4j;
  exports io.github.attention4j.io;
  exports io.github.attention4j.layer;
  exports io.github.attention4j.internal to
      io.github.attention4j.classics,
      io.github.attention4j.models,
      io.github.attention4j.openblas;

  uses io.github.attention4j.internal.BlasBundle;
}
