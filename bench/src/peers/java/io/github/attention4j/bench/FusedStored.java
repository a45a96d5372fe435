package io.github.attention4j.bench;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** attention4j over numbers in fewer bits. */
final class FusedStored implements Way {
  private final String name;
  private final Arena arena = Arena.ofShared();
  private final Tensor out;
  private final Runnable call;

  /** What to call, and the tensor that then holds the result. */
  private record Made(Runnable call, Tensor out) {}

  private FusedStored(String name, Function<Arena, Made> maker) {
    this.name = name;
    Made made = maker.apply(arena);
    call = made.call;
    out = made.out;
  }

  private static Mask mask(boolean causal) {
    return causal ? Mask.causal(Alignment.TOP_LEFT) : Mask.none();
  }

  /** Queries, keys and values, with the head dimension first. */
  private record Stored(Tensor q, Tensor k, Tensor v, Tensor out) {
    static Stored of(Arena arena, Shape heads, int headsOut, Storage storage) {
      Inputs in = SharedInputs.of(heads, storage);
      long batch = heads.batch();
      return new Stored(
          stored(arena, storage, in.q(), batch, heads.headsQ(), heads.lenQ(), heads.dimQk()),
          stored(arena, storage, in.k(), batch, heads.headsK(), heads.lenK(), heads.dimQk()),
          stored(arena, storage, in.v(), batch, heads.headsV(), heads.lenK(), heads.dimV()),
          Tensor.allocate(arena, storage.dtype(), batch, headsOut, heads.lenQ(), heads.dimV()));
    }

    private static Tensor stored(Arena arena, Storage storage, float[] values, long... shape) {
      return storage.of(arena, Tensor.of(arena, values, shape));
    }
  }

  /** Everything in one type, including the result. */
  static FusedStored prefill(Workload.Prefill prefill, int threads) {
    Shape shape = prefill.shape();
    Attention attention = Attention.builder().mask(mask(shape.causal())).threads(threads).build();
    return new FusedStored(
        "",
        arena -> {
          Stored t = Stored.of(arena, shape, shape.headsQ(), prefill.storage());
          return new Made(() -> attention.forward(t.q, t.k, t.v, t.out), t.out);
        });
  }

  static FusedStored pairs(Workload.Pairs pairs, int threads) {
    Shape shape = pairs.shape();
    Differential attention =
        Differential.builder().mask(mask(shape.causal())).threads(threads).build();
    return new FusedStored(
        "",
        arena -> {
          Stored t = Stored.of(arena, shape.unpaired(), shape.headsQ(), pairs.storage());
          return new Made(() -> attention.forward(t.q, t.k, t.v, Fused.LAMBDA, t.out), t.out);
        });
  }

  /** A float32 query over a cache. */
  static FusedStored step(Workload.Step step, int threads) {
    Shape s = step.shape();
    Attention attention = Attention.builder().threads(threads).build();
    return new FusedStored(
        "",
        arena -> {
          Stored t = Stored.of(arena, s, s.headsQ(), Storage.F32);
          KvCache cache =
              KvCache.allocate(
                  arena, step.storage().dtype(), s.batch(), s.headsK(), s.lenK(), s.dimQk());
          cache.append(t.k, t.v);
          return new Made(() -> attention.forward(t.q, cache, t.out), t.out);
        });
  }

  /** Weights and rows in one type, and products of rounded numbers. */
  static FusedStored layer(Workload.Layer layer) {
    LayerShape shape = layer.layer();
    JavaLayer.Weights weights = new JavaLayer.Weights(shape);
    int width = shape.width();
    return new FusedStored(
        "",
        arena -> {
          Linear packed =
              projection(
                  arena,
                  layer.storage(),
                  FusedBlock.first3(weights.weight()),
                  FusedBlock.first3(weights.bias()),
                  width);
          Linear unite =
              projection(arena, layer.storage(), weights.weight()[3], weights.bias()[3], width);
          MultiHeadAttention attention =
              MultiHeadAttention.builder(packed, unite)
                  .heads(shape.heads())
                  .mask(mask(shape.causal()))
                  .build();
          Tensor x =
              layer
                  .storage()
                  .of(arena, Tensor.of(arena, weights.x(), shape.batch(), shape.length(), width));
          Tensor out = Tensor.allocate(arena, x.dtype(), x.shape());
          return new Made(() -> attention.forward(x, out), out);
        });
  }

  private static Linear projection(
      Arena arena, Storage storage, float[] weight, float[] bias, int dimIn) {
    Tensor stored = storage.of(arena, Tensor.of(arena, weight, bias.length, dimIn));
    return Linear.of(stored, Tensor.of(arena, bias, bias.length)).withBf16Products().packed(arena);
  }

  /** Weights read in place, packed, or packed for products of rounded numbers. */
  static List<Contender.Opening> products(Workload.Product product) {
    Projection shape = product.shape();
    List<Contender.Opening> ways = new ArrayList<>();
    ways.add(() -> product(product, "as stored", (linear, arena) -> linear));
    if (shape.rows() > 1) {
      ways.add(() -> product(product, "packed", Linear::packed));
    }
    if (shape.rows() > 1 && product.storage() != Storage.F32) {
      ways.add(
          () ->
              product(
                  product,
                  "bf16 products",
                  (linear, arena) -> linear.withBf16Products().packed(arena)));
    }
    return ways;
  }

  private interface Change {
    Linear of(Linear linear, Arena arena);
  }

  private static Way product(Workload.Product product, String name, Change change)
      throws Exception {
    Projection shape = product.shape();
    return RotatingWay.of(
        product,
        () ->
            new FusedStored(
                name,
                arena -> {
                  Tensor weight =
                      Tensor.of(arena, SharedRows.weight(shape), shape.dimOut(), shape.dimIn());
                  Linear linear = change.of(product.storage().linear(arena, weight), arena);
                  Tensor x = Tensor.of(arena, SharedRows.x(shape), shape.rows(), shape.dimIn());
                  Tensor out = Tensor.allocate(arena, DType.F32, shape.rows(), shape.dimOut());
                  return new Made(() -> linear.forward(x, out), out);
                }));
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void run() {
    call.run();
  }

  @Override
  public float[] result() {
    return out.toFloatArray();
  }

  @Override
  public void close() {
    arena.close();
  }
}
