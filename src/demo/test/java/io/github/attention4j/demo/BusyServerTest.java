package io.github.attention4j.demo;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.SwiGlu;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import java.lang.foreign.Arena;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Many requests at once, of every kind, give the bits that each gives alone. */
class BusyServerTest {
  private static final int REQUEST_THREADS = 8;
  private static final long NANOS = TimeUnit.SECONDS.toNanos(4);

  private final Random random = new Random(8);

  @Test
  void shouldGiveEachRequestItsOwnResultWhateverElseRuns() throws Exception {
    Arena inputs = Arena.ofShared();
    try (inputs;
        CausalLm llama = CausalLm.open(DemoModel.LLAMA.directory());
        CausalLm diffLlama = CausalLm.open(DemoModel.DIFFLLAMA.directory())) {
      Map<String, Callable<float[]>> requests = new LinkedHashMap<>();
      attention(inputs, requests);
      layers(inputs, requests);
      requests.put("llama", () -> generated(llama));
      requests.put("diffLlama", () -> generated(diffLlama));
      List<String> names = List.copyOf(requests.keySet());
      Map<String, float[]> alone = new LinkedHashMap<>();
      for (String name : names) {
        alone.put(name, requests.get(name).call());
      }

      long end = System.nanoTime() + NANOS;
      List<Future<Integer>> served = new ArrayList<>();
      try (ExecutorService threads = Executors.newFixedThreadPool(REQUEST_THREADS)) {
        for (int t = 0; t < REQUEST_THREADS; t++) {
          Random order = new Random(t);
          served.add(
              threads.submit(
                  () -> {
                    int count = 0;
                    while (System.nanoTime() < end) {
                      String name = names.get(order.nextInt(names.size()));
                      assertArrayEquals(alone.get(name), requests.get(name).call(), name);
                      count++;
                    }
                    return count;
                  }));
        }
        for (Future<Integer> one : served) {
          assertTrue(one.get() > 0, "a thread was never served");
        }
      }
    }
  }

  private void attention(Arena inputs, Map<String, Callable<float[]>> requests) {
    Mask causal = Mask.causal(Alignment.TOP_LEFT);
    for (int length : new int[] {3, 64, 257}) {
      Tensor q = random(inputs, random, 2, 4, length, 32);
      Tensor k = random(inputs, random, 2, 4, length, 32);
      Tensor v = random(inputs, random, 2, 4, length, 32);
      Tensor wide = v.slice(1, 0, 2);
      Attention attention = Attention.builder().mask(causal).build();
      requests.put(
          "attention " + length,
          () -> own(q.shape(), (arena, out) -> attention.forward(q, k, v, out)));
      requests.put(
          "weights " + length,
          () ->
              own(
                  new long[] {2, 4, length, length},
                  (arena, weights) ->
                      attention.forward(
                          q,
                          k,
                          v,
                          Tensor.allocate(arena, DType.F32, q.shape()),
                          Extras.none().weights(weights))));
      Differential differential = Differential.builder().mask(causal).build();
      requests.put(
          "differential " + length,
          () -> own(wide.shape(), (arena, out) -> differential.forward(q, k, wide, 0.3f, out)));
      requests.put(
          "cache " + length,
          () ->
              own(
                  q.shape(),
                  (arena, out) -> {
                    KvCache cache = KvCache.allocate(arena, 2, 4, length, 32);
                    Attention plain = Attention.builder().build();
                    cache.append(k.slice(2, 0, length - 1), v.slice(2, 0, length - 1));
                    plain.forward(q.slice(2, 0, length - 1), cache, out.slice(2, 0, length - 1));
                    cache.append(k.slice(2, length - 1, 1), v.slice(2, length - 1, 1));
                    plain.forward(q.slice(2, length - 1, 1), cache, out.slice(2, length - 1, 1));
                  }));
    }
    Tensor query = random(inputs, random, 1, 8, 1, 64);
    Tensor keys = random(inputs, random, 1, 2, 3000, 64);
    requests.put(
        "decode",
        () ->
            own(
                query.shape(),
                (arena, out) -> Attention.builder().build().forward(query, keys, keys, out)));
  }

  private void layers(Arena inputs, Map<String, Callable<float[]>> requests) {
    Linear linear = Linear.of(random(inputs, random, 192, 96), random(inputs, random, 192));
    RmsNorm norm = RmsNorm.of(random(inputs, random, 192), 1e-6);
    for (int rows : new int[] {1, 30, 600}) {
      Tensor x = random(inputs, random, rows, 96);
      requests.put(
          "layers " + rows,
          () ->
              own(
                  new long[] {rows, 192},
                  (arena, out) -> {
                    linear.forward(x, out);
                    norm.forward(out, out);
                    SwiGlu.multiply(out, out, out);
                  }));
    }
  }

  private interface Operation {
    void compute(Arena arena, Tensor out);
  }

  private static float[] own(long[] shape, Operation operation) {
    try (Arena arena = Arena.ofConfined()) {
      Tensor out = Tensor.allocate(arena, DType.F32, shape);
      operation.compute(arena, out);
      return out.toFloatArray();
    }
  }

  private static float[] generated(CausalLm model) {
    int[] prompt = "ROMEO:\nBut soft, what".chars().toArray();
    int[] added = model.generate(prompt, 12, Sampler.greedy(), token -> {});
    float[] tokens = new float[added.length];
    for (int i = 0; i < added.length; i++) {
      tokens[i] = added[i];
    }
    return tokens;
  }

  @Test
  void shouldServeThousandsOfVirtualThreadsThatCallAtOnce() throws Exception {
    int callers = 5000;
    Arena shared = Arena.ofShared();
    try (shared) {
      Tensor q = random(shared, random, 1, 2, 40, 16);
      Attention attention = Attention.builder().build();
      float[] alone = own(q.shape(), (arena, out) -> attention.forward(q, q, q, out));
      CountDownLatch all = new CountDownLatch(callers);
      List<Future<float[]>> results = new ArrayList<>();
      try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
        for (int i = 0; i < callers; i++) {
          results.add(
              threads.submit(
                  () -> {
                    all.countDown();
                    all.await();
                    return own(q.shape(), (arena, out) -> attention.forward(q, q, q, out));
                  }));
        }
        for (Future<float[]> result : results) {
          assertArrayEquals(alone, result.get());
        }
      }
    }
  }

  // ---- Arenas that are closed meanwhile ----

  @Test
  void shouldFinishOrRefuseEveryOperationWhoseArenaIsClosedMeanwhile() throws Exception {
    for (int round = 0; round < 24; round++) {
      Arena shared = Arena.ofShared();
      Tensor x = random(shared, random, 1, 4, 300, 32);
      Tensor out = Tensor.allocate(shared, DType.F32, x.shape());
      Tensor wide = Tensor.allocate(shared, DType.F32, 1, 2, 300, 32);
      Tensor one = x.slice(2, 7, 1);
      Linear linear = Linear.of(x.select(0, 0).select(0, 0).slice(0, 0, 32));
      RmsNorm norm = RmsNorm.withoutWeight(1e-6);
      Differential differential = Differential.builder().build();
      Attention attention = Attention.builder().build();
      List<Runnable> operations =
          List.of(
              () -> attention.forward(x, x, x, out),
              () -> attention.forward(one, x, x, out.slice(2, 0, 1)),
              () -> differential.forward(x, x, x.slice(1, 0, 2), 0.5f, wide),
              () -> linear.forward(x, out),
              () -> norm.forward(x, out),
              () -> SwiGlu.multiply(x, x, out));
      Runnable operation = operations.get(round % operations.size());
      CountDownLatch running = new CountDownLatch(1);
      FutureTask<String> caller =
          new FutureTask<>(
              () -> {
                try {
                  while (true) {
                    operation.run();
                    running.countDown();
                  }
                } catch (IllegalStateException closed) {
                  return closed.getMessage();
                }
              });
      new Thread(caller).start();
      running.await();
      while (shared.scope().isAlive()) {
        try {
          shared.close();
        } catch (IllegalStateException inUse) {
          Thread.onSpinWait();
        }
      }
      String message = caller.get();
      assertTrue(message.contains("closed"), message);
    }
  }

  // ---- Two class loaders ----

  @Test
  void shouldComputeInTwoClassLoadersAtOnce() throws Exception {
    URL[] classes = {
      A4j.class.getProtectionDomain().getCodeSource().getLocation(),
      BusyServerTest.class.getProtectionDomain().getCodeSource().getLocation()
    };
    float[] here = ByAnyLoader.compute();
    try (URLClassLoader loader = new URLClassLoader(classes, ClassLoader.getPlatformClassLoader());
        ExecutorService threads = Executors.newFixedThreadPool(4)) {
      Class<?> second = loader.loadClass(ByAnyLoader.class.getName());
      assertNotSame(ByAnyLoader.class, second);
      var compute = second.getDeclaredMethod("compute");
      List<Future<float[]>> results = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        results.add(threads.submit(ByAnyLoader::compute));
        results.add(threads.submit(() -> (float[]) compute.invoke(null)));
      }
      for (Future<float[]> result : results) {
        assertArrayEquals(here, result.get());
      }
      assertEquals(400, results.size());
    }
  }

  /** Uses nothing but the library, so that a loader without the tests' libraries can run it. */
  public static final class ByAnyLoader {
    private ByAnyLoader() {}

    public static float[] compute() {
      try (Arena arena = Arena.ofConfined()) {
        float[] values = new float[4 * 150 * 32];
        for (int i = 0; i < values.length; i++) {
          values[i] = (i * 37 % 101 - 50) / 40f;
        }
        Tensor x = Tensor.of(arena, values, 1, 4, 150, 32);
        Tensor attended = Tensor.allocate(arena, DType.F32, 1, 4, 150, 32);
        Tensor out = Tensor.allocate(arena, DType.F32, 4 * 150, 32);
        Attention.builder().build().forward(x, x, x, attended);
        Linear.of(x.reshape(600, 32).slice(0, 0, 32)).forward(attended.reshape(600, 32), out);
        return out.toFloatArray();
      }
    }
  }
}
