package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Where and on what a result was measured, which each file in {@code results/} must state. */
final class Machine {
  private Machine() {}

  /** All facts, in the order in which they are printed. */
  static Map<String, String> describe(String command) {
    Map<String, String> facts = new LinkedHashMap<>();
    facts.put(
        "CPU", cpu("model name") + ", family " + cpu("cpu family") + " model " + cpu("model"));
    facts.put(
        "cores",
        Runtime.getRuntime().availableProcessors()
            + ", the caller, the limits and the Java contenders pinned");
    facts.put("memory", memory());
    facts.put("ISA", A4j.isa() + " of " + A4j.availableIsas() + ", limits " + Limits.isa());
    facts.put(
        "OS",
        System.getProperty("os.name")
            + " "
            + System.getProperty("os.version")
            + ", huge pages "
            + hugePages()
            + ", GLIBC_TUNABLES "
            + System.getenv().getOrDefault("GLIBC_TUNABLES", "not set"));
    facts.put("JDK", Runtime.version() + " (" + System.getProperty("java.vendor") + ")");
    facts.put("JVM options", jvmOptions());
    facts.put("C compiler", firstLine("cc", "--version"));
    facts.put("C flags", compilerFlags());
    facts.put(
        "library",
        A4j.describe()
            .lines()
            .filter(l -> !l.contains("/"))
            .map(l -> l.replaceAll("\\s+", " "))
            .reduce((a, b) -> a + "; " + b)
            .orElse(""));
    facts.put("commit", commit());
    facts.put("date", Instant.now().truncatedTo(ChronoUnit.MINUTES).toString());
    facts.put("command", command);
    return facts;
  }

  /** A file name for this kind of machine. */
  static String slug() {
    String name =
        cpu("model name")
            + " "
            + cpu("cpu family")
            + "."
            + cpu("model")
            + " "
            + Runtime.getRuntime().availableProcessors()
            + " cores";
    return name.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9.]+", "-");
  }

  private static String cpu(String key) {
    Pattern line = Pattern.compile("(?m)^" + key + "\\s*: (.*)$");
    Matcher found = line.matcher(read(Path.of("/proc/cpuinfo")));
    return found.find() ? found.group(1).strip() : "unknown";
  }

  private static String memory() {
    Matcher found =
        Pattern.compile("MemTotal:\\s+(\\d+) kB").matcher(read(Path.of("/proc/meminfo")));
    return found.find()
        ? Math.round(Long.parseLong(found.group(1)) / 1048576.0) + " GiB"
        : "unknown";
  }

  private static String hugePages() {
    Matcher found =
        Pattern.compile("\\[(\\w+)]")
            .matcher(read(Path.of("/sys/kernel/mm/transparent_hugepage/enabled")));
    return found.find() ? found.group(1) : "unknown";
  }

  private static String jvmOptions() {
    List<String> options =
        new ArrayList<>(ManagementFactory.getRuntimeMXBean().getInputArguments());
    options.removeIf(option -> option.contains("/"));
    return String.join(" ", options);
  }

  /** Read from the build itself, so that it cannot become outdated. */
  private static String compilerFlags() {
    String lists = read(Path.of("../native/CMakeLists.txt"));
    String presets = read(Path.of("../native/CMakePresets.json"));
    String tier = A4j.isa().replaceAll("\\W", "");
    return first("\"CMAKE_C_FLAGS_RELEASE\": \"([^\"]*)\"", presets)
        + " "
        + first("add_compile_options\\(([^)$]*)\\)", lists)
        + "; kernels "
        + first("A4J_FLAGS_" + tier + " ([^)]*)\\)", lists);
  }

  private static String first(String pattern, String text) {
    Matcher found = Pattern.compile(pattern).matcher(text);
    return found.find() ? found.group(1).strip() : "";
  }

  /** The last commit that changed what is measured or what measures. */
  static String sources() {
    return orWithChanges(
        firstLine("git", "log", "-1", "--format=%h", "--", "../native", "../src", "src", "native"));
  }

  private static String commit() {
    return orWithChanges(firstLine("git", "rev-parse", "--short=12", "HEAD"));
  }

  private static String orWithChanges(String hash) {
    return firstLine("git", "status", "--porcelain", "--", "../native", "../src", "src", "native")
            .isEmpty()
        ? hash
        : hash + " with changes";
  }

  private static String firstLine(String... command) {
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      try (var reader = process.inputReader()) {
        String line = reader.readLine();
        reader.lines().forEach(rest -> {});
        return line == null ? "" : line;
      }
    } catch (IOException e) {
      return "unknown: " + e.getMessage();
    }
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
