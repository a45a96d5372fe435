package io.github.attention4j.models;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import io.github.attention4j.models.chat.PythonEngine;
import io.github.attention4j.models.chat.RenderLimits;
import io.github.attention4j.models.chat.TemplateFunctions;
import io.github.attention4j.models.chat.TemplateSource;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * The template with which a model expects conversations to be written: Jinja as rendered by Hugging
 * Face's Transformers ({@code apply_chat_template}), run by Jinjava with Jinja's expressions.
 *
 * <pre>{@code
 * ChatTemplate template = ChatTemplate.of(source, "<s>", "</s>");
 * String prompt =
 *     template.render(List.of(Map.of("role", "user", "content", "Good morning")), true, Map.of());
 * }</pre>
 *
 * <p>The result contains special tokens as text: encode it with special tokens recognised and
 * without adding others.
 *
 * <p><b>Templates are not trusted.</b> They can access only the values that they are given, read no
 * other template, and are stopped if they take more than two seconds or write more than a megabyte.
 *
 * <p>Immutable and safe for any number of threads.
 */
public final class ChatTemplate {
  private static final int MOST_CHARACTERS = 1 << 20;
  private static final int MOST_ELEMENTS = 100_000;
  private static final int MOST_DEPTH = 20;

  private static final Jinjava ENGINE = new PythonEngine(config(new RenderLimits()));

  private final String source;

  /** Special tokens by the names that templates have for them, such as {@code bos_token}. */
  private final Map<String, String> tokens;

  /** For conversations with tools; null to use this template. */
  private final ChatTemplate toolUse;

  private ChatTemplate(String source, Map<String, String> tokens, ChatTemplate toolUse) {
    this.source = source;
    this.tokens = tokens;
    this.toolUse = toolUse;
  }

  /**
   * Creates a template. Most errors only appear when it is rendered.
   *
   * @param source the template
   * @param bosToken the text of the token that begins a text; empty if there is none
   * @param eosToken the text of the token that ends one; empty if there is none
   * @return the template
   * @throws ChatTemplateException if it has filters or tests that are not supported
   */
  public static ChatTemplate of(String source, String bosToken, String eosToken) {
    return of(
        source,
        Map.of(
            "bos_token", Objects.requireNonNull(bosToken, "bosToken"),
            "eos_token", Objects.requireNonNull(eosToken, "eosToken")));
  }

  /** Creates a template that is given these special tokens. */
  static ChatTemplate of(String source, Map<String, String> tokens) {
    Objects.requireNonNull(source, "source");
    String prepared;
    try {
      prepared = TemplateSource.prepare(source, PythonEngine::hasFilter, PythonEngine::hasTest);
    } catch (IllegalArgumentException e) {
      throw failure(e.getMessage(), e);
    }
    return new ChatTemplate(prepared, Map.copyOf(tokens), null);
  }

  /** Renders conversations with tools by another template, as models with several templates do. */
  ChatTemplate withToolUse(ChatTemplate other) {
    return new ChatTemplate(source, tokens, other);
  }

  /**
   * Renders a conversation.
   *
   * @param messages each with {@code role}, {@code content} and whatever else the template uses;
   *     values are strings, numbers, booleans, null, lists and maps. Not modified.
   * @param addGenerationPrompt whether to add the beginning of the answer
   * @param variables other variables of the template, such as {@code tools}; they take precedence
   *     over special tokens such as {@code bos_token}. Not modified. With {@code tools}, a template
   *     that the model's files name {@code tool_use} takes the place of this one.
   * @return the text
   * @throws ChatTemplateException if the template raises an error, is not valid Jinja, asks for an
   *     attribute, element or method of something undefined, or exceeds a limit
   */
  public String render(
      List<? extends Map<String, ?>> messages,
      boolean addGenerationPrompt,
      Map<String, ?> variables) {
    if (toolUse != null && variables.get("tools") != null) {
      return toolUse.render(messages, addGenerationPrompt, variables);
    }
    Map<String, Object> bindings = new LinkedHashMap<>(tokens);
    bindings.putAll(variables);
    bindings.put("messages", Objects.requireNonNull(messages, "messages"));
    bindings.put("add_generation_prompt", addGenerationPrompt);
    RenderResult result;
    Thread thread = Thread.currentThread();
    ClassLoader loader = thread.getContextClassLoader();
    try {
      // Jinjava finds its expression language through the thread's context class loader.
      thread.setContextClassLoader(Jinjava.class.getClassLoader());
      result = ENGINE.renderForResult(source, bindings, config(new RenderLimits()));
    } catch (RuntimeException | StackOverflowError e) {
      throw failure(e.getMessage(), e);
    } finally {
      thread.setContextClassLoader(loader);
    }
    if (result.hasErrors()) {
      TemplateError error = result.getErrors().getFirst();
      throw failure(error.getMessage(), error.getException());
    }
    return result.getOutput();
  }

  private static ChatTemplateException failure(String message, Throwable cause) {
    for (Throwable e = cause; e != null; e = e.getCause()) {
      if (e instanceof TemplateFunctions.RaisedException raised) {
        return new ChatTemplateException(raised.text(), cause);
      }
    }
    return new ChatTemplateException("chat template cannot be rendered: " + message, cause);
  }

  private static JinjavaConfig config(RenderLimits limits) {
    return JinjavaConfig.newBuilder()
        .withNestedInterpretationEnabled(false)
        .withFailOnUnknownTokens(false)
        .withMaxOutputSize(MOST_CHARACTERS)
        .withMaxStringLength(MOST_CHARACTERS)
        .withMaxListSize(MOST_ELEMENTS)
        .withMaxMapSize(MOST_ELEMENTS)
        .withRangeLimit(MOST_ELEMENTS)
        .withMaxRenderDepth(MOST_DEPTH)
        .withEnableRecursiveMacroCalls(true)
        .withMaxMacroRecursionDepth(MOST_DEPTH)
        .withInterperterFactory(new PythonEngine.Interpreters())
        .withNodePreProcessor(limits)
        .withDisabled(
            Map.of(Context.Library.TAG, Set.of("include", "extends", "import", "from", "do")))
        .withLegacyOverrides(
            LegacyOverrides.newBuilder()
                .withAllowAdjacentTextNodes(true)
                .withParseWhitespaceControlStrictly(true)
                .build())
        .build();
  }
}
