package io.github.attention4j.models;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/** Spoils the bytes of a file in a few places: numbers above all, since memory is sized by them. */
final class Spoiling {
  private static final long[] LIMITS = {
    0,
    1,
    -1,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE,
    1L << 32,
    1L << 40,
    1L << 61,
    Long.MAX_VALUE,
    Long.MIN_VALUE
  };

  private static final List<String> VALUES =
      List.of(
          "null",
          "true",
          "\"\"",
          "[]",
          "{}",
          "0",
          "-1",
          "0.5",
          "1e308",
          "-1e-320",
          "33554432",
          "2147483647",
          "2147483648",
          "9223372036854775807",
          "99999999999999999999999999",
          "\"\\u0000\"",
          "\"../../../etc/passwd\"",
          "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
          "{\"a\": {\"a\": 1}}",
          "4",
          "64");

  private final SplittableRandom random;

  Spoiling(long seed) {
    random = new SplittableRandom(seed);
  }

  /** Spoils a copy; what is text is also spoilt as JSON. */
  byte[] spoil(byte[] original, boolean text) {
    byte[] bytes = original;
    for (int changes = 1 + random.nextInt(3); changes > 0; changes--) {
      bytes = text && random.nextInt(4) != 0 ? spoilValue(bytes) : spoilBytes(bytes);
    }
    return bytes;
  }

  /** Headers come first, and hold what is read as numbers. */
  private int place(int length) {
    int bound = random.nextBoolean() ? Math.min(length, 600) : length;
    return random.nextInt(bound + 1);
  }

  private byte[] spoilBytes(byte[] bytes) {
    int at = place(bytes.length);
    switch (random.nextInt(7)) {
      case 0:
        return Arrays.copyOf(bytes, at);
      case 1:
        return replace(bytes, at, Math.min(bytes.length, at + random.nextInt(9)), new byte[0]);
      case 2:
        byte[] more = new byte[random.nextInt(9)];
        random.nextBytes(more);
        return replace(bytes, at, at, more);
      case 3:
        int from = place(bytes.length);
        int to = Math.min(bytes.length, from + random.nextInt(64));
        return replace(bytes, at, at, Arrays.copyOfRange(bytes, from, to));
      case 4:
        byte[] number =
            ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(LIMITS[random.nextInt(LIMITS.length)])
                .array();
        int width = random.nextBoolean() ? 8 : 4;
        int end = Math.min(bytes.length, at + width);
        return replace(bytes, at, end, Arrays.copyOf(number, width));
      default:
        byte[] copy = bytes.clone();
        if (at < copy.length) {
          copy[at] ^= (byte) (1 << random.nextInt(8));
        }
        return copy;
    }
  }

  /** Replaces or removes a value of JSON, or whatever is there instead. */
  private byte[] spoilValue(byte[] bytes) {
    int start = random.nextInt(bytes.length + 1);
    while (start < bytes.length && bytes[start] != ':' && bytes[start] != ',') {
      start++;
    }
    int end = Math.min(bytes.length, start + 1);
    while (end < bytes.length && ",}]\n".indexOf(bytes[end]) < 0) {
      end++;
    }
    if (random.nextInt(6) == 0) {
      return replace(bytes, start, end, new byte[0]);
    }
    String value = VALUES.get(random.nextInt(VALUES.size()));
    return replace(bytes, Math.min(end, start + 1), end, value.getBytes(StandardCharsets.US_ASCII));
  }

  private static byte[] replace(byte[] bytes, int from, int to, byte[] by) {
    byte[] all = Arrays.copyOf(bytes, bytes.length - (to - from) + by.length);
    System.arraycopy(by, 0, all, from, by.length);
    System.arraycopy(bytes, to, all, from + by.length, bytes.length - to);
    return all;
  }
}
