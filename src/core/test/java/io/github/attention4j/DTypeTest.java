package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.EnumSet;
import java.util.Random;
import org.junit.jupiter.api.Test;

class DTypeTest {
  private static final float LARGEST_BF16 = Float.intBitsToFloat(0x7f7f_0000);

  @Test
  void shouldKnowTheSizeOfEveryType() {
    assertEquals(4, DType.F32.bytes());
    assertEquals(2, DType.BF16.bytes());
    assertEquals(2, DType.F16.bytes());
    assertEquals(4, DType.I32.bytes());
    assertEquals(8, DType.I64.bytes());
    assertEquals(1, DType.BOOL.bytes());
  }

  @Test
  void shouldCallThreeTypesFloats() {
    EnumSet<DType> floats = EnumSet.noneOf(DType.class);
    for (DType dtype : DType.values()) {
      if (dtype.isFloat()) {
        floats.add(dtype);
      }
    }
    assertEquals(EnumSet.of(DType.F32, DType.BF16, DType.F16), floats);
  }

  @Test
  void shouldReturnEveryBf16UnchangedFromFloat() {
    for (int bits = 0; bits <= 0xffff; bits++) {
      float widened = DType.bf16ToFloat((short) bits);
      int quiet = Float.isNaN(widened) ? 0x40 : 0;
      assertEquals((short) (bits | quiet), DType.floatToBf16(widened), Integer.toHexString(bits));
    }
  }

  @Test
  void shouldRoundBf16TiesToEven() {
    assertEquals((short) 0x3f80, DType.floatToBf16(Float.intBitsToFloat(0x3f80_8000)));
    assertEquals((short) 0x3f82, DType.floatToBf16(Float.intBitsToFloat(0x3f81_8000)));
    assertEquals((short) 0x3f81, DType.floatToBf16(Float.intBitsToFloat(0x3f80_8001)));
    assertEquals((short) 0x3f81, DType.floatToBf16(Float.intBitsToFloat(0x3f81_7fff)));
    assertEquals((short) 0xbf82, DType.floatToBf16(Float.intBitsToFloat(0xbf81_8000)));
  }

  @Test
  void shouldRoundWhatExceedsTheLargestBf16ToInfinity() {
    short infinity = (short) 0x7f80;
    assertEquals(infinity, DType.floatToBf16(Float.MAX_VALUE));
    assertEquals(infinity, DType.floatToBf16(Float.intBitsToFloat(0x7f7f_8000)));
    assertEquals((short) 0x7f7f, DType.floatToBf16(Float.intBitsToFloat(0x7f7f_7fff)));
    assertEquals((short) 0xff80, DType.floatToBf16(Float.NEGATIVE_INFINITY));
  }

  @Test
  void shouldKeepNanWhosePayloadLiesInTheLowerHalfAlone() {
    for (int bits : new int[] {0x7f80_0001, 0xff80_ffff, 0x7fff_ffff, 0xffff_ffff}) {
      assertTrue(Float.isNaN(DType.bf16ToFloat(DType.floatToBf16(Float.intBitsToFloat(bits)))));
    }
  }

  @Test
  void shouldRoundToTheNearestBf16() {
    Random random = new Random(1);
    for (int i = 0; i < 200_000; i++) {
      float value = Float.intBitsToFloat(random.nextInt());
      if (Float.isNaN(value) || Math.abs(value) > LARGEST_BF16) {
        continue;
      }
      short rounded = DType.floatToBf16(value);
      double error = distance(rounded, value);
      int below = rounded - 1;
      int above = rounded + 1;
      assertFalse(distance((short) below, value) < error, () -> "seed 1, value " + value);
      assertFalse(distance((short) above, value) < error, () -> "seed 1, value " + value);
    }
  }

  private static double distance(short bf16, float value) {
    return Math.abs((double) DType.bf16ToFloat(bf16) - value);
  }
}
