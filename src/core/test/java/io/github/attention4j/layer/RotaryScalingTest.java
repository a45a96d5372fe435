package io.github.attention4j.layer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.foreign.Arena;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** The expected numbers were computed in double from the published formulas by another program. */
class RotaryScalingTest {
  private static final int DIM = 16;

  private static void require(RotaryScaling scaling, long positions, double... wanted) {
    double[] got = scaling.frequencies(DIM, 10_000, positions);
    assertEquals(wanted.length, got.length);
    for (int i = 0; i < wanted.length; i++) {
      assertEquals(wanted[i], got[i], 1e-14 * wanted[i], scaling + ", pair " + i);
    }
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldFallGeometricallyWithoutScaling() {
    require(
        RotaryScaling.none(),
        100,
        1.0,
        0.31622776601683794,
        0.1,
        0.03162277660168379,
        0.01,
        0.0031622776601683794,
        0.001,
        0.00031622776601683794);
  }

  /** f / 4 */
  @Test
  void shouldDivideEveryFrequencyWhenInterpolatingPositions() {
    require(
        RotaryScaling.linear(4),
        100,
        0.25,
        0.07905694150420949,
        0.025,
        0.007905694150420948,
        0.0025,
        0.0007905694150420948,
        0.00025,
        7.905694150420948e-05);
  }

  /** base' = 10000 * 4^(16/14): the first is unchanged, the last is interpolated by 4. */
  @Test
  void shouldRaiseTheBaseWhenScalingByNtk() {
    require(
        RotaryScaling.ntk(4),
        100,
        1.0,
        0.25941281701492275,
        0.0672950096316178,
        0.017457188019584336,
        0.004528618321319533,
        0.0011747816359188909,
        0.00030475341355111886,
        7.905694150420948e-05);
  }

  /** base' = 10000 * (2 * 300 / 100 - 1)^(16/14) */
  @Test
  void shouldRaiseTheBaseWithTheLengthWhenScalingDynamically() {
    RotaryScaling scaling = RotaryScaling.dynamicNtk(2, 100);
    require(
        scaling,
        300,
        1.0,
        0.25127376217164404,
        0.06313850355589193,
        0.01586504932637669,
        0.0039864706312773765,
        0.0010016954733078351,
        0.0002516997901283654,
        6.324555320336759e-05);
    require(scaling, 100, RotaryScaling.none().frequencies(DIM, 10_000, 100));
    require(scaling, 1, RotaryScaling.none().frequencies(DIM, 10_000, 1));
  }

  /** The ramp goes from pair 2 to pair 6: 16 ln(2048 / (2 pi turns)) / (2 ln 10000), outwards. */
  @Test
  void shouldInterpolateOnlySlowPairsInYarn() {
    RotaryScaling scaling = RotaryScaling.yarn(8, 2048);
    require(
        scaling,
        100,
        1.0,
        0.31622776601683794,
        0.1,
        0.02470529422006546,
        0.005625,
        0.0010870329456828805,
        0.000125,
        3.952847075210474e-05);
    assertEquals(1.2079441541679836, scaling.magnitude(), 1e-15);
    assertEquals(0.9, scaling.withMagnitude(0.9).magnitude());
    assertEquals(1, RotaryScaling.yarnMagnitude(0.5, 1));
  }

  /** The ramp goes from 2.618 to 4.424. */
  @Test
  void shouldTakeTheEndsOfYarnsRampAsTheyAreWhereTheyAreNotTruncated() {
    require(
        RotaryScaling.yarn(8, 2048, 16, 2, false),
        100,
        1.0,
        0.31622776601683794,
        0.1,
        0.025771617010610374,
        0.003305222402196121,
        0.0003952847075210474,
        0.000125,
        3.952847075210474e-05);
  }

  /** Llama 3.1's parameters: base 500 000, 64 pairs; pairs 29 to 34 are mixed. */
  @Test
  void shouldMixFrequenciesBetweenTwoWavelengthsInLlama3() {
    double[] got = RotaryScaling.llama3(8, 1, 4, 8192).frequencies(128, 500_000, 131_072);
    int[] pairs = {0, 20, 28, 29, 30, 33, 35, 36, 40, 63};
    double[] wanted = {
      1.0,
      0.016560440080994446,
      0.003211445994752591,
      0.002166570763503359,
      0.0013718935677611381,
      0.00031269375038406517,
      9.556212353964683e-05,
      7.78465527393245e-05,
      3.428102195952591e-05,
      3.068925988914511e-07
    };
    for (int i = 0; i < pairs.length; i++) {
      assertEquals(wanted[i], got[pairs[i]], 1e-14 * wanted[i], "pair " + pairs[i]);
    }
  }

  @Test
  void shouldPutFrequenciesAndMagnitudeIntoTheTable() {
    try (Arena arena = Arena.ofConfined()) {
      RotaryScaling scaling = RotaryScaling.yarn(8, 2048);
      RotaryTable table = RotaryTable.compute(arena, 50, DIM, 10_000, scaling);
      double[] frequencies = scaling.frequencies(DIM, 10_000, 50);
      for (int p = 0; p < 50; p++) {
        for (int i = 0; i < DIM / 2; i++) {
          double angle = p * frequencies[i];
          double length = 0.1 * Math.log(8) + 1;
          assertEquals(length * Math.cos(angle), table.cos().getFloat(p, i), 1e-7);
          assertEquals(length * Math.sin(angle), table.sin().getFloat(p, i), 1e-7);
        }
      }
      RotaryTable plain = RotaryTable.compute(arena, 50, DIM, 10_000);
      assertEquals((float) Math.cos(49), plain.cos().getFloat(49, 0));
    }
  }

  @Test
  void shouldNameTheRuleAndItsNumbers() {
    assertEquals("none", RotaryScaling.none().toString());
    assertEquals("linear(factor=4.0)", RotaryScaling.linear(4).toString());
    assertEquals(
        "ntk(factor=2.0) with magnitude 0.5", RotaryScaling.ntk(2).withMagnitude(0.5).toString());
  }

  @Test
  void shouldRefuseNumbersThatMakeNoSense() {
    refuse("factor must be a positive number: factor=0.0", () -> RotaryScaling.linear(0));
    refuse("factor must be a positive number: factor=NaN", () -> RotaryScaling.ntk(Double.NaN));
    refuse(
        "factor must be a number of at least 1: factor=0.5",
        () -> RotaryScaling.dynamicNtk(0.5, 8));
    refuse(
        "originalPositions must be at least 1: originalPositions=0",
        () -> RotaryScaling.yarn(2, 0));
    refuse(
        "betaFast must be at least betaSlow: betaFast=1.0, betaSlow=2.0",
        () -> RotaryScaling.yarn(2, 8, 1, 2, true));
    refuse(
        "highFrequencyFactor must be more than lowFrequencyFactor: highFrequencyFactor=4.0, "
            + "lowFrequencyFactor=4.0",
        () -> RotaryScaling.llama3(8, 4, 4, 8192));
    refuse(
        "magnitude must be a positive number: magnitude=-1.0",
        () -> RotaryScaling.none().withMagnitude(-1));
    refuse(
        "rotaryDim must be more than 2 to scale the base: rotaryDim=2",
        () -> RotaryScaling.ntk(2).frequencies(2, 10_000, 10));
    refuse(
        "base must not be 1 for YaRN: base=1.0",
        () -> RotaryScaling.yarn(2, 8).frequencies(8, 1, 10));
    refuse(
        "base must be a positive number: base=Infinity",
        () -> RotaryScaling.none().frequencies(8, Double.POSITIVE_INFINITY, 10));
  }
}
