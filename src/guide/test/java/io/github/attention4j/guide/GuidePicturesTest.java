package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.NadarayaWatson;
import io.github.attention4j.classics.d2l.NadarayaWatson.Kernel;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/**
 * The pictures in the guide are what the library draws today. {@code mvn -q test
 * -Dtest=GuidePicturesTest -Dguide.draw=true} draws them again.
 */
class GuidePicturesTest {
  private static final Path GUIDE = Path.of("src/guide");
  private static final boolean DRAW = Boolean.getBoolean("guide.draw");

  /** Kernel tiers round differently, which may move a colour by one. */
  private static final int TOLERANCE = 2;

  @Test
  void shouldShowTheMapsThatTheLibraryComputes() throws Exception {
    try (Arena arena = Arena.ofConfined()) {
      for (Map.Entry<String, Picture> map : Pictures.maps(arena).entrySet()) {
        Path file = GUIDE.resolve(map.getKey());
        if (DRAW) {
          Files.write(file, map.getValue().toPng());
        }
        requireAlike(map.getKey(), Picture.ofPng(Files.readAllBytes(file)), map.getValue());
      }
    }
  }

  private static void requireAlike(String name, Picture drawn, Picture now) {
    assertEquals(now.width(), drawn.width(), name);
    assertEquals(now.height(), drawn.height(), name);
    for (int n = 0; n < now.pixels().length; n++) {
      for (int shift = 0; shift <= 16; shift += 8) {
        int a = drawn.pixels()[n] >> shift & 0xff;
        int b = now.pixels()[n] >> shift & 0xff;
        assertTrue(Math.abs(a - b) <= TOLERANCE, name + " at pixel " + n);
      }
    }
  }

  @Test
  void shouldShowTheRegressionThatTheLibraryComputes() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      String now = Pictures.nile(arena, best(arena));
      Path file = GUIDE.resolve("nile.svg");
      if (DRAW) {
        Files.writeString(file, now);
      }
      String drawn = Files.readString(file);
      Pattern number = Pattern.compile("\\d+(\\.\\d+)?");
      assertEquals(number.matcher(now).replaceAll("0"), number.matcher(drawn).replaceAll("0"));
      List<MatchResult> wanted = number.matcher(now).results().toList();
      List<MatchResult> got = number.matcher(drawn).results().toList();
      for (int i = 0; i < wanted.size(); i++) {
        double a = Double.parseDouble(wanted.get(i).group());
        assertEquals(a, Double.parseDouble(got.get(i).group()), 0.11);
      }
    }
  }

  /** The width, in whole years, by which each year is best predicted from all others. */
  private static int best(Arena arena) {
    Nile nile = Nile.read(arena);
    Tensor years = NadarayaWatson.leaveOneOut(arena, nile.years());
    Tensor flows = NadarayaWatson.leaveOneOut(arena, nile.flows());
    Tensor predicted = Tensor.allocate(arena, DType.F32, nile.years().shape());
    int best = 0;
    double least = Double.POSITIVE_INFINITY;
    for (int sigma = 1; sigma <= 30; sigma++) {
      NadarayaWatson.of(Kernel.GAUSSIAN)
          .withSigma(sigma)
          .forward(nile.years(), years, flows, predicted);
      double error = 0;
      for (int i = 0; i < predicted.count(); i++) {
        error += Math.pow(predicted.getFloat(i) - nile.flows().getFloat(i), 2);
      }
      if (error < least) {
        least = error;
        best = sigma;
      }
    }
    return best;
  }
}
