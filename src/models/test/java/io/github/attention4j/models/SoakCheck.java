package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.testing.ChildJvm;
import java.io.File;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Hours of a server in small: threads that compute, open and close models of every kind, and are
 * refused, in a process whose memory, open files and threads do not grow. One of the nightly
 * checks; {@code -Dcheck.seconds} says for how long.
 */
class SoakCheck {
  private static final int SECONDS = Integer.getInteger("check.seconds", 600);

  @TempDir private Path directory;

  @Test
  void shouldNotGrow() throws Exception {
    Path checkpoint = Files.createDirectory(directory.resolve("checkpoint"));
    TinyCheckpoint.of("llama", "num_key_value_heads", "2").write(checkpoint);
    List<String> command = new ArrayList<>(ChildJvm.CLASS_PATH);
    command.addAll(List.of("-Xmx128m", "-Xms128m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC"));
    command.addAll(List.of(Soak.class.getName(), checkpoint.toString(), "" + SECONDS));
    ChildJvm child = ChildJvm.start(Map.of(), command).await(SECONDS / 60 + 10);
    System.out.print(child.out());
    assertEquals(0, child.exit(), child.out() + child.err());
  }

  /** What a process has at one moment, or the most that it had in a while. */
  private record Use(long anonymousBytes, int files, int threads) {
    static Use now() throws IOException {
      long bytes = 0;
      for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
        if (line.startsWith("RssAnon:")) {
          bytes = Long.parseLong(line.replaceAll("\\D", "")) * 1024;
        }
      }
      return new Use(bytes, entries("/proc/self/fd"), entries("/proc/self/task"));
    }

    private static int entries(String directory) {
      return Objects.requireNonNull(new File(directory).list()).length;
    }

    Use most(Use other) {
      return new Use(
          Math.max(anonymousBytes, other.anonymousBytes),
          Math.max(files, other.files),
          Math.max(threads, other.threads));
    }
  }

  /** The process: the most that it has in the last third is what it had in the second. */
  static final class Soak {
    private static final int CALLERS = 4;
    private static final int TOKENS = 29;
    private static final long SLACK_BYTES = 16L << 20;

    private Soak() {}

    public static void main(String[] args) throws Exception {
      Path checkpoint = Path.of(args[0]);
      long seconds = Long.parseLong(args[1]);
      long start = System.nanoTime();
      long end = start + seconds * 1_000_000_000;
      AtomicLong calls = new AtomicLong();
      AtomicReference<Throwable> failure = new AtomicReference<>();
      List<Thread> callers = new ArrayList<>();
      for (int i = 0; i < CALLERS; i++) {
        Random random = new Random(i);
        callers.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      try {
                        while (System.nanoTime() < end && failure.get() == null) {
                          call(checkpoint, random);
                          calls.incrementAndGet();
                        }
                      } catch (Throwable e) {
                        failure.set(e);
                      }
                    }));
      }
      Use second = new Use(0, 0, 0);
      Use last = second;
      while (System.nanoTime() < end && failure.get() == null) {
        Thread.sleep(200);
        long third = 3 * (System.nanoTime() - start) / (seconds * 1_000_000_000);
        if (third == 1) {
          second = second.most(Use.now());
        } else if (third == 2) {
          last = last.most(Use.now());
        }
      }
      for (Thread caller : callers) {
        caller.join();
      }
      if (failure.get() != null) {
        throw new AssertionError(failure.get());
      }
      System.out.printf(
          "%d calls in %d s; second third: %s, last third: %s%n",
          calls.get(), seconds, second, last);
      if (last.anonymousBytes > second.anonymousBytes + SLACK_BYTES
          || last.files > second.files + CALLERS
          || last.threads > second.threads) {
        throw new AssertionError("it grows: " + second + ", then " + last);
      }
    }

    private static void call(Path checkpoint, Random random) throws Exception {
      switch (random.nextInt(4)) {
        case 0 -> compute(random);
        case 1 -> generate(checkpoint, random);
        case 2 -> encode(random);
        default -> beRefused(checkpoint, random);
      }
    }

    private static void compute(Random random) {
      try (Arena arena = Arena.ofConfined()) {
        int length = 1 + random.nextInt(200);
        Tensor x = Tensor.allocate(arena, DType.F32, 1, 4, length, 1 + random.nextInt(64)).fill(1);
        Attention.builder().build().forward(arena, x, x, x);
      }
    }

    private static void generate(Path checkpoint, Random random) throws IOException {
      try (CausalLm model = CausalLm.open(checkpoint);
          Arena arena = Arena.ofConfined()) {
        model.logits(arena, random.ints(1 + random.nextInt(40), 0, TOKENS).toArray());
      }
    }

    private static void encode(Random random) throws IOException {
      List<Path> tokenizers = ForeignFile.TOKENIZER.samples(Path.of("."));
      ForeignFile.TOKENIZER.open(tokenizers.get(random.nextInt(tokenizers.size())));
      List<Path> configs = ForeignFile.ENCODER_CONFIG.samples(Path.of("."));
      ForeignFile.ENCODER_CONFIG.open(configs.get(random.nextInt(configs.size())));
    }

    private static void beRefused(Path checkpoint, Random random) throws IOException {
      Path file = Files.createTempFile(checkpoint.getParent(), "spoilt", ".safetensors");
      byte[] original = Files.readAllBytes(checkpoint.resolve("model.safetensors"));
      Files.write(file, new Spoiling(random.nextLong()).spoil(original, false));
      try {
        ForeignFile.SAFETENSORS.open(file);
      } catch (Exception e) {
        ForeignFile.requireRefusal(e);
      } finally {
        Files.delete(file);
      }
    }
  }
}
