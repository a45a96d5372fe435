package io.github.attention4j.models.cli;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The words of the command line as they were typed. In a locale such as C, Java reads U+FFFD for
 * each byte that is not ASCII; on Linux the bytes are still there.
 */
final class OwnWords {
  private static final String GARBLED = "\uFFFD";

  private OwnWords() {}

  /**
   * Reads garbled words anew.
   *
   * @param given what Java read
   * @param commandLine the process's own command line: all words, each with a zero byte after it
   * @throws UsageException if a garbled word cannot be read anew
   */
  static String[] of(String[] given, Path commandLine) {
    String[] words = given.clone();
    List<byte[]> raw = null;
    for (int i = 0; i < words.length; i++) {
      if (words[i].contains(GARBLED)) {
        raw = raw == null ? split(commandLine) : raw;
        int at = raw.size() - words.length + i;
        if (at < 0) {
          throw garbled(words[i]);
        }
        words[i] = decode(raw.get(at), words[i]);
      }
    }
    return words;
  }

  private static List<byte[]> split(Path commandLine) {
    List<byte[]> words = new ArrayList<>();
    try {
      byte[] all = Files.readAllBytes(commandLine);
      int start = 0;
      for (int i = 0; i < all.length; i++) {
        if (all[i] == 0) {
          words.add(Arrays.copyOfRange(all, start, i));
          start = i + 1;
        }
      }
    } catch (IOException e) {
      words.clear();
    }
    return words;
  }

  private static String decode(byte[] bytes, String given) {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw garbled(given);
    }
  }

  private static UsageException garbled(String word) {
    return new UsageException(
        "this locale has no characters for \""
            + word
            + "\": set LC_ALL=C.UTF-8, or give a prompt through the standard input");
  }
}
