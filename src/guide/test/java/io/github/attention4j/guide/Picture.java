package io.github.attention4j.guide;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/** Pixels 0xRRGGBB row by row, and the PNG files that they are kept in. */
record Picture(int width, int height, int[] pixels) {
  private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

  /** As a PNG of 8 bits a channel, rows without filter, one chunk of data. */
  byte[] toPng() {
    ByteBuffer rows = ByteBuffer.allocate(height * (1 + 3 * width));
    for (int y = 0; y < height; y++) {
      rows.put((byte) 0);
      for (int x = 0; x < width; x++) {
        int pixel = pixels[y * width + x];
        rows.put((byte) (pixel >> 16)).put((byte) (pixel >> 8)).put((byte) pixel);
      }
    }
    Deflater deflater = new Deflater(Deflater.BEST_COMPRESSION);
    deflater.setInput(rows.array());
    deflater.finish();
    byte[] packed = new byte[rows.capacity() + 1000];
    int length = deflater.deflate(packed);
    deflater.end();
    byte[] header =
        ByteBuffer.allocate(13)
            .putInt(width)
            .putInt(height)
            .put(new byte[] {8, 2, 0, 0, 0})
            .array();
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    png.writeBytes(SIGNATURE);
    png.writeBytes(chunk("IHDR", header));
    png.writeBytes(chunk("IDAT", Arrays.copyOf(packed, length)));
    png.writeBytes(chunk("IEND", new byte[0]));
    return png.toByteArray();
  }

  private static byte[] chunk(String type, byte[] data) {
    ByteBuffer chunk = ByteBuffer.allocate(12 + data.length);
    chunk.putInt(data.length).put(type.getBytes(StandardCharsets.US_ASCII)).put(data);
    CRC32 crc = new CRC32();
    crc.update(chunk.array(), 4, 4 + data.length);
    return chunk.putInt((int) crc.getValue()).array();
  }

  /** Reads what {@link #toPng} writes. */
  static Picture ofPng(byte[] png) throws DataFormatException {
    ByteBuffer in = ByteBuffer.wrap(png);
    int width = in.getInt(16);
    int height = in.getInt(20);
    int start = SIGNATURE.length + 12 + 13;
    Inflater inflater = new Inflater();
    inflater.setInput(png, start + 8, in.getInt(start));
    byte[] rows = new byte[height * (1 + 3 * width)];
    inflater.inflate(rows);
    inflater.end();
    int[] pixels = new int[width * height];
    for (int n = 0; n < pixels.length; n++) {
      int at = n / width * (1 + 3 * width) + 1 + 3 * (n % width);
      pixels[n] = (rows[at] & 0xff) << 16 | (rows[at + 1] & 0xff) << 8 | rows[at + 2] & 0xff;
    }
    return new Picture(width, height, pixels);
  }
}
