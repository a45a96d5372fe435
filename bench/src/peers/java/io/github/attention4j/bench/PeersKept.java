package io.github.attention4j.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Every row that was measured, a small file each, so that a long comparison can be made in pieces.
 * A row counts as long as it was measured with the same sources and settings.
 *
 * <pre>
 *   key       sources and settings
 *   time      when it was measured
 *   repeated  rounds that others disturbed, and how many of these count
 *   about     CONTENDER TEXT
 *   ready     CONTENDER WAY NANOS ERROR
 *   failure   CONTENDER TEXT
 *   nanos     CONTENDER FIGURE ...
 * </pre>
 */
final class PeersKept {
  private final Path directory;
  private final String key;

  PeersKept(Path directory, String key) throws IOException {
    this.directory = Files.createDirectories(directory);
    this.key = key;
  }

  private Path file(Workload workload, int threads) {
    return directory.resolve("%s-%d.tsv".formatted(workload.name(), threads));
  }

  void keep(Contenders.Outcome outcome) {
    List<String> lines = new ArrayList<>();
    lines.add(line("key", key));
    lines.add(line("time", outcome.time()));
    lines.add(line("repeated", outcome.repeated(), outcome.disturbed()));
    outcome.about().forEach((who, about) -> lines.add(line("about", who, about)));
    outcome
        .ready()
        .forEach((who, one) -> lines.add(line("ready", who, one.way(), one.nanos(), one.error())));
    outcome.failures().forEach((who, why) -> lines.add(line("failure", who, why)));
    outcome
        .result()
        .figures()
        .forEach(
            (who, figures) ->
                lines.add(
                    line("nanos", who)
                        + Arrays.stream(figures.perRound())
                            .mapToObj(nanos -> "\t" + nanos)
                            .collect(Collectors.joining())));
    try {
      Files.write(file(outcome.workload(), outcome.threads()), lines);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String line(Object... words) {
    return Arrays.stream(words)
        .map(word -> word.toString().replaceAll("\\s", " "))
        .collect(Collectors.joining("\t"));
  }

  /** The row, if it was measured and nothing has changed since. */
  Optional<Contenders.Outcome> find(Workload workload, int threads) {
    Path file = file(workload, threads);
    if (!Files.exists(file)) {
      return Optional.empty();
    }
    try {
      return parse(workload, threads, Files.readAllLines(file));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private Optional<Contenders.Outcome> parse(Workload workload, int threads, List<String> lines) {
    Instant time = null;
    int repeated = 0;
    int disturbed = 0;
    Map<String, String> about = new LinkedHashMap<>();
    Map<String, ContenderProcess.Ready> ready = new LinkedHashMap<>();
    Map<String, String> failures = new LinkedHashMap<>();
    Map<String, Experiment.Figures> figures = new LinkedHashMap<>();
    int rounds = 0;
    for (String line : lines) {
      String[] words = line.split("\t", -1);
      switch (words[0]) {
        case "key" -> {
          if (!words[1].equals(key)) {
            return Optional.empty();
          }
        }
        case "time" -> time = Instant.parse(words[1]);
        case "repeated" -> {
          repeated = Integer.parseInt(words[1]);
          disturbed = Integer.parseInt(words[2]);
        }
        case "about" -> about.put(words[1], words[2]);
        case "ready" ->
            ready.put(
                words[1],
                new ContenderProcess.Ready(
                    words[2], Double.parseDouble(words[3]), Double.parseDouble(words[4])));
        case "failure" -> failures.put(words[1], words[2]);
        case "nanos" -> {
          double[] nanos = Arrays.stream(words).skip(2).mapToDouble(Double::parseDouble).toArray();
          figures.put(words[1], new Experiment.Figures(nanos));
          rounds = nanos.length;
        }
        default -> throw new IllegalStateException("no line of a row begins with " + words[0]);
      }
    }
    return Optional.of(
        new Contenders.Outcome(
            workload,
            threads,
            time,
            about,
            ready,
            failures,
            repeated,
            disturbed,
            new Experiment.Result(rounds, figures)));
  }
}
