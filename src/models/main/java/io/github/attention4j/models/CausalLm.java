package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
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
import io.github.attention4j.models.weights.Storage;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;
import java.util.zip.CRC32;

/**
 * A language model that continues texts token by token: a decoder of Hugging Face's Transformers,
 * of the families cohere2, diffllama, gemma2, gemma3_text, gpt2, gpt_neox, granite, llama, mistral,
 * mixtral, olmo2, phi3, qwen2, qwen3, qwen3_moe and smollm3.
 *
 * <pre>{@code
 * try (CausalLm model = CausalLm.open(directory)) {
 *   Sampler sampler = Sampler.builder().temperature(0.8).seed(1).build();
 *   model.generate(prompt, 100, sampler, token -> show(token));
 * }
 * }</pre>
 *
 * <p><b>What the files say is computed or refused.</b> A setting that could change the result but
 * is not supported is refused by name and value, and so is a tensor that belongs to no part of the
 * model.
 *
 * <p><b>Memory.</b> Weights in 16 or 32 bits stay mapped from their files; blocks of GGUF files are
 * packed in 8, 6 or 4 bits; weights that a file stores in another order are copied. {@link
 * #weightBytes} shows how much there is of each. Replace files by renaming: truncating a file while
 * it is mapped can crash the process. The memory of a text belongs to its {@link Session} and grows
 * with the text.
 *
 * <p><b>Threads.</b> The model is immutable and safe for any number of threads at once; each text
 * needs a session of its own. An operation uses at most {@link io.github.attention4j.A4j#threads()}
 * threads. If a thread is interrupted while it reads a prompt or generates, the call ends after the
 * current part of the prompt or token with a {@link CancellationException}.
 */
public final class CausalLm implements AutoCloseable {
  /** Longer prompts are read in parts of this length, which bounds the memory that they need. */
  static final int MOST_ROWS = 512;

  /** The most tokens that a draft proposes at once. */
  private static final int MOST_DRAFTED = 8;

  /**
   * Texts that advance in one pass: as many as the product computes with the bits of a single row,
   * so each text gets the same bits as by itself.
   */
  private static final int MOST_TOGETHER = 16;

  private final Path source;
  private final List<Path> files;
  private final Specification specification;
  private final Decoder decoder;
  private final GenerationDefaults defaults;
  private final Set<Integer> ends;
  private final ModelText text;
  private final long parameters;

  private final OpenLock open = new OpenLock();

  private final Arena arena;

  /** Rooms that no thread is using: as many as threads have shared steps at once. */
  private final Queue<SharedRoom> sharedRooms = new ConcurrentLinkedQueue<>();

  /** Room for the texts of a shared step, and for the logits of each. */
  private record SharedRoom(Room room, Tensor logits) {}

  private CausalLm(
      Path source,
      Specification specification,
      Checkpoint checkpoint,
      long parameters,
      GenerationDefaults defaults,
      ModelText text,
      LoadOptions options,
      Arena arena) {
    this.source = source;
    files = checkpoint.files();
    this.specification = specification;
    this.defaults = defaults;
    ends = defaults.ends();
    this.text = text;
    this.arena = arena;
    this.parameters = parameters;
    decoder =
        new Decoder(
            specification,
            checkpoint,
            Storage.valueOf(options.weights().name()),
            options.bf16Products(),
            options.progress(),
            arena);
  }

  /**
   * Opens a model: a checkpoint directory as Hugging Face's Transformers writes it, or a GGUF file
   * as llama.cpp reads it.
   *
   * <p>A directory has {@code config.json}, and {@code model.safetensors} or the files that {@code
   * model.safetensors.index.json} names. Tokens that end a text are those of {@code
   * generation_config.json}, if that file exists; what else it says of how texts are continued is
   * in {@link #defaultSampler}, {@link #stopTexts}, {@link #maxNewTokens} and {@link #maxLength},
   * or refused. For a GGUF model in several files, pass the first one.
   *
   * @param path the directory or file, which must not be truncated while the model is open
   * @return the model, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException if the configuration asks for something that is not supported,
   *     or tensors do not match it; the message lists all that are wrong
   * @throws OutOfMemoryError if there is not enough memory for copied weights
   */
  public static CausalLm open(Path path) throws IOException {
    return open(path, LoadOptions.defaults());
  }

  /**
   * Opens a model with options.
   *
   * @param path as for {@link #open(Path)}
   * @param options how weights are stored, and who is told about the progress
   * @return the model, to be closed
   * @throws IOException as {@link #open(Path)}
   * @throws IllegalArgumentException as {@link #open(Path)}
   * @throws OutOfMemoryError as {@link #open(Path)}
   */
  public static CausalLm open(Path path, LoadOptions options) throws IOException {
    Objects.requireNonNull(path, "path");
    Objects.requireNonNull(options, "options");
    Arena weights = Arena.ofShared();
    try {
      CausalLm model =
          Files.isRegularFile(path)
              ? gguf(path, options, weights)
              : directory(path, options, weights);
      weights = null;
      return model;
    } finally {
      if (weights != null) {
        weights.close();
      }
    }
  }

  private static CausalLm directory(Path directory, LoadOptions options, Arena weights)
      throws IOException {
    Settings settings = Settings.read(directory.resolve("config.json"));
    Specification specification = Families.read(settings, Family.Layout.HUGGING_FACE);
    GenerationDefaults defaults =
        GenerationDefaults.ofDirectory(directory, settings, specification.vocabulary());
    Checkpoint checkpoint =
        Checkpoint.open(directory, weights)
            .withPrefixOf(specification.embedding().name(), specification.head().name());
    long parameters =
        TensorCheck.require(
            directory.toString(), "config.json", name -> name, specification, checkpoint);
    return new CausalLm(
        directory,
        specification,
        checkpoint,
        parameters,
        defaults,
        ModelText.ofDirectory(directory),
        options,
        weights);
  }

  private static CausalLm gguf(Path path, LoadOptions options, Arena weights) throws IOException {
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
    GenerationDefaults defaults =
        GenerationDefaults.ofGguf(
            path.toString(), file.metadata(), tokenizer == null ? Set.of() : tokenizer.ends());
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
        defaults,
        ModelText.ofGguf(file, tokenizer),
        options,
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
   * @return {@code eos_token_id} of {@code generation_config.json} if that file exists, else of
   *     {@code config.json}; empty if there is none
   */
  public Set<Integer> ends() {
    return ends;
  }

  /**
   * Returns the sampler that the model's files ask for.
   *
   * @return what {@code generation_config.json} says, penalties and forbidden tokens also where
   *     tokens are not drawn; of a GGUF file, what its keys {@code general.sampling.*} say; greedy
   *     if there is nothing
   */
  public Sampler defaultSampler() {
    return defaults.sampler();
  }

  /**
   * Returns the texts before which a text ends according to the model's files. {@code
   * TextGenerator.request(model)} starts with them.
   *
   * @return {@code stop_strings} of {@code generation_config.json}, usually none
   */
  public List<String> stopTexts() {
    return defaults.stopTexts();
  }

  /**
   * Returns the most tokens that the model's files let a text get. {@code
   * TextGenerator.request(model)} starts with this limit.
   *
   * @return {@code max_new_tokens} of {@code generation_config.json}; {@link Integer#MAX_VALUE} if
   *     there is none
   */
  public int maxNewTokens() {
    return defaults.maxNewTokens();
  }

  /**
   * Returns the most tokens that a text may have together with its prompt according to the model's
   * files. {@code TextGenerator.request(model)} starts with this limit.
   *
   * @return {@code max_length} of {@code generation_config.json}; {@link Integer#MAX_VALUE} if
   *     there is none, if it is Transformers' default of 20, or if there is {@code max_new_tokens}
   */
  public int maxLength() {
    return defaults.maxLength();
  }

  /**
   * Returns the model's own tokenizer: {@code tokenizer.json} of the directory, or the one in the
   * GGUF file. It is opened on first use and closed with the model.
   *
   * @return the tokenizer
   * @throws IllegalStateException if there is none, or the model has been closed
   * @throws java.io.UncheckedIOException if it cannot be read
   */
  public Tokenizer tokenizer() {
    long stamp = enter();
    try {
      return text.tokenizer();
    } finally {
      open.exit(stamp);
    }
  }

  /**
   * Returns the template in which the model expects conversations: that of {@code
   * tokenizer_config.json} or {@code chat_template.jinja}, or the one in the GGUF file.
   *
   * @return the template, or nothing if there is none
   * @throws ChatTemplateException if it is not supported
   * @throws java.io.UncheckedIOException if it cannot be read
   */
  public Optional<ChatTemplate> chatTemplate() {
    return text.chatTemplate();
  }

  /**
   * Encodes the text of a rendered {@link #chatTemplate}: special tokens in it are recognised, and
   * none are added.
   *
   * @param rendered the output of the template
   * @return the tokens
   * @throws IllegalStateException if there is no tokenizer, or the model has been closed
   */
  public int[] encodeRendered(String rendered) {
    return tokenizer() instanceof GgufTokenizer own
        ? own.encode(rendered, false, true)
        : tokenizer().encode(rendered, false).tokens();
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
   * Returns the size of the vocabulary; tokens are numbers from 0 up to this, exclusive.
   *
   * @return {@code vocab_size}
   */
  public int vocabulary() {
    return specification.vocabulary();
  }

  /**
   * Returns the most tokens that a text may have.
   *
   * @return {@code max_position_embeddings}; with linear scaling of rotary positions or YaRN, times
   *     their factor
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
   * @return the number of query heads, or of pairs of query heads if the model is differential
   */
  public int maps() {
    return specification.maps();
  }

  /**
   * Returns the λ of a layer, the factor of the second map of each pair.
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
   * Returns how many bytes the weights take, by how they are stored. Bytes of a kind that ends in
   * {@code mapped} are in the file and shared with every process that maps it.
   *
   * @return for example {@code {BF16 mapped=2471600128, F32=270336}}
   */
  public Map<String, Long> weightBytes() {
    return decoder.bytes();
  }

  /**
   * Returns the files that the weights were read from.
   *
   * @return safetensors or parts of a GGUF model
   */
  public List<Path> weightFiles() {
    return files;
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
   * whole text in one pass, but not for whole generations; later calls are refused. Closing twice
   * is harmless.
   */
  @Override
  public void close() {
    open.close(
        () -> {
          text.close();
          arena.close();
        });
  }

  // ---- Whole texts ----

  /**
   * Computes the logits of the next token after each of the given ones, in one pass, without a
   * cache.
   *
   * @param arena supplies the memory of the result
   * @param tokens the text, at least one token. Not modified.
   * @return {@code [length, vocabulary]}
   * @throws IllegalArgumentException if there is no token, one is not in the vocabulary, or there
   *     are more than fit the context
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
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
      open.exit(stamp);
    }
  }

  /**
   * Computes the attention weights of one layer: those of each head, or for each pair {@code
   * softmax₁ − λ · softmax₂}, which may be negative.
   *
   * @param arena supplies the memory of the result
   * @param tokens the text, at least one token. Not modified.
   * @param layer the layer, from 0
   * @return {@code [maps, length, length]}, by query and key; 0 if the key comes later
   * @throws IllegalArgumentException as {@link #logits}
   * @throws IndexOutOfBoundsException if there is no such layer
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
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
      open.exit(stamp);
    }
  }

  /**
   * Continues a prompt in a session that exists only for this call.
   *
   * @param prompt at least one token. Not modified.
   * @param maxNewTokens the most tokens to add
   * @param sampler chooses them
   * @param onToken is given each new token as soon as it is chosen
   * @return the new tokens; fewer than {@code maxNewTokens} if the last one ends the text
   * @throws IllegalArgumentException if the prompt is empty, one of its tokens is not in the
   *     vocabulary, maxNewTokens is negative, or prompt and new tokens do not fit the context
   * @throws IllegalStateException if the model is closed, before or during the call
   * @throws OutOfMemoryError if there is not enough memory for the session
   */
  public int[] generate(int[] prompt, int maxNewTokens, Sampler sampler, IntConsumer onToken) {
    checkGeneration(prompt, maxNewTokens, 0, specification.context(), "context");
    // The listener may continue in any thread, but the session stays in this one.
    try (Arena memory = Arena.ofConfined()) {
      return newSession(memory, prompt.length + maxNewTokens)
          .generate(prompt, maxNewTokens, sampler, onToken);
    }
  }

  // ---- Sessions ----

  private static final String SESSION_FORMAT = "attention4j session 1";
  private static final String TOKENS = "tokens";
  private static final String LOGITS = "logits";

  /** Distinguishes models by their sizes and some of the weights. */
  private String fingerprint() {
    CRC32 sum = new CRC32();
    try (Arena scratch = Arena.ofConfined()) {
      Tensor row = Tensor.allocate(scratch, DType.F32, specification.width());
      int step = Math.max(1, vocabulary() / 64);
      for (int token = 0; token < vocabulary(); token += step) {
        decoder.embedding(token, row);
        sum.update(row.segment().asByteBuffer());
      }
    }
    return family()
        + " "
        + vocabulary()
        + "x"
        + specification.width()
        + "x"
        + layers()
        + " "
        + parameters
        + " "
        + Long.toHexString(sum.getValue());
  }

  /**
   * Restores a session that {@link Session#save} wrote.
   *
   * @param arena supplies its memory and determines which threads may use it and for how long
   * @param file the file, which is not needed afterwards
   * @return a session that continues where the saved one was
   * @throws IOException if the file cannot be read or is malformed
   * @throws IllegalArgumentException if it is not a saved session, or one of another model
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Session restoreSession(Arena arena, Path file) throws IOException {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(file, "file");
    long stamp = enter();
    try (Arena scratch = Arena.ofConfined()) {
      SafeTensors saved = SafeTensors.open(file, scratch);
      require(file, "format", SESSION_FORMAT, saved.metadata().get("format"));
      require(file, "model", fingerprint(), saved.metadata().get("model"));
      int capacity;
      DType cache;
      try {
        capacity = Integer.parseInt(String.valueOf(saved.metadata().get("capacity")));
        cache = DType.valueOf(String.valueOf(saved.metadata().get("cache")));
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException(
            file + ": capacity must be an integer, and cache a type: " + saved.metadata(), e);
      }
      if (capacity < 1 || capacity > context()) {
        throw new IllegalArgumentException(
            file
                + ": capacity must lie in [1, context]: capacity="
                + capacity
                + ", context="
                + context());
      }
      int[] tokens = saved.get(TOKENS).toIntArray();
      if (tokens.length > capacity) {
        throw new IllegalArgumentException(
            file
                + ": tokens must fit the capacity: tokens="
                + tokens.length
                + ", capacity="
                + capacity);
      }
      for (int i = 0; i < tokens.length; i++) {
        checkToken(tokens[i], "tokens[" + i + "]");
      }
      Session session = new Session(this, arena, null, capacity, cache);
      session.append(tokens);
      session.sequence.restore(saved, tokens.length);
      if (saved.contains(LOGITS)) {
        session.logits.copyFrom(saved.get(LOGITS));
        session.logitsAt = tokens.length;
      }
      return session;
    } finally {
      open.exit(stamp);
    }
  }

  private static void require(Path file, String key, String wanted, String got) {
    if (!wanted.equals(got)) {
      throw new IllegalArgumentException(
          file + ": " + key + " must be \"" + wanted + "\": " + key + "=\"" + got + "\"");
    }
  }

  /**
   * Reads one more token of each of several texts. The weights, which take most of the time, are
   * read only once for all of them; each text gets the same logits as by itself. Sessions may join
   * and leave between steps.
   *
   * @param sessions different sessions of this model, all usable by this thread. Modified.
   * @param tokens the next token of each
   * @return for each session the logits {@code [vocabulary]} of the token after it, in the same
   *     tensor that {@link Session#step} returns
   * @throws IllegalArgumentException if there is not one token for each session, a session is
   *     listed twice or belongs to another model, a token is not in the vocabulary, or a session is
   *     full; then nothing is read
   * @throws IllegalStateException if the model or a session's arena is closed, or an arena is
   *     confined to another thread; sessions are read in groups of sixteen, and the earlier groups
   *     may have read their tokens then
   */
  public List<Tensor> step(List<Session> sessions, int[] tokens) {
    if (sessions.size() != tokens.length) {
      throw new IllegalArgumentException(
          "there must be one token for each session: sessions="
              + sessions.size()
              + ", tokens="
              + tokens.length);
    }
    Set<Session> different = Collections.newSetFromMap(new IdentityHashMap<>());
    for (int i = 0; i < tokens.length; i++) {
      Session session = Objects.requireNonNull(sessions.get(i), "session");
      if (session.model != this) {
        throw new IllegalArgumentException("sessions[" + i + "] must belong to this model");
      }
      if (!different.add(session)) {
        throw new IllegalArgumentException("sessions must differ: sessions[" + i + "] comes twice");
      }
      checkToken(tokens[i], "tokens[" + i + "]");
      session.checkRoom(1);
    }
    for (int from = 0; from < tokens.length; from += MOST_TOGETHER) {
      int to = Math.min(from + MOST_TOGETHER, tokens.length);
      stepTogether(sessions.subList(from, to), Arrays.copyOfRange(tokens, from, to));
    }
    return sessions.stream().map(session -> session.logits).toList();
  }

  private void stepTogether(List<Session> sessions, int[] tokens) {
    List<Decoder.Segment> segments = new ArrayList<>();
    for (int i = 0; i < tokens.length; i++) {
      Session session = sessions.get(i);
      if (decoder.changesKeys(session.length, session.length + 1)) {
        // Its whole text must be read again, which is done apart from the others.
        session.step(tokens[i]);
        continue;
      }
      session.catchUp();
      segments.add(Decoder.Segment.of(session.sequence, segments.size(), 1, session.length + 1));
    }
    List<Session> together = new ArrayList<>();
    int[] theirs = new int[segments.size()];
    for (int i = 0, row = 0; i < tokens.length; i++) {
      if (row < segments.size() && segments.get(row).sequence() == sessions.get(i).sequence) {
        together.add(sessions.get(i));
        theirs[row++] = tokens[i];
      }
    }
    if (together.isEmpty()) {
      return;
    }
    long stamp = enter();
    boolean done = false;
    SharedRoom shared = null;
    try {
      shared = sharedRooms.poll();
      if (shared == null) {
        shared =
            new SharedRoom(
                decoder.newRoom(arena, MOST_TOGETHER),
                Tensor.allocate(arena, DType.F32, MOST_TOGETHER, vocabulary()));
      }
      Room room = shared.room().first(theirs.length);
      Tensor each = shared.logits().slice(0, 0, theirs.length);
      decoder.forward(theirs, 0, room, segments);
      decoder.logits(room, 0, each);
      for (int row = 0; row < theirs.length; row++) {
        together.get(row).logitsAt = -1;
        together.get(row).logits.copyFrom(each.select(0, row));
      }
      done = true;
    } finally {
      if (shared != null) {
        sharedRooms.add(shared);
      }
      open.exit(stamp);
      for (int row = 0; row < theirs.length; row++) {
        Session session = together.get(row);
        if (done) {
          session.append(new int[] {theirs[row]});
          session.logitsAt = session.length;
        } else {
          session.sequence.repair(session.length);
        }
      }
    }
  }

  /**
   * Creates an empty session for a text of up to the whole context.
   *
   * @param arena supplies the memory of keys, values and intermediate results, and determines which
   *     threads may use the session and for how long
   * @return a session
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Session newSession(Arena arena) {
    return newSession(arena, specification.context());
  }

  /**
   * Creates an empty session for a text of limited length.
   *
   * @param arena supplies the memory of keys, values and intermediate results, and determines which
   *     threads may use the session and for how long
   * @param capacity the most tokens, from 1 to {@link #context()}
   * @return a session
   * @throws IllegalArgumentException if capacity is out of range
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Session newSession(Arena arena, int capacity) {
    return newSession(arena, capacity, DType.F32);
  }

  /**
   * Creates an empty session for a text of limited length whose keys and values are stored in the
   * given type: 16 bits need half the memory, and of a long text half the time to read them.
   *
   * @param arena supplies the memory of keys, values and intermediate results, and determines which
   *     threads may use the session and for how long
   * @param capacity the most tokens, from 1 to {@link #context()}
   * @param cache {@link DType#F32}, {@link DType#BF16} or {@link DType#F16}
   * @return a session
   * @throws IllegalArgumentException if capacity is out of range or cache is another type
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Session newSession(Arena arena, int capacity, DType cache) {
    Objects.requireNonNull(arena, "arena");
    checkCache(cache);
    checkCapacity(capacity);
    long stamp = enter();
    try {
      return new Session(this, arena, null, capacity, cache);
    } finally {
      open.exit(stamp);
    }
  }

  private void checkCapacity(int capacity) {
    if (capacity < 1 || capacity > specification.context()) {
      throw new IllegalArgumentException(
          "capacity must lie in [1, context]: capacity="
              + capacity
              + ", context="
              + specification.context());
    }
  }

  private static void checkCache(DType cache) {
    if (!cache.isFloat()) {
      throw new IllegalArgumentException("cache must be F32, BF16 or F16: cache=" + cache);
    }
  }

  /**
   * Creates a pool of memory for the keys and values of many sessions; each takes pages from it as
   * its text grows. The operating system provides the memory when it is first written.
   *
   * @param arena shared, unless one thread uses all sessions; determines how long the memory lives
   * @param cache how keys and values are stored: {@link DType#F32}, {@link DType#BF16} or {@link
   *     DType#F16}
   * @param tokens the most tokens of all sessions together, at least 1. A session takes whole pages
   *     of {@value SessionPool#PAGE_TOKENS} tokens.
   * @return a pool of free pages
   * @throws IllegalArgumentException if cache is another type, or tokens is less than 1 or too
   *     large
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if the operating system refuses so much memory
   */
  public SessionPool newPool(Arena arena, DType cache, int tokens) {
    Objects.requireNonNull(arena, "arena");
    checkCache(cache);
    long stamp = enter();
    try {
      return new SessionPool(this, decoder, arena, cache, tokens);
    } finally {
      open.exit(stamp);
    }
  }

  /**
   * Creates an empty session whose keys and values are in pages of a pool. {@linkplain
   * Session#close Close} it to return the pages.
   *
   * @param arena supplies all other memory, and determines which threads may use the session and
   *     for how long
   * @param capacity the most tokens, from 1 to {@link #context()}
   * @param pool a pool of this model
   * @return a session without pages
   * @throws IllegalArgumentException if capacity is out of range, or the pool belongs to another
   *     model
   * @throws IllegalStateException if the model or the arena is closed
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Session newSession(Arena arena, int capacity, SessionPool pool) {
    Objects.requireNonNull(arena, "arena");
    checkCapacity(capacity);
    if (pool.model() != this) {
      throw new IllegalArgumentException("pool must belong to this model: " + this);
    }
    long stamp = enter();
    try {
      return new Session(this, arena, pool, capacity, pool.cache());
    } finally {
      open.exit(stamp);
    }
  }

  /**
   * A text that a model reads and continues. The session caches the keys and values of all tokens
   * so far, so a new token costs one pass of the model for that token only. The cache grows with
   * the text: by doubling in the session's arena, by pages in a {@link SessionPool}.
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
   * <p>Not safe for several threads. A session with a shared arena may be passed from thread to
   * thread; different sessions of a model are independent.
   */
  public static final class Session implements AutoCloseable {
    private static final BooleanSupplier NEVER = () -> false;

    private final CausalLm model;

    /** Null if keys and values are in the session's arena. */
    private final SessionPool pool;

    private final int capacity;
    private final DType cache;
    private final Sequence sequence;
    private final Room one;
    private final Tensor logits;
    private final Tensor logitsRow;
    private final float[] choice;
    private final Sampler.Scratch choosing = new Sampler.Scratch();

    /** The tokens read so far, and room for more. */
    private int[] text = new int[16];

    private int length;

    /** The length of the text after which the logits apply; -1 if there are none. */
    private int logitsAt = -1;

    private boolean closed;

    private Session(CausalLm model, Arena arena, SessionPool pool, int capacity, DType cache) {
      this.model = model;
      this.pool = pool;
      this.cache = cache;
      this.capacity = capacity;
      sequence =
          model.decoder.newSequence(
              arena,
              pool == null ? null : pool.pages(),
              cache,
              capacity,
              Math.min(capacity, MOST_ROWS));
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
     * Drops the last tokens, so the beginning of the text can be reused for another one.
     *
     * @param length how many tokens to keep, at most those read
     * @throws IllegalArgumentException if length is negative or more than the session has read
     */
    public void truncate(int length) {
      checkOpen();
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
     * Forgets the text, and returns the session's pages if it uses a pool. Later calls are refused;
     * closing twice is harmless.
     *
     * @throws IllegalStateException if the session's arena is confined to another thread
     */
    @Override
    public void close() {
      if (closed) {
        return;
      }
      checkOpen();
      closed = true;
      length = 0;
      logitsAt = -1;
      sequence.clear();
    }

    private void checkOpen() {
      if (closed) {
        throw new IllegalStateException("session has been closed");
      }
      if (!logits.segment().isAccessibleBy(Thread.currentThread())) {
        throw new IllegalStateException(
            "session's arena must not be confined to another thread: thread="
                + Thread.currentThread().getName());
      }
    }

    // ---- Copies ----

    /**
     * Creates another session with the same beginning, so several continuations share what was read
     * once.
     *
     * @param arena supplies the other session's memory and determines which threads may use it
     * @param length how many tokens of this text it starts with
     * @return a session of the same capacity, independent of this one. In a pool, both share pages
     *     until one of them writes to a page, which then gets copied.
     * @throws IllegalArgumentException if length is negative or more than this session has read
     * @throws IllegalStateException if the model or an arena is closed
     * @throws OutOfMemoryError if there is not enough memory for the copy
     */
    public Session fork(Arena arena, int length) {
      Objects.requireNonNull(arena, "arena");
      checkOpen();
      if (length < 0 || length > this.length) {
        throw new IllegalArgumentException(
            "length must lie in [0, tokens read]: length=" + length + ", read=" + this.length);
      }
      long stamp = model.enter();
      try {
        Session other = new Session(model, arena, pool, capacity, cache);
        other.text = Arrays.copyOf(text, Math.max(16, length));
        other.length = length;
        other.sequence.copyFrom(sequence, length);
        if (logitsAt == length) {
          other.logits.copyFrom(logits);
          other.logitsAt = length;
        }
        return other;
      } finally {
        model.open.exit(stamp);
      }
    }

    /**
     * Saves the session, that is its tokens and the keys and values of all layers, to a file for
     * {@link CausalLm#restoreSession}.
     *
     * @param file created or replaced, either completely or not at all
     * @throws IOException if it cannot be written
     * @throws IllegalStateException if the model or the session's arena is closed
     */
    public void save(Path file) throws IOException {
      Objects.requireNonNull(file, "file");
      checkOpen();
      catchUp();
      long stamp = model.enter();
      try (Arena scratch = Arena.ofConfined()) {
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        Tensor tokens = Tensor.allocate(scratch, DType.I32, length);
        MemorySegment.copy(text, 0, tokens.segment(), ValueLayout.JAVA_INT, 0, length);
        tensors.put(TOKENS, tokens);
        if (logitsAt == length) {
          tensors.put(LOGITS, logits);
        }
        sequence.save(scratch, tensors);
        SafeTensors.write(
            file,
            tensors,
            Map.of(
                "format",
                SESSION_FORMAT,
                "model",
                model.fingerprint(),
                "capacity",
                String.valueOf(capacity),
                "cache",
                cache.name()));
      } finally {
        model.open.exit(stamp);
      }
    }

    /**
     * Reads more of the text, all tokens together.
     *
     * @param tokens at least one. Not modified.
     * @return the logits {@code [vocabulary]} of the token after the last one. The next call
     *     overwrites them.
     * @throws IllegalArgumentException if there is no token, one is not in the vocabulary, or the
     *     text would exceed the capacity; nothing is read then
     * @throws IllegalStateException if the model or the session's arena is closed, or the arena is
     *     confined to another thread; nothing is read then
     */
    public Tensor prefill(int[] tokens) {
      model.checkTokens(tokens, "tokens");
      checkRoom(tokens.length);
      readAll(tokens, NEVER);
      return logits;
    }

    /**
     * Reads one more token.
     *
     * @param token the next token of the text
     * @return the logits {@code [vocabulary]} of the token after it. The next call overwrites them.
     * @throws IllegalArgumentException as {@link #prefill}
     * @throws IllegalStateException as {@link #prefill}
     */
    public Tensor step(int token) {
      model.checkToken(token, "token");
      checkRoom(1);
      readAll(new int[] {token}, NEVER);
      return logits;
    }

    /**
     * Reads a prompt and continues the text. The last new token is not read; to continue the text
     * later, begin the next prompt with it.
     *
     * @param prompt comes after what the session has read; at least one token. Not modified.
     * @param maxNewTokens the most tokens to add
     * @param sampler chooses them; its draws are numbered by the token's position in the text
     * @param onToken is given each new token as soon as it is chosen, in this thread; an exception
     *     from it ends the generation
     * @return the new tokens; fewer than {@code maxNewTokens} if the last one ends the text ({@code
     *     eos_token_id})
     * @throws IllegalArgumentException if the prompt is empty, one of its tokens is not in the
     *     vocabulary, maxNewTokens is negative, or the text would exceed the capacity; nothing is
     *     read then
     * @throws IllegalStateException if the model is closed, before or during the call, or the
     *     session's arena is closed or confined to another thread
     * @throws CancellationException if the thread is interrupted, between parts of the prompt or
     *     between tokens; the session keeps the tokens that it has read, and either all of the
     *     prompt or nothing
     */
    public int[] generate(int[] prompt, int maxNewTokens, Sampler sampler, IntConsumer onToken) {
      model.checkGeneration(prompt, maxNewTokens, length, capacity, "capacity");
      Objects.requireNonNull(sampler, "sampler");
      Objects.requireNonNull(onToken, "onToken");
      Generation generation =
          Generation.builder().maxNewTokens(maxNewTokens).sampler(sampler).build();
      return generate(
              prompt,
              generation,
              token -> {
                onToken.accept(token.token());
                return true;
              })
          .tokens();
    }

    /**
     * Reads a prompt and continues the text with the given options. The last new token is not read;
     * to continue the text later, begin the next prompt with it.
     *
     * @param prompt comes after what the session has read; at least one token. Not modified.
     * @param generation the options
     * @param listener is given each new token as soon as it is chosen, in this thread; an exception
     *     from it ends the generation
     * @return the new tokens, and why the generation ended
     * @throws IllegalArgumentException as {@link #generate(int[], int, Sampler, IntConsumer)}, and
     *     if a processor or bias leaves no token
     * @throws IllegalStateException as {@link #generate(int[], int, Sampler, IntConsumer)}
     * @throws CancellationException as {@link #generate(int[], int, Sampler, IntConsumer)}
     */
    public Generated generate(int[] prompt, Generation generation, TokenListener listener) {
      Objects.requireNonNull(generation, "generation");
      Objects.requireNonNull(listener, "listener");
      int maxNewTokens = generation.maxNewTokens();
      checkOpen();
      model.checkGeneration(prompt, maxNewTokens, length, capacity, "capacity");
      int[] tokens = new int[maxNewTokens];
      if (!readAll(prompt, generation::isCancelled)) {
        return new Generated(new int[0], Generated.Reason.CANCELLED);
      }
      int promptLength = length;
      int count = 0;
      List<GeneratedToken> chosen = List.of();
      while (count < maxNewTokens) {
        if (generation.isCancelled()) {
          return new Generated(Arrays.copyOf(tokens, count), Generated.Reason.CANCELLED);
        }
        if (count == 0) {
          chosen = List.of(choose(generation, promptLength));
        } else {
          if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("thread was interrupted: new tokens=" + count);
          }
          chosen = next(tokens[count - 1], maxNewTokens - count, generation, promptLength);
        }
        for (int i = 0; i < chosen.size(); i++) {
          GeneratedToken token = chosen.get(i);
          tokens[count++] = token.token();
          boolean more = listener.onToken(token);
          if (token.end() || !more) {
            // Accepted tokens after this one are not part of the text.
            truncate(length - (chosen.size() - 1 - i));
            return new Generated(
                Arrays.copyOf(tokens, count),
                token.end() ? Generated.Reason.END : Generated.Reason.STOPPED);
          }
        }
      }
      return new Generated(tokens, Generated.Reason.LENGTH);
    }

    /** Reads a token and chooses the next one, or several if tokens of a draft are accepted. */
    private List<GeneratedToken> next(
        int token, int most, Generation generation, int promptLength) {
      Drafter drafter = generation.drafter();
      int wanted =
          drafter == null ? 0 : Math.min(MOST_DRAFTED, Math.min(most, capacity - length) - 1);
      if (wanted < 1) {
        step(token);
        return List.of(choose(generation, promptLength));
      }
      int[] before = Arrays.copyOf(text, length + 1);
      before[length] = token;
      int[] proposed = drafter.propose(before, wanted);
      int[] all = new int[1 + Math.min(proposed.length, wanted)];
      all[0] = token;
      System.arraycopy(proposed, 0, all, 1, all.length - 1);
      model.checkTokens(all, "proposed");
      int start = length;
      if (all.length == 1 || model.decoder.changesKeys(start, start + all.length)) {
        step(token);
        return List.of(choose(generation, promptLength));
      }
      List<GeneratedToken> chosen = new ArrayList<>();
      try (Arena scratch = Arena.ofConfined()) {
        Tensor each = Tensor.allocate(scratch, DType.F32, all.length, model.vocabulary());
        readRows(all, each, scratch);
        boolean done = false;
        try {
          do {
            int row = chosen.size();
            chosen.add(choose(generation, promptLength, each.select(0, row), start + 1 + row));
          } while (chosen.size() < all.length
              && !chosen.getLast().end()
              && chosen.getLast().token() == all[chosen.size()]);
          logits.copyFrom(each.select(0, chosen.size() - 1));
          done = true;
        } finally {
          truncate(done ? start + chosen.size() : start);
        }
        logitsAt = length;
      }
      return chosen;
    }

    /**
     * Chooses the token after those read, like {@link #generate(int[], Generation, TokenListener)}.
     * It is not read.
     *
     * @param generation the options; the limit of tokens is not used
     * @param promptLength how many of the tokens read belong to the prompt
     * @return the token
     * @throws IllegalStateException if nothing has been read, or the arena is closed
     * @throws IllegalArgumentException if a processor or bias leaves no token, or promptLength is
     *     not in {@code [0, length]}
     */
    public GeneratedToken choose(Generation generation, int promptLength) {
      checkOpen();
      if (logitsAt != length) {
        throw new IllegalStateException(
            "a session must have read its last token to choose the next one: length="
                + length
                + ", last read="
                + logitsAt);
      }
      if (promptLength < 0 || promptLength > length) {
        throw new IllegalArgumentException(
            "promptLength must lie in [0, length]: promptLength="
                + promptLength
                + ", length="
                + length);
      }
      return choose(generation, promptLength, logits, length);
    }

    /** Chooses from the logits after the first {@code at} tokens of the text. */
    private GeneratedToken choose(
        Generation generation, int promptLength, Tensor following, int at) {
      Decoder.copyRow(following, choice);
      int wanted = generation.logProbabilities();
      float[] own = wanted < 0 ? null : choice.clone();
      if (generation.processor() != null) {
        generation.processor().process(text, at, promptLength, choice);
      }
      Sampler sampler = generation.sampler();
      sampler.adjust(choice, text, at, promptLength);
      int token = sampler.next(choice, at, choosing);
      boolean end =
          generation.ends(token, model.ends) || completes(generation, promptLength, at, token);
      if (own == null) {
        return new GeneratedToken(token, Double.NaN, List.of(), end);
      }
      double logSumExp = LogProbabilities.logSumExp(own);
      return new GeneratedToken(
          token, own[token] - logSumExp, LogProbabilities.likeliest(own, logSumExp, wanted), end);
    }

    /** Whether a processor ends the text after this token. */
    private boolean completes(Generation generation, int promptLength, int at, int token) {
      if (generation.processor() == null) {
        return false;
      }
      int[] with = Arrays.copyOf(text, at + 1);
      with[at] = token;
      return generation.processor().completes(with, at + 1, promptLength);
    }

    /**
     * Returns the tokens that the session has read.
     *
     * @return a copy
     */
    public int[] tokens() {
      return Arrays.copyOf(text, length);
    }

    /** Reads tokens; if that fails or is cancelled, the session is unchanged. */
    private boolean readAll(int[] tokens, BooleanSupplier cancelled) {
      begin(tokens);
      int start = length - tokens.length;
      boolean done = false;
      try {
        done = readText(cancelled);
      } finally {
        if (!done) {
          takeBack(start);
        }
      }
      return done;
    }

    /** Adds tokens to the text, to be read in parts. */
    void begin(int[] tokens) {
      checkOpen();
      append(tokens);
    }

    /** Removes tokens that {@link #begin} added, read or not. */
    void takeBack(int start) {
      length = start;
      if (sequence.length() > start) {
        sequence.truncate(start);
      }
    }

    /**
     * Reads the next unread tokens of the text.
     *
     * @param most how many at once, at most {@link #MOST_ROWS}
     * @return whether all are read, so that there are logits
     */
    boolean readSome(int most) {
      if (model.decoder.changesKeys(sequence.length(), length)) {
        sequence.clear();
      }
      int rows = Math.min(length - sequence.length(), most);
      try (Arena scratch = Arena.ofConfined()) {
        readPart(rows == 1 ? one : model.decoder.newRoom(scratch, rows), rows);
      }
      return sequence.length() == length;
    }

    private void append(int[] tokens) {
      if (tokens.length > text.length - length) {
        long doubled = Math.max(2L * text.length, (long) length + tokens.length);
        text = Arrays.copyOf(text, (int) Math.min(doubled, capacity));
      }
      System.arraycopy(tokens, 0, text, length, tokens.length);
      length += tokens.length;
    }

    /**
     * Reads a few tokens in one pass and computes the logits after each of them, with the same bits
     * as one at a time.
     */
    private void readRows(int[] tokens, Tensor each, Arena scratch) {
      catchUp();
      int start = length;
      boolean done = false;
      long stamp = model.enter();
      try {
        append(tokens);
        Room room = model.decoder.newRoom(scratch, tokens.length);
        model.decoder.forward(text, start, room, Decoder.Segment.oneByOne(sequence, tokens.length));
        model.decoder.logits(room, 0, each);
        done = true;
      } finally {
        model.open.exit(stamp);
        if (!done) {
          length = start;
          sequence.repair(start);
        }
      }
    }

    /** Reads again what windows have dropped, after the text was cut. */
    private void catchUp() {
      if (sequence.length() < length) {
        readText(NEVER);
      }
    }

    /** Reads the unread rest of the text in parts, and returns false if it was cancelled. */
    private boolean readText(BooleanSupplier cancelled) {
      if (model.decoder.changesKeys(sequence.length(), length)) {
        sequence.clear();
      }
      int most = Math.min(length - sequence.length(), MOST_ROWS);
      try (Arena scratch = Arena.ofConfined()) {
        Room room = most == 1 ? one : model.decoder.newRoom(scratch, most);
        while (sequence.length() < length) {
          if (cancelled.getAsBoolean()) {
            return false;
          }
          int rows = Math.min(most, length - sequence.length());
          readPart(rows == most ? room : room.first(rows), rows);
          if (sequence.length() < length && Thread.currentThread().isInterrupted()) {
            throw new CancellationException(
                "thread was interrupted: read=" + sequence.length() + " of " + length + " tokens");
          }
        }
      }
      return true;
    }

    private void readPart(Room room, int rows) {
      int from = sequence.length();
      long stamp = model.enter();
      boolean done = false;
      try {
        model.decoder.forward(
            text, from, room, List.of(Decoder.Segment.of(sequence, 0, rows, length)));
        if (from + rows == length) {
          logitsAt = -1;
          model.decoder.logits(room, rows - 1, logitsRow);
          logitsAt = length;
        }
        done = true;
      } finally {
        model.open.exit(stamp);
        if (!done) {
          // Some layers may have processed tokens that others have not.
          sequence.repair(from);
        }
      }
    }

    private void checkRoom(int tokens) {
      checkOpen();
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

  /** Keeps the model open until {@code open.exit}. */
  private long enter() {
    return open.enter("model", this);
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

  void checkGeneration(int[] prompt, int maxNewTokens, int length, int limit, String limitName) {
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
