package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.junit.jupiter.api.Test;

/** Malformed tables of characters, with which the tokenizers' library would end the process. */
class CharsmapTest {
  /** The root's children begin at 256; "a" there has a value, at 512, and no children. */
  private static final int LEAF = 'a' | 1 << 8;

  private final int[] trie = new int[1024];
  private byte[] replacements = "é\0x\0".getBytes(StandardCharsets.UTF_8);

  CharsmapTest() {
    trie[0] = 256 << 10;
    trie[256 ^ 'a'] = LEAF | (512 ^ 256 ^ 'a') << 10;
    trie[512] = 3 | 1 << 31;
  }

  private String map() {
    ByteBuffer bytes =
        ByteBuffer.allocate(4 + 4 * trie.length + replacements.length)
            .order(ByteOrder.LITTLE_ENDIAN);
    bytes.putInt(4 * trie.length);
    for (int unit : trie) {
      bytes.putInt(unit);
    }
    return "\"" + Base64.getEncoder().encodeToString(bytes.put(replacements).array()) + "\"";
  }

  private static byte[] tokenizer(String map) {
    String normalizer =
        "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Precompiled\""
            + (map.isEmpty() ? "" : ", \"precompiled_charsmap\": " + map)
            + "}]}";
    return ("{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": "
            + normalizer
            + ", \"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": null, \"model\":"
            + " {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"?\", 0.0], [\"x\", -1.0]]}}")
        .getBytes(StandardCharsets.UTF_8);
  }

  private static void refuses(String map, String fault) {
    assertEquals(
        "t must be a tokenizer: precompiled_charsmap " + fault,
        assertThrows(IOException.class, () -> HuggingFaceTokenizer.of("t", tokenizer(map)))
            .getMessage());
  }

  @Test
  void shouldReplaceAsTheTableSays() throws IOException {
    try (HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.of("t", tokenizer(map()))) {
      assertEquals(1, tokenizer.encode("a", false).tokens()[0]);
    }
  }

  @Test
  void shouldRefuseWhatIsNoTable() {
    refuses("", "must be a string");
    refuses("null", "must be a string");
    refuses("\"AAA=A\"", "must be in base64: Input byte array has incorrect ending byte at 4");
    refuses("\"AAAAAA\"", "must be in base64, padded");
    refuses("\"AAA=\"", "must begin with the size of its trie: it has 2 bytes");
    refuses("\"AAAAAA==\"", "must hold its trie: trie=0 of 0 bytes");
    refuses("\"/////w==\"", "must hold its trie: trie=4294967295 of 0 bytes");
  }

  @Test
  void shouldRefuseTriesThatLeadOutside() {
    trie[0] = 2048 << 10;
    refuses(map(), "must have a trie that stays inside itself: unit 2049 of 1024");
    trie[0] = 256 << 10;
    trie[256 ^ 'a'] = LEAF | (4096 ^ 256 ^ 'a') << 10;
    refuses(map(), "must have a trie that stays inside itself: unit 4096 of 1024");
  }

  @Test
  void shouldRefuseValuesThatAreNoReplacement() {
    trie[512] = 1;
    refuses(map(), "must have values at which a replacement begins: byte 1 of 5");
    trie[512] = 6;
    refuses(map(), "must have values at which a replacement begins: byte 6 of 5");
    trie[512] = 0;
    replacements = new byte[] {(byte) 0xff};
    refuses(map(), "must have replacements in UTF-8");
  }
}
