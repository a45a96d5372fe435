package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Jazzer on every kind of file that comes from elsewhere, guided by the coverage of our parsers,
 * from the samples and the kept corpus. One of the nightly checks: {@code -Dcheck.seconds} is the
 * time for each kind. What it finds beyond the kept corpus stays in {@code target/fuzz}.
 */
class FuzzCheck {
  private static final String SECONDS = System.getProperty("check.seconds", "600");
  private static final Path MODULE = Path.of("src", "models");

  @ParameterizedTest
  @EnumSource
  void shouldOpenOrRefuseWhateverJazzerFinds(ForeignFile kind) throws Exception {
    Path folder = MODULE.resolve("target/fuzz").resolve(kind.name());
    Path found = Files.createDirectories(folder.resolve("corpus"));
    Path kept = Files.createDirectories(MODULE.resolve("test/fuzz/corpus").resolve(kind.name()));
    for (Path sample : kind.samples(folder)) {
      String name = sample.getParent().getFileName() + "-" + sample.getFileName();
      Files.write(found.resolve(name), Files.readAllBytes(sample));
    }
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(ChildJvm.CLASS_PATH);
    command.addAll(List.of("-Xmx256m", "-XX:+EnableDynamicAgentLoading"));
    command.add("com.code_intelligence.jazzer.Jazzer");
    command.add("--target_class=" + FuzzTarget.class.getName());
    command.add("--target_args=" + kind.name() + " " + folder);
    command.add("--instrumentation_includes=io.github.attention4j.**");
    command.add("--custom_hook_excludes=**");
    command.add("--reproducer_path=" + folder);
    command.add("-artifact_prefix=" + folder + "/");
    command.add("-max_total_time=" + SECONDS);
    command.add("-max_len=32768");
    command.add("-rss_limit_mb=2048");
    command.add("-timeout=60");
    command.add("-print_final_stats=1");
    command.add(found.toString());
    command.add(kept.toString());
    Path log = folder.resolve("log");
    Process jazzer =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    try {
      boolean ended = jazzer.waitFor(Long.parseLong(SECONDS) + 1800, TimeUnit.SECONDS);
      assertTrue(ended && jazzer.exitValue() == 0, () -> kind + ": see " + log + "\n" + tail(log));
    } finally {
      jazzer.destroyForcibly();
    }
    System.out.println(kind + ":\n" + tail(log));
  }

  private static String tail(Path log) {
    try {
      List<String> lines = Files.readAllLines(log);
      return String.join("\n", lines.subList(Math.max(0, lines.size() - 20), lines.size()));
    } catch (IOException e) {
      return e.toString();
    }
  }
}
