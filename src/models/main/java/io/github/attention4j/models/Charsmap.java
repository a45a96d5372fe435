package io.github.attention4j.models;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.BitSet;
import java.util.List;
import java.util.Map;

/**
 * SentencePiece's table of characters and their replacements in {@code tokenizer.json}: a trie of
 * bytes whose values are offsets into a text. The tokenizers' native library does not check it and
 * aborts the process if it is malformed, so it is checked here first.
 *
 * <pre>
 *   bytes of the trie: u32 | trie: u32 ... | replacements, each ended by a 0: UTF-8
 *   unit of the trie:  bit 31 value | 10..30 offset | 9 offset in blocks of 256 | 8 has a value | 0..7 label
 * </pre>
 */
final class Charsmap {
  private static final String KEY = "precompiled_charsmap";

  private final ByteBuffer trie;
  private final int units;
  private final ByteBuffer replacements;

  private Charsmap(ByteBuffer trie, ByteBuffer replacements) {
    this.trie = trie;
    this.units = trie.remaining() / 4;
    this.replacements = replacements;
  }

  /** Returns what is wrong with a table anywhere in a normalizer; null if nothing is. */
  static String faultIn(Object normalizer) {
    if (normalizer instanceof List<?> list) {
      return firstFault(list);
    }
    if (!(normalizer instanceof Map<?, ?> map)) {
      return null;
    }
    if ("Precompiled".equals(map.get("type")) || map.containsKey(KEY)) {
      String fault = map.get(KEY) instanceof String text ? faultOf(text) : "must be a string";
      return fault == null ? null : KEY + " " + fault;
    }
    return firstFault(map.values());
  }

  private static String firstFault(Iterable<?> parts) {
    for (Object part : parts) {
      String fault = faultIn(part);
      if (fault != null) {
        return fault;
      }
    }
    return null;
  }

  private static String faultOf(String base64) {
    byte[] bytes;
    try {
      bytes = Base64.getDecoder().decode(base64);
    } catch (IllegalArgumentException e) {
      return "must be in base64: " + e.getMessage();
    }
    if (!Base64.getEncoder().encodeToString(bytes).equals(base64)) {
      return "must be in base64, padded";
    }
    ByteBuffer all = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.length < 4) {
      return "must begin with the size of its trie: it has " + bytes.length + " bytes";
    }
    long trieBytes = Integer.toUnsignedLong(all.getInt(0));
    if (trieBytes < 4 || trieBytes > bytes.length - 4) {
      return "must hold its trie: trie=" + trieBytes + " of " + (bytes.length - 4) + " bytes";
    }
    int whole = (int) trieBytes / 4 * 4;
    ByteBuffer replacements = all.slice(4 + whole, bytes.length - 4 - whole);
    try {
      StandardCharsets.UTF_8.newDecoder().decode(replacements.duplicate());
    } catch (CharacterCodingException e) {
      return "must have replacements in UTF-8";
    }
    ByteBuffer trie = all.slice(4, whole).order(ByteOrder.LITTLE_ENDIAN);
    return new Charsmap(trie, replacements).fault();
  }

  /** Follows every path from the root. */
  private String fault() {
    BitSet seen = new BitSet(units);
    ArrayDeque<Integer> next = new ArrayDeque<>();
    next.add(offset(trie.getInt(0)));
    while (!next.isEmpty()) {
      int base = next.remove();
      for (int label = 1; label < 256; label++) {
        int at = base ^ label;
        if (at >= units) {
          return outside(at);
        }
        int unit = trie.getInt(4 * at);
        if ((unit & 0x800000ff) != label) {
          continue;
        }
        int child = at ^ offset(unit);
        if (child >= units) {
          return outside(child);
        }
        if ((unit >> 8 & 1) != 0) {
          int value = trie.getInt(4 * child) & 0x7fffffff;
          if (!isBegin(value)) {
            return "must have values at which a replacement begins: byte "
                + value
                + " of "
                + replacements.remaining();
          }
        }
        if (!seen.get(child)) {
          seen.set(child);
          next.add(child);
        }
      }
    }
    return null;
  }

  private String outside(int unit) {
    return "must have a trie that stays inside itself: unit " + unit + " of " + units;
  }

  private boolean isBegin(int value) {
    int bytes = replacements.remaining();
    return value == bytes || value < bytes && (replacements.get(value) & 0xc0) != 0x80;
  }

  /** The bits in which the index of a unit's children differs from its own. */
  private static int offset(int unit) {
    return unit >>> 10 << ((unit & 1 << 9) >> 6);
  }
}
