package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.zip.CRC32;
import java.util.zip.DeflaterOutputStream;

/**
 * A picture of attention weights, a row for each query and a column for each key, as a PNG file.
 *
 * <pre>{@code
 * attention.forward(q, k, v, out, Extras.none().weights(weights));
 * AttentionImage.summary(weights).write(Path.of("attention.png"), 4); // 4 x 4 pixels a weight
 * }</pre>
 *
 * <p>It only needs the JDK's base module, and no display. The largest value of a picture has the
 * strongest colour; negative and non-finite values are shown in magenta.
 */
public final class AttentionImage {
  private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  private static final int BAD = 0xff00ff;

  /** From nothing to the largest weight; between them colours are mixed. */
  private static final int[] HEAT = {0xffffff, 0xbcd7f0, 0x4a90c9, 0x08468c, 0x041b3d};

  /** The exponent of tensor2tensor's weights, which makes small ones visible. */
  private static final double POWER = 0.2;

  private final int width;
  private final int height;

  /** Red, green and blue of each cell, row by row. */
  private final byte[] cells;

  private AttentionImage(int width, int height) {
    if (width < 1 || height < 1 || 3L * width * height > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          "a picture must have from 1 to "
              + (Integer.MAX_VALUE - 8) / 3
              + " cells: height="
              + height
              + ", width="
              + width);
    }
    this.width = width;
    this.height = height;
    cells = new byte[3 * width * height];
  }

  // ---- Making it ----

  /**
   * Draws all heads of the first batch in one picture, as tensor2tensor's {@code
   * attention_image_summary} does: the number of heads is padded to a multiple of 3; the first
   * third is red, the second green, the last blue, and each colour is the largest of its heads'
   * weights, raised to the power of 0.2.
   *
   * @param weights {@code [batch, heads, lenQ, lenK]}. Not modified.
   * @return the picture, {@code lenQ} high and {@code lenK} wide
   * @throws IllegalArgumentException if the type is not F32, the rank not 4, the picture would be
   *     empty, or too large for an array
   */
  public static AttentionImage summary(Tensor weights) {
    return summary(weights, new int[0]);
  }

  /**
   * Draws all heads of the first batch in one picture like {@link #summary(Tensor)}, where queries
   * and keys are the pixels of flattened images. Each pixel of the queries' image becomes a small
   * image of the keys, t2t's {@code image_shapes}.
   *
   * @param weights {@code [batch, heads, lenQ, lenK]}. Not modified.
   * @param imageShapes {@code queryRows, queryCols, memoryRows, memoryCols}, or {@code queryRows,
   *     queryCols, queryChannels, memoryRows, memoryCols, memoryChannels}, the products being lenQ
   *     and lenK; or nothing, for one row per query. Not modified.
   * @return the picture, {@code queryRows · memoryRows · queryChannels} high and {@code queryCols ·
   *     memoryCols · memoryChannels} wide
   * @throws IllegalArgumentException if the type is not F32, the rank not 4, the shapes do not fit,
   *     the picture would be empty, or too large for an array
   */
  public static AttentionImage summary(Tensor weights, int... imageShapes) {
    Checks.rank("weights", Objects.requireNonNull(weights, "weights"), 4);
    Checks.input("weights", weights);
    Objects.requireNonNull(imageShapes, "imageShapes");
    Checks.positive("weights.batch", weights.size(0));
    Checks.positive("weights.heads", weights.size(1));
    int heads = length("weights.heads", weights.size(1));
    int lenQ = length("weights.lenQ", weights.size(2));
    int lenK = length("weights.lenK", weights.size(3));
    int cells = Checks.arrayLength("weights.lenQ * weights.lenK", (long) lenQ * lenK);
    Grid grid = Grid.of(imageShapes, lenQ, lenK);
    int third = Math.ceilDiv(heads, 3);
    float[][] colours = new float[3][];
    float largest = 0;
    for (int colour = 0; colour < 3; colour++) {
      colours[colour] = new float[cells];
      for (int h = colour * third; h < Math.min(heads, (colour + 1) * third); h++) {
        raise(colours[colour], weights.select(0, 0).select(0, h).toFloatArray());
      }
      for (float value : colours[colour]) {
        largest = Math.max(largest, finite(value));
      }
    }
    AttentionImage image = new AttentionImage(grid.width(), grid.height());
    for (int i = 0; i < lenQ; i++) {
      for (int j = 0; j < lenK; j++) {
        int at = i * lenK + j;
        int rgb = 0;
        for (float[] colour : colours) {
          rgb = rgb << 8 | level(colour[at], largest);
        }
        image.set(grid.row(i, j), grid.column(i, j), bad(colours, at) ? BAD : rgb);
      }
    }
    return image;
  }

  /**
   * Draws one head: white where a weight is 0, and the darker the larger it is.
   *
   * @param weights {@code [lenQ, lenK]}, such as {@code weights.select(0, b).select(0, h)}. Not
   *     modified.
   * @return the picture, {@code lenQ} high and {@code lenK} wide
   * @throws IllegalArgumentException if the type is not F32, the rank not 2, the picture would be
   *     empty, or too large for an array
   */
  public static AttentionImage heatMap(Tensor weights) {
    Checks.rank("weights", Objects.requireNonNull(weights, "weights"), 2);
    Checks.input("weights", weights);
    int lenQ = length("weights.lenQ", weights.size(0));
    int lenK = length("weights.lenK", weights.size(1));
    AttentionImage image = new AttentionImage(lenK, lenQ);
    float[] values = weights.toFloatArray();
    float largest = 0;
    for (float value : values) {
      largest = Math.max(largest, finite(value));
    }
    for (int at = 0; at < values.length; at++) {
      boolean bad = !(values[at] >= 0) || Float.isInfinite(values[at]);
      image.set(at / lenK, at % lenK, bad ? BAD : heat(largest == 0 ? 0 : values[at] / largest));
    }
    return image;
  }

  private static int length(String name, long size) {
    Checks.inRange(name, size, 1, Integer.MAX_VALUE);
    return (int) size;
  }

  /** The larger of the previous value and the weight's power; NaN if the weight has none. */
  private static void raise(float[] colour, float[] weights) {
    for (int at = 0; at < colour.length; at++) {
      boolean bad = !(weights[at] >= 0) || Float.isInfinite(weights[at]);
      float power = bad ? Float.NaN : (float) Math.pow(weights[at], POWER);
      colour[at] = Math.max(colour[at], power); // NaN where either is
    }
  }

  private static boolean bad(float[][] colours, int at) {
    return Float.isNaN(colours[0][at])
        || Float.isNaN(colours[1][at])
        || Float.isNaN(colours[2][at]);
  }

  private static float finite(float value) {
    return Float.isFinite(value) ? value : 0;
  }

  private static int level(float value, float largest) {
    return largest == 0 ? 0 : Math.round(255 * (value / largest));
  }

  /** The colour of a share of the largest weight. */
  private static int heat(float share) {
    float place = share * (HEAT.length - 1);
    int below = Math.min((int) place, HEAT.length - 2);
    int rgb = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
      int from = HEAT[below] >> shift & 0xff;
      int to = HEAT[below + 1] >> shift & 0xff;
      rgb |= Math.round(from + (to - from) * (place - below)) << shift;
    }
    return rgb;
  }

  private void set(int row, int column, int rgb) {
    int at = 3 * (row * width + column);
    cells[at] = (byte) (rgb >> 16);
    cells[at + 1] = (byte) (rgb >> 8);
    cells[at + 2] = (byte) rgb;
  }

  /** The position at which the weight of query i and key j is drawn. */
  private record Grid(
      int queryRows,
      int queryCols,
      int queryChannels,
      int memoryRows,
      int memoryCols,
      int memoryChannels) {
    static Grid of(int[] shapes, int lenQ, int lenK) {
      Grid grid =
          switch (shapes.length) {
            case 0 -> new Grid(lenQ, 1, 1, 1, lenK, 1);
            case 4 -> new Grid(shapes[0], shapes[1], 1, shapes[2], shapes[3], 1);
            case 6 -> new Grid(shapes[0], shapes[1], shapes[2], shapes[3], shapes[4], shapes[5]);
            default ->
                throw new IllegalArgumentException(
                    "imageShapes.length must be 4 or 6, rows, columns and channels of queries and"
                        + " of keys: imageShapes.length="
                        + shapes.length);
          };
      for (int n = 0; n < shapes.length; n++) {
        Checks.positive("imageShapes[" + n + "]", shapes[n]);
      }
      long queries = Checks.saturatedProduct(grid.queryRows, grid.queryCols, grid.queryChannels);
      long keys = Checks.saturatedProduct(grid.memoryRows, grid.memoryCols, grid.memoryChannels);
      Checks.equal("the product of imageShapes' first half", queries, "weights.lenQ", lenQ);
      Checks.equal("the product of imageShapes' second half", keys, "weights.lenK", lenK);
      return grid;
    }

    /** At most lenQ · lenK, as is the width. */
    int height() {
      return queryRows * memoryRows * queryChannels;
    }

    int width() {
      return queryCols * memoryCols * memoryChannels;
    }

    int row(int i, int j) {
      int queryRow = i / queryChannels / queryCols;
      int memoryRow = j / memoryChannels / memoryCols;
      return (queryRow * memoryRows + memoryRow) * queryChannels + i % queryChannels;
    }

    int column(int i, int j) {
      int queryCol = i / queryChannels % queryCols;
      int memoryCol = j / memoryChannels % memoryCols;
      return (queryCol * memoryCols + memoryCol) * memoryChannels + j % memoryChannels;
    }
  }

  // ---- What it is ----

  /**
   * Returns the number of columns of cells.
   *
   * @return at least 1
   */
  public int width() {
    return width;
  }

  /**
   * Returns the number of rows of cells.
   *
   * @return at least 1
   */
  public int height() {
    return height;
  }

  /**
   * Returns the colour of a cell.
   *
   * @param row from 0 at the top
   * @param column from 0 on the left
   * @return {@code 0xRRGGBB}
   * @throws IndexOutOfBoundsException if there is no such cell
   */
  public int rgb(int row, int column) {
    int at = 3 * (Objects.checkIndex(row, height) * width + Objects.checkIndex(column, width));
    return (cells[at] & 0xff) << 16 | (cells[at + 1] & 0xff) << 8 | cells[at + 2] & 0xff;
  }

  // ---- PNG ----

  /**
   * Writes the picture, replacing an existing file.
   *
   * @param file the file
   * @param pixelsPerCell the width and height of a cell, at least 1
   * @throws IllegalArgumentException if pixelsPerCell is less than 1, or makes a side too long for
   *     an int
   * @throws IOException if the file cannot be written
   */
  public void write(Path file, int pixelsPerCell) throws IOException {
    Files.write(Objects.requireNonNull(file, "file"), toPng(pixelsPerCell));
  }

  /**
   * Returns the picture as the bytes of a PNG file (ISO/IEC 15948): 8 bits each of red, green and
   * blue.
   *
   * @param pixelsPerCell the width and height of a cell, at least 1
   * @return the bytes
   * @throws IllegalArgumentException if pixelsPerCell is less than 1, or makes a side too long for
   *     an int
   */
  public byte[] toPng(int pixelsPerCell) {
    Checks.positive("pixelsPerCell", pixelsPerCell);
    Checks.inRange(
        "pixelsPerCell",
        pixelsPerCell,
        1,
        Math.min(Integer.MAX_VALUE / height, (Integer.MAX_VALUE - 8) / 3 / width));
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(png)) {
      out.write(SIGNATURE);
      chunk(out, "IHDR", header(pixelsPerCell));
      chunk(out, "IDAT", pixels(pixelsPerCell));
      chunk(out, "IEND", new byte[0]);
    } catch (IOException impossible) {
      throw new UncheckedIOException("writing to memory cannot fail", impossible);
    }
    return png.toByteArray();
  }

  private static void chunk(DataOutputStream out, String type, byte[] data) throws IOException {
    byte[] name = type.getBytes(StandardCharsets.US_ASCII);
    CRC32 crc = new CRC32();
    crc.update(name);
    crc.update(data);
    out.writeInt(data.length);
    out.write(name);
    out.write(data);
    out.writeInt((int) crc.getValue());
  }

  /** Width, height, 8 bits a sample, RGB; the only compression and filters; not interlaced. */
  private byte[] header(int pixelsPerCell) throws IOException {
    ByteArrayOutputStream header = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(header)) {
      out.writeInt(width * pixelsPerCell);
      out.writeInt(height * pixelsPerCell);
      out.write(new byte[] {8, 2, 0, 0, 0});
    }
    return header.toByteArray();
  }

  /** Each line after its filter: 0 for the bytes themselves, 2 for the difference to the last. */
  private byte[] pixels(int pixelsPerCell) throws IOException {
    ByteArrayOutputStream compressed = new ByteArrayOutputStream();
    try (DeflaterOutputStream out = new DeflaterOutputStream(compressed)) {
      byte[] line = new byte[3 * width * pixelsPerCell];
      byte[] same = new byte[line.length];
      for (int row = 0; row < height; row++) {
        for (int x = 0; x < width * pixelsPerCell; x++) {
          System.arraycopy(cells, 3 * (row * width + x / pixelsPerCell), line, 3 * x, 3);
        }
        out.write(0);
        out.write(line);
        for (int copy = 1; copy < pixelsPerCell; copy++) {
          out.write(2);
          out.write(same);
        }
      }
    }
    return compressed.toByteArray();
  }

  @Override
  public String toString() {
    return "AttentionImage[" + height + " x " + width + " cells]";
  }
}
