package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.models.encoder.Encoder;
import io.github.attention4j.models.encoder.EncoderSpec;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.weights.Storage;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.function.Consumer;
import java.util.function.IntUnaryOperator;

/**
 * A text encoder: turns tokens into hidden states. Families: BERT, RoBERTa, XLM-RoBERTa, CamemBERT,
 * DistilBERT, MPNet, ELECTRA, ALBERT, DeBERTa v2 and v3, ModernBERT, Nomic BERT, GTE ({@code new}),
 * EuroBERT, and Qwen3 as an embedder or classifier.
 *
 * <pre>{@code
 * try (TextEncoder encoder = TextEncoder.open(directory);
 *     Arena arena = Arena.ofConfined()) {
 *   Tensor hidden = encoder.encode(arena, new int[] {101, 7592, 102}); // [3, width]
 * }
 * }</pre>
 *
 * <p><b>Batches</b> are packed: texts are concatenated without padding. The hidden states of a text
 * have the same bits whatever other texts are in the batch. Long lists are split into passes of a
 * few thousand tokens, which bounds the memory for intermediate results.
 *
 * <p><b>Memory.</b> The model holds the weights until {@link #close}; memory for intermediate
 * results is reused from call to call.
 *
 * <p><b>Threads.</b> Any number of threads may call at once. A call uses at most {@link
 * io.github.attention4j.A4j#threads()} threads of the process's team. {@link #close} waits for
 * calls that are running.
 */
public final class TextEncoder implements AutoCloseable {
  /** A pass ends before the text that would exceed this, unless it is the only one. */
  private static final int PASS_TOKENS = 2048;

  private final String source;
  private final Encoder encoder;
  private final List<Path> files;
  private final Arena arena;
  private final ConcurrentLinkedDeque<Encoder.Scratch> scratches = new ConcurrentLinkedDeque<>();

  private final OpenLock open = new OpenLock();

  private TextEncoder(String source, Encoder encoder, List<Path> files, Arena arena) {
    this.source = source;
    this.encoder = encoder;
    this.files = files;
    this.arena = arena;
  }

  /**
   * Opens a model.
   *
   * <ul>
   *   <li>A directory written by Hugging Face's Transformers: {@code config.json}, and {@code
   *       model.safetensors} or the files that {@code model.safetensors.index.json} names. Without
   *       these, {@code model.onnx} or {@code onnx/model.onnx} is read.
   *   <li>An ONNX file, exported from a model of these families in float32, float16 or int8 (whose
   *       weights are dequantized), with the weights inside or in files that it names in its
   *       directory or below. {@code config.json} is looked for next to it and in the parent
   *       directory; without it the graph itself must tell the configuration, as graphs of BERT and
   *       DistilBERT do.
   * </ul>
   *
   * @param path the directory or file, which is not needed afterwards
   * @return the model, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException if the family is unknown, a setting would change the result
   *     and is not supported, tensors are missing or have other shapes, or an ONNX graph computes
   *     what the family does not
   * @throws OutOfMemoryError if there is not enough memory for the weights
   */
  public static TextEncoder open(Path path) throws IOException {
    return open(path, WeightStorage.FLOAT32);
  }

  /**
   * Opens a model with a choice of how its weights are stored.
   *
   * @param path the directory or file, which is not needed afterwards
   * @param storage how matrices are stored in memory
   * @return the model, to be closed
   * @throws IOException as for {@link #open(Path)}
   * @throws IllegalArgumentException as for {@link #open(Path)}
   * @throws OutOfMemoryError if there is not enough memory for the weights
   */
  public static TextEncoder open(Path path, WeightStorage storage) throws IOException {
    Objects.requireNonNull(storage, "storage");
    return ModelFiles.of(path).openEncoder(false, storage);
  }

  /**
   * Opens an ONNX file on the class path, such as the one in a jar.
   *
   * @param loader finds the resource
   * @param resource the name of the ONNX file, such as {@code all-minilm-l6-v2.onnx}
   * @return the model, to be closed
   * @throws IOException if there is no such resource, it cannot be read, or it is malformed
   * @throws IllegalArgumentException as for {@link #open(Path)}
   * @throws OutOfMemoryError if there is not enough memory for the weights
   */
  public static TextEncoder open(ClassLoader loader, String resource) throws IOException {
    return ModelFiles.of(loader, resource, null).openEncoder(false, WeightStorage.FLOAT32);
  }

  static TextEncoder of(
      String source, EncoderSpec spec, Checkpoint checkpoint, WeightStorage storage) {
    Arena weights = Arena.ofShared();
    try {
      TextEncoder encoder =
          new TextEncoder(
              source,
              new Encoder(source, spec, checkpoint, weights, packed(storage)),
              checkpoint.files(),
              weights);
      weights = null;
      return encoder;
    } finally {
      if (weights != null) {
        weights.close();
      }
    }
  }

  private static Storage packed(WeightStorage storage) {
    return switch (storage) {
      case FLOAT32 -> Storage.PACKED;
      case BF16 -> Storage.PACKED_BF16;
      case INT8 -> Storage.PACKED_INT8;
    };
  }

  // ---- Properties ----

  /**
   * Returns the family.
   *
   * @return the {@code model_type}, such as {@code bert}
   */
  public String family() {
    return encoder.spec().family();
  }

  /**
   * Returns the size of a hidden state.
   *
   * @return {@code hidden_size}
   */
  public int width() {
    return encoder.spec().width();
  }

  /**
   * Returns the size of the vocabulary; tokens are numbers from 0 up to this, exclusive.
   *
   * @return {@code vocab_size}
   */
  public int vocabulary() {
    return encoder.spec().vocabulary();
  }

  /**
   * Returns the most tokens that a text may have, special ones included.
   *
   * @return what the positions of the model allow
   */
  public int maxTokens() {
    return encoder.spec().maxTokens();
  }

  /**
   * Returns the number of weights.
   *
   * @return the number of elements in the tensors of the checkpoint that the model uses
   */
  public long parameters() {
    return encoder.parameters();
  }

  /**
   * Returns the files that the weights were read from.
   *
   * @return safetensors, or the ONNX file and those that it names; empty if the model is a resource
   */
  public List<Path> weightFiles() {
    return files;
  }

  /**
   * Tells whether the checkpoint has a pooler.
   *
   * @return whether {@link #pool} works
   */
  public boolean hasPooler() {
    return encoder.hasPooler();
  }

  boolean hasClassifier() {
    return encoder.hasClassifier();
  }

  /** The number of the classifier's labels; 0 without a classifier. */
  int labels() {
    return encoder.labels();
  }

  EncoderSpec spec() {
    return encoder.spec();
  }

  // ---- Encoding ----

  /**
   * Computes the hidden states of texts.
   *
   * @param arena supplies the memory of the result
   * @param texts the tokens of each text, at least one. Not modified.
   * @return {@link DType#F32} {@code [tokens of all texts, width]}, the texts concatenated
   * @throws IllegalArgumentException if a text is empty or longer than {@link #maxTokens()}, or a
   *     token is not in the vocabulary
   * @throws IllegalStateException if the model is closed
   * @throws OutOfMemoryError if there is not enough memory for the result
   */
  public Tensor encode(Arena arena, int[]... texts) {
    return encode(arena, Arrays.asList(texts), null);
  }

  /**
   * Computes the hidden states of texts with token types.
   *
   * @param arena supplies the memory of the result
   * @param texts the tokens of each text, at least one. Not modified.
   * @param types the type of each token of each text; null for zeros. Families with fewer than two
   *     token types ignore them. Not modified.
   * @return {@link DType#F32} {@code [tokens of all texts, width]}, the texts concatenated
   * @throws IllegalArgumentException if a text is empty or longer than {@link #maxTokens()}, a
   *     token is not in the vocabulary, or the types do not fit
   * @throws IllegalStateException if the model is closed
   * @throws OutOfMemoryError if there is not enough memory for the result
   */
  public Tensor encode(Arena arena, List<int[]> texts, List<int[]> types) {
    check(texts, types);
    Sequences sequences = sequences(texts);
    Tensor out = Tensor.allocate(arena, DType.F32, sequences.total(), width());
    encode(texts, types, out);
    return out;
  }

  /**
   * Computes {@code pooler_output}, the result of the checkpoint's pooler.
   *
   * @param arena supplies the memory of the result
   * @param hidden what {@link #encode(Arena, int[][])} returned. Not modified.
   * @param sequences the lengths of the texts
   * @return {@code [texts, width]}
   * @throws IllegalArgumentException if the sequences do not match the hidden states
   * @throws IllegalStateException if there is no pooler, or the model is closed
   */
  public Tensor pool(Arena arena, Tensor hidden, Sequences sequences) {
    if (!hasPooler()) {
      throw new IllegalStateException("the checkpoint has no pooler: " + this);
    }
    Pooling.check(hidden, sequences);
    if (hidden.size(1) != width()) {
      throw new IllegalArgumentException(
          "hidden.width must equal width: hidden.width=" + hidden.size(1) + ", width=" + width());
    }
    long stamp = enter();
    try {
      return encoder.pool(hidden, sequences, arena);
    } finally {
      open.exit(stamp);
    }
  }

  /**
   * The only token of a text that the classifier reads, as a function of the text's length; null if
   * it reads all.
   */
  IntUnaryOperator onlyClassified() {
    return switch (encoder.classified()) {
      case FIRST -> length -> 0;
      case LAST -> length -> length - 1;
      case MEAN, EACH -> null;
      case null -> null;
    };
  }

  /** Whether the classifier reads the last token of a text. */
  boolean classifiesLast() {
    return encoder.classified() == EncoderSpec.Reads.LAST;
  }

  /**
   * The logits of the classifier, for a {@link PassReader}, which runs while the model is kept
   * open.
   */
  Tensor classify(Arena arena, Tensor hidden, Sequences sequences) {
    return encoder.classify(hidden, sequences, arena);
  }

  /**
   * Returns the number of layers.
   *
   * @return at least 1
   */
  public int layers() {
    return encoder.layers();
  }

  /**
   * Computes the attention weights of one text in one layer.
   *
   * @param arena supplies the memory of the result
   * @param tokens the text, at least one token. Not modified.
   * @param layer the layer, from 0
   * @return {@link DType#F32} {@code [heads, tokens, tokens]}, by query and key
   * @throws IllegalArgumentException if the text is empty or longer than {@link #maxTokens()}, or a
   *     token is not in the vocabulary
   * @throws IndexOutOfBoundsException if there is no such layer
   * @throws IllegalStateException if the model is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Tensor attentionWeights(Arena arena, int[] tokens, int layer) {
    Objects.checkIndex(layer, layers());
    check(List.of(tokens), null);
    long stamp = enter();
    try (Arena own = Arena.ofConfined();
        Encoder.Scratch scratch = encoder.newScratch()) {
      Tensor x = Tensor.allocate(own, DType.F32, tokens.length, width());
      Tensor weights =
          Tensor.allocate(arena, DType.F32, 1, encoder.heads(layer), tokens.length, tokens.length);
      encoder.attentionWeights(tokens, layer, x, weights, scratch);
      return weights.select(0, 0);
    } finally {
      open.exit(stamp);
    }
  }

  static Sequences sequences(List<int[]> texts) {
    return Sequences.ofLengths(texts.stream().mapToInt(text -> text.length).toArray());
  }

  /** Receives the hidden states of one pass. */
  interface PassReader {
    /**
     * Reads the hidden states of a pass.
     *
     * @param from the first text
     * @param to after the last text
     * @param hidden {@code [tokens of these texts, width]}, or {@code [texts, width]} if one token
     *     of each is read; accessible to all threads, overwritten after this returns
     */
    void read(int from, int to, Tensor hidden);
  }

  /**
   * Encodes checked texts in passes whose results are read and not kept.
   *
   * @param only the only token of a text whose hidden state is wanted, as a function of the text's
   *     length; null for all tokens
   */
  void encode(List<int[]> texts, List<int[]> types, IntUnaryOperator only, PassReader reader) {
    passes(texts, types, only, null, reader);
  }

  /**
   * How many rows texts have in the hidden states of a pass: one where only a row of each is
   * computed.
   *
   * @param only chooses that row, or null
   */
  static int[] rows(List<int[]> texts, int from, int to, IntUnaryOperator only) {
    return texts.subList(from, to).stream()
        .mapToInt(text -> only == null ? text.length : 1)
        .toArray();
  }

  /** Encodes checked texts in passes. */
  private void encode(List<int[]> texts, List<int[]> types, Tensor out) {
    passes(texts, types, null, out, (from, to, hidden) -> {});
  }

  /** Encodes into the tensor, or into memory that is reused if it is null. */
  private void passes(
      List<int[]> texts, List<int[]> types, IntUnaryOperator only, Tensor out, PassReader reader) {
    int row = 0;
    for (int from = 0; from < texts.size(); ) {
      int rows = texts.get(from).length;
      int to = from + 1;
      while (to < texts.size() && rows + texts.get(to).length <= PASS_TOKENS) {
        rows += texts.get(to++).length;
      }
      int first = from;
      int end = to;
      pass(
          texts.subList(from, to),
          types == null ? null : types.subList(from, to),
          rows,
          only,
          out == null ? null : out.slice(0, row, rows),
          hidden -> reader.read(first, end, hidden));
      row += rows;
      from = to;
    }
  }

  private void pass(
      List<int[]> texts,
      List<int[]> types,
      int rows,
      IntUnaryOperator only,
      Tensor out,
      Consumer<Tensor> reader) {
    int[] tokens = join(texts, rows);
    int[] wanted = only == null ? null : chosen(texts, only);
    int[] tokenTypes = types == null || !hasTypes() ? null : join(types, rows);
    long stamp = enter();
    try {
      Encoder.Scratch scratch = scratches.poll();
      if (scratch == null) {
        scratch = encoder.newScratch();
      }
      try {
        Tensor hidden = out == null ? scratch.hidden(rows) : out;
        encoder.forward(tokens, tokenTypes, sequences(texts), wanted, hidden, scratch);
        reader.accept(wanted == null ? hidden : hidden.slice(0, 0, wanted.length));
      } finally {
        scratches.push(scratch);
      }
    } finally {
      open.exit(stamp);
    }
  }

  /** The row of each text's only token. */
  private static int[] chosen(List<int[]> texts, IntUnaryOperator only) {
    int[] rows = new int[texts.size()];
    int begin = 0;
    for (int i = 0; i < rows.length; i++) {
      int length = texts.get(i).length;
      rows[i] = begin + only.applyAsInt(length);
      begin += length;
    }
    return rows;
  }

  /** RoBERTa has one token type, which carries no information. */
  private boolean hasTypes() {
    return encoder.spec().embedding().types() > 1;
  }

  private static int[] join(List<int[]> texts, int rows) {
    int[] joined = new int[rows];
    int row = 0;
    for (int[] text : texts) {
      System.arraycopy(text, 0, joined, row, text.length);
      row += text.length;
    }
    return joined;
  }

  // ---- Checks, closing ----

  /** Refuses texts that the model cannot read. */
  void check(List<int[]> texts, List<int[]> types) {
    Objects.requireNonNull(texts, "texts");
    if (types != null && types.size() != texts.size()) {
      throw new IllegalArgumentException(
          "types must have one entry for each text: types="
              + types.size()
              + ", texts="
              + texts.size());
    }
    for (int i = 0; i < texts.size(); i++) {
      check("texts[" + i + "]", texts.get(i), types == null ? null : types.get(i));
    }
  }

  private void check(String name, int[] text, int[] types) {
    if (Objects.requireNonNull(text, name).length == 0 || text.length > maxTokens()) {
      throw new IllegalArgumentException(
          name
              + " must have from 1 to maxTokens tokens: "
              + name
              + ".length="
              + text.length
              + ", maxTokens="
              + maxTokens());
    }
    for (int i = 0; i < text.length; i++) {
      if (text[i] < 0 || text[i] >= vocabulary()) {
        String token = name + "[" + i + "]";
        throw new IllegalArgumentException(
            token
                + " must be in the vocabulary: "
                + token
                + "="
                + text[i]
                + ", vocabulary="
                + vocabulary());
      }
    }
    if (types == null) {
      return;
    }
    if (types.length != text.length) {
      throw new IllegalArgumentException(
          "types must have one entry for each token: types="
              + types.length
              + ", "
              + name
              + ".length="
              + text.length);
    }
    int most = hasTypes() ? encoder.spec().embedding().types() : Integer.MAX_VALUE;
    for (int type : types) {
      if (type < 0 || type >= most) {
        throw new IllegalArgumentException(
            name
                + ": types must be below type_vocab_size: type="
                + type
                + ", type_vocab_size="
                + most);
      }
    }
  }

  /** Keeps the model open until {@code open.exit}. */
  private long enter() {
    return open.enter("model", this);
  }

  /** Releases the memory. Waits for calls that are running; closing again is a no-op. */
  @Override
  public void close() {
    open.close(
        () -> {
          arena.close();
          for (Encoder.Scratch scratch = scratches.poll();
              scratch != null;
              scratch = scratches.poll()) {
            scratch.close();
          }
        });
  }

  /**
   * Shows family and size.
   *
   * @return for example {@code TextEncoder[bert, width 384, 22713216 parameters, all-MiniLM-L6-v2]}
   */
  @Override
  public String toString() {
    return "TextEncoder["
        + family()
        + ", width "
        + width()
        + ", "
        + parameters()
        + " parameters, "
        + source
        + "]";
  }
}
