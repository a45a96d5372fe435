package io.github.attention4j.internal;

import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** Recognises files that are often mistaken for a checkpoint, for messages. */
public final class FileKind {
  /** The number of bytes that {@link #of} looks at. */
  public static final int PREFIX_BYTES = 512;

  /** What {@link #of} calls a GGUF file. */
  public static final String GGUF = "a GGUF file";

  /** What {@link #of} calls a file with the beginning of a safetensors file. */
  public static final String SAFETENSORS = "a safetensors file";

  private static final int PICKLE = 0x80;

  private FileKind() {}

  /**
   * Names the kind of a file.
   *
   * @param prefix the first bytes of the file, at most {@link #PREFIX_BYTES} are used
   * @return for example "a GGUF file", or null if the file is not recognised
   */
  public static String of(byte[] prefix) {
    int length = Math.min(prefix.length, PREFIX_BYTES);
    String text = new String(prefix, 0, length, StandardCharsets.ISO_8859_1);
    if (text.startsWith("version https://git-lfs.github.com/")) {
      return "a Git LFS pointer, not the content (run: git lfs pull)";
    }
    if (text.startsWith("GGUF")) {
      return GGUF;
    }
    if (text.startsWith("PK\3\4")) {
      return "a zip archive, such as a PyTorch checkpoint (pytorch_model.bin)";
    }
    if (text.startsWith("\u0089HDF")) {
      return "an HDF5 file, such as a Keras checkpoint";
    }
    if (text.startsWith("\u001f\u008b")) {
      return "a gzip archive";
    }
    if (length >= 2 && (prefix[0] & 0xff) == PICKLE && prefix[1] >= 2 && prefix[1] <= 5) {
      return "a Python pickle, such as an old PyTorch checkpoint";
    }
    String start = text.stripLeading().toLowerCase(Locale.ROOT);
    if (start.startsWith("<!doctype html") || start.startsWith("<html")) {
      return "an HTML page, perhaps the error page of a failed download";
    }
    if (start.startsWith("<?xml")) {
      return "an XML document, perhaps the error of a failed download";
    }
    if (start.startsWith("{")) {
      return "JSON text, such as config.json or model.safetensors.index.json";
    }
    if (length > Long.BYTES && prefix[Long.BYTES] == '{') {
      return SAFETENSORS;
    }
    if (length == PREFIX_BYTES && text.chars().allMatch(c -> c == 0)) {
      return "filled with zeros, perhaps an unfinished download";
    }
    return null;
  }
}
