package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.LoadOptions;
import io.github.attention4j.models.Sampler;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.DoubleSupplier;

/**
 * Question: how fast does a language model of 1.24 billion weights read a prompt and write a text,
 * what share of the memory's speed is that, and what does opening it cost?
 *
 * <p>Expected: a token takes little more than reading the weights once, in every format; eight
 * texts in one step take little more than one.
 *
 * <p>Everything that is measured takes turns in rounds, including a sum over 512 MiB, the memory
 * limit. The sum reads with as many threads. How to run: {@code bench/run llm [--threads 1,2]
 * [--rounds 5] [--depth 4096] [--bf16-products] [BF16 Q8_0 Q4_0 Q4_K_M]}. It prints and keeps
 * nothing; the model files, 5 GB in all, stay in {@code target/}.
 */
final class Llm {
  private static final Path DIRECTORY = Path.of("target", "llm");
  private static final long SUM_BYTES = 512 << 20;
  private static final int PROMPT = 512;
  private static final int TOKENS = 64;
  private static final int SESSIONS = 8;
  private static final int SHARED_STEPS = 16;

  private final RandomLlama.Format format;
  private final int rounds;
  private final int depth;
  private final LoadOptions options;

  private Llm(RandomLlama.Format format, int rounds, int depth, LoadOptions options) {
    this.options = options;
    this.format = format;
    this.rounds = rounds;
    this.depth = depth;
  }

  /** Measures the formats that are named, or all. */
  public static void main(String[] arguments) throws IOException {
    List<RandomLlama.Format> formats = new ArrayList<>();
    int[] threads = {1, 2};
    int rounds = 5;
    int depth = 4096;
    LoadOptions options = LoadOptions.defaults();
    for (int i = 0; i < arguments.length; i++) {
      switch (arguments[i]) {
        case "" -> {}
        case "--threads" ->
            threads =
                Arrays.stream(arguments[++i].split(",")).mapToInt(Integer::parseInt).toArray();
        case "--rounds" -> rounds = Integer.parseInt(arguments[++i]);
        case "--bf16-products" -> options = LoadOptions.builder().bf16Products().build();
        case "--depth" -> depth = Integer.parseInt(arguments[++i]);
        default -> formats.add(RandomLlama.Format.valueOf(arguments[i]));
      }
    }
    System.out.println(A4j.describe());
    for (RandomLlama.Format format :
        formats.isEmpty() ? List.of(RandomLlama.Format.values()) : formats) {
      new Llm(format, rounds, depth, options).run(threads);
    }
  }

  private void run(int[] threads) throws IOException {
    Path file = RandomLlama.file(DIRECTORY, format);
    System.out.printf(
        Locale.ROOT, "%n%s: %.3f GB of weights%n", format, RandomLlama.bytes(format) / 1e9);
    readingTwice(file);
    long before = ownBytes();
    long start = System.nanoTime();
    try (CausalLm model = CausalLm.open(file, options)) {
      double opened = (System.nanoTime() - start) / 1e6;
      System.out.printf(
          Locale.ROOT,
          "opening %.0f ms, reading the file twice %.0f ms; memory of its own %.0f MB, kept as"
              + " %s%n",
          opened,
          readingTwice(file) / 1e6,
          (ownBytes() - before) / 1e6,
          model.weightBytes());
      for (int count : threads) {
        A4j.threads(count);
        compare(model, count);
      }
    }
  }

  /** Nanoseconds to read the file twice in order, from the system's cache if it is there. */
  private static double readingTwice(Path file) throws IOException {
    long start = System.nanoTime();
    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
    for (int time = 0; time < 2; time++) {
      try (FileChannel channel = FileChannel.open(file)) {
        while (channel.read(buffer.clear()) >= 0) {
          // Only the reading counts.
        }
      }
    }
    return System.nanoTime() - start;
  }

  /** Resident memory that is not mapped from a file. */
  private static long ownBytes() throws IOException {
    System.gc();
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith("RssAnon:"))
        .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
        .findFirst()
        .orElseThrow(() -> new UncheckedIOException(new IOException("no RssAnon")));
  }

  private void compare(CausalLm model, int threads) {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment half = arena.allocate(SUM_BYTES / 2, 64).fill((byte) 1);
      MemorySegment other = arena.allocate(SUM_BYTES / 2, 64).fill((byte) 1);
      CausalLm.Session prompt = model.newSession(arena, RandomLlama.CONTEXT, DType.BF16);
      CausalLm.Session shallow = model.newSession(arena, RandomLlama.CONTEXT, DType.BF16);
      CausalLm.Session deep = model.newSession(arena, RandomLlama.CONTEXT, DType.BF16);
      List<CausalLm.Session> sessions = new ArrayList<>();
      for (int i = 0; i < SESSIONS; i++) {
        sessions.add(model.newSession(arena, 1024, DType.BF16));
        sessions.get(i).prefill(tokens(1 + i));
      }
      shallow.prefill(tokens(1));
      if (depth > 0) {
        deep.prefill(tokens(depth));
      }
      Map<String, DoubleSupplier> measured = new LinkedHashMap<>();
      measured.put("memory, GB/s", () -> SUM_BYTES / Limits.sumNanos(threads, half, other));
      measured.put("prompt of " + PROMPT, () -> prompt(prompt));
      measured.put("text", () -> generate(shallow, TOKENS));
      if (depth > 0) {
        measured.put("text after " + depth, () -> generate(deep, TOKENS / 2));
      }
      measured.put(SESSIONS + " texts", () -> together(model, sessions));
      Map<String, double[]> figures = new LinkedHashMap<>();
      measured.keySet().forEach(name -> figures.put(name, new double[rounds]));
      for (int round = -1; round < rounds; round++) {
        for (Map.Entry<String, DoubleSupplier> each : measured.entrySet()) {
          double figure = each.getValue().getAsDouble();
          if (round >= 0) {
            figures.get(each.getKey())[round] = figure;
          }
        }
      }
      print(threads, figures);
    }
  }

  private static int[] tokens(int count) {
    int[] tokens = new int[count];
    for (int i = 0; i < count; i++) {
      tokens[i] = 17 + 31 * i % 100_000;
    }
    return tokens;
  }

  /** Tokens a second. */
  private static double prompt(CausalLm.Session session) {
    session.truncate(0);
    long start = System.nanoTime();
    session.prefill(tokens(PROMPT));
    return PROMPT / seconds(start);
  }

  /** The same, one token at a time, always the likeliest. */
  private static double generate(CausalLm.Session session, int count) {
    int length = session.length();
    session.step(1);
    long start = System.nanoTime();
    session.generate(new int[] {1}, count, Sampler.greedy(), token -> {});
    double rate = count / seconds(start);
    session.truncate(length);
    return rate;
  }

  /** Tokens a second of all texts together. */
  private static double together(CausalLm model, List<CausalLm.Session> sessions) {
    int[] next = tokens(sessions.size());
    int[] lengths = sessions.stream().mapToInt(CausalLm.Session::length).toArray();
    model.step(sessions, next);
    long start = System.nanoTime();
    for (int i = 0; i < SHARED_STEPS; i++) {
      model.step(sessions, next);
    }
    double rate = SHARED_STEPS * sessions.size() / seconds(start);
    for (int i = 0; i < lengths.length; i++) {
      sessions.get(i).truncate(lengths[i]);
    }
    return rate;
  }

  private static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }

  /** Medians; shares and ratios are taken within rounds. */
  private void print(int threads, Map<String, double[]> figures) {
    double gigabytes = RandomLlama.bytes(format) / 1e9;
    double[] memory = figures.get("memory, GB/s");
    double[] text = figures.get("text");
    figures.forEach(
        (name, values) -> {
          StringBuilder line = new StringBuilder();
          line.append(
              String.format(
                  Locale.ROOT,
                  "%d thread%s %-16s %8.2f",
                  threads,
                  threads == 1 ? " " : "s",
                  name,
                  Experiment.medianOf(values.clone())));
          if (values != memory) {
            line.append(" tokens/s");
          }
          if (name.startsWith("text")) {
            line.append(
                String.format(
                    Locale.ROOT,
                    ", weights at %.1f %% of the memory limit",
                    100 * gigabytes * ratio(values, memory)));
          }
          if (name.equals(SESSIONS + " texts")) {
            line.append(String.format(Locale.ROOT, ", %.2f x one", ratio(values, text)));
          }
          System.out.println(line);
        });
  }

  private static double ratio(double[] a, double[] b) {
    double[] ratios = new double[a.length];
    for (int i = 0; i < a.length; i++) {
      ratios[i] = a[i] / b[i];
    }
    return Experiment.medianOf(ratios);
  }
}
