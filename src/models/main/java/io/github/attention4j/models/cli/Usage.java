package io.github.attention4j.models.cli;

import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The commands, and what is said about how they are used, which also lists their options. */
enum Usage {
  INFO(
      """
        info                      what runs here: version, kernels, threads, library
        info MODEL                what a model is, or why it is refused
      """),
  EMBED(
      """
        embed MODEL               lines to vectors, one JSON object a line
            --prompt NAME           the model's prompt of that name, such as query
            --dimensions N          only the first N elements of each vector
            --max-tokens N          reads at most N tokens of a line
            --refuse-truncation     fails at a line that is too long rather than cutting it
      """),
  RERANK(
      """
        rerank MODEL --query TEXT lines to scores, best first, one JSON object a line
            --top N                 only the best N
            --refuse-truncation     fails at a line that is too long rather than cutting it
      """),
  GENERATE(
      """
        generate MODEL [PROMPT]   continues a text, that of the standard input by default
      """),
  CHAT(
      """
        chat MODEL                answers line by line; /reset forgets, /exit or Ctrl-D ends
            --system TEXT           an instruction to the model
            --template NAME=VALUE   a variable of the chat template, as enable_thinking=false
      """),
  SERVE(
      """
        serve MODEL               OpenAI's API over HTTP
            --host H --port P       127.0.0.1 and 8080 by default
            --embeddings MODEL      an embedding model beside the language model
            --truncate              cuts texts that are too long to embed, rather than refusing them
            --name NAME             what clients call the model, its file name by default
            --api-key KEY           asked for in every request; or ATTENTION4J_API_KEY
            --max-tokens N --max-time SECONDS --max-body BYTES
            --parallel N            texts that advance together, 8 by default
            --cache-tokens N        tokens of all of them together, 32768 by default
            --queue N               requests that may wait
      """);

  private static final String START =
      """
      Usage: java --enable-native-access=ALL-UNNAMED -jar attention4j-models-all.jar COMMAND …

      """;

  private static final String OF_TEXTS =
      """
            --max-tokens N --stop TEXT --json
            --temperature T --top-p P --top-k K --min-p P --seed N
            --repetition-penalty R --presence-penalty P --frequency-penalty F
                                    in place of what the model's files say
      """;

  private static final String INTERRUPTS =
      """

      Ctrl-C ends the text that is being written, and with it generate; chat goes on. A second
      one ends the program.
      """;

  private static final Pattern OPTION = Pattern.compile("--[a-z-]+");

  private final String text;

  Usage(String text) {
    this.text = text;
  }

  /** The command of a name, or null. */
  static Usage of(String name) {
    for (Usage each : values()) {
      if (each.command().equals(name)) {
        return each;
      }
    }
    return null;
  }

  String command() {
    return name().toLowerCase(Locale.ROOT);
  }

  private boolean writes() {
    return this == GENERATE || this == CHAT;
  }

  /** All options of the command. */
  Set<String> options() {
    Set<String> options = new TreeSet<>(Set.of("--threads", "--help"));
    for (Matcher option = OPTION.matcher(writes() ? text + OF_TEXTS : text); option.find(); ) {
      options.add(option.group());
    }
    return options;
  }

  /** How the command is used. */
  String text() {
    return START
        + text
        + (writes() ? OF_TEXTS : "")
        + "      --threads N             at most N threads\n"
        + (writes() ? INTERRUPTS : "");
  }

  /** How all commands are used. */
  static String all() {
    StringBuilder all = new StringBuilder(START).append("Commands:\n");
    for (Usage each : values()) {
      all.append(each.text);
    }
    return all.append("  help COMMAND              its options, as COMMAND --help\n")
        .append("  --version                 the version\n\n")
        .append("Of generate and chat:\n")
        .append(OF_TEXTS)
        .append("Of all: --threads N\n")
        .append(INTERRUPTS)
        .toString();
  }
}
