package io.github.attention4j.models.server;

import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.IntSupplier;

/** Counters of a server, in Prometheus's text format. */
final class Metrics {
  private final Map<String, LongAdder> requests = new ConcurrentHashMap<>();
  private final LongAdder promptTokens = new LongAdder();
  private final LongAdder newTokens = new LongAdder();
  private final LongAdder promptNanos = new LongAdder();
  private final LongAdder newNanos = new LongAdder();
  private final LongAdder embeddedTokens = new LongAdder();
  private final IntSupplier running;
  private final IntSupplier waiting;

  Metrics(IntSupplier running, IntSupplier waiting) {
    this.running = running;
    this.waiting = waiting;
  }

  void request(String path, int status) {
    requests
        .computeIfAbsent(
            "path=\"%s\",status=\"%d\"".formatted(path, status), unused -> new LongAdder())
        .increment();
  }

  void generated(io.github.attention4j.models.text.TextGenerator.Result result) {
    promptTokens.add(result.promptTokens());
    newTokens.add(result.newTokens());
    promptNanos.add(result.promptTime().toNanos());
    newNanos.add(result.newTime().toNanos());
  }

  void embedded(long tokens) {
    embeddedTokens.add(tokens);
  }

  String render() {
    StringBuilder text = new StringBuilder();
    head(text, "requests_total", "counter", "Requests answered, by path and status.");
    new TreeMap<>(requests)
        .forEach(
            (labels, count) ->
                text.append("attention4j_requests_total{%s} %d%n".formatted(labels, count.sum())));
    counter(text, "prompt_tokens_total", "Tokens of prompts read.", promptTokens.sum());
    counter(text, "generated_tokens_total", "Tokens generated.", newTokens.sum());
    counter(text, "embedded_tokens_total", "Tokens of texts embedded.", embeddedTokens.sum());
    seconds(text, "prompt_seconds_total", "Time spent reading prompts.", promptNanos.sum());
    seconds(text, "generation_seconds_total", "Time spent generating.", newNanos.sum());
    gauge(text, "requests_running", "Requests being computed.", running.getAsInt());
    gauge(text, "requests_waiting", "Requests in the queue.", waiting.getAsInt());
    return text.toString().replace(System.lineSeparator(), "\n");
  }

  private static void head(StringBuilder text, String name, String type, String help) {
    text.append("# HELP attention4j_%s %s%n".formatted(name, help));
    text.append("# TYPE attention4j_%s %s%n".formatted(name, type));
  }

  private static void counter(StringBuilder text, String name, String help, long value) {
    head(text, name, "counter", help);
    text.append("attention4j_%s %d%n".formatted(name, value));
  }

  private static void seconds(StringBuilder text, String name, String help, long nanos) {
    head(text, name, "counter", help);
    text.append(String.format(Locale.ROOT, "attention4j_%s %.6f%n", name, nanos * 1e-9));
  }

  private static void gauge(StringBuilder text, String name, String help, long value) {
    head(text, name, "gauge", help);
    text.append("attention4j_%s %d%n".formatted(name, value));
  }
}
