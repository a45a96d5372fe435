package io.github.attention4j.models;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.layer.SwiGlu;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.locks.StampedLock;
import java.util.function.IntConsumer;

/**
 * A language model that continues texts token by token: Llama (Touvron et al., 2023) or DiffLlama,
 * the same with differential attention (Ye et al., "Differential Transformer", 2024), as Hugging
 * Face's Transformers defines {@code LlamaForCausalLM} and {@code DiffLlamaForCausalLM}.
 *
 * <pre>
 *   x = embedding(tokens)
 *   for each layer:   x += out(attention(rotary(queries, keys), values of norm(x)))
 *                     x += down(silu(gate(norm(x))) · up(norm(x)))
 *   logits = head(norm(x))
 * </pre>
 *
 * In DiffLlama, head h and head h + heads/2 are a pair, which reads the values of both side by side
 * with {@code softmax₁ − λ · softmax₂}; the result passes an RMSNorm without weights and the factor
 * {@code 1 − λ_init}.
 *
 * <pre>{@code
 * try (CausalLm model = CausalLm.open(directory)) {
 *   Sampler sampler = Sampler.builder().temperature(0.8).seed(1).build();
 *   model.generate(prompt, 100, sampler, token -> show(token));
 * }
 * }</pre>
 *
 * <p><b>Memory.</b> Weights are converted to {@link DType#F32} when the model is opened and belong
 * to it until {@link #close}. What a text needs beside them belongs to its {@link Session}.
 *
 * <p><b>Threads.</b> The model is immutable and safe for any number of threads at once; each text
 * needs a session of its own. An operation uses {@link io.github.attention4j.A4j#threads()} threads
 * at most.
 */
public final class CausalLm implements AutoCloseable {
  /** Longer prompts are read in parts of this length, which bounds the room that they need. */
  private static final int MOST_ROWS = 512;

  private final Path directory;
  private final Config config;
  private final Tensor embedding;
  private final List<Layer> layers;
  private final RmsNorm norm;
  private final Linear head;
  private final RotaryEmbedding rotary;
  private final Attention attention;
  private final Differential differential;
  private final long parameters;

  /** Held for reading while a call computes, for writing while the model is being closed. */
  private final StampedLock open = new StampedLock();

  private final Arena arena;

  private CausalLm(Path directory, Config config, Checkpoint checkpoint, Arena arena) {
    this.directory = directory;
    this.config = config;
    this.arena = arena;
    embedding = checkpoint.floats(Checkpoint.EMBEDDING, arena);
    head = Linear.of(config.tied() ? embedding : checkpoint.floats(Checkpoint.HEAD, arena));
    norm = RmsNorm.of(checkpoint.floats(Checkpoint.NORM, arena), config.normEpsilon());
    layers = new ArrayList<>();
    for (int i = 0; i < config.layers(); i++) {
      layers.add(Layer.read(checkpoint, config, i, arena));
    }
    rotary =
        RotaryEmbedding.of(
            RotaryTable.compute(
                arena, config.context(), config.dim(), config.rotaryBase(), config.rotaryScaling()),
            RotaryEmbedding.Style.HALF);
    Mask causal = Mask.causal(Alignment.BOTTOM_RIGHT);
    attention = Attention.builder().mask(causal).build();
    differential = Differential.builder().pairing(Differential.Pairing.HALVES).mask(causal).build();
    parameters = checkpoint.parameters();
  }

  /**
   * Opens a checkpoint directory as Hugging Face's Transformers writes it: {@code config.json}, and
   * {@code model.safetensors} or the files that {@code model.safetensors.index.json} names. Keys of
   * the configuration that would change the result and are not supported are refused.
   *
   * @param directory holds the files, which are not needed any more afterwards
   * @return the model, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException if the configuration asks for what is not supported, or the
   *     tensors are not those that it asks for; the message lists all that are wrong
   * @throws OutOfMemoryError if there is no memory for the weights
   */
  public static CausalLm open(Path directory) throws IOException {
    Objects.requireNonNull(directory, "directory");
    Config config = Config.read(directory.resolve("config.json"));
    // Only this thread reads the files; the weights are for all.
    Arena weights = Arena.ofShared();
    try (Arena files = Arena.ofConfined()) {
      Checkpoint checkpoint = Checkpoint.open(directory, config, files);
      CausalLm model = new CausalLm(directory, config, checkpoint, weights);
      weights = null;
      return model;
    } finally {
      if (weights != null) {
        weights.close();
      }
    }
  }

  // ---- What it is ----

  /**
   * Tells whether its attention is differential.
   *
   * @return false for {@code llama}, true for {@code diffllama}
   */
  public boolean isDifferential() {
    return config.differential();
  }

  /**
   * Returns the number of tokens there are; a token is a number from 0 below it.
   *
   * @return {@code vocab_size}
   */
  public int vocabulary() {
    return config.vocabulary();
  }

  /**
   * Returns the most tokens that a text may have.
   *
   * @return {@code max_position_embeddings}
   */
  public int context() {
    return config.context();
  }

  /**
   * Returns the number of layers.
   *
   * @return {@code num_hidden_layers}
   */
  public int layers() {
    return config.layers();
  }

  /**
   * Returns the number of attention maps of a layer.
   *
   * @return the number of query heads, or of pairs of them if the model is differential
   */
  public int maps() {
    return config.maps();
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
    if (!config.differential()) {
      throw new IllegalStateException("lambda belongs to diffllama: model_type=llama");
    }
    return layers.get(Objects.checkIndex(layer, layers.size())).lambda();
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
    return (config.differential() ? "diffllama" : "llama")
        + " with "
        + parameters
        + " parameters from "
        + directory;
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
      Room room = new Room(scratch, config, tokens.length);
      Tensor logits = Tensor.allocate(arena, DType.F32, tokens.length, config.vocabulary());
      embed(tokens, 0, room);
      for (Layer layer : layers) {
        attend(layer, room, null, 0, Extras.none());
        feedForward(layer, room);
      }
      norm.forward(room.x, room.normed);
      head.forward(room.normed, logits);
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
    Objects.checkIndex(layer, layers.size());
    long stamp = enter();
    try (Arena scratch = Arena.ofConfined()) {
      Room room = new Room(scratch, config, tokens.length);
      Tensor weights =
          Tensor.allocate(arena, DType.F32, 1, config.maps(), tokens.length, tokens.length);
      embed(tokens, 0, room);
      for (int i = 0; i < layer; i++) {
        attend(layers.get(i), room, null, 0, Extras.none());
        feedForward(layers.get(i), room);
      }
      attend(layers.get(layer), room, null, 0, Extras.none().weights(weights));
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
    checkGeneration(prompt, maxNewTokens, 0, config.context(), "context");
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
    return newSession(arena, config.context());
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
    if (capacity < 1 || capacity > config.context()) {
      throw new IllegalArgumentException(
          "capacity must lie in [1, context]: capacity="
              + capacity
              + ", context="
              + config.context());
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
    private final int capacity;
    private final List<KvCache> caches = new ArrayList<>();
    private final Room room;
    private final Room one;
    private final Tensor logits;
    private final Tensor logitsRow;
    private final float[] choice;
    private final Sampler.Scratch choosing = new Sampler.Scratch();
    private final int[] next = new int[1];
    private int length;

    private Session(CausalLm model, Arena arena, int capacity) {
      Config config = model.config;
      this.model = model;
      this.capacity = capacity;
      for (int i = 0; i < config.layers(); i++) {
        caches.add(KvCache.allocate(arena, 1, config.headsKv(), capacity, config.dim()));
      }
      room = new Room(arena, config, Math.min(capacity, MOST_ROWS));
      one = room.first(1);
      logits = Tensor.allocate(arena, DType.F32, config.vocabulary());
      logitsRow = logits.unsqueeze(0);
      choice = new float[config.vocabulary()];
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
      for (KvCache cache : caches) {
        cache.truncate(length);
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
      int start = length;
      boolean done = false;
      try {
        for (int from = 0; from < tokens.length; from += room.rows()) {
          int rows = Math.min(room.rows(), tokens.length - from);
          read(tokens, from, room.first(rows), from + rows == tokens.length);
        }
        done = true;
      } finally {
        if (!done) {
          forgetFrom(start);
        }
      }
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
      next[0] = token;
      checkRoom(1);
      int start = length;
      boolean done = false;
      try {
        read(next, 0, one, true);
        done = true;
      } finally {
        if (!done) {
          forgetFrom(start);
        }
      }
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
          step(tokens[i - 1]);
        }
        tokens[i] = next(sampler);
        onToken.accept(tokens[i]);
        if (model.config.ends().contains(tokens[i])) {
          return Arrays.copyOf(tokens, i + 1);
        }
      }
      return tokens;
    }

    private int next(Sampler sampler) {
      MemorySegment.copy(logits.segment(), ValueLayout.JAVA_FLOAT, 0, choice, 0, choice.length);
      return sampler.next(choice, length, choosing);
    }

    private void read(int[] tokens, int from, Room space, boolean last) {
      long stamp = model.enter();
      try {
        model.embed(tokens, from, space);
        for (int i = 0; i < caches.size(); i++) {
          Layer layer = model.layers.get(i);
          model.attend(layer, space, caches.get(i), length, Extras.none());
          model.feedForward(layer, space);
        }
        if (last) {
          model.norm.forward(space.last, space.lastNormed);
          model.head.forward(space.lastNormed, logitsRow);
        }
        length += space.rows();
      } finally {
        model.open.unlockRead(stamp);
      }
    }

    /** After a failure some layers may have read what others have not. */
    private void forgetFrom(int start) {
      length = start;
      for (KvCache cache : caches) {
        cache.truncate(start);
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

  // ---- Computing ----

  private void embed(int[] tokens, int from, Room room) {
    long bytes = (long) config.width() * Float.BYTES;
    for (int i = 0; i < room.rows(); i++) {
      MemorySegment.copy(
          embedding.segment(), tokens[from + i] * bytes, room.x.segment(), i * bytes, bytes);
    }
  }

  /** Adds what attention reads; without a cache, the room's tokens are the whole text. */
  private void attend(Layer layer, Room room, KvCache cache, int start, Extras extras) {
    layer.attentionNorm().forward(room.x, room.normed);
    layer.queryKeyValue().forward(room.normed, room.packed);
    rotary.forward(room.turned, room.turned, start);
    Tensor k = room.k;
    Tensor v = room.v;
    if (cache != null) {
      cache.append(k, v);
      k = cache.keys();
      v = cache.values();
    }
    if (config.differential()) {
      differential.forward(room.q, k, v, layer.lambda(), room.readByMap, extras);
      layer.pairNorm().forward(room.readRows, room.readRows);
    } else {
      attention.forward(room.q, k, v, room.readByMap, extras);
    }
    layer.out().forwardAdd(room.read, room.x);
  }

  private void feedForward(Layer layer, Room room) {
    layer.feedForwardNorm().forward(room.x, room.normed);
    layer.gateUp().forward(room.normed, room.gateUp);
    SwiGlu.multiply(room.gate, room.up, room.gate);
    layer.down().forwardAdd(room.gate, room.x);
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
    if (tokens.length > config.context()) {
      throw new IllegalArgumentException(
          "text must fit the context: tokens=" + tokens.length + ", context=" + config.context());
    }
  }

  private void checkTokens(int[] tokens, String name) {
    if (Objects.requireNonNull(tokens, name).length == 0) {
      throw new IllegalArgumentException(
          name + " must have at least 1 token: " + name + ".length=0");
    }
    for (int i = 0; i < tokens.length; i++) {
      if (tokens[i] < 0 || tokens[i] >= config.vocabulary()) {
        checkToken(tokens[i], name + "[" + i + "]");
      }
    }
  }

  private void checkToken(int token, String name) {
    if (token < 0 || token >= config.vocabulary()) {
      throw new IllegalArgumentException(
          name
              + " must be in the vocabulary: "
              + name
              + "="
              + token
              + ", vocabulary="
              + config.vocabulary());
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
