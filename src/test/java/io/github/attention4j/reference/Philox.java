package io.github.attention4j.reference;

/** Philox4x32-10 (Salmon et al. 2011), as it stands in the paper: one counter at a time. */
public final class Philox {
  private Philox() {}

  /** The four words for a counter and a key, each as an unsigned number. */
  public static long[] words(long[] counter, long key0, long key1) {
    long[] c = counter.clone();
    long k0 = key0;
    long k1 = key1;
    for (int round = 0; round < 10; round++) {
      long product0 = 0xD2511F53L * c[0];
      long product1 = 0xCD9E8D57L * c[2];
      c =
          new long[] {
            (product1 >>> 32) ^ c[1] ^ k0,
            product1 & 0xFFFFFFFFL,
            (product0 >>> 32) ^ c[3] ^ k1,
            product0 & 0xFFFFFFFFL
          };
      k0 = (k0 + 0x9E3779B9L) & 0xFFFFFFFFL;
      k1 = (k1 + 0xBB67AE85L) & 0xFFFFFFFFL;
    }
    return c;
  }

  /** The number in [0, 1) of one weight. */
  public static float uniform(long seed, long b, long h, long i, long j) {
    long[] words = words(new long[] {j / 4, i, h, b}, seed & 0xFFFFFFFFL, seed >>> 32);
    return (words[(int) (j % 4)] >>> 8) * 0x1p-24f;
  }
}
