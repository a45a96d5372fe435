package io.github.attention4j.classics.t2t;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.CRC32;
import java.util.zip.InflaterInputStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pictures of weights, decoded again by the rules of PNG. */
class AttentionImageTest {
  private static final int MAGENTA = 0xff00ff;

  private Arena arena;

  @TempDir Path directory;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  /** The colours of a PNG file, after signature, chunks, sums and filters have been checked. */
  private static int[][] decode(byte[] png) throws IOException {
    DataInputStream in = new DataInputStream(new ByteArrayInputStream(png));
    byte[] signature = in.readNBytes(8);
    assertArrayEquals(new byte[] {-119, 80, 78, 71, 13, 10, 26, 10}, signature);
    DataInputStream header = new DataInputStream(new ByteArrayInputStream(chunk(in, "IHDR")));
    int width = header.readInt();
    int height = header.readInt();
    assertArrayEquals(new byte[] {8, 2, 0, 0, 0}, header.readAllBytes());
    byte[] data = chunk(in, "IDAT");
    assertEquals(0, chunk(in, "IEND").length);
    assertEquals(0, in.available());
    byte[] lines = new InflaterInputStream(new ByteArrayInputStream(data)).readAllBytes();
    assertEquals(height * (1 + 3 * width), lines.length);
    int[][] rgb = new int[height][width];
    byte[] above = new byte[3 * width];
    for (int y = 0; y < height; y++) {
      int at = y * (1 + 3 * width);
      byte[] line = Arrays.copyOfRange(lines, at + 1, at + 1 + 3 * width);
      assertTrue(lines[at] == 0 || lines[at] == 2, "filter " + lines[at]);
      for (int x = 0; x < line.length && lines[at] == 2; x++) {
        line[x] += above[x];
      }
      for (int x = 0; x < width; x++) {
        rgb[y][x] =
            (line[3 * x] & 0xff) << 16 | (line[3 * x + 1] & 0xff) << 8 | line[3 * x + 2] & 0xff;
      }
      above = line;
    }
    return rgb;
  }

  private static byte[] chunk(DataInputStream in, String type) throws IOException {
    int length = in.readInt();
    byte[] name = in.readNBytes(4);
    byte[] data = in.readNBytes(length);
    assertEquals(type, new String(name, StandardCharsets.US_ASCII));
    CRC32 crc = new CRC32();
    crc.update(name);
    crc.update(data);
    assertEquals((int) crc.getValue(), in.readInt(), "the sum of " + type);
    return data;
  }

  private Tensor weights(int heads, int lenQ, int lenK) {
    Random random = new Random(heads);
    float[] values = new float[heads * lenQ * lenK];
    for (int n = 0; n < values.length; n++) {
      values[n] = random.nextInt(4) == 0 ? 0 : random.nextFloat();
    }
    return Tensor.of(arena, values, 1, heads, lenQ, lenK);
  }

  @Test
  void shouldFoldHeadsIntoRedGreenAndBlue() throws IOException {
    for (int heads : new int[] {1, 2, 3, 4, 6, 8}) {
      Tensor weights = weights(heads, 5, 7);
      int[][] rgb = decode(AttentionImage.summary(weights).toPng(1));
      double largest = 0;
      for (float weight : weights.toFloatArray()) {
        largest = Math.max(largest, Math.pow(weight, 0.2));
      }
      int third = (heads + 2) / 3;
      for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 7; j++) {
          for (int colour = 0; colour < 3; colour++) {
            double power = 0;
            for (int h = colour * third; h < heads && h < (colour + 1) * third; h++) {
              power = Math.max(power, Math.pow(weights.getFloat(0, h, i, j), 0.2));
            }
            int level = rgb[i][j] >> 16 - 8 * colour & 0xff;
            assertEquals(255 * power / largest, level, 0.51, heads + " heads");
          }
        }
      }
    }
  }

  @Test
  void shouldDrawTheFirstBatchAlone() throws IOException {
    Tensor two = Tensor.allocate(arena, DType.F32, 2, 1, 2, 2);
    two.setFloat(1, 0, 0, 0, 1);
    two.select(0, 1).fill(5);
    int[][] expected = {{0, 0xff0000}, {0, 0}};
    assertArrayEquals(expected, decode(AttentionImage.summary(two).toPng(1)));
  }

  @Test
  void shouldDrawAnImageOfKeysForEachPixelOfTheQueries() throws IOException {
    // 2 x 3 pixels of queries in 2 channels, 3 x 2 pixels of keys in 1.
    Tensor weights = weights(3, 12, 6);
    int[][] flat = decode(AttentionImage.summary(weights).toPng(1));
    int[][] grid = decode(AttentionImage.summary(weights, 2, 3, 2, 3, 2, 1).toPng(1));
    assertEquals(12, grid.length);
    assertEquals(6, grid[0].length);
    for (int i = 0; i < 12; i++) {
      for (int j = 0; j < 6; j++) {
        int row = (i / 6 * 3 + j / 2) * 2 + i % 2;
        int column = i / 2 % 3 * 2 + j % 2;
        assertEquals(flat[i][j], grid[row][column], "query " + i + ", key " + j);
      }
    }
    int[][] four = decode(AttentionImage.summary(weights, 4, 3, 2, 3).toPng(1));
    int[][] six = decode(AttentionImage.summary(weights, 4, 3, 1, 2, 3, 1).toPng(1));
    assertArrayEquals(six, four);
    assertEquals(flat[7][5], four[7 / 3 * 2 + 5 / 3][7 % 3 * 3 + 5 % 3]);
  }

  @Test
  void shouldDarkenWithTheWeightInAHeatMap() throws IOException {
    Tensor weights = Tensor.of(arena, new float[] {0, 0.1f, 0.2f, 0.3f, 0.35f, 0.4f}, 2, 3);
    AttentionImage image = AttentionImage.heatMap(weights);
    assertEquals(3, image.width());
    assertEquals(2, image.height());
    assertEquals(0xffffff, image.rgb(0, 0));
    assertEquals(0xbcd7f0, image.rgb(0, 1));
    assertEquals(0x4a90c9, image.rgb(0, 2));
    assertEquals(0x041b3d, image.rgb(1, 2));
    int before = 3 * 255 + 1;
    for (int n = 0; n < 6; n++) {
      int rgb = image.rgb(n / 3, n % 3);
      int light = (rgb >> 16) + (rgb >> 8 & 0xff) + (rgb & 0xff);
      assertTrue(light < before, "cell " + n);
      before = light;
    }
  }

  @Test
  void shouldEnlargeCellsAndWriteFiles() throws IOException {
    Tensor weights = weights(1, 4, 3);
    AttentionImage image = AttentionImage.heatMap(weights.select(0, 0).select(0, 0));
    Path file = directory.resolve("attention.png");
    image.write(file, 5);
    int[][] rgb = decode(Files.readAllBytes(file));
    assertEquals(20, rgb.length);
    assertEquals(15, rgb[0].length);
    for (int y = 0; y < 20; y++) {
      for (int x = 0; x < 15; x++) {
        assertEquals(image.rgb(y / 5, x / 5), rgb[y][x]);
      }
    }
  }

  @Test
  void shouldShowWhatIsNoWeight() {
    float[] values = {Float.NaN, -1, Float.POSITIVE_INFINITY, 0.5f};
    Tensor row = Tensor.of(arena, values, 1, 4);
    AttentionImage heat = AttentionImage.heatMap(row);
    AttentionImage summary = AttentionImage.summary(row.unsqueeze(0).unsqueeze(0));
    for (int j = 0; j < 3; j++) {
      assertEquals(MAGENTA, heat.rgb(0, j));
      assertEquals(MAGENTA, summary.rgb(0, j));
    }
    assertEquals(0x041b3d, heat.rgb(0, 3));
    assertEquals(0xff0000, summary.rgb(0, 3));
    Tensor nothing = Tensor.allocate(arena, DType.F32, 1, 1, 1, 1);
    assertEquals(0, AttentionImage.summary(nothing).rgb(0, 0));
    assertEquals(0xffffff, AttentionImage.heatMap(nothing.reshape(1, 1)).rgb(0, 0));
  }

  @Test
  void shouldRefuseWhatIsNoPicture() {
    Tensor weights = weights(2, 4, 6);
    Tensor empty = Tensor.allocate(arena, DType.F32, 1, 2, 0, 6);
    AttentionImage image = AttentionImage.summary(weights);
    refuse(
        "weights.rank must be 4: weights.rank=2, " + weights.select(0, 0).select(0, 0).layout(),
        () -> AttentionImage.summary(weights.select(0, 0).select(0, 0)));
    refuse(
        "weights.lenQ must lie in [1, 2147483647]: weights.lenQ=0",
        () -> AttentionImage.summary(empty));
    refuse("pixelsPerCell must be at least 1: pixelsPerCell=0", () -> image.toPng(0));
    refuse(
        "pixelsPerCell must lie in [1, 119304646]: pixelsPerCell=2147483647",
        () -> image.toPng(Integer.MAX_VALUE));
    refuse(
        "imageShapes.length must be 4 or 6, rows, columns and channels of queries and of keys:"
            + " imageShapes.length=3",
        () -> AttentionImage.summary(weights, 1, 2, 3));
    refuse(
        "the product of imageShapes' first half must equal weights.lenQ: the product of"
            + " imageShapes' first half=6, weights.lenQ=4",
        () -> AttentionImage.summary(weights, 2, 3, 2, 3));
    refuse(
        "imageShapes[0] must be at least 1: imageShapes[0]=-2",
        () -> AttentionImage.summary(weights, -2, -2, 2, 3));
  }

  private static void refuse(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
