package io.github.attention4j.models;

import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.gguf.GgufFile;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The tokenizer in a GGUF file: byte-level BPE with merges ({@code gpt2}), or SentencePiece's
 * pieces with scores ({@code llama}). It produces the same tokens as llama.cpp.
 *
 * <p>First the text is split at special tokens: user-defined ones always, control tokens if they
 * are to be recognised. The text between them is tokenized piece by piece: starting from single
 * characters, the neighbours that form the best token are merged until no neighbours form a token.
 *
 * <p>Immutable and safe for any number of threads.
 */
public final class GgufTokenizer implements Tokenizer {
  private static final int NORMAL = 1;
  private static final int UNKNOWN = 2;
  private static final int CONTROL = 3;
  private static final int USER_DEFINED = 4;
  private static final int BYTE = 6;

  /** SentencePiece's character for a space. */
  private static final String SPACE = "\u2581";

  /** Texts of tokens that end a text, however the metadata classify them. */
  private static final Set<String> ENDS =
      Set.of(
          "<|eot_id|>",
          "<|im_end|>",
          "<|end|>",
          "<end_of_turn>",
          "<|endoftext|>",
          "<|eom_id|>",
          "<|end_of_text|>",
          "<EOT>",
          "<end_of_utterance>",
          "<\uff5cend\u2581of\u2581sentence\uff5c>");

  private static final String CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";

  private static final String LLAMA3 =
      "(?i:"
          + CONTRACTIONS
          + ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
          + "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  private static final String GPT2 =
      CONTRACTIONS + "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";

  /** Letters that count as upper case and as lower case; case only matters in ASCII. */
  private static final String UPPER = "[\\p{L}&&[^a-z]]";

  private static final String LOWER = "[\\p{L}&&[^A-Z]]";

  private static final String TEKKEN_END =
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  /** The expressions that split a text before merging. */
  private record PreTokenizer(List<Pattern> patterns, boolean wholeWords, boolean addBos) {
    PreTokenizer(boolean wholeWords, boolean addBos, String... expressions) {
      this(
          Arrays.stream(expressions)
              .map(
                  expression ->
                      Pattern.compile(
                          expression
                              .replace("\\s", "\\p{IsWhite_Space}")
                              .replace("\\S", "\\P{IsWhite_Space}")))
              .toList(),
          wholeWords,
          addBos);
    }
  }

  private static final Map<String, PreTokenizer> PRE = preTokenizers();

  private static Map<String, PreTokenizer> preTokenizers() {
    Map<String, PreTokenizer> pre = new HashMap<>();
    PreTokenizer llama3 = new PreTokenizer(true, true, LLAMA3);
    for (String name : List.of("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral")) {
      pre.put(name, llama3);
    }
    PreTokenizer smaug = new PreTokenizer(false, false, LLAMA3);
    pre.put("smaug-bpe", smaug);
    pre.put("dbrx", smaug);
    PreTokenizer qwen2 = new PreTokenizer(false, false, LLAMA3.replace("\\p{N}{1,3}", "\\p{N}"));
    for (String name : List.of("qwen2", "deepseek-r1-qwen", "kormo", "megrez")) {
      pre.put(name, qwen2);
    }
    PreTokenizer gpt2 = new PreTokenizer(false, false, GPT2);
    for (String name : List.of("gpt-2", "a.x-4.0", "jais", "mellum", "olmo", "phi-2")) {
      pre.put(name, gpt2);
    }
    PreTokenizer digits = new PreTokenizer(false, false, "\\p{N}", GPT2);
    for (String name :
        List.of("codeshell", "command-r", "minerva-7b", "refact", "smollm", "starcoder")) {
      pre.put(name, digits);
    }
    pre.put(
        "deepseek-coder",
        new PreTokenizer(
            false,
            false,
            "[\\r\\n]",
            "\\s?\\p{L}+",
            "\\s?\\p{P}+",
            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
            "\\p{N}"));
    String first = "[^\\r\\n\\p{L}\\p{N}]?" + UPPER + "*" + LOWER + "+";
    String second = "[^\\r\\n\\p{L}\\p{N}]?" + UPPER + "+" + LOWER + "*";
    pre.put("tekken", new PreTokenizer(true, true, first + "|" + second + "|\\p{N}" + TEKKEN_END));
    String suffix = "(?i:" + CONTRACTIONS + ")?";
    PreTokenizer gpt4o =
        new PreTokenizer(
            false, false, first + suffix + "|" + second + suffix + "|\\p{N}{1,3}" + TEKKEN_END);
    pre.put("gpt-4o", gpt4o);
    pre.put("llama4", gpt4o);
    return Map.copyOf(pre);
  }

  /** The printable character of each byte, and back. */
  private static final char[] CHAR_OF_BYTE = new char[256];

  private static final Map<Character, Byte> BYTE_OF_CHAR = new HashMap<>();

  static {
    int next = 256;
    for (int b = 0; b < 256; b++) {
      boolean itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      CHAR_OF_BYTE[b] = (char) (itself ? b : next++);
      BYTE_OF_CHAR.put(CHAR_OF_BYTE[b], (byte) b);
    }
  }

  private final List<String> texts;
  private final int[] types;
  private final float[] scores;
  private final Map<String, Integer> tokens = new HashMap<>();
  private final Map<String, Integer> ranks = new HashMap<>();

  /** Null for pieces with scores. */
  private final PreTokenizer pre;

  /** Tokens at which texts are split, longest first. */
  private final List<Integer> special = new ArrayList<>();

  private final int bos;
  private final int eos;
  private final int unknown;
  private final int padding;
  private final boolean addBos;
  private final boolean addEos;
  private final boolean addSpacePrefix;
  private final Set<Integer> ends;

  private GgufTokenizer(Settings settings) {
    texts = texts(settings);
    int count = texts.size();
    boolean scored = settings.text("tokenizer.ggml.model").equals("llama");
    types = types(settings, count);
    scores = scored ? scores(settings, count) : null;
    for (int i = 0; i < count; i++) {
      tokens.putIfAbsent(texts.get(i), i);
    }
    pre = scored ? null : pre(settings);
    if (!scored) {
      readMerges(settings);
    }
    bos = token(settings, "bos", scored ? 1 : -1);
    eos = token(settings, "eos", scored ? 2 : -1);
    unknown = token(settings, "unknown", scored ? 0 : -1);
    padding = token(settings, "padding", -1);
    addBos = settings.flag("tokenizer.ggml.add_bos_token", scored || pre.addBos());
    addEos = settings.flag("tokenizer.ggml.add_eos_token", false);
    addSpacePrefix = settings.flag("tokenizer.ggml.add_space_prefix", scored);
    for (int i = 0; i < count; i++) {
      if ((types[i] == USER_DEFINED || types[i] == CONTROL || types[i] == UNKNOWN)
          && !texts.get(i).isEmpty()) {
        special.add(i);
      }
    }
    special.sort(
        Comparator.comparingInt((Integer token) -> -texts.get(token).length())
            .thenComparing(Comparator.naturalOrder()));
    ends = ends(settings);
  }

  /**
   * Reads the tokenizer of a file.
   *
   * @param path a GGUF file, even without tensors
   * @return the tokenizer
   * @throws IOException if the file cannot be read or is malformed
   * @throws IllegalArgumentException if the file has no tokenizer, or one that is not supported
   */
  public static GgufTokenizer open(Path path) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      return of(GgufFile.open(path, arena));
    }
  }

  /**
   * Reads the tokenizer of a file.
   *
   * @param file the file; only its metadata is read
   * @return the tokenizer
   * @throws IllegalArgumentException if the file has no tokenizer, or one that is not supported
   */
  public static GgufTokenizer of(GgufFile file) {
    Settings settings = Settings.of(file.path().toString(), file.metadata());
    String model = settings.text("tokenizer.ggml.model");
    if (!model.equals("llama") && !model.equals("gpt2")) {
      throw settings.refused("tokenizer.ggml.model", "\"llama\" or \"gpt2\"");
    }
    return new GgufTokenizer(settings);
  }

  // ---- Reading ----

  private static List<String> texts(Settings settings) {
    List<String> texts = settings.texts("tokenizer.ggml.tokens");
    if (texts.isEmpty()) {
      throw settings.refused("tokenizer.ggml.tokens", "a list of strings with 1 token at least");
    }
    return texts;
  }

  private static int[] types(Settings settings, int count) {
    String key = "tokenizer.ggml.token_type";
    if (!settings.has(key)) {
      int[] types = new int[count];
      Arrays.fill(types, NORMAL);
      return types;
    }
    List<Integer> types = settings.integers(key);
    if (types.size() != count) {
      throw settings.refused(key, "a list with a value for each of the " + count + " tokens");
    }
    return types.stream().mapToInt(Integer::intValue).toArray();
  }

  private static float[] scores(Settings settings, int count) {
    String key = "tokenizer.ggml.scores";
    double[] values = settings.numbers(key);
    if (values.length != count) {
      throw settings.refused(key, "a list with a value for each of the " + count + " tokens");
    }
    float[] scores = new float[count];
    for (int i = 0; i < count; i++) {
      scores[i] = (float) values[i];
    }
    return scores;
  }

  private static PreTokenizer pre(Settings settings) {
    PreTokenizer pre = PRE.get(settings.text("tokenizer.ggml.pre"));
    if (pre == null) {
      throw settings.refused(
          "tokenizer.ggml.pre", "one of " + String.join(", ", new TreeSet<>(PRE.keySet())));
    }
    return pre;
  }

  private void readMerges(Settings settings) {
    String key = "tokenizer.ggml.merges";
    if (!settings.has(key)) {
      throw settings.refused(key, "a list of strings");
    }
    List<String> merges = settings.texts(key);
    for (int rank = 0; rank < merges.size(); rank++) {
      String merge = merges.get(rank);
      if (merge.indexOf(' ', 1) < 0) {
        throw settings.refused(
            key, "a list of two texts with a space between them, unlike \"" + merge + "\"");
      }
      ranks.putIfAbsent(merge, rank);
    }
  }

  private int token(Settings settings, String name, int otherwise) {
    String key = "tokenizer.ggml." + name + "_token_id";
    int token = settings.count(key, otherwise);
    if (token >= texts.size()) {
      throw settings.refused(key, "a token, less than " + texts.size());
    }
    return token;
  }

  private Set<Integer> ends(Settings settings) {
    Set<Integer> all = new HashSet<>();
    for (String name : List.of("eos", "eot", "eom")) {
      int token = token(settings, name, name.equals("eos") ? eos : -1);
      if (token >= 0) {
        all.add(token);
      }
    }
    for (int i = 0; i < types.length; i++) {
      if (ENDS.contains(texts.get(i)) && (types[i] == CONTROL || types[i] == USER_DEFINED)) {
        all.add(i);
      }
    }
    return Set.copyOf(all);
  }

  // ---- What it is ----

  @Override
  public int vocabulary() {
    return texts.size();
  }

  /**
   * Returns the token that begins a text.
   *
   * @return -1 if there is none
   */
  public int bos() {
    return bos;
  }

  /**
   * Returns the token that ends a text.
   *
   * @return -1 if there is none
   */
  public int eos() {
    return eos;
  }

  /** The texts of special tokens by the names that chat templates have for them. */
  Map<String, String> namedTokens() {
    Map<String, String> named = new HashMap<>();
    named.put("bos_token", bos < 0 ? "" : texts.get(bos));
    named.put("eos_token", eos < 0 ? "" : texts.get(eos));
    if (unknown >= 0) {
      named.put("unk_token", texts.get(unknown));
    }
    if (padding >= 0) {
      named.put("pad_token", texts.get(padding));
    }
    return named;
  }

  /**
   * Returns the text of a token as the file spells it.
   *
   * @param token from 0 below the vocabulary
   * @return such as {@code <|im_end|>}
   */
  public String text(int token) {
    return texts.get(token);
  }

  /**
   * Returns all tokens that end generated text: those named in the metadata, and those known by
   * their text.
   *
   * @return unmodifiable
   */
  public Set<Integer> ends() {
    return ends;
  }

  // ---- Text to tokens ----

  /**
   * Encodes a text in which control tokens are not recognised.
   *
   * @param text any text; an unpaired surrogate is read as U+FFFD
   * @param special whether to add the tokens that the file puts before and after a text
   * @return its tokens
   */
  @Override
  public Encoding encode(String text, boolean special) {
    int[] encoded = encode(text, special, false);
    int[] parts = new int[encoded.length];
    if (special && addBos && bos >= 0) {
      parts[0] = Encoding.SPECIAL;
    }
    if (special && addEos && eos >= 0) {
      parts[parts.length - 1] = Encoding.SPECIAL;
    }
    return new Encoding(encoded, new int[encoded.length], parts);
  }

  /**
   * Always refused: GGUF files of decoders do not say what comes between two texts.
   *
   * @throws UnsupportedOperationException always
   */
  @Override
  public Encoding encodePair(String first, String second) {
    throw new UnsupportedOperationException(
        "GGUF files of decoders do not say how two texts are read together");
  }

  /** Does nothing: the tokenizer holds no native resources. */
  @Override
  public void close() {}

  /**
   * Turns a text into tokens.
   *
   * @param text any text; an unpaired surrogate is read as U+FFFD
   * @param addSpecial whether to add the tokens that the file puts before and after a text
   * @param parseSpecial whether control tokens in the text are recognised
   * @return the tokens
   */
  public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
    Objects.requireNonNull(text, "text");
    List<Integer> out = new ArrayList<>();
    if (addSpecial && addBos && bos >= 0) {
      out.add(bos);
    }
    String valid =
        new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8).equals(text)
            ? text
            : repaired(text);
    boolean afterSpecial = true;
    for (Object piece : cut(valid, parseSpecial)) {
      if (piece instanceof Integer token) {
        out.add(token);
        afterSpecial = true;
      } else {
        encodePiece((String) piece, afterSpecial, out);
        afterSpecial = false;
      }
    }
    if (addSpecial && addEos && eos >= 0) {
      out.add(eos);
    }
    return out.stream().mapToInt(Integer::intValue).toArray();
  }

  private static String repaired(String text) {
    StringBuilder repaired = new StringBuilder(text.length());
    text.codePoints()
        .forEach(
            c ->
                repaired.appendCodePoint(
                    c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? 0xFFFD : c));
    return repaired.toString();
  }

  /** Splits at special tokens, trying longer ones first. */
  private List<Object> cut(String text, boolean parseSpecial) {
    List<Object> pieces = new ArrayList<>();
    if (!text.isEmpty()) {
      pieces.add(text);
    }
    for (int token : special) {
      String wanted = texts.get(token);
      if ((types[token] != USER_DEFINED && !parseSpecial) || !text.contains(wanted)) {
        continue;
      }
      List<Object> finer = new ArrayList<>();
      for (Object piece : pieces) {
        if (!(piece instanceof String part)) {
          finer.add(piece);
          continue;
        }
        int from = 0;
        for (int at; (at = part.indexOf(wanted, from)) >= 0; from = at + wanted.length()) {
          if (at > from) {
            finer.add(part.substring(from, at));
          }
          finer.add(token);
        }
        if (from < part.length()) {
          finer.add(part.substring(from));
        }
      }
      pieces = finer;
    }
    return pieces;
  }

  private void encodePiece(String piece, boolean afterSpecial, List<Integer> out) {
    if (pre == null) {
      String prefixed = addSpacePrefix && afterSpecial ? " " + piece : piece;
      merge(prefixed.replace(" ", SPACE), out);
      return;
    }
    List<String> parts = List.of(piece);
    for (Pattern pattern : pre.patterns()) {
      List<String> finer = new ArrayList<>();
      for (String part : parts) {
        Matcher matcher = pattern.matcher(part);
        int from = 0;
        while (matcher.find()) {
          if (matcher.end() == matcher.start()) {
            continue;
          }
          if (matcher.start() > from) {
            finer.add(part.substring(from, matcher.start()));
          }
          finer.add(matcher.group());
          from = matcher.end();
        }
        if (from < part.length()) {
          finer.add(part.substring(from));
        }
      }
      parts = finer;
    }
    for (String part : parts) {
      StringBuilder written = new StringBuilder();
      for (byte b : part.getBytes(StandardCharsets.UTF_8)) {
        written.append(CHAR_OF_BYTE[b & 0xff]);
      }
      String word = written.toString();
      Integer whole = pre.wholeWords() ? tokens.get(word) : null;
      if (whole != null) {
        out.add(whole);
      } else {
        merge(word, out);
      }
    }
  }

  /** Two neighbours that may be merged; the best come first, and of equals the leftmost. */
  private record Pair(int left, int right, double cost, String text) {}

  /** Merges neighbours until no two form a token, and adds the resulting tokens. */
  private void merge(String text, List<Integer> out) {
    int[] characters = text.codePoints().toArray();
    int count = characters.length;
    String[] symbols = new String[count];
    int[] before = new int[count];
    int[] after = new int[count];
    for (int i = 0; i < count; i++) {
      symbols[i] = Character.toString(characters[i]);
      before[i] = i - 1;
      after[i] = i + 1 < count ? i + 1 : -1;
    }
    PriorityQueue<Pair> queue =
        new PriorityQueue<>(Comparator.comparingDouble(Pair::cost).thenComparingInt(Pair::left));
    for (int i = 0; i + 1 < count; i++) {
      offer(queue, symbols, i, i + 1);
    }
    while (!queue.isEmpty()) {
      Pair pair = queue.poll();
      String left = symbols[pair.left()];
      String right = symbols[pair.right()];
      // A symbol that has been merged since is gone or longer.
      if (left == null || right == null || !pair.text().equals(left + right)) {
        continue;
      }
      symbols[pair.left()] = pair.text();
      symbols[pair.right()] = null;
      after[pair.left()] = after[pair.right()];
      if (after[pair.left()] >= 0) {
        before[after[pair.left()]] = pair.left();
        offer(queue, symbols, pair.left(), after[pair.left()]);
      }
      if (before[pair.left()] >= 0) {
        offer(queue, symbols, before[pair.left()], pair.left());
      }
    }
    for (int i = 0; i >= 0 && i < count; i = after[i]) {
      emit(symbols[i], out);
    }
  }

  private void offer(PriorityQueue<Pair> queue, String[] symbols, int left, int right) {
    String joined = symbols[left] + symbols[right];
    if (pre != null) {
      Integer rank = ranks.get(symbols[left] + " " + symbols[right]);
      if (rank != null) {
        queue.add(new Pair(left, right, rank, joined));
      }
      return;
    }
    Integer token = tokens.get(joined);
    if (token != null) {
      queue.add(new Pair(left, right, -scores[token], joined));
    }
  }

  private void emit(String symbol, List<Integer> out) {
    Integer token = tokens.get(symbol);
    if (token != null) {
      out.add(token);
      return;
    }
    if (pre != null) {
      // The result of a merge may not be a token: then its characters are encoded one by one.
      symbol
          .codePoints()
          .mapToObj(Character::toString)
          .map(tokens::get)
          .forEach(
              part -> {
                if (part != null) {
                  out.add(part);
                }
              });
      return;
    }
    for (byte b : symbol.getBytes(StandardCharsets.UTF_8)) {
      Integer part = tokens.get(String.format("<0x%02X>", b & 0xff));
      if (part != null) {
        out.add(part);
      } else if (unknown >= 0) {
        out.add(unknown);
      }
    }
  }

  // ---- Tokens to text ----

  /**
   * Returns the text of a token in UTF-8, possibly only part of a character.
   *
   * @param token from 0 below the vocabulary
   * @return a copy
   * @throws IndexOutOfBoundsException if there is no such token
   */
  public byte[] piece(int token) {
    String text = texts.get(Objects.checkIndex(token, texts.size()));
    int type = types[token];
    if (pre == null && type == BYTE) {
      return new byte[] {(byte) Integer.parseInt(text.substring(3, 5), 16)};
    }
    if (type == CONTROL || type == USER_DEFINED || type == UNKNOWN) {
      return text.getBytes(StandardCharsets.UTF_8);
    }
    if (pre == null) {
      return text.replace(SPACE, " ").getBytes(StandardCharsets.UTF_8);
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (char c : text.toCharArray()) {
      Byte b = BYTE_OF_CHAR.get(c);
      if (b != null) {
        bytes.write(b);
      } else {
        bytes.writeBytes(Character.toString(c).getBytes(StandardCharsets.UTF_8));
      }
    }
    return bytes.toByteArray();
  }

  /**
   * Turns tokens back into text.
   *
   * @param tokens from 0 below the vocabulary. Not modified.
   * @param skipSpecial whether to leave control tokens out
   * @return the text, without the space that encoding puts first; incomplete characters become
   *     U+FFFD
   * @throws IndexOutOfBoundsException if a token is not in the vocabulary
   */
  @Override
  public String decode(int[] tokens, boolean skipSpecial) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    boolean first = addSpacePrefix;
    for (int token : tokens) {
      byte[] piece = piece(token);
      boolean control = types[token] == CONTROL || types[token] == UNKNOWN;
      if (control && skipSpecial) {
        continue;
      }
      boolean prefixed = first && !control && piece.length > 0 && piece[0] == ' ';
      bytes.write(piece, prefixed ? 1 : 0, piece.length - (prefixed ? 1 : 0));
      first &= control;
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  /**
   * Shows the kind and the size.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return (pre == null ? "llama" : "gpt2") + " tokenizer of " + texts.size() + " tokens";
  }
}
