package io.github.attention4j.bench;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/**
 * A PyTorch program, written as the archive that {@code torch.jit.load} reads, so that no Python is
 * needed.
 *
 * <p>The archive is a zip file of stored entries: the source of a class in a small subset of
 * Python, the state of its one instance as a pickle, an empty tuple of constants, and the number of
 * the format. The instance has no weights; a program gets them as arguments.
 *
 * <pre>
 *   program/version              "3"
 *   program/code/__torch__.py    class Program(Module): def forward(self, ...)
 *   program/data.pkl             Program {training: False}
 *   program/constants.pkl        ()
 * </pre>
 */
final class TorchScript {
  /** Pickle protocol 2: the opcodes that we need. */
  private static final String PROTOCOL = "\u0080\u0002";

  private static final String GLOBAL = "c__torch__\nProgram\n";
  private static final String EMPTY_TUPLE = ")";
  private static final String NEW_OBJECT = "\u0081";
  private static final String EMPTY_DICT = "}";
  private static final String MARK = "(";
  private static final String SHORT_TEXT = "X";
  private static final String FALSE = "\u0089";
  private static final String SET_ITEMS = "u";
  private static final String BUILD = "b";
  private static final String STOP = ".";

  private TorchScript() {}

  /**
   * Writes a program.
   *
   * @param arguments what {@code forward} takes, for example {@code "q: Tensor, k: Tensor"}
   * @param body its statements, four spaces before each
   */
  static InputStream archive(String arguments, String body) {
    String source =
        """
        class Program(Module):
          __parameters__ = []
          __buffers__ = []
          training : bool
          def forward(self: __torch__.Program, %s) -> Tensor:
        %s
        """
            .formatted(arguments, body.stripTrailing());
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
      store(zip, "data.pkl", latin(instance()));
      store(zip, "code/__torch__.py", source.getBytes(StandardCharsets.UTF_8));
      store(zip, "constants.pkl", latin(PROTOCOL + EMPTY_TUPLE + STOP));
      store(zip, "version", latin("3\n"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return new ByteArrayInputStream(bytes.toByteArray());
  }

  private static String instance() {
    return PROTOCOL
        + GLOBAL
        + EMPTY_TUPLE
        + NEW_OBJECT
        + EMPTY_DICT
        + MARK
        + text("training")
        + FALSE
        + SET_ITEMS
        + BUILD
        + STOP;
  }

  private static String text(String ascii) {
    return SHORT_TEXT + (char) ascii.length() + "\0\0\0" + ascii;
  }

  private static byte[] latin(String bytes) {
    return bytes.getBytes(StandardCharsets.ISO_8859_1);
  }

  private static void store(ZipOutputStream zip, String name, byte[] bytes) throws IOException {
    ZipEntry entry = new ZipEntry("program/" + name);
    entry.setMethod(ZipEntry.STORED);
    entry.setSize(bytes.length);
    CRC32 sum = new CRC32();
    sum.update(bytes);
    entry.setCrc(sum.getValue());
    zip.putNextEntry(entry);
    zip.write(bytes);
    zip.closeEntry();
  }
}
