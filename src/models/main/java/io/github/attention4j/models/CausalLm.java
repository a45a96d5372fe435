package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.models.decoder.Decoder;
import io.github.attention4j.models.decoder.Families;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.GgufModel;
import io.github.attention4j.models.decoder.Room;
import io.github.attention4j.models.decoder.Sequence;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.decoder.TensorCheck;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.gguf.GgufException;
import io.github.attention4j.models.gguf.GgufFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.StampedLock;
import java.util.function.IntConsumer;

/**
 * A language model that continues texts token by token: a decoder as Hugging Face's Transformers
 * defines it, of the families cohere2, diffllama, gemma2, gemma3_text, gpt2, gpt_neox, granite,
 * llama, mistral, mixtral, olmo2, phi3, qwen2, qwen3, qwen3_moe and smollm3.
 *
 * <pre>{@code
 * try (CausalLm model = CausalLm.open(directory)) {
 *   Sampler sampler = Sampler.builder().temperature(0.8).seed(1).build();
 *   model.generate(prompt, 100, sampler, token -> show(token));
 * }
 * }</pre>
 *
 * <p><b>What the files say is computed or refused.</b> A setting that could change the result and
 * is not computed is refused by name and value, and so is a tensor that no part of the model is
 * known by.
 *
 * <p><b>Memory.</b> Weights stay mapped from their files, in 16 or 32 bits as they are stored;
 * those that a file keeps in another order are copied. Replace files by renaming: a file that
 * somebody truncates while it is mapped fails as the platform pleases. What a text needs belongs to
 * its {@link Session}, and grows with the text.
 *
 * <p><b>Threads.</b> The model is immutable and safe for any number of threads at once; each text
 * needs a session of its own. An operation uses {@link io.github.attention4j.A4j#threads()} threads
 * at most. Interrupting a thread that reads a prompt or generates ends it between two parts of the
 * prompt or two tokens, by {@link CancellationException}.
 */
public final class CausalLm implements AutoCloseable {
  /** Longer prompts are read in parts of this length, which bounds the room that they need. */
  static final int MOST_ROWS = 512;

  private final Path source;
  private final Specification specification;
  private final Decoder decoder;
  private final Set<Integer> ends;
  private final long parameters;

  /** Held for reading while a call computes, for writing while the model is being closed. */
  private final StampedLock open = new StampedLock();

  private final Arena arena;

  private CausalLm(
      Path source,
      Specification specification,
      Checkpoint checkpoint,
      long parameters,
      Set<Integer> ends,
      Arena arena) {
    this.source = source;
    this.specification = specification;
    this.ends = ends;
    this.arena = arena;
    this.parameters = parameters;
    decoder = new Decoder(specification, checkpoint, arena);
  }

  /**
   * Opens a model: a checkpoint directory as Hugging Face's Transformers writes it, or a GGUF file
   * as llama.cpp reads it.
   *
   * <p>A directory has {@code config.json}, and {@code model.safetensors} or the files that {@code
   * model.safetensors.index.json} names. Tokens that end a text are those of {@code
   * generation_config.json} if it is there. Of a GGUF model in several files, the first is given.
   *
   * @param path the directory or file, which must not be truncated while the model is open
   * @return the model, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException if the configuration asks for what is not supported, or the
   *     tensors are not those that it asks for; the message lists all that are wrong
   * @throws OutOfMemoryError if there is no memory for the weights that are copied
   */
  public static CausalLm open(Path path) throws IOException {
    Objects.requireNonNull(path, "path");
    Arena weights = Arena.ofShared();
    try {
      CausalLm model = Files.isRegularFile(path) ? gguf(path, weights) : directory(path, weights);
      weights = null;
      return model;
    } finally {
      if (weights != null) {
        weights.close();
      }
    }
  }

  private static CausalLm directory(Path directory, Arena weights) throws IOException {
    Settings settings = Settings.read(directory.resolve("config.json"));
    Specification specification = Families.read(settings, Family.Layout.HUGGING_FACE);
    Set<Integer> ends = ends(directory, settings);
    Checkpoint checkpoint =
        Checkpoint.open(directory, weights)
            .withPrefixOf(specification.embedding().name(), specification.head().name());
    long parameters =
        TensorCheck.require(
            directory.toString(), "config.json", name -> name, specification, checkpoint);
    return new CausalLm(directory, specification, checkpoint, parameters, ends, weights);
  }

  private static CausalLm gguf(Path path, Arena weights) throws IOException {
    GgufFile file;
    try {
      file = GgufFile.open(path, weights);
    } catch (GgufException malformed) {
      String found = Checkpoint.insteadOfGguf(path);
      if (found == null) {
        throw malformed;
      }
      throw new IOException(path + " must be a GGUF file: it is " + found, malformed);
    }
    GgufModel model = GgufModel.read(file);
    GgufTokenizer tokenizer = tokenizer(file, model.specification());
    long parameters =
        TensorCheck.require(
            path.toString(),
            "the metadata",
            model::ggufName,
            model.specification(),
            model.checkpoint());
    return new CausalLm(
        path,
        model.specification(),
        model.checkpoint(),
        parameters,
        tokenizer == null ? Set.of() : tokenizer.ends(),
        weights);
  }

  /** The tokenizer of a file, or null if the file says that it has none. */
  private static GgufTokenizer tokenizer(GgufFile file, Specification specification) {
    Object kind = file.metadata().get("tokenizer.ggml.model");
    if ("none".equals(kind) || "no_vocab".equals(kind)) {
      return null;
    }
    GgufTokenizer tokenizer = GgufTokenizer.of(file);
    if (tokenizer.vocabulary() != specification.vocabulary()) {
      throw new IllegalArgumentException(
          file.path()
              + ": token_embd.weight must have a row for each token: rows="
              + specification.vocabulary()
              + ", tokens="
              + tokenizer.vocabulary());
    }
    return tokenizer;
  }

  /** Where there is a {@code generation_config.json}, it alone says which tokens end a text. */
  private static Set<Integer> ends(Path directory, Settings settings) throws IOException {
    Set<Integer> ends = ends(settings);
    Path file = directory.resolve("generation_config.json");
    return Files.exists(file) ? ends(Settings.read(file)) : ends;
  }

  private static Set<Integer> ends(Settings settings) {
    Object value = settings.value("eos_token_id");
    List<?> tokens =
        value instanceof List<?> list ? list : value == null ? List.of() : List.of(value);
    Set<Integer> ends = new TreeSet<>();
    for (Object token : tokens) {
      if (!(token instanceof Long number) || number < -1 || number > Integer.MAX_VALUE) {
        throw settings.refused("eos_token_id", "a token, a list of tokens, or null");
      }
      if (number >= 0) {
        ends.add(number.intValue());
      }
    }
    return Set.copyOf(ends);
  }

  // ---- What it is ----

  /**
   * Returns the family.
   *
   * @return {@code model_type}, such as {@code llama}
   */
  public String family() {
    return specification.family();
  }

  /**
   * Returns the tokens that end a text.
   *
   * @return {@code eos_token_id} of {@code generation_config.json} if it is there, else of {@code
   *     config.json}; empty if there is none
   */
  public Set<Integer> ends() {
    return ends;
  }

  /**
   * Tells whether its attention is differential.
   *
   * @return true for {@code diffllama}
   */
  public boolean isDifferential() {
    return specification.differential();
  }

  /**
   * Returns the number of tokens there are; a token is a number from 0 below it.
   *
   * @return {@code vocab_size}
   */
  public int vocabulary() {
    return specification.vocabulary();
  }

  /**
   * Returns the most tokens that a text may have.
   *
   * @return {@code max_position_embeddings}
   */
  public int context() {
    return specification.context();
  }

  /**
   * Returns the number of layers.
   *
   * @return {@code num_hidden_layers}
   */
  public int layers() {
    return specification.blocks().size();
  }

  /**
   * Returns the number of attention maps of a layer.
   *
   * @return the number of query heads, or of pairs of them if the model is differential
   */
  public int maps() {
    return specification.maps();
  }

  /**
   * Returns the λ of a layer: what the second map of each pair is multiplied with.
   *
   * @param layer the layer, from 0
   * @return {@code exp(λ_q1 · λ_k1) − exp(λ_q2 · λ_k2) + λ_init}
   * @throws IllegalStateException if the model is not differential
   * @throws IndexOutOfBoundsException if there is no such layer
   */
  public float lambda(int layer) {
    if (!specification.differential()) {
      throw new IllegalStateException("lambda belongs to diffllama: model_type=" + family());
    }
    return decoder.lambda(Objects.checkIndex(layer, layers()));
  }

  /**
   * Returns the number of weights.
   *
   * @return the number of elements in the tensors of the checkpoint that the model uses
   */
  public long parameters() {
    return parameters;
  }

  /**
   * Describes the model.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return family() + " with " + parameters + " parameters from " + source;
  }

  /**
   * Frees the weights. Waits until no other thread is computing a token, a part of a prompt, or a
   * whole text in one pass, but not for whole generations: whatever is asked of the model
   * afterwards is refused. Closing twice is harmless.
   */
  @Override
  public void close() {
    long stamp = open.writeLock();
    try {
      if (arena.scope().isAlive()) {
        arena.close();
      }
    } finally {
      open.unlockWrite(stamp);
    }
  }

  // ---- Whole texts ----

  /**
   * Computes the logits of the token that follows each of the given ones, in one pass, without a
   * cache.
   *
   * @param arena supplies the memory of the result
   * @param tokens the text, at least one token. Not modified.
   * @return {@code [length, vocabulary]}
   * @throws IllegalArgumentException if there is no token, one is not in the vocabulary, or there
   *     are more than the context holds
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is no memory to compute in
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public Tensor logits(Arena arena, int[] tokens) {
    Objects.requireNonNull(arena, "arena");
    checkText(tokens);
    long stamp = enter();
    try (Arena scratch = Arena.ofConfined()) {
      Room room = decoder.newRoom(scratch, tokens.length);
      Tensor logits = Tensor.allocate(arena, DType.F32, tokens.length, vocabulary());
      decoder.forwardWhole(tokens, room, -1, null);
      decoder.logits(room, 0, logits);
      return logits;
    } finally {
      open.unlockRead(stamp);
    }
  }

  /**
   * Computes the weights with which each token reads the tokens up to itself, in one layer: those
   * of each head, or of each pair {@code softmax₁ − λ · softmax₂}, which may be negative.
   *
   * @param arena supplies the memory of the result
   * @param tokens the text, at least one token. Not modified.
   * @param layer the layer, from 0
   * @return {@code [maps, length, length]}, by query and key; 0 where the key comes later
   * @throws IllegalArgumentException as {@link #logits}
   * @throws IndexOutOfBoundsException if there is no such layer
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is no memory to compute in
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public Tensor attentionWeights(Arena arena, int[] tokens, int layer) {
    Objects.requireNonNull(arena, "arena");
    checkText(tokens);
    Objects.checkIndex(layer, layers());
    long stamp = enter();
    try (Arena scratch = Arena.ofConfined()) {
      Room room = decoder.newRoom(scratch, tokens.length);
      Tensor weights = Tensor.allocate(arena, DType.F32, 1, maps(), tokens.length, tokens.length);
      decoder.forwardWhole(tokens, room, layer, weights);
      return weights.select(0, 0);
    } finally {
      open.unlockRead(stamp);
    }
  }

  /**
   * Continues a prompt, in a session that lasts for this call.
   *
   * @param prompt at least one token. Not modified.
   * @param maxNewTokens the most tokens to add
   * @param sampler chooses them
   * @param onToken is given each new token as soon as it is chosen
   * @return the new tokens; fewer than {@code maxNewTokens} if the last one ends the text
   * @throws IllegalArgumentException if the prompt is empty, one of its tokens is not in the
   *     vocabulary, maxNewTokens is negative, or both together are more than the context holds
   * @throws IllegalStateException if the model is closed, before or meanwhile
   * @throws OutOfMemoryError if there is no memory for the session
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public int[] generate(int[] prompt, int maxNewTokens, Sampler sampler, IntConsumer onToken) {
    checkGeneration(prompt, maxNewTokens, 0, specification.context(), "context");
    // The listener may go on in whatever thread it likes, but the session stays in this one.
    try (Arena memory = Arena.ofConfined()) {
      return newSession(memory, prompt.length + maxNewTokens)
          .generate(prompt, maxNewTokens, sampler, onToken);
    }
  }

  // ---- Sessions ----

  /**
   * Makes an empty session for a text as long as the context.
   *
   * @param arena supplies the memory of keys, values and intermediate results, and decides which
   *     threads may use the session, and how long
   * @return a session
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public Session newSession(Arena arena) {
    return newSession(arena, specification.context());
  }

  /**
   * Makes an empty session for a text of limited length.
   *
   * @param arena supplies the memory of keys, values and intermediate results, and decides which
   *     threads may use the session, and how long
   * @param capacity the most tokens, from 1 to {@link #context()}
   * @return a session
   * @throws IllegalArgumentException if capacity lies outside its range
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public Session newSession(Arena arena, int capacity) {
    Objects.requireNonNull(arena, "arena");
    if (capacity < 1 || capacity > specification.context()) {
      throw new IllegalArgumentException(
          "capacity must lie in [1, context]: capacity="
              + capacity
              + ", context="
              + specification.context());
    }
    long stamp = enter();
    try {
      return new Session(this, arena, capacity);
    } finally {
      open.unlockRead(stamp);
    }
  }

  /**
   * One text that a model reads and continues. It remembers the keys and values of all tokens so
   * far, so that each new token costs one pass through the model for itself alone. All memory is
   * allocated when the session is made.
   *
   * <pre>{@code
   * CausalLm.Session session = model.newSession(arena);
   * Tensor logits = session.prefill(prompt);
   * for (int i = 0; i < 100; i++) {
   *   int token = sampler.next(logits, session.length());
   *   show(token);
   *   logits = session.step(token);
   * }
   * }</pre>
   *
   * <p>Not safe for several threads. A session whose arena is shared may be passed on from thread
   * to thread; different sessions of a model do not disturb each other.
   */
  public static final class Session {
    private final CausalLm model;
    private final Arena arena;
    private final int capacity;
    private final Sequence sequence;
    private final Room one;
    private final Tensor logits;
    private final Tensor logitsRow;
    private final float[] choice;
    private final Sampler.Scratch choosing = new Sampler.Scratch();

    /** What has been read; the rest of the array is room. */
    private int[] text = new int[16];

    private int length;

    private Session(CausalLm model, Arena arena, int capacity) {
      this.model = model;
      this.arena = arena;
      this.capacity = capacity;
      sequence = model.decoder.newSequence(arena, capacity, Math.min(capacity, MOST_ROWS));
      one = model.decoder.newRoom(arena, 1);
      logits = Tensor.allocate(arena, DType.F32, model.vocabulary());
      logitsRow = logits.unsqueeze(0);
      choice = new float[model.vocabulary()];
    }

    /**
     * Returns the most tokens that the session can read.
     *
     * @return at most {@link CausalLm#context()}
     */
    public int capacity() {
      return capacity;
    }

    /**
     * Returns how many tokens the session has read.
     *
     * @return from 0 to {@link #capacity()}
     */
    public int length() {
      return length;
    }

    /**
     * Forgets the last tokens, so that another text with the same beginning need not be read again.
     *
     * @param length how many tokens to keep, at most those read
     * @throws IllegalArgumentException if the session has not read so many, or length is negative
     */
    public void truncate(int length) {
      if (length < 0 || length > this.length) {
        throw new IllegalArgumentException(
            "length must lie in [0, tokens read]: length=" + length + ", read=" + this.length);
      }
      this.length = length;
      if (sequence.length() > length) {
        sequence.truncate(length);
      }
    }

    /**
     * Reads more of the text, all tokens together.
     *
     * @param tokens at least one. Not modified.
     * @return the logits {@code [vocabulary]} of the token after the last one. The next call
     *     overwrites them.
     * @throws IllegalArgumentException if there is no token, one is not in the vocabulary, or the
     *     text would become longer than the capacity; nothing is read then
     * @throws IllegalStateException if the model or the session's arena is closed, or the arena is
     *     confined to another thread; nothing is read then
     * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
     *     had
     */
    public Tensor prefill(int[] tokens) {
      model.checkTokens(tokens, "tokens");
      checkRoom(tokens.length);
      readAll(tokens);
      return logits;
    }

    /**
     * Reads one more token.
     *
     * @param token the next token of the text
     * @return the logits {@code [vocabulary]} of the token after it. The next call overwrites them.
     * @throws IllegalArgumentException as {@link #prefill}
     * @throws IllegalStateException as {@link #prefill}
     * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
     *     had
     */
    public Tensor step(int token) {
      model.checkToken(token, "token");
      checkRoom(1);
      readAll(new int[] {token});
      return logits;
    }

    /**
     * Reads a prompt and continues the text. The last new token is not read: it begins the next
     * prompt, if the text goes on.
     *
     * @param prompt follows what the session has read; at least one token. Not modified.
     * @param maxNewTokens the most tokens to add
     * @param sampler chooses them; its draws are numbered by the token's position in the text
     * @param onToken is given each new token as soon as it is chosen, in this thread; what it
     *     throws ends the generation
     * @return the new tokens; fewer than {@code maxNewTokens} if the last one is one of those that
     *     end a text by the configuration ({@code eos_token_id})
     * @throws IllegalArgumentException if the prompt is empty, one of its tokens is not in the
     *     vocabulary, maxNewTokens is negative, or the text would become longer than the capacity;
     *     nothing is read then
     * @throws IllegalStateException if the model is closed, before or meanwhile, or the session's
     *     arena is closed or confined to another thread
     * @throws CancellationException if the thread is interrupted, between parts of the prompt or
     *     between tokens; the session keeps the tokens that it has read, and of the prompt all or
     *     nothing
     * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
     *     had
     */
    public int[] generate(int[] prompt, int maxNewTokens, Sampler sampler, IntConsumer onToken) {
      model.checkGeneration(prompt, maxNewTokens, length, capacity, "capacity");
      Objects.requireNonNull(sampler, "sampler");
      Objects.requireNonNull(onToken, "onToken");
      int[] tokens = new int[maxNewTokens];
      prefill(prompt);
      for (int i = 0; i < maxNewTokens; i++) {
        if (i > 0) {
          if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("thread was interrupted: new tokens=" + i);
          }
          step(tokens[i - 1]);
        }
        tokens[i] = next(sampler);
        onToken.accept(tokens[i]);
        if (model.ends.contains(tokens[i])) {
          return Arrays.copyOf(tokens, i + 1);
        }
      }
      return tokens;
    }

    private int next(Sampler sampler) {
      Decoder.copyRow(logits, choice);
      return sampler.next(choice, length, choosing);
    }

    /** Reads tokens, and after a failure is as before. */
    private void readAll(int[] tokens) {
      int start = length;
      append(tokens);
      boolean done = false;
      try {
        readText();
        done = true;
      } finally {
        if (!done) {
          length = start;
          if (sequence.length() > start) {
            sequence.truncate(start);
          }
        }
      }
    }

    private void append(int[] tokens) {
      if (tokens.length > text.length - length) {
        long doubled = Math.max(2L * text.length, (long) length + tokens.length);
        text = Arrays.copyOf(text, (int) Math.min(doubled, capacity));
      }
      System.arraycopy(tokens, 0, text, length, tokens.length);
      length += tokens.length;
    }

    /** Reads what of the text has not been read, in parts. */
    private void readText() {
      if (model.decoder.changesKeys(sequence.length(), length)) {
        sequence.clear();
      }
      if (length - sequence.length() == 1) {
        readPart(one, 1);
        return;
      }
      int most = Math.min(length - sequence.length(), MOST_ROWS);
      try (Arena scratch = Arena.ofConfined()) {
        Room room = model.decoder.newRoom(scratch, most);
        while (sequence.length() < length) {
          int rows = Math.min(most, length - sequence.length());
          readPart(rows == most ? room : room.first(rows), rows);
          if (sequence.length() < length && Thread.currentThread().isInterrupted()) {
            throw new CancellationException(
                "thread was interrupted: read=" + sequence.length() + " of " + length + " tokens");
          }
        }
      }
    }

    private void readPart(Room room, int rows) {
      int from = sequence.length();
      long stamp = model.enter();
      boolean done = false;
      try {
        model.decoder.forward(
            text, from, room, List.of(new Decoder.Segment(sequence, 0, rows, length)));
        if (from + rows == length) {
          model.decoder.logits(room, rows - 1, logitsRow);
        }
        done = true;
      } finally {
        model.open.unlockRead(stamp);
        if (!done) {
          // Some layers may have read what others have not.
          sequence.repair(from);
        }
      }
    }

    private void checkRoom(int tokens) {
      if (tokens > capacity - length) {
        throw new IllegalArgumentException(
            "text must fit the capacity: read="
                + length
                + ", tokens="
                + tokens
                + ", capacity="
                + capacity);
      }
    }
  }

  // ---- Checks ----

  /** Keeps the model open until {@code open.unlockRead}. */
  private long enter() {
    long stamp = open.readLock();
    if (!arena.scope().isAlive()) {
      open.unlockRead(stamp);
      throw new IllegalStateException("model has been closed: " + this);
    }
    return stamp;
  }

  private void checkText(int[] tokens) {
    checkTokens(tokens, "tokens");
    if (tokens.length > specification.context()) {
      throw new IllegalArgumentException(
          "text must fit the context: tokens="
              + tokens.length
              + ", context="
              + specification.context());
    }
  }

  private void checkTokens(int[] tokens, String name) {
    if (Objects.requireNonNull(tokens, name).length == 0) {
      throw new IllegalArgumentException(
          name + " must have at least 1 token: " + name + ".length=0");
    }
    for (int i = 0; i < tokens.length; i++) {
      if (tokens[i] < 0 || tokens[i] >= specification.vocabulary()) {
        checkToken(tokens[i], name + "[" + i + "]");
      }
    }
  }

  private void checkToken(int token, String name) {
    if (token < 0 || token >= specification.vocabulary()) {
      throw new IllegalArgumentException(
          name
              + " must be in the vocabulary: "
              + name
              + "="
              + token
              + ", vocabulary="
              + specification.vocabulary());
    }
  }

  private void checkGeneration(
      int[] prompt, int maxNewTokens, int length, int limit, String limitName) {
    checkTokens(prompt, "prompt");
    if (maxNewTokens < 0) {
      throw new IllegalArgumentException(
          "maxNewTokens must not be negative: maxNewTokens=" + maxNewTokens);
    }
    if ((long) length + prompt.length + maxNewTokens > limit) {
      throw new IllegalArgumentException(
          "text must fit the "
              + limitName
              + ": "
              + (length > 0 ? "read=" + length + ", " : "")
              + "prompt="
              + prompt.length
              + ", maxNewTokens="
              + maxNewTokens
              + ", "
              + limitName
              + "="
              + limit);
    }
  }
}
