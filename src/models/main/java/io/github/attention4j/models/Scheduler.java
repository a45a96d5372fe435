package io.github.attention4j.models;

import io.github.attention4j.DType;
import java.lang.foreign.Arena;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;

/**
 * Generates many texts with one model together: a single thread reads the weights once for the next
 * token of all of them.
 *
 * <pre>{@code
 * try (Scheduler scheduler = Scheduler.builder(model).sessions(8).start()) {
 *   CompletableFuture<Generated> one = scheduler.submit(prompt, generation, token -> true);
 *   CompletableFuture<Generated> other = scheduler.submit(question, generation, token -> true);
 * }
 * }</pre>
 *
 * <p><b>Admission.</b> A text waits until there is a session for it, and pages for its prompt and
 * the most tokens it may generate, so a text that has started never runs out of memory. Texts start
 * in the order of submission.
 *
 * <p><b>Steps.</b> Between two steps of the running texts, one part of one prompt is read, so the
 * others never wait for a whole prompt. Prompts are always split at multiples of the same number,
 * and a step gives each text the same logits as by itself, so a text's tokens do not depend on the
 * other texts.
 *
 * <p><b>Failures.</b> An exception from a listener, processor or sampler ends only its own text.
 *
 * <p>Safe for any number of threads. Closing ends all texts; the model stays open.
 */
public final class Scheduler implements AutoCloseable {
  private final CausalLm model;
  private final int sessions;
  private final int promptPart;
  private final Arena memory = Arena.ofShared();
  private final SessionPool pool;
  private final Thread thread;

  /** Guards what follows it. */
  private final Object lock = new Object();

  private final ArrayDeque<Text> waiting = new ArrayDeque<>();
  private int active;
  private boolean closed;

  /** Used only by the scheduler's thread. */
  private final List<Text> reading = new ArrayList<>();

  private final List<Text> writing = new ArrayList<>();
  private long pagesPromised;

  /** A submitted text. */
  private static final class Text {
    final int[] prompt;
    final Generation generation;
    final TokenListener listener;
    final long pages;
    final CompletableFuture<Generated> result = new CompletableFuture<>();
    final int[] tokens;
    Arena arena;
    CausalLm.Session session;
    int count;

    Text(int[] prompt, Generation generation, TokenListener listener, long pages) {
      this.prompt = prompt;
      this.generation = generation;
      this.listener = listener;
      this.pages = pages;
      tokens = new int[generation.maxNewTokens()];
    }

    boolean isCancelled() {
      return result.isDone() || generation.isCancelled();
    }
  }

  private Scheduler(Builder builder) {
    model = builder.model;
    sessions = builder.sessions;
    promptPart = builder.promptPart;
    boolean made = false;
    try {
      pool = model.newPool(memory, builder.cache, builder.tokens());
      made = true;
    } finally {
      if (!made) {
        memory.close();
      }
    }
    thread = Thread.ofPlatform().name("attention4j-scheduler").daemon().start(this::run);
  }

  /**
   * Starts the options of a scheduler.
   *
   * @param model the model, which must stay open as long as the scheduler
   * @return a builder
   */
  public static Builder builder(CausalLm model) {
    return new Builder(model);
  }

  /** Collects the options of a {@link Scheduler}. Not safe for use by several threads. */
  public static final class Builder {
    private static final int USUAL_TOKENS = 32_768;

    private final CausalLm model;
    private int sessions = 8;
    private int promptPart = 128;
    private int tokens;
    private DType cache = DType.F32;

    private Builder(CausalLm model) {
      this.model = Objects.requireNonNull(model, "model");
    }

    /**
     * Limits how many texts run at once; others wait.
     *
     * @param sessions from 1 to 1024; 8 by default
     * @return this builder
     * @throws IllegalArgumentException if the number is out of range
     */
    public Builder sessions(int sessions) {
      this.sessions = inRange("sessions", sessions, 1024);
      return this;
    }

    /**
     * Sets the length of the parts in which prompts are read. With short parts, other texts advance
     * more often; long parts are read faster.
     *
     * @param tokens from 1 to 512; 128 by default
     * @return this builder
     * @throws IllegalArgumentException if the number is out of range
     */
    public Builder promptPart(int tokens) {
      this.promptPart = inRange("promptPart", tokens, CausalLm.MOST_ROWS);
      return this;
    }

    /**
     * Limits the tokens of all texts together, prompts included. The operating system provides the
     * memory for their keys and values when it is first used.
     *
     * @param tokens at least 1; by default 32768, or as many as all sessions can hold if that is
     *     less
     * @return this builder
     * @throws IllegalArgumentException if the number is less than 1
     */
    public Builder tokens(int tokens) {
      this.tokens = inRange("tokens", tokens, Integer.MAX_VALUE);
      return this;
    }

    /**
     * Sets how keys and values are stored.
     *
     * @param cache {@link DType#F32}, which is the default, {@link DType#BF16} or {@link DType#F16}
     * @return this builder
     */
    public Builder cache(DType cache) {
      this.cache = Objects.requireNonNull(cache, "cache");
      return this;
    }

    private static int inRange(String name, int value, int most) {
      if (value < 1 || value > most) {
        throw new IllegalArgumentException(
            "%s must lie in [1, %d]: %s=%d".formatted(name, most, name, value));
      }
      return value;
    }

    private int tokens() {
      return tokens > 0 ? tokens : (int) Math.min(USUAL_TOKENS, (long) sessions * model.context());
    }

    /**
     * Starts the scheduler's thread.
     *
     * @return a scheduler, to be closed
     * @throws IllegalArgumentException if the cache is none of the types named
     * @throws IllegalStateException if the model is closed
     * @throws OutOfMemoryError if the operating system refuses the memory
     */
    public Scheduler start() {
      return new Scheduler(this);
    }
  }

  /**
   * Returns the model.
   *
   * @return the model
   */
  public CausalLm model() {
    return model;
  }

  /**
   * Returns how many texts are running.
   *
   * @return at most the limit of sessions
   */
  public int active() {
    synchronized (lock) {
      return active;
    }
  }

  /**
   * Returns how many texts are waiting for a session or for memory.
   *
   * @return the length of the queue
   */
  public int waiting() {
    synchronized (lock) {
      return waiting.size();
    }
  }

  /**
   * Returns the most tokens of all texts together, prompts included.
   *
   * @return the limit
   */
  public long tokens() {
    return pool.tokens();
  }

  /**
   * Tells whether a text fits the memory when no other is running.
   *
   * @param length its tokens, including the prompt
   * @return whether {@link #submit} accepts it
   */
  public boolean fits(int length) {
    return pool.pagesOf(length) <= pool.pages().pages();
  }

  /**
   * Continues a text, like {@link CausalLm.Session#generate(int[], Generation, TokenListener)}.
   *
   * @param prompt at least one token. Copied.
   * @param generation the options; a drafter is not used, because texts already share each pass
   * @param listener is called with each new token in the scheduler's thread and should return
   *     quickly; an exception from it ends the text
   * @return the new tokens and why the text ended. Cancelling the future ends the text.
   * @throws IllegalArgumentException if the prompt is empty, one of its tokens is not in the
   *     vocabulary, or prompt and new tokens do not fit the context or the memory
   * @throws IllegalStateException if the scheduler or the model is closed
   */
  public CompletableFuture<Generated> submit(
      int[] prompt, Generation generation, TokenListener listener) {
    Objects.requireNonNull(generation, "generation");
    Objects.requireNonNull(listener, "listener");
    model.checkGeneration(prompt, generation.maxNewTokens(), 0, model.context(), "context");
    int length = prompt.length + generation.maxNewTokens();
    long pages = pool.pagesOf(length);
    if (!fits(length)) {
      throw new IllegalArgumentException(
          "prompt and new tokens must fit the memory for all texts: prompt="
              + prompt.length
              + ", maxNewTokens="
              + generation.maxNewTokens()
              + ", tokens="
              + pool.tokens());
    }
    Text text = new Text(prompt.clone(), generation, listener, pages);
    synchronized (lock) {
      if (closed) {
        throw new IllegalStateException("scheduler has been closed");
      }
      waiting.add(text);
      lock.notifyAll();
    }
    return text.result;
  }

  /** Ends all texts, also those that wait, with {@link IllegalStateException}. */
  @Override
  public void close() {
    synchronized (lock) {
      closed = true;
      lock.notifyAll();
    }
    boolean interrupted = false;
    while (thread.isAlive() && Thread.currentThread() != thread) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  // ---- The thread ----

  private void run() {
    try {
      while (admit()) {
        readPart();
        step();
      }
    } finally {
      List<Text> left = new ArrayList<>(reading);
      left.addAll(writing);
      synchronized (lock) {
        closed = true;
        left.addAll(waiting);
        waiting.clear();
      }
      for (Text text : left) {
        end(text, null, new IllegalStateException("scheduler has been closed"));
      }
      memory.close();
    }
  }

  /**
   * Starts texts while there is room, and waits if there are no texts at all; false after closing.
   */
  private boolean admit() {
    synchronized (lock) {
      while (!closed) {
        for (Iterator<Text> all = waiting.iterator(); all.hasNext(); ) {
          Text text = all.next();
          if (text.isCancelled()) {
            all.remove();
            end(text, Generated.Reason.CANCELLED, null);
          }
        }
        while (!waiting.isEmpty()
            && active < sessions
            && pagesPromised + waiting.peek().pages <= pool.pages().pages()) {
          begin(waiting.poll());
        }
        if (active > 0) {
          return true;
        }
        try {
          lock.wait();
        } catch (InterruptedException e) {
          closed = true;
        }
      }
      return false;
    }
  }

  private void begin(Text text) {
    active++;
    pagesPromised += text.pages;
    reading.add(text);
    try {
      text.arena = Arena.ofConfined();
      text.session = model.newSession(text.arena, text.prompt.length + text.tokens.length, pool);
      text.session.begin(text.prompt);
      text.listener.onStart();
    } catch (RuntimeException | OutOfMemoryError e) {
      end(text, null, e);
    }
  }

  /** Reads the next part of the oldest prompt. */
  private void readPart() {
    for (Text text : List.copyOf(reading)) {
      if (text.isCancelled()) {
        end(text, Generated.Reason.CANCELLED, null);
      }
    }
    if (reading.isEmpty()) {
      return;
    }
    Text text = reading.getFirst();
    try {
      if (text.session.readSome(promptPart)) {
        reading.removeFirst();
        writing.add(text);
        if (text.tokens.length == 0) {
          end(text, Generated.Reason.LENGTH, null);
        } else {
          choose(text);
        }
      }
    } catch (RuntimeException | OutOfMemoryError e) {
      end(text, null, e);
    }
  }

  /** Reads the last token of every running text and chooses the next. */
  private void step() {
    for (Text text : List.copyOf(writing)) {
      if (text.isCancelled()) {
        end(text, Generated.Reason.CANCELLED, null);
      }
    }
    if (writing.isEmpty()) {
      return;
    }
    List<Text> together = List.copyOf(writing);
    int[] last = together.stream().mapToInt(text -> text.tokens[text.count - 1]).toArray();
    try {
      model.step(together.stream().map(text -> text.session).toList(), last);
    } catch (RuntimeException | OutOfMemoryError e) {
      // A step fails because of the model or the machine, which affects all texts.
      together.forEach(text -> end(text, null, e));
      return;
    }
    together.forEach(this::choose);
  }

  private void choose(Text text) {
    try {
      GeneratedToken token = text.session.choose(text.generation, text.prompt.length);
      text.tokens[text.count++] = token.token();
      boolean more = text.listener.onToken(token);
      if (token.end()) {
        end(text, Generated.Reason.END, null);
      } else if (!more) {
        end(text, Generated.Reason.STOPPED, null);
      } else if (text.count == text.tokens.length) {
        end(text, Generated.Reason.LENGTH, null);
      }
    } catch (RuntimeException | OutOfMemoryError e) {
      end(text, null, e);
    }
  }

  private void end(Text text, Generated.Reason reason, Throwable failure) {
    boolean begun = reading.remove(text) || writing.remove(text);
    if (begun) {
      pagesPromised -= text.pages;
      synchronized (lock) {
        active--;
      }
      if (text.session != null) {
        text.session.close();
      }
      if (text.arena != null) {
        text.arena.close();
      }
    }
    if (failure != null) {
      text.result.completeExceptionally(failure);
    } else {
      text.result.complete(new Generated(Arrays.copyOf(text.tokens, text.count), reason));
    }
  }
}
