package io.github.attention4j.models.text;

import io.github.attention4j.models.Encoding;
import io.github.attention4j.models.Tokenizer;
import java.util.Arrays;
import java.util.Map;

/**
 * A tokenizer that decodes some special tokens to their texts even where special tokens are left
 * out.
 */
final class ShownTokens implements Tokenizer {
  private final Tokenizer tokenizer;
  private final Map<Integer, String> shown;

  private ShownTokens(Tokenizer tokenizer, Map<Integer, String> shown) {
    this.tokenizer = tokenizer;
    this.shown = shown;
  }

  static Tokenizer of(Tokenizer tokenizer, Map<Integer, String> shown) {
    return shown.isEmpty() ? tokenizer : new ShownTokens(tokenizer, shown);
  }

  @Override
  public Encoding encode(String text, boolean special) {
    return tokenizer.encode(text, special);
  }

  @Override
  public Encoding encodePair(String first, String second) {
    return tokenizer.encodePair(first, second);
  }

  @Override
  public String decode(int[] tokens, boolean skipSpecial) {
    if (!skipSpecial) {
      return tokenizer.decode(tokens, false);
    }
    StringBuilder text = new StringBuilder();
    int from = 0;
    for (int i = 0; i <= tokens.length; i++) {
      String own = i < tokens.length ? shown.get(tokens[i]) : "";
      if (own != null) {
        text.append(tokenizer.decode(Arrays.copyOfRange(tokens, from, i), true)).append(own);
        from = i + 1;
      }
    }
    return text.toString();
  }

  @Override
  public int vocabulary() {
    return tokenizer.vocabulary();
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
