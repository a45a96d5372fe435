package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.models.encoder.Shares;
import io.github.attention4j.models.files.Settings;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.IntUnaryOperator;

/**
 * Turns texts into vectors: an encoder with tokenizer, pooling and prompts, as saved by
 * sentence-transformers.
 *
 * <pre>{@code
 * try (TextEmbedder embedder = TextEmbedder.open(directory)) {
 *   float[] query = embedder.embedQuery("Who repairs the engine?");
 *   List<TextEmbedder.Result> passages = embedder.embedDocuments(texts);
 * }
 * }</pre>
 *
 * <p><b>Files.</b> Those that {@link TextEncoder#open} reads, {@code tokenizer.json}, and from
 * sentence-transformers {@code modules.json} with the settings of its modules (Pooling, Dense,
 * Normalize), {@code sentence_bert_config.json} and {@code config_sentence_transformers.json}. A
 * directory without {@code modules.json} gets mean pooling and normalization; {@link #describe()}
 * says so. Late interaction (ColBERT) and sparse encoders (SPLADE) are refused.
 *
 * <p><b>Long texts</b> are truncated to {@link #maxTokens()}, which comes from the model's files,
 * and the result tells how many tokens were dropped; {@link Builder#refuseTruncation} refuses them
 * instead. Truncation and padding settings in {@code tokenizer.json} are not used.
 *
 * <p><b>Batches, memory and threads:</b> see {@link TextEncoder}. A text's vector has the same bits
 * in any batch, and apart from the result the memory of a call does not grow with the number of
 * texts. {@link #embedAll(Iterator, String)} streams.
 */
public final class TextEmbedder implements AutoCloseable {
  /** Texts are tokenized and embedded in chunks of about this many tokens. */
  private static final int CHUNK_TOKENS = 8192;

  /** Roughly how long pooling takes. */
  private static final double NANOS_PER_ELEMENT = 0.5;

  /** Texts are tokenized in groups of about this many characters. */
  private static final int GROUP_CHARS = 8192;

  private final TextEncoder encoder;
  private final TextInput input;
  private final Pipeline pipeline;
  private final Map<String, String> prompts;
  private final String defaultPrompt;
  private final int dimension;

  private TextEmbedder(
      TextEncoder encoder,
      TextInput input,
      Pipeline pipeline,
      Map<String, String> prompts,
      String defaultPrompt,
      int dimension) {
    this.encoder = encoder;
    this.input = input;
    this.pipeline = pipeline;
    this.prompts = prompts;
    this.defaultPrompt = defaultPrompt;
    this.dimension = dimension;
  }

  /**
   * The vector of a text.
   *
   * @param vector the vector; not shared with anyone
   * @param tokens how many tokens were read, special ones and the prompt included
   * @param dropped how many tokens were cut off because the text is longer than {@link
   *     #maxTokens()}
   */
  public record Result(float[] vector, int tokens, int dropped) {}

  /** Is told how far a call has got, and may end it. */
  @FunctionalInterface
  public interface Progress {
    /**
     * Called in the caller's thread after each chunk of texts.
     *
     * @param embedded how many texts have been embedded
     * @param total how many texts there are
     * @return whether to continue
     */
    boolean embedded(long embedded, long total);
  }

  // ---- Opening ----

  /**
   * Opens a directory or an ONNX file with the settings of its files.
   *
   * @param path as for {@link TextEncoder#open(Path)}; not needed afterwards
   * @return the embedder, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException as for {@link TextEncoder#open}, and if a module is not
   *     supported or the tokenizer does not fit the model
   */
  public static TextEmbedder open(Path path) throws IOException {
    return builder(path).open();
  }

  /**
   * Starts with the settings of a model's files.
   *
   * @param path what {@link #open} takes
   * @return a builder
   * @throws IOException if there is no such file
   */
  public static Builder builder(Path path) throws IOException {
    return new Builder(ModelFiles.of(path));
  }

  /**
   * Starts with an ONNX file and a tokenizer on the class path, such as those in a jar.
   *
   * <pre>{@code
   * TextEmbedder.builder(loader, "all-minilm-l6-v2.onnx", "all-minilm-l6-v2-tokenizer.json")
   *     .maxTokens(256)
   *     .open();
   * }</pre>
   *
   * @param loader finds the resources
   * @param onnx the name of the ONNX file
   * @param tokenizer the name of its {@code tokenizer.json}
   * @return a builder
   */
  public static Builder builder(ClassLoader loader, String onnx, String tokenizer) {
    Objects.requireNonNull(tokenizer, "tokenizer");
    return new Builder(ModelFiles.of(loader, onnx, tokenizer));
  }

  /** Collects settings that differ from the files. Not safe for use by several threads. */
  public static final class Builder {
    private final ModelFiles files;
    private Tokenizer tokenizer;
    private Pooling pooling;
    private Boolean normalize;
    private int dimensions;
    private int maxTokens;
    private boolean refuses;
    private WeightStorage storage = WeightStorage.FLOAT32;

    private Builder(ModelFiles files) {
      this.files = files;
    }

    /**
     * Replaces the model's tokenizer.
     *
     * @param tokenizer from now on owned by the embedder, which closes it
     * @return this builder
     */
    public Builder tokenizer(Tokenizer tokenizer) {
      this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
      return this;
    }

    /**
     * Replaces the pooling of the files; modules after pooling are left out.
     *
     * @param pooling the pooling
     * @return this builder
     */
    public Builder pooling(Pooling pooling) {
      this.pooling = Objects.requireNonNull(pooling, "pooling");
      return this;
    }

    /**
     * Sets whether vectors are divided by their Euclidean norm at the end.
     *
     * @param normalize true to divide, false to drop a final Normalize
     * @return this builder
     */
    public Builder normalize(boolean normalize) {
      this.normalize = normalize;
      return this;
    }

    /**
     * Keeps only the first elements of each vector, for models trained for that (Kusupati et al.,
     * "Matryoshka Representation Learning", 2022). If vectors are normalized, so are the shortened
     * ones.
     *
     * @param dimensions from 1 to the model's dimension
     * @return this builder
     */
    public Builder dimensions(int dimensions) {
      Checks.positive("dimensions", dimensions);
      this.dimensions = dimensions;
      return this;
    }

    /**
     * Sets how many tokens of a text are read, instead of the files.
     *
     * @param maxTokens from 1 to the model's number of positions
     * @return this builder
     */
    public Builder maxTokens(int maxTokens) {
      Checks.positive("maxTokens", maxTokens);
      this.maxTokens = maxTokens;
      return this;
    }

    /**
     * Refuses texts that are too long instead of truncating them.
     *
     * @return this builder
     */
    public Builder refuseTruncation() {
      this.refuses = true;
      return this;
    }

    /**
     * Sets how matrices are stored in memory.
     *
     * @param storage float32 by default
     * @return this builder
     */
    public Builder storage(WeightStorage storage) {
      this.storage = Objects.requireNonNull(storage, "storage");
      return this;
    }

    /**
     * Opens the model.
     *
     * @return the embedder, to be closed
     * @throws IOException as for {@link TextEmbedder#open}
     * @throws IllegalArgumentException as for {@link TextEmbedder#open}, and if the model does not
     *     support the settings
     */
    public TextEmbedder open() throws IOException {
      TextEncoder encoder = files.openEncoder(files.hasModules(), storage);
      try {
        TextEmbedder embedder = open(encoder);
        encoder = null;
        return embedder;
      } finally {
        if (encoder != null) {
          encoder.close();
        }
      }
    }

    private TextEmbedder open(TextEncoder encoder) throws IOException {
      if (maxTokens > encoder.maxTokens()) {
        throw new IllegalArgumentException(
            "maxTokens must not exceed what the model allows: maxTokens="
                + maxTokens
                + ", model="
                + encoder.maxTokens());
      }
      Pipeline pipeline = pipeline(Pipeline.read(files, encoder.width()), encoder.width());
      if (dimensions > pipeline.dimension()) {
        throw new IllegalArgumentException(
            "dimensions must not exceed what the model gives: dimensions="
                + dimensions
                + ", model="
                + pipeline.dimension());
      }
      Map<String, String> prompts = new TreeMap<>();
      Settings settings = files.sentenceTransformers();
      String defaultPrompt = readPrompts(settings, prompts);
      if (dimensions == 0) {
        dimensions = Math.min(settings.count("truncate_dim", 0), pipeline.dimension());
      }
      settings.requireAllRead();
      TextInput input = TextInput.open(files, tokenizer, encoder, maxTokens, refuses);
      return new TextEmbedder(
          encoder,
          input,
          pipeline,
          Map.copyOf(prompts),
          defaultPrompt,
          dimensions == 0 ? pipeline.dimension() : dimensions);
    }

    private Pipeline pipeline(Pipeline read, int width) {
      Pipeline pipeline = read;
      if (pooling != null) {
        List<Pipeline.Step> steps =
            read.normalizes() ? List.of(new Pipeline.Normalize()) : List.of();
        pipeline = new Pipeline(List.of(pooling), read.includePrompt(), steps, width, false);
      }
      if (normalize != null && normalize != pipeline.normalizes()) {
        List<Pipeline.Step> steps = new ArrayList<>(pipeline.steps());
        if (normalize) {
          steps.add(new Pipeline.Normalize());
        } else {
          steps.removeLast();
        }
        pipeline =
            new Pipeline(
                pipeline.pooling(),
                pipeline.includePrompt(),
                List.copyOf(steps),
                pipeline.dimension(),
                false);
      }
      return pipeline;
    }

    private static String readPrompts(Settings settings, Map<String, String> prompts) {
      // The similarity function does not change vectors.
      settings.ignore("similarity_fn_name", "__version__");
      settings.require("model_type", "SentenceTransformer");
      Settings named = settings.object("prompts");
      for (String name : named.keys()) {
        if (named.has(name)) {
          prompts.put(name, named.text(name));
        }
      }
      String name = settings.text("default_prompt_name", null);
      if (name != null && !prompts.containsKey(name)) {
        throw settings.refused("default_prompt_name", "one of " + prompts.keySet());
      }
      return name;
    }
  }

  // ---- Properties ----

  /**
   * Returns the encoder.
   *
   * @return lives as long as the embedder
   */
  public TextEncoder encoder() {
    return encoder;
  }

  /**
   * Returns the tokenizer.
   *
   * @return lives as long as the embedder
   */
  public Tokenizer tokenizer() {
    return input.tokenizer();
  }

  /**
   * Returns the dimension of the vectors.
   *
   * @return at least 1
   */
  public int dimension() {
    return dimension;
  }

  /**
   * Returns the most tokens of a text that are read, special ones and the prompt included.
   *
   * @return from the model's files or the builder
   */
  public int maxTokens() {
    return input.limit();
  }

  /**
   * Returns the prompts by their names.
   *
   * @return those of {@code config_sentence_transformers.json}, possibly none
   */
  public Map<String, String> prompts() {
    return prompts;
  }

  /**
   * Returns the name of the default prompt.
   *
   * @return null for none
   */
  public String defaultPrompt() {
    return defaultPrompt;
  }

  /**
   * Describes in one line what is computed, and whether that comes from the files or is the
   * default.
   *
   * @return for example {@code bert, MEAN + Normalize (from modules.json), 384 dimensions, at most
   *     256 tokens}
   */
  public String describe() {
    StringBuilder text = new StringBuilder(encoder.family()).append(", ");
    text.append(String.join(" and ", pipeline.pooling().stream().map(Pooling::toString).toList()));
    for (Pipeline.Step step : pipeline.steps()) {
      text.append(" + ").append(step.getClass().getSimpleName());
    }
    text.append(pipeline.fromFiles() ? " (from modules.json), " : " (not from modules.json), ");
    return text.append(dimension)
        .append(" dimensions, at most ")
        .append(maxTokens())
        .append(" tokens")
        .toString();
  }

  /**
   * Counts the tokens of a text without embedding it.
   *
   * @param text any text
   * @return the number, special tokens included, however long the text is
   * @throws IllegalStateException if the embedder is closed
   */
  public int countTokens(String text) {
    return input.count(text);
  }

  // ---- Embedding ----

  /**
   * Embeds a text, with the default prompt if there is one.
   *
   * @param text any text
   * @return its vector
   * @throws TextTooLongException if the text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public float[] embed(String text) {
    return embedAll(List.of(text), defaultPrompt).getFirst().vector();
  }

  /**
   * Embeds texts, with the default prompt if there is one.
   *
   * @param texts any texts
   * @return the vector of each text, in order
   * @throws TextTooLongException if a text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public List<Result> embedAll(List<String> texts) {
    return embedAll(texts, defaultPrompt);
  }

  /**
   * Embeds a query, with the prompt {@code query} if there is one, or the default prompt.
   *
   * @param query any text
   * @return its vector
   * @throws TextTooLongException if the text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public float[] embedQuery(String query) {
    return embedQueries(List.of(query)).getFirst().vector();
  }

  /**
   * Embeds queries, with the prompt {@code query} if there is one, or the default prompt.
   *
   * @param queries any texts
   * @return the vector of each text, in order
   * @throws TextTooLongException if a text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public List<Result> embedQueries(List<String> queries) {
    return embedAll(queries, promptFor("query"));
  }

  /**
   * Embeds a document that queries are to find.
   *
   * @param document any text
   * @return its vector
   * @throws TextTooLongException if the text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public float[] embedDocument(String document) {
    return embedDocuments(List.of(document)).getFirst().vector();
  }

  /**
   * Embeds documents, with the prompt {@code document}, {@code passage} or {@code corpus} if there
   * is one, or the default prompt.
   *
   * @param documents any texts
   * @return the vector of each text, in order
   * @throws TextTooLongException if a text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public List<Result> embedDocuments(List<String> documents) {
    return embedAll(documents, promptFor("document", "passage", "corpus"));
  }

  private String promptFor(String... names) {
    for (String name : names) {
      if (prompts.containsKey(name)) {
        return name;
      }
    }
    return defaultPrompt;
  }

  /**
   * Embeds texts with a prompt.
   *
   * @param texts any texts
   * @param promptName one of {@link #prompts()}; null for none
   * @return the vector of each text, in order
   * @throws IllegalArgumentException if there is no such prompt, or a text is too long and
   *     truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public List<Result> embedAll(List<String> texts, String promptName) {
    return embedAll(texts, promptName, (embedded, total) -> true);
  }

  /**
   * Embeds texts with a prompt, and reports progress.
   *
   * @param texts any texts
   * @param promptName one of {@link #prompts()}; null for none
   * @param progress is told after each chunk of texts, and may end the call
   * @return the vector of each text, in order
   * @throws IllegalArgumentException if there is no such prompt, or a text is too long and
   *     truncation is refused
   * @throws CancellationException if progress returns false
   * @throws IllegalStateException if the embedder is closed
   */
  public List<Result> embedAll(List<String> texts, String promptName, Progress progress) {
    List<Result> results = new ArrayList<>(texts.size());
    Chunks chunks = new Chunks(texts.iterator(), prompt(promptName));
    while (chunks.hasNext()) {
      results.addAll(chunks.next());
      if (!progress.embedded(results.size(), texts.size())) {
        throw new CancellationException(
            "embedding was cancelled: embedded=" + results.size() + ", texts=" + texts.size());
      }
    }
    return results;
  }

  /**
   * Embeds a stream of texts in bounded memory: texts are taken from the iterator as vectors are
   * requested, a chunk of a few thousand tokens at a time.
   *
   * @param texts any texts, however many
   * @param promptName one of {@link #prompts()}; null for none
   * @return their vectors, in order; for use by one thread. On reaching a text it throws what
   *     {@link #embedAll(List, String)} throws for that text
   * @throws IllegalArgumentException if there is no such prompt
   */
  public Iterator<Result> embedAll(Iterator<String> texts, String promptName) {
    Chunks chunks = new Chunks(Objects.requireNonNull(texts, "texts"), prompt(promptName));
    return new Iterator<>() {
      private final ArrayDeque<Result> ready = new ArrayDeque<>();

      @Override
      public boolean hasNext() {
        return !ready.isEmpty() || chunks.hasNext();
      }

      @Override
      public Result next() {
        if (ready.isEmpty()) {
          ready.addAll(chunks.next());
        }
        return ready.removeFirst();
      }
    };
  }

  /**
   * Embeds texts into a tensor.
   *
   * @param arena supplies the memory of the result
   * @param texts any texts
   * @param promptName one of {@link #prompts()}; null for none
   * @return {@link DType#F32} {@code [texts, dimension]}
   * @throws IllegalArgumentException if there is no such prompt, or a text is too long and
   *     truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public Tensor embedAll(Arena arena, List<String> texts, String promptName) {
    Tensor out = Tensor.allocate(arena, DType.F32, texts.size(), dimension);
    embedAll(texts, promptName, out.segment());
    return out;
  }

  /**
   * Embeds texts into the caller's segment, one vector after the other.
   *
   * @param texts any texts
   * @param promptName one of {@link #prompts()}; null for none
   * @param out at least {@code texts · dimension · 4} bytes. Modified.
   * @throws IllegalArgumentException if there is no such prompt, out is too small or read-only, or
   *     a text is too long and truncation is refused
   * @throws IllegalStateException if the embedder is closed
   */
  public void embedAll(List<String> texts, String promptName, MemorySegment out) {
    long bytes = Math.multiplyExact((long) texts.size(), dimension * (long) Float.BYTES);
    if (out.byteSize() < bytes) {
      throw new IllegalArgumentException(
          "out must have room for all vectors: out=" + out.byteSize() + " bytes, vectors=" + bytes);
    }
    if (out.isReadOnly()) {
      throw new IllegalArgumentException("out must be writable: it is read-only");
    }
    Chunks chunks = new Chunks(texts.iterator(), prompt(promptName));
    long at = 0;
    while (chunks.hasNext()) {
      for (Result result : chunks.next()) {
        MemorySegment.copy(
            result.vector(), 0, out, ValueLayout.JAVA_FLOAT_UNALIGNED, at, dimension);
        at += dimension * (long) Float.BYTES;
      }
    }
  }

  /**
   * Embeds texts given as tokens, without a prompt.
   *
   * @param texts the tokens of each text, special ones included. Not modified.
   * @return the vector of each text, in order
   * @throws IllegalArgumentException as for {@link TextEncoder#encode(Arena, int[][])}
   * @throws IllegalStateException if the embedder is closed
   */
  public List<float[]> embedTokens(List<int[]> texts) {
    return vectors(texts, null, 0);
  }

  private String prompt(String name) {
    if (name == null) {
      return "";
    }
    String prompt = prompts.get(name);
    if (prompt == null) {
      throw new IllegalArgumentException(
          "prompt must be one of the model's: prompt=" + name + ", prompts=" + prompts.keySet());
    }
    return prompt;
  }

  /** Tokenizes and embeds texts, about {@link #CHUNK_TOKENS} at a time. */
  private final class Chunks {
    private final Iterator<String> texts;
    private final String prompt;
    private final int promptTokens;

    /** How many texts have been encoded. */
    private long read;

    Chunks(Iterator<String> texts, String prompt) {
      this.texts = texts;
      this.prompt = prompt;
      this.promptTokens =
          prompt.isEmpty() || pipeline.includePrompt() ? 0 : input.promptTokens(prompt);
    }

    boolean hasNext() {
      return texts.hasNext();
    }

    List<Result> next() {
      if (!texts.hasNext()) {
        throw new NoSuchElementException("there are no more texts");
      }
      List<TextInput.Cut> cuts = new ArrayList<>();
      int tokens = 0;
      while (tokens < CHUNK_TOKENS && texts.hasNext()) {
        List<String> group = group();
        List<TextInput.Cut> encoded = input.encodeAll(group, read);
        read += group.size();
        for (TextInput.Cut cut : encoded) {
          cuts.add(cut);
          tokens += cut.encoding().length();
        }
      }
      List<float[]> vectors =
          vectors(
              cuts.stream().map(cut -> cut.encoding().tokens()).toList(),
              cuts.stream().map(cut -> cut.encoding().types()).toList(),
              promptTokens);
      List<Result> results = new ArrayList<>(cuts.size());
      for (int i = 0; i < cuts.size(); i++) {
        TextInput.Cut cut = cuts.get(i);
        results.add(new Result(vectors.get(i), cut.encoding().length(), cut.dropped()));
      }
      return results;
    }

    /** The next texts, enough for threads to share the work of tokenizing them. */
    private List<String> group() {
      List<String> group = new ArrayList<>();
      int chars = 0;
      while (chars < GROUP_CHARS && texts.hasNext()) {
        String text = prompt + Objects.requireNonNull(texts.next(), "text");
        group.add(text);
        chars += Math.min(text.length(), GROUP_CHARS);
      }
      return group;
    }
  }

  private List<float[]> vectors(List<int[]> texts, List<int[]> types, int promptTokens) {
    encoder.check(texts, types);
    float[][] vectors = new float[texts.size()][];
    IntUnaryOperator only = pipeline.onlyPooled(promptTokens);
    encoder.encode(
        texts,
        types,
        only,
        (from, to, hidden) -> {
          int[] lengths = TextEncoder.rows(texts, from, to, only);
          int[] rows = new int[lengths.length];
          for (int i = 1; i < rows.length; i++) {
            rows[i] = rows[i - 1] + lengths[i - 1];
          }
          Shares.run(
              rows.length,
              hidden.count() * NANOS_PER_ELEMENT,
              i ->
                  vectors[from + i] =
                      shortened(
                          pipeline.vector(hidden, rows[i], lengths[i], promptTokens), dimension));
        });
    return Arrays.asList(vectors);
  }

  /**
   * Keeps the first elements of a vector, as {@link Builder#dimensions} does for all vectors.
   *
   * @param vector a vector of this embedder. Not modified.
   * @param dimensions from 1 to the length of the vector
   * @return the vector itself if that is its length, or else a new one, normalized if this embedder
   *     normalizes
   * @throws IllegalArgumentException if dimensions is out of range
   */
  public float[] shortened(float[] vector, int dimensions) {
    Checks.inRange("dimensions", dimensions, 1, vector.length);
    if (vector.length == dimensions) {
      return vector;
    }
    float[] shorter = Arrays.copyOf(vector, dimensions);
    if (pipeline.normalizes()) {
      Pooling.normalize(shorter);
    }
    return shorter;
  }

  /** Releases the memory. Waits for calls that are running; closing again is a no-op. */
  @Override
  public void close() {
    encoder.close();
    input.close();
  }

  /**
   * Shows what it is.
   *
   * @return {@link #describe()} in brackets
   */
  @Override
  public String toString() {
    return "TextEmbedder[" + describe() + "]";
  }
}
