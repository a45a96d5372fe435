package io.github.attention4j.bench;

import static io.github.attention4j.bench.Report.number;
import static io.github.attention4j.bench.Report.percent;
import static io.github.attention4j.bench.Report.times;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The times of storages, as tables, a picture for each number of threads, and figures. */
final class StoredReport {
  /** From this number of rows on, multiply-adds are the limit. */
  private static final int MANY_ROWS = 64;

  private final List<Product> products = new ArrayList<>();
  private final List<Step> steps = new ArrayList<>();

  private record Product(Projection shape, int threads, Experiment.Result result) {
    double micros(String who) {
      return result.median(who) / 1e3;
    }

    /** The sum over the bytes, over ours. */
    double ofSum(Storage storage) {
      return result.ratio(Stored.sum(storage), storage.name());
    }

    double ofPeak(String who) {
      return result.paired(who, Stored.FMA, (nanos, peak) -> shape.flops() / nanos / peak);
    }
  }

  private record Step(
      Shape shape, int threads, Map<Storage, Double> sizes, Experiment.Result result) {}

  void add(Projection shape, int threads, Experiment.Result result) {
    Product product = new Product(shape, threads, result);
    products.add(product);
    StringBuilder line = new StringBuilder("%-4s %d".formatted(shape.name(), threads));
    for (Storage storage : Storage.values()) {
      line.append(
          String.format(
              Locale.ROOT,
              "  %s %s us %s",
              storage,
              number(product.micros(storage.name())),
              shape.rows() < MANY_ROWS
                  ? percent(product.ofSum(storage))
                  : percent(product.ofPeak(storage.name()))));
    }
    System.out.println(line);
  }

  void add(Shape shape, int threads, Map<Storage, Double> sizes, Experiment.Result result) {
    steps.add(new Step(shape, threads, sizes, result));
    StringBuilder line = new StringBuilder("%-4s %d".formatted(shape.name(), threads));
    sizes
        .keySet()
        .forEach(
            storage ->
                line.append(
                    String.format(
                        Locale.ROOT,
                        "  %s %s us %s",
                        storage,
                        number(result.median(storage.name()) / 1e3),
                        percent(result.ratio(Stored.sum(storage), storage.name())))));
    System.out.println(line);
  }

  /** Prints everything; writes it to {@code results/} if nothing was left out. */
  void write(String slug, Map<String, String> machine, boolean complete) throws IOException {
    String name = "storage-" + slug;
    Map<String, String> charts = new LinkedHashMap<>();
    for (int threads = 1; threads <= most(); threads++) {
      charts.put(picture(name, threads), chart(threads).toString());
    }
    ResultFiles.write(name, markdown(name, machine), json(machine), charts, complete);
  }

  private int most() {
    return products.stream().mapToInt(Product::threads).max().orElse(1);
  }

  private static String picture(String name, int threads) {
    return "%s-%d.svg".formatted(name, threads);
  }

  private String markdown(String name, Map<String, String> machine) {
    StringBuilder text = new StringBuilder();
    text.append(
        """
        # Numbers stored in fewer bits

        Written by `bench/run storage`; `bench/README.md` explains how it measures. All storages of a
        line take turns in the same rounds. *of the sum*: the time of a plain sum over as many bytes,
        over ours. *of the peak*: multiply-adds in float32, over the peak of as many cores; bfloat16
        dot products do twice as many. *packed*: weights packed before, with the same results.
        *products*: packed, and numbers rounded to bfloat16 for the product
        (`Linear.withBf16Products`).

        """);
    ResultFiles.machineTable(text, machine);
    for (int threads = 1; threads <= most(); threads++) {
      products(text, name, threads);
    }
    steps(text);
    text.append("\n## Aims\n\n").append(Goal.table(goals()));
    return text.toString();
  }

  private void products(StringBuilder text, String name, int threads) {
    List<Product> chosen = products.stream().filter(p -> p.threads == threads).toList();
    if (chosen.isEmpty()) {
      return;
    }
    String count = threads == 1 ? "1 thread" : threads + " threads";
    Projection any = chosen.getFirst().shape;
    text.append("\n## Projections of %d to %d, %s\n\n".formatted(any.dimIn(), any.dimOut(), count));
    text.append("![time over rows, %s](%s)\n\n".formatted(count, picture(name, threads)));
    text.append("Microseconds of a call:\n\n| rows |");
    List<String> who = new ArrayList<>();
    for (Storage storage : Storage.values()) {
      for (String way : List.of("", Stored.PACKED, Stored.PRODUCTS)) {
        if (chosen.getFirst().result.has(storage + way)) {
          who.add(storage + way);
        }
      }
    }
    who.forEach(way -> text.append(" %s |".formatted(way)));
    text.append("\n|---:|").append("---:|".repeat(who.size())).append('\n');
    for (Product product : chosen) {
      text.append("| %d |".formatted(product.shape.rows()));
      who.forEach(way -> text.append(" %s |".formatted(number(product.micros(way)))));
      text.append('\n');
    }
    text.append("\nOf the sum, and of the peak:\n\n| rows |");
    for (Storage storage : Storage.values()) {
      text.append(" %s, of the sum | of the peak |".formatted(storage));
    }
    text.append("\n|---:|").append("---:|".repeat(2 * Storage.values().length)).append('\n');
    for (Product product : chosen) {
      text.append("| %d |".formatted(product.shape.rows()));
      for (Storage storage : Storage.values()) {
        text.append(
            " %s | %s |"
                .formatted(
                    percent(product.ofSum(storage)), percent(product.ofPeak(storage.name()))));
      }
      text.append('\n');
    }
  }

  private void steps(StringBuilder text) {
    if (steps.isEmpty()) {
      return;
    }
    text.append("\n## Steps over a cache\n\n");
    text.append("| | threads | storage | MB | microseconds | of the sum | of float32's time |\n");
    text.append("|---|---:|---|---:|---:|---:|---:|\n");
    for (Step step : steps) {
      step.sizes.forEach(
          (storage, size) ->
              text.append(
                  "| %s | %d | %s | %s | %s | %s | %s |\n"
                      .formatted(
                          step.shape.name(),
                          step.threads,
                          storage,
                          number(size / 1e6),
                          number(step.result.median(storage.name()) / 1e3),
                          percent(step.result.ratio(Stored.sum(storage), storage.name())),
                          percent(step.result.ratio(storage.name(), Storage.F32.name())))));
    }
  }

  private List<Goal> goals() {
    List<Goal> goals = new ArrayList<>();
    for (Product product : products) {
      String where = "%s, threads %d".formatted(product.shape.name(), product.threads);
      if (product.shape.rows() == 1) {
        for (Storage storage : Storage.values()) {
          double least =
              switch (storage) {
                case F32 -> 0.88;
                case BF16, F16, I8 -> product.threads == 1 ? 0.92 : 0.95;
                case I4 -> product.threads == 1 ? 0.88 : 0.94;
              };
          goals.add(
              Goal.share(
                  "share of the sum, %s, %s".formatted(storage, where),
                  product.ofSum(storage),
                  least));
        }
      }
    }
    for (int threads = 1; threads <= most(); threads++) {
      for (Storage storage : Storage.values()) {
        cliff(goals, storage, threads);
      }
    }
    for (Step step : steps) {
      step.sizes
          .keySet()
          .forEach(
              storage -> {
                if (storage != Storage.F32) {
                  double least =
                      storage == Storage.I8
                          ? step.threads == 1 ? 0.75 : 0.92
                          : step.threads == 1 ? 0.9 : 0.95;
                  goals.add(
                      Goal.share(
                          "share of the sum, %s, %s, threads %d"
                              .formatted(storage, step.shape.name(), step.threads),
                          step.result.ratio(Stored.sum(storage), storage.name()),
                          least));
                }
              });
    }
    return goals;
  }

  /** Twice the rows take at most twice the time, except for what is measured roughly. */
  private void cliff(List<Goal> goals, Storage storage, int threads) {
    double worst = 0;
    String where = "";
    Product last = null;
    for (Product product : products) {
      if (product.threads == threads) {
        if (last != null) {
          double rows = (double) product.shape.rows() / last.shape.rows();
          double more = product.micros(storage.name()) / last.micros(storage.name()) / rows;
          if (more > worst) {
            worst = more;
            where = "%d to %d rows".formatted(last.shape.rows(), product.shape.rows());
          }
        }
        last = product;
      }
    }
    if (last != null && worst > 0) {
      goals.add(
          new Goal(
              "time of a row against fewer rows, %s, threads %d".formatted(storage, threads),
              "<= 1.10 x",
              "%s (%s)".formatted(times(worst), where),
              worst <= 1.1));
    }
  }

  // ---- The picture and JSON ----

  private LineChart chart(int threads) {
    LineChart chart =
        new LineChart(
            "Time of a row over rows, %d thread%s".formatted(threads, threads == 1 ? "" : "s"),
            "rows of a projection, weights as stored",
            "us a row",
            true);
    for (Storage storage : Storage.values()) {
      for (Product product : products) {
        if (product.threads == threads) {
          int rows = product.shape.rows();
          chart.add(storage.name(), rows, product.micros(storage.name()) / rows);
        }
      }
    }
    return chart;
  }

  private String json(Map<String, String> machine) {
    Map<String, Object> root = new LinkedHashMap<>();
    root.put("machine", machine);
    List<Object> all = new ArrayList<>();
    for (Product product : products) {
      all.add(json(product.shape.name(), product.threads, product.result));
    }
    for (Step step : steps) {
      all.add(json(step.shape.name(), step.threads, step.result));
    }
    root.put("rows", all);
    return Json.write(root);
  }

  private static Map<String, Object> json(String name, int threads, Experiment.Result result) {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("shape", name);
    fields.put("threads", threads);
    Map<String, Object> figures = new java.util.TreeMap<>();
    result.figures().forEach((who, figure) -> figures.put(who, figure.perRound()));
    fields.put("perRound", figures);
    return fields;
  }
}
