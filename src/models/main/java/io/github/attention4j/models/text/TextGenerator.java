package io.github.attention4j.models.text;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.Tokenizer;
import java.lang.foreign.Arena;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Set;
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
 * <p>Safe for any number of threads; each call has a session of its own. It closes neither the
 * model nor the tokenizer, which must stay open while it is used.
 */
public final class TextGenerator {
  /** Long prompts are read in parts, between which a call can be cancelled. */
  private static final int PROMPT_PART = 256;

  private final CausalLm model;
  private final Tokenizer tokenizer;
  private final Set<Integer> ends;
  private final Supplier<TokenTexts> texts;

  /**
   * Joins a model and its tokenizer.
   *
   * @param model the model
   * @param tokenizer its tokenizer
   * @throws IllegalArgumentException if the tokenizer has more tokens than the model
   */
  public TextGenerator(CausalLm model, Tokenizer tokenizer) {
    this.model = Objects.requireNonNull(model, "model");
    this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
    if (tokenizer.vocabulary() > model.vocabulary()) {
      throw new IllegalArgumentException(
          "the tokenizer must fit the model: tokenizer.vocabulary=%d, model.vocabulary=%d"
              .formatted(tokenizer.vocabulary(), model.vocabulary()));
    }
    ends = Set.copyOf(model.ends());
    texts = new Once<>(() -> TokenTexts.of(tokenizer));
  }

  /** Why a text ended. */
  public enum Finish {
    /** The model chose a token that ends a text, or the constraint lets nothing follow. */
    END,
    /** A stop text came. */
    STOP_TEXT,
    /** The limit of tokens, or the context, is reached. */
    LENGTH,
    /** The time is over. */
    TIME,
    /** The caller cancelled. */
    CANCELLED
  }

  /**
   * What a call returns.
   *
   * @param text all new text, without the stop text
   * @param promptTokens how many tokens were read
   * @param newTokens how many tokens were chosen, the one that ended the text included
   * @param finish why the text ended
   * @param promptTime how long reading the prompt took
   * @param newTime how long choosing the new tokens took
   */
  public record Result(
      String text,
      int promptTokens,
      int newTokens,
      Finish finish,
      Duration promptTime,
      Duration newTime) {}

  /**
   * Starts the options of a call: as many tokens as the context has room for, greedy.
   *
   * @return a builder
   */
  public static Builder request() {
    return new Builder();
  }

  /** The options of a call. Immutable, except that a constraint serves one call only. */
  public static final class Request {
    private final int maxTokens;
    private final Sampler sampler;
    private final List<String> stops;
    private final boolean json;
    private final Supplier<? extends TokenConstraint> constraint;
    private final Duration time;
    private final BooleanSupplier cancelled;

    private Request(Builder builder) {
      maxTokens = builder.maxTokens;
      sampler = builder.sampler;
      stops = List.copyOf(builder.stops);
      json = builder.json;
      constraint = builder.constraint;
      time = builder.time;
      cancelled = builder.cancelled;
    }
  }

  /** Collects the options of a call. Not safe for several threads. */
  public static final class Builder {
    private int maxTokens = Integer.MAX_VALUE;
    private Sampler sampler = Sampler.greedy();
    private List<String> stops = List.of();
    private boolean json;
    private Supplier<? extends TokenConstraint> constraint;
    private Duration time;
    private BooleanSupplier cancelled = () -> false;

    private Builder() {}

    /**
     * Limits the new tokens.
     *
     * @param maxTokens at least 0; what the context has no room for is not generated either
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder maxTokens(int maxTokens) {
      if (maxTokens < 0) {
        throw new IllegalArgumentException("maxTokens must be at least 0: maxTokens=" + maxTokens);
      }
      this.maxTokens = maxTokens;
      return this;
    }

    /**
     * Chooses how tokens are chosen.
     *
     * @param sampler the sampler
     * @return this builder
     */
    public Builder sampler(Sampler sampler) {
      this.sampler = Objects.requireNonNull(sampler, "sampler");
      return this;
    }

    /**
     * Ends the text before any of these.
     *
     * @param stops texts, none of them empty
     * @return this builder
     * @throws IllegalArgumentException if one is empty
     */
    public Builder stop(List<String> stops) {
      if (stops.contains("")) {
        throw new IllegalArgumentException("a stop text must not be empty: stop=" + stops);
      }
      this.stops = List.copyOf(stops);
      return this;
    }

    /**
     * Ends the text before any of these.
     *
     * @param stops texts, none of them empty
     * @return this builder
     * @throws IllegalArgumentException if one is empty
     */
    public Builder stop(String... stops) {
      return stop(List.of(stops));
    }

    /**
     * Lets the model write one JSON object and nothing else, see {@link JsonConstraint}.
     *
     * @return this builder
     */
    public Builder json() {
      json = true;
      return this;
    }

    /**
     * Constrains the tokens that may follow.
     *
     * @param constraint makes a constraint for the call
     * @return this builder
     */
    public Builder constraint(Supplier<? extends TokenConstraint> constraint) {
      this.constraint = Objects.requireNonNull(constraint, "constraint");
      return this;
    }

    /**
     * Limits the time. It is looked at before each token and each part of the prompt.
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
     * Lets a call be cancelled. It is asked before each token and each part of the prompt.
     *
     * @param cancelled whether to stop
     * @return this builder
     */
    public Builder cancelled(BooleanSupplier cancelled) {
      this.cancelled = Objects.requireNonNull(cancelled, "cancelled");
      return this;
    }

    /**
     * Makes the request.
     *
     * @return the options chosen so far
     * @throws IllegalArgumentException if JSON and another constraint are both asked for
     */
    public Request build() {
      if (json && constraint != null) {
        throw new IllegalArgumentException("json and constraint cannot both be set");
      }
      return new Request(this);
    }
  }

  /**
   * Returns the model.
   *
   * @return the model that writes
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
   * @param onText is given each new piece of text, in this thread; what it throws ends the call
   * @return the new text, and what it took
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
   * @param onText is given each new piece of text, in this thread; what it throws ends the call
   * @return the new text, and what it took
   * @throws IllegalArgumentException if the prompt has no token, or more than the context
   * @throws IllegalStateException if the model or the tokenizer is closed
   */
  public Result generate(int[] prompt, Request request, Consumer<String> onText) {
    Objects.requireNonNull(request, "request");
    Objects.requireNonNull(onText, "onText");
    if (prompt.length == 0 || prompt.length > model.context()) {
      throw new IllegalArgumentException(
          "the prompt must have 1 to context tokens: prompt=%d, context=%d"
              .formatted(prompt.length, model.context()));
    }
    int most = Math.min(request.maxTokens, model.context() - prompt.length);
    try (Arena arena = Arena.ofConfined()) {
      return new Call(arena, prompt, most, request, onText).run();
    }
  }

  /** One text on its way. */
  private final class Call {
    private final long start = System.nanoTime();
    private final int[] prompt;
    private final int most;
    private final Request request;
    private final Consumer<String> onText;
    private final CausalLm.Session session;
    private final TokenConstraint constraint;
    private final Tensor masked;
    private final TextPieces pieces;
    private final StringBuilder text = new StringBuilder();
    private int tokens;
    private Finish finish;

    Call(Arena arena, int[] prompt, int most, Request request, Consumer<String> onText) {
      this.prompt = prompt;
      this.most = most;
      this.request = request;
      this.onText = onText;
      session = model.newSession(arena, Math.min(model.context(), prompt.length + most));
      if (request.json) {
        constraint = new JsonConstraint(texts.get(), ends);
      } else {
        constraint = request.constraint == null ? null : request.constraint.get();
      }
      masked =
          constraint == null ? null : Tensor.allocate(arena, DType.F32, (long) model.vocabulary());
      pieces = new TextPieces(tokenizer, request.stops);
    }

    Result run() {
      Tensor next = null;
      for (int from = 0; from < prompt.length && !interrupted(); from += PROMPT_PART) {
        int to = Math.min(prompt.length, from + PROMPT_PART);
        next = session.prefill(Arrays.copyOfRange(prompt, from, to));
      }
      long read = System.nanoTime();
      while (finish == null && !full() && !interrupted()) {
        int token = choose(next);
        tokens++;
        if (ends.contains(token)) {
          finish = Finish.END;
        } else {
          show(pieces.add(token));
          if (pieces.stopped()) {
            finish = Finish.STOP_TEXT;
          } else if (constraint != null && constraint.complete()) {
            finish = Finish.END;
          } else if (!full() && !interrupted()) {
            next = session.step(token);
          }
        }
      }
      show(pieces.end());
      if (pieces.stopped()) {
        finish = Finish.STOP_TEXT;
      }
      return new Result(
          text.toString(),
          prompt.length,
          tokens,
          finish,
          Duration.ofNanos(read - start),
          Duration.ofNanos(System.nanoTime() - read));
    }

    private boolean full() {
      if (tokens >= most) {
        finish = Finish.LENGTH;
      }
      return finish != null;
    }

    private boolean interrupted() {
      if (request.cancelled.getAsBoolean() || Thread.currentThread().isInterrupted()) {
        finish = Finish.CANCELLED;
      } else if (request.time != null && System.nanoTime() - start > request.time.toNanos()) {
        finish = Finish.TIME;
      }
      return finish != null;
    }

    private int choose(Tensor next) {
      if (constraint == null) {
        return request.sampler.next(next, session.length());
      }
      float[] logits = next.toFloatArray();
      constraint.mask(logits);
      int token = request.sampler.next(masked.copyFrom(logits), session.length());
      constraint.accept(token);
      return token;
    }

    private void show(String piece) {
      if (!piece.isEmpty()) {
        text.append(piece);
        onText.accept(piece);
      }
    }
  }

  /** Computes a value when it is first asked for. */
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
