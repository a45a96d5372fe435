package io.github.attention4j.models;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import ai.djl.util.PairList;
import io.github.attention4j.internal.Json;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A tokenizer for Hugging Face's {@code tokenizer.json}, run by their own library through {@code
 * ai.djl.huggingface:tokenizers}.
 *
 * <pre>{@code
 * try (HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.open(directory.resolve("tokenizer.json"))) {
 *   int[] tokens = tokenizer.encode("The old sailor").tokens();
 * }
 * }</pre>
 *
 * <p><b>Truncation and padding</b> in the file are switched off: many published files contain the
 * settings of the last training run (that of all-MiniLM-L6-v2 truncates to 128 tokens). Models
 * truncate at their own limit and report it.
 *
 * <p><b>Nothing is downloaded or reported.</b> The native library is unpacked from its jar into
 * {@code ~/.djl.ai} or the directory named by the environment variable or system property {@code
 * DJL_CACHE_DIR}. No file but {@code tokenizer.json} is read.
 *
 * <p><b>Warnings.</b> The library loads native code through JNI, which JDK 25 reports as a
 * restricted method of {@code java.lang.System} unless Java runs with {@code
 * --enable-native-access=ai.djl.tokenizers} (on the class path {@code ALL-UNNAMED}). It logs
 * through SLF4J, which says on standard error that it found no provider unless one is on the path;
 * {@code slf4j-nop} silences it.
 *
 * <p>An unpaired surrogate, which UTF-8 cannot represent, is read as U+FFFD.
 *
 * <p>Safe for any number of threads.
 */
public final class HuggingFaceTokenizer implements Tokenizer {
  private static final int[] NONE = {};

  /** This property tells the library which of its builds to load; "cpu" is in the jar. */
  private static final String FLAVOR = "RUST_FLAVOR";

  private static final String OPT_OUT = "OPT_OUT_TRACKING";

  private final ai.djl.huggingface.tokenizers.HuggingFaceTokenizer tokenizer;
  private final String source;
  private final int vocabulary;

  private final OpenLock open = new OpenLock();

  private HuggingFaceTokenizer(
      ai.djl.huggingface.tokenizers.HuggingFaceTokenizer tokenizer, String source, int vocabulary) {
    this.tokenizer = tokenizer;
    this.source = source;
    this.vocabulary = vocabulary;
  }

  /**
   * Opens a tokenizer that neither truncates nor pads.
   *
   * @param file a {@code tokenizer.json}
   * @return the tokenizer, to be closed
   * @throws IOException if the file cannot be read or is not a tokenizer
   * @throws IllegalStateException if the native library cannot be loaded
   */
  public static HuggingFaceTokenizer open(Path file) throws IOException {
    return open(file, Map.of());
  }

  /**
   * Opens a tokenizer with options of the library, for use with {@link #describe}. A tokenizer that
   * truncates or pads must not be used for anything else.
   *
   * @param file a {@code tokenizer.json}
   * @param options the library's names and values: {@code padding}, {@code truncation}, {@code
   *     maxLength}, {@code stride}, {@code padToMultipleOf}, {@code withOverflowingTokens}; without
   *     {@code padding} and {@code truncation} both are off
   * @return the tokenizer, to be closed
   * @throws IOException if the file cannot be read or is not a tokenizer
   * @throws IllegalStateException if the native library cannot be loaded
   */
  public static HuggingFaceTokenizer open(Path file, Map<String, String> options)
      throws IOException {
    Objects.requireNonNull(options, "options");
    return of(file.toString(), Files.readAllBytes(file), options, true);
  }

  /**
   * Opens a tokenizer with the truncation and padding of its file, for use with {@link #describe}.
   *
   * @param file a {@code tokenizer.json}
   * @return the tokenizer, to be closed
   * @throws IOException if the file cannot be read or is not a tokenizer
   * @throws IllegalStateException if the native library cannot be loaded
   */
  public static HuggingFaceTokenizer openAsFileSays(Path file) throws IOException {
    return of(file.toString(), Files.readAllBytes(file), Map.of(), false);
  }

  /**
   * Opens a tokenizer from the contents of a file.
   *
   * @param source its name in messages
   * @param json the contents of a {@code tokenizer.json}. Not modified.
   * @return the tokenizer, to be closed
   * @throws IOException if it is not a tokenizer
   * @throws IllegalStateException if the native library cannot be loaded
   */
  public static HuggingFaceTokenizer of(String source, byte[] json) throws IOException {
    return of(source, json, Map.of(), true);
  }

  private static HuggingFaceTokenizer of(
      String source, byte[] json, Map<String, String> options, boolean off) throws IOException {
    int vocabulary = vocabulary(source, json);
    Map<String, String> all = new HashMap<>();
    if (off) {
      all.put("padding", "false");
      all.put("truncation", "false");
    }
    all.putAll(options);
    return new HuggingFaceTokenizer(load(source, json, all), source, vocabulary);
  }

  /**
   * Loads the native library from its own jar, and the tokenizer from its text. The properties keep
   * the library from looking for another build of itself on the network, and from reporting its use
   * from a cloud machine, both of which it does by default.
   */
  private static synchronized ai.djl.huggingface.tokenizers.HuggingFaceTokenizer load(
      String source, byte[] json, Map<String, String> options) throws IOException {
    String flavor = System.getProperty(FLAVOR);
    String optOut = System.getProperty(OPT_OUT);
    System.setProperty(FLAVOR, flavor == null ? "cpu" : flavor);
    System.setProperty(OPT_OUT, "true");
    try {
      Objects.requireNonNull(TokenizersLibrary.LIB);
      return ai.djl.huggingface.tokenizers.HuggingFaceTokenizer.newInstance(
          new ByteArrayInputStream(json), options);
    } catch (LinkageError | EngineException e) {
      throw new IllegalStateException("the tokenizers' native library cannot be loaded: " + e, e);
    } catch (IOException | RuntimeException e) {
      throw new IOException(source + " must be a tokenizer: " + e.getMessage(), e);
    } finally {
      restore(FLAVOR, flavor);
      restore(OPT_OUT, optOut);
    }
  }

  private static void restore(String property, String value) {
    if (value == null) {
      System.clearProperty(property);
    } else {
      System.setProperty(property, value);
    }
  }

  /** Checks that the native library can be given a file, and returns its largest token plus 1. */
  private static int vocabulary(String source, byte[] json) throws IOException {
    Object content;
    try {
      content = Json.parse(json);
    } catch (Json.MalformedException e) {
      throw new IOException(source + " must be valid JSON: " + e.getMessage(), e);
    }
    if (!(content instanceof Map<?, ?> object)
        || !(object.get("model") instanceof Map<?, ?> model)) {
      throw new IOException(source + " must be a tokenizer: it has no object \"model\"");
    }
    String fault = Charsmap.faultIn(object.get("normalizer"));
    if (fault != null) {
      throw new IOException(source + " must be a tokenizer: " + fault);
    }
    long largest = -1;
    if (model.get("vocab") instanceof List<?> list) {
      largest = list.size() - 1L;
    } else if (model.get("vocab") instanceof Map<?, ?> map) {
      for (Object token : map.values()) {
        largest = Math.max(largest, token instanceof Long number ? number : -1);
      }
    }
    if (object.get("added_tokens") instanceof List<?> added) {
      for (Object each : added) {
        if (each instanceof Map<?, ?> token && token.get("id") instanceof Long id) {
          largest = Math.max(largest, id);
        }
      }
    }
    if (largest < 0 || largest >= Integer.MAX_VALUE) {
      throw new IOException(source + " must be a tokenizer: its largest token is " + largest);
    }
    return (int) largest + 1;
  }

  // ---- Encoding ----

  @Override
  public Encoding encode(String text, boolean special) {
    String clean = paired(Objects.requireNonNull(text, "text"));
    long stamp = enter();
    try {
      return take(TokenizersLibrary.LIB.encode(tokenizer.getHandle(), clean, special));
    } finally {
      open.exit(stamp);
    }
  }

  @Override
  public Encoding encodePair(String first, String second) {
    String cleanFirst = paired(Objects.requireNonNull(first, "first"));
    String cleanSecond = paired(Objects.requireNonNull(second, "second"));
    long stamp = enter();
    try {
      return take(
          TokenizersLibrary.LIB.encodeDual(tokenizer.getHandle(), cleanFirst, cleanSecond, true));
    } finally {
      open.exit(stamp);
    }
  }

  /** Copies and frees a native encoding. */
  private static Encoding take(long encoding) {
    try {
      int[] parts = narrow(TokenizersLibrary.LIB.getSequenceIds(encoding));
      long[] special = TokenizersLibrary.LIB.getSpecialTokenMask(encoding);
      for (int i = 0; i < parts.length; i++) {
        parts[i] = special[i] != 0 ? Encoding.SPECIAL : parts[i];
      }
      return new Encoding(
          narrow(TokenizersLibrary.LIB.getTokenIds(encoding)),
          narrow(TokenizersLibrary.LIB.getTypeIds(encoding)),
          parts);
    } finally {
      TokenizersLibrary.LIB.deleteEncoding(encoding);
    }
  }

  @Override
  public String decode(int[] tokens, boolean skipSpecial) {
    long[] wide = Arrays.stream(tokens).asLongStream().toArray();
    for (int token : tokens) {
      if (token < 0 || token >= vocabulary) {
        throw new IllegalArgumentException(
            "token must be in the vocabulary: token=" + token + ", vocabulary=" + vocabulary);
      }
    }
    long stamp = enter();
    try {
      return tokenizer.decode(wide, skipSpecial);
    } finally {
      open.exit(stamp);
    }
  }

  @Override
  public int vocabulary() {
    return vocabulary;
  }

  // ---- Everything that the library reports ----

  /**
   * Everything that the library reports about a text's tokens. Arrays have one element per token.
   *
   * @param tokens the numbers of the tokens
   * @param types the token types
   * @param texts the tokens in the vocabulary's spelling
   * @param attentionMask 0 for padding, otherwise 1
   * @param specialTokensMask 1 for special tokens and padding, otherwise 0
   * @param words the number of the word that a token belongs to, or -1
   * @param starts where a token begins in the text, in Unicode code points; -1 if it is not in the
   *     text
   * @param ends where it ends; -1 if it is not in the text
   * @param overflowing the further windows of a truncated text, if requested
   */
  public record Details(
      int[] tokens,
      int[] types,
      List<String> texts,
      int[] attentionMask,
      int[] specialTokensMask,
      int[] words,
      int[] starts,
      int[] ends,
      List<Details> overflowing) {}

  /**
   * Encodes a text with the options of the tokenizer and returns everything that the library
   * reports.
   *
   * @param text any text
   * @param pair a text to be read together with it, or null
   * @param special whether to add special tokens
   * @return the tokens
   * @throws IllegalArgumentException if the library refuses, with its own words
   * @throws IllegalStateException if the tokenizer is closed
   */
  public Details describe(String text, String pair, boolean special) {
    String cleanText = paired(Objects.requireNonNull(text, "text"));
    long stamp = enter();
    try {
      boolean overflow = true;
      return details(
          pair == null
              ? tokenizer.encode(cleanText, special, overflow)
              : tokenizer.encode(cleanText, paired(pair), special, overflow));
    } catch (RuntimeException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    } finally {
      open.exit(stamp);
    }
  }

  /**
   * Encodes texts as a batch, padded together if the options say so.
   *
   * @param texts any texts
   * @param pairs texts to be read together with them, one for each; or null
   * @param special whether to add special tokens
   * @return for each text its tokens
   * @throws IllegalArgumentException if the library refuses, with its own words
   * @throws IllegalStateException if the tokenizer is closed
   */
  public List<Details> describeBatch(List<String> texts, List<String> pairs, boolean special) {
    List<String> clean = texts.stream().map(HuggingFaceTokenizer::paired).toList();
    long stamp = enter();
    try {
      boolean overflow = true;
      ai.djl.huggingface.tokenizers.Encoding[] encodings;
      if (pairs == null) {
        encodings = tokenizer.batchEncode(clean, special, overflow);
      } else {
        PairList<String, String> both = new PairList<>();
        for (int i = 0; i < clean.size(); i++) {
          both.add(clean.get(i), paired(pairs.get(i)));
        }
        encodings = tokenizer.batchEncode(both, special, overflow);
      }
      return Arrays.stream(encodings).map(HuggingFaceTokenizer::details).toList();
    } catch (RuntimeException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    } finally {
      open.exit(stamp);
    }
  }

  private static Details details(ai.djl.huggingface.tokenizers.Encoding encoding) {
    CharSpan[] spans = encoding.getCharTokenSpans();
    int[] starts = new int[spans.length];
    int[] ends = new int[spans.length];
    for (int i = 0; i < spans.length; i++) {
      starts[i] = spans[i] == null ? -1 : spans[i].getStart();
      ends[i] = spans[i] == null ? -1 : spans[i].getEnd();
    }
    List<Details> overflowing = new ArrayList<>();
    if (encoding.getOverflowing() != null) {
      for (ai.djl.huggingface.tokenizers.Encoding each : encoding.getOverflowing()) {
        overflowing.add(details(each));
      }
    }
    return new Details(
        narrow(encoding.getIds()),
        narrow(encoding.getTypeIds()),
        List.of(encoding.getTokens()),
        narrow(encoding.getAttentionMask()),
        narrow(encoding.getSpecialTokenMask()),
        narrow(encoding.getWordIds()),
        starts,
        ends,
        List.copyOf(overflowing));
  }

  // ---- Helpers, closing ----

  private static int[] narrow(long[] wide) {
    int[] narrow = wide.length == 0 ? NONE : new int[wide.length];
    for (int i = 0; i < wide.length; i++) {
      narrow[i] = (int) wide[i];
    }
    return narrow;
  }

  /** Replaces unpaired surrogates. */
  private static String paired(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (Character.isSurrogate(text.charAt(i))) {
        return replaceUnpaired(text);
      }
    }
    return text;
  }

  private static String replaceUnpaired(String text) {
    StringBuilder paired = new StringBuilder(text.length());
    text.codePoints()
        .map(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? 0xfffd : c)
        .forEach(paired::appendCodePoint);
    return paired.toString();
  }

  /** Keeps the tokenizer open until {@code open.exit}. */
  private long enter() {
    return open.enter("tokenizer", this);
  }

  @Override
  public void close() {
    open.close(tokenizer::close);
  }

  /**
   * Shows where it came from.
   *
   * @return for example {@code HuggingFaceTokenizer[tokenizer.json, 30522 tokens]}
   */
  @Override
  public String toString() {
    return "HuggingFaceTokenizer[" + source + ", " + vocabulary + " tokens]";
  }
}
