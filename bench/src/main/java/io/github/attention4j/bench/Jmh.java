package io.github.attention4j.bench;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/**
 * Runs the JMH classes, or those that match the regular expressions given, and writes their scores
 * to {@code results/}; a partial run is printed only.
 *
 * <p>Each method is measured in a JVM of its own, so no figure is influenced by what the compiler
 * learnt from another. The price is what {@link Compare} offers: contenders measured in the same
 * minute.
 */
final class Jmh {
  private Jmh() {}

  public static void main(String[] patterns) throws RunnerException, IOException {
    ChainedOptionsBuilder options = new OptionsBuilder();
    for (String pattern : patterns) {
      options.include(pattern);
    }
    Collection<RunResult> results = new Runner(options.shouldFailOnError(true).build()).run();
    Map<String, String> machine =
        Machine.describe(("bench/run jmh " + String.join(" ", patterns)).strip());
    ResultFiles.write(
        "jmh-" + Machine.slug(),
        markdown(machine, results),
        json(machine, results),
        patterns.length == 0);
  }

  private static String markdown(Map<String, String> machine, Collection<RunResult> results) {
    StringBuilder text = new StringBuilder("# JMH scores\n\n");
    text.append("Written by `bench/run jmh`; each class says what it asks and expects. Mean and\n");
    text.append(
        "99.9 % confidence interval of few short iterations: for ratios see the other file.\n\n");
    ResultFiles.machineTable(text, machine);
    text.append("\n| benchmark | parameters | time | ± | |\n|---|---|---:|---:|---|\n");
    for (RunResult result : results) {
      var score = result.getPrimaryResult();
      text.append(
          String.format(
              Locale.ROOT,
              "| %s | %s | %.4g | %.2g | %s |%n",
              name(result),
              parameters(result),
              score.getScore(),
              score.getScoreError(),
              score.getScoreUnit()));
    }
    return text.toString();
  }

  private static String json(Map<String, String> machine, Collection<RunResult> results) {
    List<Object> scores = new ArrayList<>();
    for (RunResult result : results) {
      Map<String, Object> fields = new LinkedHashMap<>();
      fields.put("benchmark", name(result));
      fields.put("parameters", parameters(result));
      fields.put("score", result.getPrimaryResult().getScore());
      fields.put("error", result.getPrimaryResult().getScoreError());
      fields.put("unit", result.getPrimaryResult().getScoreUnit());
      scores.add(fields);
    }
    Map<String, Object> root = new LinkedHashMap<>();
    root.put("machine", machine);
    root.put("scores", scores);
    return Json.write(root);
  }

  private static String name(RunResult result) {
    String[] words = result.getParams().getBenchmark().split("\\.");
    return words[words.length - 2] + "." + words[words.length - 1];
  }

  private static String parameters(RunResult result) {
    BenchmarkParams params = result.getParams();
    return String.join(
        ", ", params.getParamsKeys().stream().map(k -> k + " " + params.getParam(k)).toList());
  }
}
