package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Figures, the tables made of them. */
final class PeersReport {
  private final Map<String, String> contenders = new LinkedHashMap<>();
  private final List<Contenders.Outcome> outcomes = new ArrayList<>();

  void addContender(String name, String about) {
    contenders.put(name, about);
  }

  void add(Contenders.Outcome outcome) {
    outcomes.add(outcome);
    StringBuilder line =
        new StringBuilder(
            outcome.workload().name()
                + " "
                + outcome.threads()
                + "t "
                + outcome.result().rounds()
                + " rounds:");
    outcome
        .ready()
        .forEach(
            (name, ready) ->
                line.append(
                    String.format(
                        Locale.ROOT,
                        "  %s %.4g%s (%.1e)",
                        name,
                        outcome.result().median(name) / 1e6,
                        ready.way().isEmpty() ? "" : " " + ready.way(),
                        ready.error())));
    System.out.println(line);
    outcome.failures().forEach((name, why) -> System.out.println("   " + why));
  }

  void print() {
    contenders.forEach((name, about) -> System.out.println(name + ": " + about));
  }
}
