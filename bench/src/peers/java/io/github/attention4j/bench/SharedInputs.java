package io.github.attention4j.bench;

/** The numbers of the last shape requested, which all ways of a contender and the check share. */
final class SharedInputs {
  private static Shape shape;
  private static Inputs inputs;

  private SharedInputs() {}

  static Inputs of(Shape wanted) {
    if (!wanted.equals(shape)) {
      inputs = new Inputs(wanted);
      shape = wanted;
    }
    return inputs;
  }

  /** The same numbers rounded to bfloat16, unless they are stored in float32. */
  static Inputs of(Shape wanted, Storage storage) {
    Inputs drawn = of(wanted);
    return storage == Storage.F32
        ? drawn
        : new Inputs(rounded(drawn.q()), rounded(drawn.k()), rounded(drawn.v()));
  }

  private static float[] rounded(float[] values) {
    float[] all = new float[values.length];
    for (int i = 0; i < all.length; i++) {
      int bits = Float.floatToRawIntBits(values[i]);
      all[i] = Float.intBitsToFloat(bits + 0x7fff + (bits >>> 16 & 1) & 0xffff0000);
    }
    return all;
  }
}
