package io.github.attention4j.guide;

import io.github.attention4j.Alibi;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.RelativePositions;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.NadarayaWatson;
import io.github.attention4j.classics.d2l.NadarayaWatson.Kernel;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.classics.t2t.AttentionImage;
import io.github.attention4j.classics.t2t.LocalMasks;
import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Random;

/** The guide's pictures, of what the library computes: attention maps, and a regression. */
final class Pictures {
  /** The side of a map's cell. */
  private static final int PIXELS = 6;

  private static final int LENGTH = 24;

  private final Arena arena;
  private final Map<String, Picture> maps = new LinkedHashMap<>();

  private Pictures(Arena arena) {
    this.arena = arena;
  }

  /** All maps by the names of their files. */
  static Map<String, Picture> maps(Arena arena) {
    Pictures pictures = new Pictures(arena);
    pictures.causal();
    pictures.positions();
    pictures.scores();
    pictures.summary();
    pictures.local();
    pictures.relative();
    pictures.differential();
    return pictures.maps;
  }

  // ---- Attention maps ----

  private void causal() {
    Tensor q = Tensor.allocate(arena, DType.F32, 1, 1, 8, 4);
    Tensor k = Tensor.allocate(arena, DType.F32, 1, 1, 12, 4);
    for (Alignment alignment : Alignment.values()) {
      String name = alignment.name().toLowerCase(Locale.ROOT).replace('_', '-');
      pattern("causal-" + name, Mask.causal(alignment), q, k);
    }
  }

  /** The same queries and keys under one option after the other. */
  private void scores() {
    Random random = new Random(8);
    Tensor q = Checked.random(arena, random, 1, 1, LENGTH, 16);
    Tensor k = Checked.random(arena, random, 1, 1, LENGTH, 16);
    Mask causal = Mask.causal(Alignment.TOP_LEFT);
    draw("scores-plain", Attention.builder().mask(causal), q, k, 0.6);
    Mask window = Mask.window(7, 0, Alignment.TOP_LEFT);
    draw("scores-window", Attention.builder().mask(window), q, k, 0.6);
    float[] slope = {Alibi.slopes(2)[0] * 4};
    draw(
        "scores-alibi",
        Attention.builder().mask(causal).alibi(Alignment.TOP_LEFT, slope),
        q,
        k,
        0.6);
    draw("scores-soft-cap", Attention.builder().mask(causal).softCap(0.5), q, k, 0.6);
    draw("scores-sink", Attention.builder().mask(causal).sinks(2), q, k, 0.6);
  }

  private void summary() {
    Random random = new Random(5);
    Tensor q = Checked.random(arena, random, 1, 3, LENGTH, 16);
    Tensor k = Checked.random(arena, random, 1, 3, LENGTH, 16);
    Tensor out = Tensor.allocate(arena, DType.F32, q.shape());
    Tensor weights = Tensor.allocate(arena, DType.F32, 1, 3, LENGTH, LENGTH);
    Attention.builder()
        .mask(Mask.causal(Alignment.TOP_LEFT))
        .build()
        .forward(q, k, k, out, Extras.none().weights(weights));
    AttentionImage summary = AttentionImage.summary(weights);
    int side = LENGTH * PIXELS;
    int[] pixels = new int[side * side];
    for (int n = 0; n < pixels.length; n++) {
      pixels[n] = summary.rgb(n / side / PIXELS, n % side / PIXELS);
    }
    maps.put("summary.png", new Picture(side, side, pixels));
  }

  private void local() {
    Tensor zero = Tensor.allocate(arena, DType.F32, 1, 1, LENGTH, 4);
    Map<String, Mask> masks = new LinkedHashMap<>();
    masks.put("local_within_block_mask_right", LocalMasks.localWithinBlockMaskRight(6));
    masks.put("local_mask_right", LocalMasks.localMaskRight(LENGTH, 6));
    masks.put("local_unmasked", LocalMasks.localUnmasked(LENGTH, 6, 4));
    masks.put("masked_dilated_1d", LocalMasks.maskedDilated1d(LENGTH, 4, 2, 2, 3));
    masks.put("unmasked_dilated_1d", LocalMasks.unmaskedDilated1d(LENGTH, 4, 2, 2, 2));
    masks.forEach((name, mask) -> pattern(name, mask, zero, zero));
  }

  /** A mask alone: all keys that a query sees weigh the same, and are shown as dark. */
  private void pattern(String name, Mask mask, Tensor q, Tensor k) {
    Tensor weights = weights(Attention.builder().mask(mask), q, k);
    for (long i = 0; i < weights.size(0); i++) {
      for (long j = 0; j < weights.size(1); j++) {
        weights.setFloat(weights.getFloat(i, j) > 0 ? 0.6f : 0, i, j);
      }
    }
    draw(name, weights, 1);
  }

  /** The map of one head, in which a weight of {@code most} and more is black. */
  private void draw(String name, Attention.Builder attention, Tensor q, Tensor k, double most) {
    draw(name, weights(attention, q, k), most);
  }

  private Tensor weights(Attention.Builder attention, Tensor q, Tensor k) {
    Tensor weights = Tensor.allocate(arena, DType.F32, 1, 1, q.size(2), k.size(2));
    Tensor out = Tensor.allocate(arena, DType.F32, q.shape());
    attention.build().forward(q, k, k, out, Extras.none().weights(weights));
    return weights.select(0, 0).select(0, 0);
  }

  private void draw(String name, Tensor weights, double most) {
    maps.put(name + ".png", image(weights, most, PIXELS, 0xffffff, 0x101830));
  }

  /** Nothing but distances counts: the queries are all alike, the keys are zero. */
  private void relative() {
    int max = 8;
    Map<String, Attention.Builder> types = new LinkedHashMap<>();
    types.put(
        "dot_product_relative",
        Attention.builder()
            .relative(Alignment.TOP_LEFT, RelativePositions.clipped(max, waves(17, 8), null)));
    types.put(
        "dot_product_relative_v2",
        Attention.builder()
            .mask(Mask.causal(Alignment.TOP_LEFT))
            .relative(Alignment.TOP_LEFT, RelativePositions.masked(max, waves(8, 7), null)));
    types.put(
        "dot_product_unmasked_relative_v2",
        Attention.builder()
            .relative(Alignment.TOP_LEFT, RelativePositions.unmasked(max, waves(15, 7), null)));
    types.put(
        "local_relative_mask_right",
        Attention.builder()
            .mask(LocalMasks.localMaskRight(LENGTH, 6))
            .relative(
                Alignment.TOP_LEFT,
                RelativePositions.localMaskRight(LENGTH, 6, waves(24, 23), null)));
    Tensor q = Tensor.allocate(arena, DType.F32, 1, 1, LENGTH, 1).fill(1);
    Tensor k = Tensor.allocate(arena, DType.F32, 1, 1, LENGTH, 1);
    types.forEach((name, attention) -> draw(name, attention, q, k, 0.3));
  }

  /** Rows for distances: what is added to a logit goes up and down, and falls with the distance. */
  private Tensor waves(int rows, int zero) {
    Tensor table = Tensor.allocate(arena, DType.F32, rows, 1);
    for (int row = 0; row < rows; row++) {
      int distance = row - zero;
      double wave = 2 * Math.cos(distance * Math.PI / 2) - 0.15 * Math.abs(distance);
      table.setFloat((float) wave, row, 0);
    }
    return table;
  }

  /** Two maps that have some keys in common, and what is left of the first without the second. */
  private void differential() {
    Random random = new Random(3);
    Tensor common = Checked.random(arena, random, 16);
    Tensor q = Tensor.allocate(arena, DType.F32, 1, 2, LENGTH, 16);
    Tensor k = Checked.random(arena, random, 1, 1, LENGTH, 16);
    for (int i = 0; i < LENGTH; i++) {
      for (int d = 0; d < 16; d++) {
        float noise = common.getFloat(d);
        // What is looked for stands three tokens before; a few tokens draw every query.
        q.setFloat(noise + k.getFloat(0, 0, Math.max(i - 3, 0), d), 0, 0, i, d);
        q.setFloat(noise, 0, 1, i, d);
      }
    }
    for (int loud : new int[] {2, 9, 10, 17}) {
      for (int d = 0; d < 16; d++) {
        k.setFloat(k.getFloat(0, 0, loud, d) + 1.1f * common.getFloat(d), 0, 0, loud, d);
      }
    }
    Mask causal = Mask.causal(Alignment.TOP_LEFT);
    Attention.Builder attention = Attention.builder().mask(causal);
    draw("differential-first", attention, q.slice(1, 0, 1), k, 0.6);
    draw("differential-second", attention, q.slice(1, 1, 1), k, 0.6);
    Tensor weights = Tensor.allocate(arena, DType.F32, 1, 1, LENGTH, LENGTH);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 1, LENGTH, 16);
    Differential.builder()
        .mask(causal)
        .keyMap(Differential.KeyMap.SHARED)
        .build()
        .forward(q, k, k, 0.8f, out, Extras.none().weights(weights));
    draw("differential-difference", weights.select(0, 0).select(0, 0), 0.6);
  }

  private void positions() {
    Tensor encoding = PositionalEncoding.sinusoidal(arena, 64, 48).encoding(64);
    maps.put("positions.png", image(encoding, 1, PIXELS, 0xffffff, 0xa02020));
  }

  /** Cells from {@code zero} to {@code full}, and for what is negative to blue. */
  private static Picture image(Tensor matrix, double most, int cell, int zero, int full) {
    int width = (int) matrix.size(1) * cell + 1;
    int height = (int) matrix.size(0) * cell + 1;
    int[] pixels = new int[width * height];
    for (int n = 0; n < pixels.length; n++) {
      int y = n / width;
      int x = n % width;
      if (x % cell == 0 || y % cell == 0) {
        pixels[n] = 0xe4e4e4;
      } else {
        double value = matrix.getFloat(y / cell, x / cell) / most;
        pixels[n] = between(zero, value < 0 ? 0x2040a0 : full, Math.min(Math.abs(value), 1));
      }
    }
    return new Picture(width, height, pixels);
  }

  private static int between(int a, int b, double share) {
    int colour = 0;
    for (int shift = 0; shift <= 16; shift += 8) {
      int from = a >> shift & 0xff;
      int to = b >> shift & 0xff;
      colour |= (int) Math.round(from + (to - from) * share) << shift;
    }
    return colour;
  }

  // ---- Regression ----

  /** The flow of the Nile, and estimates through it of three widths. */
  static String nile(Arena arena, int best) {
    Nile nile = Nile.read(arena);
    int n = (int) nile.years().size(0);
    StringBuilder svg = new StringBuilder();
    svg.append("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"330\"")
        .append(" viewBox=\"0 0 760 330\" font-family=\"sans-serif\" font-size=\"12\">\n")
        .append("<rect width=\"760\" height=\"330\" fill=\"#fff\"/>\n");
    for (int year = 1880; year <= 1970; year += 10) {
      svg.append(
          line("<text x=\"%.1f\" y=\"322\" text-anchor=\"middle\">%d</text>", x(year), year));
    }
    for (int flow = 400; flow <= 1400; flow += 200) {
      svg.append(
          line(
              "<path d=\"M44 %.1fH750\" stroke=\"#e4e4e4\"/>"
                  + "<text x=\"38\" y=\"%.1f\" text-anchor=\"end\">%d</text>",
              y(flow), y(flow) + 4, flow));
    }
    for (int i = 0; i < n; i++) {
      svg.append(
          line(
              "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"#888\"/>",
              x(nile.years().getFloat(i)), y(nile.flows().getFloat(i))));
    }
    int[] sigmas = {1, best, 20};
    String[] colours = {"#d08020", "#101830", "#2060c0"};
    for (int s = 0; s < sigmas.length; s++) {
      svg.append(curve(arena, nile, sigmas[s], colours[s]));
      svg.append(
          line(
              "<text x=\"742\" y=\"%d\" text-anchor=\"end\" fill=\"%s\">σ = %d year%s</text>",
              26 + 16 * s,
              colours[s],
              sigmas[s],
              (sigmas[s] == 1 ? "" : "s")
                  + (sigmas[s] == best ? ", by leaving each year out" : "")));
    }
    return svg.append("</svg>\n").toString();
  }

  private static String curve(Arena arena, Nile nile, int sigma, String colour) {
    int points = 4 * 99 + 1;
    Tensor days = Tensor.allocate(arena, DType.F32, points);
    Tensor curve = Tensor.allocate(arena, DType.F32, points);
    for (int i = 0; i < points; i++) {
      days.setFloat(1871 + i / 4f, i);
    }
    NadarayaWatson.of(Kernel.GAUSSIAN)
        .withSigma(sigma)
        .forward(days, nile.years(), nile.flows(), curve);
    StringBuilder path = new StringBuilder();
    for (int i = 0; i < points; i++) {
      path.append(i == 0 ? "M" : "L");
      path.append(
          String.format(Locale.ROOT, "%.1f %.1f", x(days.getFloat(i)), y(curve.getFloat(i))));
    }
    return line("<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"/>", path, colour);
  }

  private static double x(double year) {
    return 50 + (year - 1871) * 7;
  }

  private static double y(double flow) {
    return 300 - (flow - 400) * 0.28;
  }

  private static String line(String format, Object... values) {
    return String.format(Locale.ROOT, format + "%n", values).replace("\r", "");
  }
}
