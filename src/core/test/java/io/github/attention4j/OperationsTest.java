package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.testing.ChildJvm;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the operators of a service see and set. */
class OperationsTest {
  private static final String EVENT = "io.github.attention4j.Call";

  @TempDir Path temporary;

  @Test
  void shouldCountCalls() {
    int threads = A4j.threads();
    A4j.threads(2);
    try (Arena arena = Arena.ofConfined()) {
      Health before = A4j.health();
      attend(arena, 1);
      attend(arena, 400);
      Health after = A4j.health();
      assertEquals(before.calls() + 2, after.calls());
      assertTrue(after.sharedCalls() > before.sharedCalls(), after.toString());
      assertTrue(after.workspaceBytes() > 0, after.toString());
      assertEquals(0, after.waitingCalls());
    } finally {
      A4j.threads(threads);
    }
  }

  @Test
  void shouldLetNoMoreCallsComputeAtOnceThanAllowed() throws Exception {
    try (Arena arena = Arena.ofShared();
        ExecutorService callers = Executors.newFixedThreadPool(4)) {
      float[] wanted = attend(arena, 300);
      A4j.concurrentCalls(1);
      List<Future<float[]>> results = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        results.add(callers.submit(() -> attend(arena, 300)));
      }
      int waiting = 0;
      while (waiting == 0 && !results.getLast().isDone()) {
        waiting = A4j.health().waitingCalls();
      }
      for (Future<float[]> result : results) {
        assertArrayEquals(wanted, result.get());
      }
      assertTrue(waiting > 0, "nobody waited");
      assertEquals(0, A4j.health().waitingCalls());
    } finally {
      A4j.concurrentCalls(0);
    }
  }

  /** A call that fails gives its place back. */
  @Test
  void shouldNotLoseAPlaceToACallThatFails() {
    A4j.concurrentCalls(1);
    try (Arena arena = Arena.ofConfined()) {
      Tensor closed;
      try (Arena shorter = Arena.ofConfined()) {
        closed = Tensor.allocate(shorter, DType.F32, 4, 8);
      }
      Tensor out = Tensor.allocate(arena, DType.F32, 4, 8);
      RmsNorm norm = RmsNorm.withoutWeight(1e-6);
      assertThrows(IllegalStateException.class, () -> norm.forward(closed, out));
      norm.forward(out, out);
    } finally {
      A4j.concurrentCalls(0);
    }
    assertEquals(
        "concurrentCalls must not be negative: most=-1",
        assertThrows(IllegalArgumentException.class, () -> A4j.concurrentCalls(-1)).getMessage());
  }

  @Test
  void shouldRecordCallsWhenTheEventIsEnabled() throws Exception {
    Path file = temporary.resolve("calls.jfr");
    int threads = A4j.threads();
    A4j.threads(2);
    try (Arena arena = Arena.ofConfined();
        Recording recording = new Recording()) {
      recording.enable(EVENT);
      recording.start();
      attend(arena, 400);
      RmsNorm.withoutWeight(1e-6)
          .forward(
              Tensor.allocate(arena, DType.F32, 5, 8), Tensor.allocate(arena, DType.F32, 5, 8));
      Tensor half = Tensor.allocate(arena, DType.BF16, 1, 1, 5, 8);
      Attention.builder()
          .build()
          .forward(half, half, half, Tensor.allocate(arena, DType.F16, half.shape()));
      recording.stop();
      recording.dump(file);
    } finally {
      A4j.threads(threads);
    }
    List<RecordedEvent> events = calls(file);
    assertEquals(3, events.size(), events.toString());
    RecordedEvent attention = events.get(0);
    assertEquals("a4j_attention", attention.getString("operation"));
    assertTrue(
        attention.getString("sizes").contains("batch=1 heads_q=8 heads_kv=8 len_q=400 len_k=400"),
        attention.toString());
    assertTrue(attention.getString("sizes").contains("k.dtype=F32"), attention.toString());
    assertEquals(A4j.isa(), attention.getString("isa"));
    assertEquals(2, attention.getInt("threadsAllowed"));
    assertEquals(
        attention.getBoolean("teamBusy") ? 1 : 2, attention.getInt("threadsUsed"), "" + attention);
    assertTrue(attention.getDuration().toNanos() > 0, attention.toString());
    assertEquals(4 * 8 * 400 * 64 * Float.BYTES, attention.getLong("bytes"));
    RecordedEvent norm = events.get(1);
    assertEquals("a4j_rms_norm", norm.getString("operation"));
    assertEquals("dtype=F32 rows=5 dim=8 out_dtype=F32", norm.getString("sizes"));
    assertEquals(1, norm.getInt("threadsUsed"));
    String types = events.get(2).getString("sizes");
    assertTrue(types.contains("q.dtype=BF16 k.dtype=BF16 v.dtype=BF16 out.dtype=F16"), types);
  }

  @Test
  void shouldRecordTheBytesOfInputsAndOutputs() throws Exception {
    Map<String, Long> wanted = new LinkedHashMap<>();
    Path file = temporary.resolve("bytes.jfr");
    try (Arena arena = Arena.ofConfined();
        Recording recording = new Recording()) {
      Tensor q = Tensor.allocate(arena, DType.F32, 2, 6, 5, 8);
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 6, 5, 8);
      Tensor k = Tensor.allocate(arena, DType.BF16, 2, 3, 7, 8);
      Tensor oneKey = Tensor.allocate(arena, DType.F32, 1, 3, 7, 8).expand(0, 2);
      Tensor mask = Tensor.allocate(arena, DType.BOOL, 5, 7);
      Tensor weights = Tensor.allocate(arena, DType.F32, 2, 6, 5, 7);
      Attention plain = Attention.builder().build();
      KvCache cache = KvCache.allocate(arena, DType.I8, 2, 3, 100, 8);
      Tensor rows = Tensor.allocate(arena, DType.F32, 2, 3, 4, 8);
      Tensor x = Tensor.allocate(arena, DType.F32, 9, 64);
      Tensor y = Tensor.allocate(arena, DType.F16, 9, 20);
      Linear linear = Linear.random(arena, 64, 20, 1);
      Tensor stored = Tensor.allocate(arena, DType.BF16, 20, 64);
      QuantizedWeights codes =
          QuantizedWeights.quantize(arena, linear.weight(), Quantization.symmetric(4));
      recording.enable(EVENT);
      recording.start();
      plain.forward(q, k, k, out);
      wanted.put("grouped keys of 16 bits", 4L * 2 * 60 * 8 + 2L * 2 * 42 * 8);
      plain.forward(q, oneKey, oneKey, out);
      wanted.put("keys that the batch shares", 4L * 2 * 60 * 8 + 4L * 2 * 21 * 8);
      Attention.builder()
          .mask(Mask.allow(mask))
          .build()
          .forward(q, k, k, out, Extras.ofWeights(weights));
      wanted.put("mask and weights", 4L * 960 + 2L * 672 + 35 + 4L * 420);
      cache.append(rows, rows, new int[] {4, 1});
      wanted.put("keys to a cache of 8 bits", (4L + 1) * 5 * 3 * 8);
      wanted.put("values to a cache of 8 bits", (4L + 1) * 5 * 3 * 8);
      plain.forward(q, cache, out);
      wanted.put("keys that the cache holds", 4L * 960 + 2L * 5 * 3 * 8);
      linear.forward(x, y);
      wanted.put("linear", 4L * 9 * 64 + 4L * 20 * 64 + 2L * 9 * 20);
      Linear.of(stored).forwardAdd(x, y);
      wanted.put("a sum, weights of 16 bits", 4L * 9 * 64 + 2L * 20 * 64 + 2L * 2 * 9 * 20);
      Linear.of(codes).forward(x, y);
      wanted.put("quantised weights", 4L * 9 * 64 + codes.byteSize() + 2L * 9 * 20);
      recording.stop();
      recording.dump(file);
    }
    Map<String, Long> recorded = new LinkedHashMap<>();
    Iterator<RecordedEvent> events = calls(file).iterator();
    wanted.keySet().forEach(call -> recorded.put(call, events.next().getLong("bytes")));
    assertEquals(wanted, recorded);
  }

  @Test
  void shouldRecordNothingUnlessTheEventIsEnabled() throws Exception {
    Path file = temporary.resolve("none.jfr");
    try (Arena arena = Arena.ofConfined();
        Recording recording = new Recording()) {
      recording.start();
      attend(arena, 10);
      recording.stop();
      recording.dump(file);
    }
    assertEquals(List.of(), calls(file));
  }

  /** The option that the guide shows: without the plus sign, the JVM ignores events it lacks. */
  @Test
  void shouldRecordWithTheOptionOfTheGuide() throws Exception {
    Path file = temporary.resolve("option.jfr");
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.add(
        "-XX:StartFlightRecording:settings=default,+" + EVENT + "#enabled=true,filename=" + file);
    arguments.add(OneCall.class.getName());
    ChildJvm child = ChildJvm.start(Map.of(), arguments).await();
    assertEquals(0, child.exit(), child.err());
    assertEquals(1, calls(file).size());
  }

  /** A runtime image may leave out everything but java.base. */
  @Test
  void shouldRunWithoutFlightRecorder() throws Exception {
    ChildJvm.info("--limit-modules=java.base").requireSilentSuccess();
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of("--limit-modules=java.base", OneCall.class.getName()));
    assertEquals(
        "computed\n", ChildJvm.start(Map.of(), arguments).await().requireSilentSuccess().out());
  }

  @Test
  void shouldLogWhereLibrariesAreUnpackedInstead() throws Exception {
    Path file = Files.createFile(temporary.resolve("file"));
    Path jar = temporary.resolve("classes.jar");
    Path classes = Path.of(A4j.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    java.util.spi.ToolProvider.findFirst("jar")
        .orElseThrow()
        .run(System.out, System.err, "-cf", jar.toString(), "-C", classes.toString(), ".");
    ChildJvm child =
        ChildJvm.startInfo(
                Map.of("XDG_CACHE_HOME", file.toString()),
                "-Djava.io.tmpdir=" + temporary,
                "-cp",
                jar.toString())
            .await();
    assertEquals(0, child.exit(), child.err());
    assertTrue(child.err().contains("WARNING: " + temporary.resolve("attention4j-")), child.err());
    assertTrue(child.err().contains(" is used for native libraries, because " + file), child.err());
  }

  @Test
  void shouldLoadAheadOfTheFirstCall() {
    A4j.load();
    assertTrue(A4j.health().calls() >= 0);
  }

  /** One attention. */
  static final class OneCall {
    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        attend(arena, 20);
        System.out.println("computed");
      }
    }
  }

  private static List<RecordedEvent> calls(Path file) throws Exception {
    return RecordingFile.readAllEvents(file).stream()
        .filter(event -> event.getEventType().getName().equals(EVENT))
        .toList();
  }

  private static float[] attend(Arena arena, int length) {
    float[] values = new float[8 * length * 64];
    for (int i = 0; i < values.length; i++) {
      values[i] = (i * 37 % 101 - 50) / 40f;
    }
    Tensor x = Tensor.of(arena, values, 1, 8, length, 64);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, length, 64);
    Attention.builder().build().forward(x, x, x, out);
    return out.toFloatArray();
  }
}
