package io.github.attention4j.models.text;

import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Scheduler;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * A language model that answers conversations: messages in, the assistant's message out.
 *
 * <pre>{@code
 * try (Chat chat = Chat.open(path)) {
 *   chat.reply(List.of(ChatMessage.user("Name three rivers.")), System.out::print);
 * }
 * }</pre>
 *
 * <p>Safe for any number of threads. Closing it only closes what {@link #open} opened.
 */
public final class Chat implements AutoCloseable {
  private final TextGenerator generator;
  private final ChatFormat format;
  private final CausalLm owned;

  /** Encodes rendered prompts by the model's own rules; null to use the tokenizer. */
  private final CausalLm encoder;

  /**
   * Joins a model and its format.
   *
   * @param generator the model and its tokenizer
   * @param format turns conversations into prompts
   */
  public Chat(TextGenerator generator, ChatFormat format) {
    this(generator, Objects.requireNonNull(format, "format"), null, null);
  }

  private Chat(TextGenerator generator, ChatFormat format, CausalLm owned, CausalLm encoder) {
    this.generator = Objects.requireNonNull(generator, "generator");
    this.format = format;
    this.owned = owned;
    this.encoder = encoder;
  }

  /**
   * Generates answers together with other texts of the model; see {@link TextGenerator#shared}.
   *
   * @param scheduler a scheduler of the same model; closing the chat does not close it
   * @return a chat that owns nothing
   * @throws IllegalArgumentException if the scheduler is of another model
   */
  public Chat shared(Scheduler scheduler) {
    return new Chat(generator.shared(scheduler), format, null, encoder);
  }

  /**
   * Passes variables to the chat template, in place of those passed before.
   *
   * @param variables names and values, such as {@code enable_thinking} and false for Qwen 3:
   *     strings, numbers, booleans, null, lists and maps. A template ignores those that it does not
   *     read. Not modified.
   * @return a chat that owns nothing
   * @throws IllegalArgumentException if a variable is one that every template is given, such as
   *     {@code messages}
   * @throws IllegalStateException if the chat has no template of the model's files
   */
  public Chat templateVariables(Map<String, ?> variables) {
    if (!(format instanceof TemplateFormat template)) {
      throw new IllegalStateException("the chat has no template: " + generator.model());
    }
    return new Chat(generator, template.with(variables), null, encoder);
  }

  /**
   * Opens a model with its tokenizer and chat template.
   *
   * @param path a directory from Hugging Face, or a GGUF file; see {@link CausalLm#open}
   * @return the model, to be closed
   * @throws IOException if a file cannot be read
   * @throws IllegalArgumentException if the model or its template is not supported
   * @throws IllegalStateException if there is no tokenizer
   */
  public static Chat open(Path path) throws IOException {
    CausalLm model = CausalLm.open(path);
    try {
      ChatFormat format = model.chatTemplate().map(TemplateFormat::new).orElse(null);
      Chat chat = new Chat(new TextGenerator(model, model.tokenizer()), format, model, model);
      model = null;
      return chat;
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } finally {
      if (model != null) {
        model.close();
      }
    }
  }

  /**
   * Tells whether the model can chat.
   *
   * @return false if its files have no chat template, so it can only continue texts
   */
  public boolean isConversational() {
    return format != null;
  }

  /** Closes the model if {@link #open} opened it; closing again is a no-op. */
  @Override
  public void close() {
    if (owned != null) {
      owned.close();
    }
  }

  /**
   * An answer.
   *
   * @param text the text of the answer, without calls of tools
   * @param toolCalls the tool calls that the model requests
   * @param generated everything that the model wrote, with counts and times
   */
  public record Reply(String text, List<ToolCall> toolCalls, TextGenerator.Result generated) {
    /** Copies the list. */
    public Reply {
      toolCalls = List.copyOf(toolCalls);
    }

    /**
     * Returns the answer as a message, to continue the conversation.
     *
     * @return a message of role {@code assistant}
     */
    public ChatMessage message() {
      return new ChatMessage("assistant", text, toolCalls, null, null);
    }
  }

  /**
   * Returns the model and its tokenizer.
   *
   * @return the generator of the answers
   */
  public TextGenerator generator() {
    return generator;
  }

  /**
   * Renders a conversation and encodes it. The format writes the special tokens, so the tokenizer
   * adds none.
   *
   * @param messages at least one
   * @param tools the tools that the model may call
   * @return the tokens of the prompt
   * @throws IllegalArgumentException if there is no message, or the format refuses them
   * @throws IllegalStateException if the model has no chat template
   */
  public int[] prompt(List<ChatMessage> messages, List<Tool> tools) {
    if (messages.isEmpty()) {
      throw new IllegalArgumentException("a chat must have at least 1 message: messages=0");
    }
    if (format == null) {
      throw new IllegalStateException("the model has no chat template: " + generator.model());
    }
    return encoded(format.prompt(messages, tools));
  }

  private int[] encoded(String rendered) {
    return encoder == null
        ? generator.tokenizer().encode(rendered, false).tokens()
        : encoder.encodeRendered(rendered);
  }

  /** The marks of tool calls that are special tokens, which answers are otherwise without. */
  private Map<Integer, String> marks() {
    Map<Integer, String> marks = new HashMap<>();
    for (String mark : ToolCalls.MARKS) {
      int[] tokens = encoded(mark);
      if (tokens.length == 1 && generator.tokenizer().decode(tokens, true).isEmpty()) {
        marks.put(tokens[0], mark);
      }
    }
    return marks;
  }

  /**
   * Answers a conversation without tools, sampled as the model's files say.
   *
   * @param messages at least one
   * @param onText is given each new piece of text, in this thread
   * @return the answer
   * @throws IllegalArgumentException if there is no message, the format refuses them, or the prompt
   *     has more tokens than the context
   * @throws IllegalStateException if the model has no chat template, or is closed
   */
  public Reply reply(List<ChatMessage> messages, Consumer<String> onText) {
    TextGenerator.Request request = TextGenerator.request(generator.model()).build();
    return reply(messages, List.of(), request, onText);
  }

  /**
   * Answers a conversation.
   *
   * @param messages at least one
   * @param tools the tools that the model may call, often none
   * @param request the options
   * @param onText is given each new piece of text, in this thread. Text that may be the beginning
   *     of a tool call is held back until that is clear.
   * @return the answer
   * @throws IllegalArgumentException if there is no message, the format refuses them, or the prompt
   *     has more tokens than the context
   * @throws IllegalStateException if the model or the tokenizer is closed
   */
  public Reply reply(
      List<ChatMessage> messages,
      List<Tool> tools,
      TextGenerator.Request request,
      Consumer<String> onText) {
    return reply(prompt(messages, tools), tools, request, onText);
  }

  /**
   * Answers a prompt of tokens; see {@link #prompt}.
   *
   * @param prompt at least one token. Not modified.
   * @param tools the tools that the model may call, often none
   * @param request the options
   * @param onText is given each new piece of text, in this thread
   * @return the answer
   * @throws IllegalArgumentException if the prompt has no token, or more than the context
   * @throws IllegalStateException if the model or the tokenizer is closed
   */
  public Reply reply(
      int[] prompt, List<Tool> tools, TextGenerator.Request request, Consumer<String> onText) {
    if (tools.isEmpty()) {
      TextGenerator.Result result = generator.generate(prompt, request, onText);
      return new Reply(result.text(), List.of(), result);
    }
    Held held = new Held(onText);
    TextGenerator.Result result = generator.generate(prompt, request, held, marks());
    ToolCalls parsed = ToolCalls.parse(result.text(), tools);
    held.end(parsed);
    return new Reply(parsed.text(), parsed.calls(), result);
  }

  /** Passes text on until something begins that may be a tool call. */
  private static final class Held implements Consumer<String> {
    private final Consumer<String> onText;
    private final StringBuilder all = new StringBuilder();
    private int shown;

    Held(Consumer<String> onText) {
      this.onText = onText;
    }

    @Override
    public void accept(String piece) {
      all.append(piece);
      int free = ToolCalls.firstMark(all);
      if (!ToolCalls.mayBegin(all.toString()) && free > shown) {
        onText.accept(all.substring(shown, free));
        shown = free;
      }
    }

    void end(ToolCalls parsed) {
      if (parsed.calls().isEmpty() && all.length() > shown) {
        onText.accept(all.substring(shown));
      }
    }
  }
}
