package io.github.attention4j.models.text;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Drafter;
import io.github.attention4j.models.Generated;
import io.github.attention4j.models.GeneratedToken;
import io.github.attention4j.models.Generation;
import io.github.attention4j.models.LogitsProcessor;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.Scheduler;
import io.github.attention4j.models.TextStream;
import io.github.attention4j.models.TokenListener;
import io.github.attention4j.models.Tokenizer;
import java.lang.foreign.Arena;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Continues texts with a language model: a prompt in, text out, piece by piece.
 *
 * <pre>{@code
 * TextGenerator generator = new TextGenerator(model, tokenizer);
 * TextGenerator.Request request = TextGenerator.request().maxTokens(200).stop("\n\n").build();
 * generator.generate("The capital of France is", request, System.out::print);
 * }</pre>
 *
 * <p>Safe for any number of threads; each call has its own session, or runs {@link #shared
 * together} with others. The model and the tokenizer must stay open while it is used; it closes
 * neither.
 */
public final class TextGenerator {
  private final CausalLm model;
  private final Tokenizer tokenizer;
  private final Set<Integer> ends;
  private final Supplier<TokenTexts> texts;

  /** Null if each call computes by itself. */
  private final Scheduler scheduler;

  /**
   * Joins a model and its tokenizer.
   *
   * @param model the model
   * @param tokenizer its tokenizer. It may have tokens that the model lacks, like Gemma 3's for
   *     pictures; prompts with such tokens are refused.
   */
  public TextGenerator(CausalLm model, Tokenizer tokenizer) {
    this.model = Objects.requireNonNull(model, "model");
    this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
    ends = Set.copyOf(model.ends());
    texts = new Once<>(() -> TokenTexts.of(tokenizer));
    scheduler = null;
  }

  private TextGenerator(TextGenerator other, Scheduler scheduler) {
    model = other.model;
    tokenizer = other.tokenizer;
    ends = other.ends;
    texts = other.texts;
    this.scheduler = scheduler;
  }

  /**
   * Generates the model's texts together; see {@link Scheduler}.
   *
   * @param scheduler a scheduler of the same model, which stays open
   * @return a generator whose calls run together with all others of the scheduler
   * @throws IllegalArgumentException if the scheduler is of another model
   */
  public TextGenerator shared(Scheduler scheduler) {
    if (scheduler.model() != model) {
      throw new IllegalArgumentException("scheduler must be of the same model: " + model);
    }
    return new TextGenerator(this, scheduler);
  }

  /** Why a text ended. */
  public enum Finish {
    /** The model chose a token that ends a text, or the constraint lets nothing follow. */
    END,
    /** A stop text was generated. */
    STOP_TEXT,
    /** The limit of tokens or the end of the context was reached. */
    LENGTH,
    /** The time was up. */
    TIME,
    /** The caller cancelled. */
    CANCELLED
  }

  /**
   * The result of a call.
   *
   * @param text all new text, without the stop text
   * @param promptTokens how many tokens were read
   * @param newTokens how many tokens were generated, including the one that ended the text
   * @param finish why the text ended
   * @param promptTime the time for reading the prompt, including the time in the queue
   * @param newTime the time for generating the new tokens
   */
  public record Result(
      String text,
      int promptTokens,
      int newTokens,
      Finish finish,
      Duration promptTime,
      Duration newTime) {}

  /**
   * Starts the options of a call, with greedy sampling and as many tokens as fit the context.
   *
   * @return a builder
   */
  public static Builder request() {
    return new Builder();
  }

  /**
   * Starts the options of a call with what the model's files say: its {@link
   * CausalLm#defaultSampler sampler}, its {@link CausalLm#stopTexts stop texts}, and its limits of
   * {@link CausalLm#maxNewTokens new} and {@link CausalLm#maxLength all} tokens.
   *
   * @param model the model of the generator
   * @return a builder
   */
  public static Builder request(CausalLm model) {
    Builder builder = new Builder();
    builder.sampler = model.defaultSampler();
    builder.stops.addAll(model.stopTexts());
    builder.maxTokens = model.maxNewTokens();
    builder.maxLength = model.maxLength();
    return builder;
  }

  /** The options of a call. Immutable. */
  public static final class Request {
    private final int maxTokens;
    private final int maxLength;
    private final Sampler sampler;
    private final List<String> stops;
    private final boolean json;
    private final Supplier<? extends LogitsProcessor> processor;
    private final Drafter drafter;
    private final int logProbabilities;
    private final Consumer<GeneratedToken> onToken;
    private final Runnable onStart;
    private final Duration time;
    private final BooleanSupplier cancelled;

    private Request(Builder builder) {
      maxTokens = builder.maxTokens;
      maxLength = builder.maxLength;
      sampler = builder.sampler;
      stops = List.copyOf(builder.stops);
      json = builder.json;
      processor = builder.processor;
      drafter = builder.drafter;
      logProbabilities = builder.logProbabilities;
      onToken = builder.onToken;
      onStart = builder.onStart;
      time = builder.time;
      cancelled = builder.cancelled;
    }
  }

  /** Collects the options of a call. Not safe for use by several threads. */
  public static final class Builder {
    private int maxTokens = Integer.MAX_VALUE;
    private int maxLength = Integer.MAX_VALUE;
    private Sampler sampler = Sampler.greedy();
    private final List<String> stops = new ArrayList<>();
    private boolean json;
    private Supplier<? extends LogitsProcessor> processor;
    private Drafter drafter;
    private int logProbabilities = -1;
    private Consumer<GeneratedToken> onToken = token -> {};
    private Runnable onStart = () -> {};
    private Duration time;
    private BooleanSupplier cancelled = () -> false;

    private Builder() {}

    /**
     * Limits the new tokens, in place of the limits of the model's files.
     *
     * @param maxTokens at least 0; the context is also a limit
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder maxTokens(int maxTokens) {
      if (maxTokens < 0) {
        throw new IllegalArgumentException("maxTokens must be at least 0: maxTokens=" + maxTokens);
      }
      this.maxTokens = maxTokens;
      maxLength = Integer.MAX_VALUE;
      return this;
    }

    /**
     * Sets how tokens are chosen.
     *
     * @param sampler the sampler
     * @return this builder
     */
    public Builder sampler(Sampler sampler) {
      this.sampler = Objects.requireNonNull(sampler, "sampler");
      return this;
    }

    /**
     * Adds texts before which the generated text ends, to those that are there already.
     *
     * @param stops texts, none of them empty
     * @return this builder
     * @throws IllegalArgumentException if one is empty
     */
    public Builder stop(List<String> stops) {
      if (stops.contains("")) {
        throw new IllegalArgumentException("a stop text must not be empty: stop=" + stops);
      }
      this.stops.addAll(stops);
      return this;
    }

    /**
     * Adds texts before which the generated text ends, to those that are there already.
     *
     * @param stops texts, none of them empty
     * @return this builder
     * @throws IllegalArgumentException if one is empty
     */
    public Builder stop(String... stops) {
      return stop(List.of(stops));
    }

    /**
     * Restricts the text to one JSON object; see {@link JsonConstraint}.
     *
     * @return this builder
     */
    public Builder json() {
      json = true;
      return this;
    }

    /**
     * Lets the caller influence each token, for example with a grammar.
     *
     * @param processor creates a processor for the call
     * @return this builder
     */
    public Builder processor(Supplier<? extends LogitsProcessor> processor) {
      this.processor = Objects.requireNonNull(processor, "processor");
      return this;
    }

    /**
     * Lets something fast propose tokens; see {@link Generation.Builder#drafter}. Not used with a
     * scheduler.
     *
     * @param drafter makes the proposals, for one text at a time
     * @return this builder
     */
    public Builder drafter(Drafter drafter) {
      this.drafter = Objects.requireNonNull(drafter, "drafter");
      return this;
    }

    /**
     * Requests log-probabilities, which are passed to {@link #onToken}.
     *
     * @param likeliest how many of the likeliest tokens to list in addition to the chosen one, from
     *     0 to {@link GeneratedToken#MOST_ALTERNATIVES}
     * @return this builder
     * @throws IllegalArgumentException if the number is out of range
     */
    public Builder logProbabilities(int likeliest) {
      Checks.inRange("logProbabilities", likeliest, 0, GeneratedToken.MOST_ALTERNATIVES);
      this.logProbabilities = likeliest;
      return this;
    }

    /**
     * Receives each token, before the text that it completes.
     *
     * @param onToken is given each token, in the calling thread; an exception from it ends the call
     * @return this builder
     */
    public Builder onToken(Consumer<GeneratedToken> onToken) {
      this.onToken = Objects.requireNonNull(onToken, "onToken");
      return this;
    }

    /**
     * Is told when the text starts, which with a {@link Scheduler} may be after waiting in its
     * queue.
     *
     * @param onStart is called once, before the prompt is read, in the thread that reads it; an
     *     exception from it ends the call
     * @return this builder
     */
    public Builder onStart(Runnable onStart) {
      this.onStart = Objects.requireNonNull(onStart, "onStart");
      return this;
    }

    /**
     * Limits the time, which is checked before each token and each part of the prompt.
     *
     * @param time longer than 0
     * @return this builder
     * @throws IllegalArgumentException if it is not longer than 0
     */
    public Builder time(Duration time) {
      if (!time.isPositive()) {
        throw new IllegalArgumentException("time must be longer than 0: time=" + time);
      }
      this.time = time;
      return this;
    }

    /**
     * Makes the call cancellable. This is checked before each token and each part of the prompt.
     *
     * @param cancelled returns true to end the text
     * @return this builder
     */
    public Builder cancelled(BooleanSupplier cancelled) {
      this.cancelled = Objects.requireNonNull(cancelled, "cancelled");
      return this;
    }

    /**
     * Builds the request.
     *
     * @return the options
     * @throws IllegalArgumentException if both JSON and a processor are set
     */
    public Request build() {
      if (json && processor != null) {
        throw new IllegalArgumentException("json and processor cannot both be set");
      }
      return new Request(this);
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
   * Returns the tokenizer.
   *
   * @return the tokenizer of the model
   */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /**
   * Continues a text.
   *
   * @param prompt is encoded with the special tokens that the tokenizer adds
   * @param request the options
   * @param onText is given each new piece of text, in this thread; an exception from it ends the
   *     call
   * @return the new text, with counts and times
   * @throws IllegalArgumentException if the prompt has no token, or more than the context
   * @throws IllegalStateException if the model or the tokenizer is closed
   */
  public Result generate(String prompt, Request request, Consumer<String> onText) {
    return generate(tokenizer.encode(prompt).tokens(), request, onText);
  }

  /**
   * Continues a text of tokens.
   *
   * @param prompt at least one token. Not modified.
   * @param request the options
   * @param onText is given each new piece of text, in this thread; an exception from it ends the
   *     call
   * @return the new text, with counts and times
   * @throws IllegalArgumentException if the prompt has no token, or more than the context
   * @throws IllegalStateException if the model or the tokenizer is closed
   */
  public Result generate(int[] prompt, Request request, Consumer<String> onText) {
    return generate(prompt, request, onText, Map.of());
  }

  /**
   * Continues a text of tokens.
   *
   * @param shown texts of special tokens that are to be part of the new text
   */
  Result generate(
      int[] prompt, Request request, Consumer<String> onText, Map<Integer, String> shown) {
    Objects.requireNonNull(request, "request");
    Objects.requireNonNull(onText, "onText");
    if (prompt.length == 0 || prompt.length > model.context()) {
      throw new IllegalArgumentException(
          "the prompt must have 1 to context tokens: prompt=%d, context=%d"
              .formatted(prompt.length, model.context()));
    }
    if (prompt.length >= request.maxLength) {
      throw new IllegalArgumentException(
          "the prompt must be shorter than max_length of the model's files where no limit of new"
              + " tokens is given: prompt=%d, max_length=%d"
                  .formatted(prompt.length, request.maxLength));
    }
    int most =
        Math.min(request.maxTokens, Math.min(request.maxLength, model.context()) - prompt.length);
    Call call = new Call(request, onText, shown);
    Generation generation = call.generation(most);
    if (scheduler != null) {
      return call.result(prompt, call.await(scheduler.submit(prompt, generation, call)));
    }
    try (Arena arena = Arena.ofConfined()) {
      CausalLm.Session session =
          model.newSession(arena, Math.min(model.context(), prompt.length + most));
      call.onStart();
      return call.result(prompt, session.generate(prompt, generation, call));
    } catch (CancellationException e) {
      return call.result(prompt, new Generated(new int[0], Generated.Reason.CANCELLED));
    }
  }

  /** A running call. */
  private final class Call implements TokenListener {
    private static final long POLL_MILLIS = 50;

    private final long start = System.nanoTime();
    private final Request request;
    private final Consumer<String> onText;
    private final TextStream stream;
    private final StringBuilder text = new StringBuilder();

    /** Text to be shown in the caller's thread while the scheduler's thread generates. */
    private final BlockingQueue<Runnable> waiting = new LinkedBlockingQueue<>();

    private volatile boolean abandoned;
    private volatile Finish cause;
    private long read;
    private int tokens;

    Call(Request request, Consumer<String> onText, Map<Integer, String> shown) {
      this.request = request;
      this.onText = onText;
      stream = new TextStream(ShownTokens.of(tokenizer, shown), request.stops);
    }

    Generation generation(int most) {
      Generation.Builder generation =
          Generation.builder()
              .maxNewTokens(most)
              .sampler(request.sampler)
              .cancelled(this::isCancelled);
      if (request.json) {
        generation.processor(new JsonConstraint(texts.get(), ends));
      } else if (request.processor != null) {
        generation.processor(request.processor.get());
      }
      if (request.logProbabilities >= 0) {
        generation.logProbabilities(request.logProbabilities);
      }
      if (request.drafter != null && scheduler == null) {
        generation.drafter(request.drafter);
      }
      return generation.build();
    }

    private boolean isCancelled() {
      if (cause == null) {
        if (abandoned
            || request.cancelled.getAsBoolean()
            || (scheduler == null && Thread.currentThread().isInterrupted())) {
          cause = Finish.CANCELLED;
        } else if (request.time != null && System.nanoTime() - start > request.time.toNanos()) {
          cause = Finish.TIME;
        }
      }
      return cause != null;
    }

    @Override
    public void onStart() {
      request.onStart.run();
    }

    @Override
    public boolean onToken(GeneratedToken token) {
      if (tokens++ == 0) {
        read = System.nanoTime();
      }
      String piece = ends.contains(token.token()) ? "" : stream.add(token.token());
      if (scheduler == null) {
        show(token, piece);
      } else {
        waiting.add(() -> show(token, piece));
      }
      return stream.stop() == null;
    }

    private void show(GeneratedToken token, String piece) {
      request.onToken.accept(token);
      show(piece);
    }

    private void show(String piece) {
      if (!piece.isEmpty()) {
        text.append(piece);
        onText.accept(piece);
      }
    }

    /** Shows the text that the scheduler's thread generates until it has ended. */
    Generated await(CompletableFuture<Generated> other) {
      other.whenComplete((done, failure) -> waiting.add(() -> {}));
      boolean interrupted = false;
      RuntimeException failed = null;
      while (!(other.isDone() && waiting.isEmpty())) {
        try {
          Runnable next = waiting.poll(POLL_MILLIS, TimeUnit.MILLISECONDS);
          if (next != null && failed == null) {
            next.run();
          }
        } catch (InterruptedException e) {
          interrupted = true;
          abandoned = true;
        } catch (RuntimeException e) {
          failed = e;
          abandoned = true;
        }
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
      if (failed != null) {
        throw failed;
      }
      try {
        return other.join();
      } catch (CompletionException e) {
        if (e.getCause() instanceof RuntimeException cause) {
          throw cause;
        }
        if (e.getCause() instanceof Error error) {
          throw error;
        }
        throw e;
      }
    }

    Result result(int[] prompt, Generated generated) {
      long end = System.nanoTime();
      show(stream.finish());
      Finish finish =
          stream.stop() != null
              ? Finish.STOP_TEXT
              : switch (generated.reason()) {
                case END -> Finish.END;
                case STOPPED -> Finish.STOP_TEXT;
                case LENGTH -> Finish.LENGTH;
                case CANCELLED -> Objects.requireNonNullElse(cause, Finish.CANCELLED);
              };
      long begun = tokens == 0 ? end : read;
      return new Result(
          text.toString(),
          prompt.length,
          tokens,
          finish,
          Duration.ofNanos(begun - start),
          Duration.ofNanos(end - begun));
    }
  }

  /** Computes a value on first use. */
  private static final class Once<T> implements Supplier<T> {
    private final Supplier<T> maker;
    private T value;

    Once(Supplier<T> maker) {
      this.maker = maker;
    }

    @Override
    public synchronized T get() {
      if (value == null) {
        value = maker.get();
      }
      return value;
    }
  }
}
