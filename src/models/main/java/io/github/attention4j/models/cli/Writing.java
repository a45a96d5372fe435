package io.github.attention4j.models.cli;

import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import io.github.attention4j.models.text.TextGenerator;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;

/** {@code generate} and {@code chat}: texts that a model writes. */
final class Writing {
  /** An answer needs at least one part of so many of the context. */
  private static final int ROOM_FOR_ANSWERS = 16;

  private static final Pattern WHOLE = Pattern.compile("-?\\d{1,18}");

  private final Console console;

  /** Whether the output could not be written, because its reader has gone. */
  private boolean unread;

  Writing(Console console) {
    this.console = console;
  }

  /** What the model's files say, unless options say otherwise. */
  private static TextGenerator.Builder request(Arguments words, CausalLm model) {
    TextGenerator.Builder request = TextGenerator.request(model).sampler(sampler(words, model));
    Integer maxTokens = words.integer("--max-tokens");
    if (maxTokens != null) {
      request.maxTokens(maxTokens);
    }
    request.stop(words.all("--stop"));
    if (words.flag("--json")) {
      request.json();
    }
    return request;
  }

  /**
   * The model's own sampler, with the values that options replace. Limits of what may be drawn make
   * a greedy model draw at temperature 1; penalties and a seed do not.
   */
  private static Sampler sampler(Arguments words, CausalLm model) {
    Double temperature = words.number("--temperature");
    Double topP = words.number("--top-p");
    Integer topK = words.integer("--top-k");
    Double minP = words.number("--min-p");
    Double repetition = words.number("--repetition-penalty");
    Double presence = words.number("--presence-penalty");
    Double frequency = words.number("--frequency-penalty");
    Long seed = words.big("--seed");
    Sampler own = model.defaultSampler();
    Sampler.Builder sampler = own.toBuilder();
    boolean limits = topP != null || topK != null || minP != null;
    if (temperature != null) {
      sampler.temperature(temperature);
    } else if (limits && own.isGreedy()) {
      sampler.temperature(1);
    }
    if (topP != null) {
      sampler.topP(topP);
    }
    if (topK != null) {
      sampler.topK(topK);
    }
    if (minP != null) {
      sampler.minP(minP);
    }
    if (repetition != null) {
      sampler.repetitionPenalty(repetition);
    }
    if (presence != null) {
      sampler.presencePenalty(presence);
    }
    if (frequency != null) {
      sampler.frequencyPenalty(frequency);
    }
    if (seed != null) {
      sampler.seed(seed);
    }
    return sampler.build();
  }

  /** Continues a text and returns the exit status. */
  int generate(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    Kind.DECODER.require("generate", path);
    try (Chat chat = Chat.open(path);
        Interrupts interrupts = new Interrupts()) {
      TextGenerator generator = chat.generator();
      TextGenerator.Builder request = request(words, generator.model());
      words.done(2);
      String given = words.optional(1);
      String prompt =
          given != null ? given : new String(console.in().readAllBytes(), StandardCharsets.UTF_8);
      interrupts.begin();
      TextGenerator.Result result =
          generator.generate(prompt, request.cancelled(cancelled(interrupts)).build(), this::show);
      interrupts.end();
      if (unread) {
        return 1;
      }
      console.out().println();
      console.out().flush();
      summary(result, generator.model());
      return result.finish() == TextGenerator.Finish.CANCELLED ? Interrupts.STATUS : 0;
    }
  }

  /** Answers line by line. */
  void chat(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    Kind.DECODER.require("chat", path);
    String system = words.text("--system");
    Map<String, Object> variables = variables(words.all("--template"));
    try (Chat opened = Chat.open(path);
        Interrupts interrupts = new Interrupts()) {
      if (!opened.isConversational()) {
        throw new IllegalArgumentException(
            path + " has no chat template, so it can only continue texts: use generate");
      }
      Chat chat = opened.templateVariables(variables);
      TextGenerator.Builder request = request(words, chat.generator().model());
      Integer maxTokens = words.integer("--max-tokens");
      words.done(1);
      List<ChatMessage> messages = new ArrayList<>();
      Runnable begin =
          () -> {
            messages.clear();
            if (system != null) {
              messages.add(ChatMessage.system(system));
            }
          };
      begin.run();
      Iterator<String> lines = console.lines();
      for (ask(); lines.hasNext(); ask()) {
        String line = lines.next();
        if (line.equals("/exit")) {
          break;
        }
        if (line.equals("/reset")) {
          begin.run();
          continue;
        }
        if (line.isBlank()) {
          continue;
        }
        messages.add(ChatMessage.user(line));
        interrupts.begin();
        try {
          Chat.Reply reply =
              chat.reply(
                  prompt(chat, messages, maxTokens),
                  List.of(),
                  request.cancelled(cancelled(interrupts)).build(),
                  this::show);
          interrupts.end();
          if (unread) {
            return;
          }
          console.out().println();
          console.out().flush();
          messages.add(reply.message());
          summary(reply.generated(), chat.generator().model());
        } catch (IllegalArgumentException | IllegalStateException | OutOfMemoryError e) {
          interrupts.end();
          messages.removeLast();
          console
              .err()
              .println(
                  Main.message(e) + " (the message is dropped; /reset forgets the conversation)");
        }
      }
    }
  }

  /** Variables of the chat template: truth values, whole numbers, and strings. */
  private static Map<String, Object> variables(List<String> given) {
    Map<String, Object> variables = new LinkedHashMap<>();
    for (String each : given) {
      int equals = each.indexOf('=');
      if (equals < 1) {
        throw new UsageException("--template needs NAME=VALUE: --template=" + each);
      }
      String value = each.substring(equals + 1);
      boolean truth = value.equals("true") || value.equals("false");
      variables.put(
          each.substring(0, equals),
          truth
              ? Boolean.valueOf(value)
              : WHOLE.matcher(value).matches() ? Long.valueOf(value) : value);
    }
    return variables;
  }

  /** The tokens of a conversation, which must leave room for an answer. */
  private static int[] prompt(Chat chat, List<ChatMessage> messages, Integer maxTokens) {
    int[] prompt = chat.prompt(messages, List.of());
    int context = chat.generator().model().context();
    int room = Math.min(maxTokens == null ? context : maxTokens, context / ROOM_FOR_ANSWERS);
    if (prompt.length + room > context) {
      throw new IllegalArgumentException(
          "the conversation leaves no room for an answer: conversation=%d tokens, context=%d"
              .formatted(prompt.length, context));
    }
    return prompt;
  }

  private void ask() {
    if (console.interactive()) {
      console.err().print("> ");
      console.err().flush();
    }
  }

  private void show(String piece) {
    console.out().print(piece);
    unread = console.out().checkError();
  }

  /** Ends a text at Ctrl-C, and when nobody reads the output any more. */
  private BooleanSupplier cancelled(Interrupts interrupts) {
    return () -> unread || interrupts.interrupted();
  }

  private void summary(TextGenerator.Result result, CausalLm model) {
    boolean full = result.promptTokens() + result.newTokens() >= model.context();
    console
        .err()
        .printf(
            Locale.ROOT,
            "[%,d tokens read, %,.1f tokens/s; %,d written, %,.1f tokens/s; %s]%n",
            result.promptTokens(),
            result.promptTokens() / Math.max(1e-9, result.promptTime().toNanos() * 1e-9),
            result.newTokens(),
            result.newTokens() / Math.max(1e-9, result.newTime().toNanos() * 1e-9),
            switch (result.finish()) {
              case END -> "end of the text";
              case STOP_TEXT -> "stop text";
              case LENGTH -> full ? "end of the context" : "limit of tokens";
              case TIME -> "limit of time";
              case CANCELLED -> "interrupted";
            });
  }
}
