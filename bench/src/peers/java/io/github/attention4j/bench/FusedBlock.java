package io.github.attention4j.bench;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.AddNorm;
import io.github.attention4j.classics.d2l.PositionwiseFfn;
import io.github.attention4j.classics.d2l.TransformerEncoderBlock;
import io.github.attention4j.classics.d2l.ValidLens;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.layer.SwiGlu;
import java.lang.foreign.Arena;
import java.util.function.Function;

/** attention4j's layers and blocks. */
final class FusedBlock implements Way {
  private final Arena arena = Arena.ofShared();
  private final Tensor out;
  private final Runnable call;

  /** A part that has been built: what to call, and the tensor that then holds the result. */
  private record Made(Runnable call, Tensor out) {}

  private FusedBlock(Function<Arena, Made> maker) {
    Made made = maker.apply(arena);
    call = made.call;
    out = made.out;
  }

  static FusedBlock layer(LayerShape shape) {
    JavaLayer.Weights weights = new JavaLayer.Weights(shape);
    return new FusedBlock(
        arena -> {
          MultiHeadAttention attention = attention(arena, shape, weights);
          Tensor x = Tensor.of(arena, weights.x(), shape.batch(), shape.length(), shape.width());
          Tensor out = Tensor.allocate(arena, DType.F32, x.shape());
          return new Made(() -> attention.forward(x, out), out);
        });
  }

  private static MultiHeadAttention attention(
      Arena arena, LayerShape shape, JavaLayer.Weights weights) {
    int width = shape.width();
    Linear packed =
        Linear.of(
                Tensor.of(arena, first3(weights.weight()), 3 * width, width),
                Tensor.of(arena, first3(weights.bias()), 3 * width))
            .packed(arena);
    Linear out =
        Linear.of(
                Tensor.of(arena, weights.weight()[3], width, width),
                Tensor.of(arena, weights.bias()[3], width))
            .packed(arena);
    return MultiHeadAttention.builder(packed, out)
        .heads(shape.heads())
        .mask(shape.causal() ? Mask.causal(Alignment.TOP_LEFT) : Mask.none())
        .build();
  }

  /** The weights of query, key and value, one below the other. */
  static float[] first3(float[][] parts) {
    return joined(parts[0], parts[1], parts[2]);
  }

  static float[] joined(float[]... parts) {
    int count = 0;
    for (float[] part : parts) {
      count += part.length;
    }
    float[] all = new float[count];
    int at = 0;
    for (float[] part : parts) {
      System.arraycopy(part, 0, all, at, part.length);
      at += part.length;
    }
    return all;
  }

  static FusedBlock encoder(EncoderShape shape) {
    EncoderShape.Weights w = new EncoderShape.Weights(shape);
    int width = shape.width();
    int hidden = shape.hidden();
    return new FusedBlock(
        arena -> {
          TransformerEncoderBlock block =
              TransformerEncoderBlock.of(
                  io.github.attention4j.classics.d2l.MultiHeadAttention.of(
                      attention(arena, shape.attention(), w.attention())),
                  addNorm(arena, w.norm1Weight(), w.norm1Bias()),
                  PositionwiseFfn.of(
                      Linear.of(
                              Tensor.of(arena, w.up(), hidden, width),
                              Tensor.of(arena, w.upBias(), hidden))
                          .packed(arena),
                      Linear.of(
                              Tensor.of(arena, w.down(), width, hidden),
                              Tensor.of(arena, w.downBias(), width))
                          .packed(arena)),
                  addNorm(arena, w.norm2Weight(), w.norm2Bias()));
          Tensor x = Tensor.of(arena, w.attention().x(), shape.batch(), shape.length(), width);
          Tensor out = Tensor.allocate(arena, DType.F32, x.shape());
          return new Made(() -> block.forward(x, ValidLens.none(), out), out);
        });
  }

  private static AddNorm addNorm(Arena arena, float[] weight, float[] bias) {
    return AddNorm.of(
        LayerNorm.of(
            Tensor.of(arena, weight, weight.length),
            Tensor.of(arena, bias, bias.length),
            EncoderShape.EPSILON));
  }

  /** The block as the library's own language model computes it. */
  static FusedBlock decoder(DecoderShape shape) {
    return new FusedBlock(
        arena -> {
          Llama llama = new Llama(arena, shape, new DecoderShape.Weights(shape));
          return new Made(llama::forward, llama.out);
        });
  }

  private static final class Llama {
    private final DecoderShape shape;
    private final RmsNorm norm1;
    private final Linear queryKeyValue;
    private final Linear outProjection;
    private final RmsNorm norm2;
    private final Linear gateUp;
    private final Linear down;
    private final RotaryEmbedding rotary;
    private final KvCache cache;
    private final Attention attention;

    private final Tensor x;
    private final Tensor out;
    private final Tensor normed;
    private final Tensor packed;
    private final Tensor turned;
    private final Tensor q;
    private final Tensor k;
    private final Tensor v;
    private final Tensor read;
    private final Tensor hidden;
    private final Tensor gate;
    private final Tensor up;

    /** Packed for a prompt; one token reads its weights only once, which is as fast unpacked. */
    private Linear linear(Arena arena, int dimOut, int dimIn, float[] weight) {
      Linear linear = Linear.of(Tensor.of(arena, weight, dimOut, dimIn));
      return shape.tokens() > 1 ? linear.packed(arena) : linear;
    }

    Llama(Arena arena, DecoderShape shape, DecoderShape.Weights w) {
      this.shape = shape;
      int width = shape.width();
      int widthKv = shape.widthKv();
      norm1 = RmsNorm.of(Tensor.of(arena, w.norm1(), width), DecoderShape.EPSILON);
      queryKeyValue =
          linear(arena, width + 2 * widthKv, width, joined(w.query(), w.key(), w.value()));
      outProjection = linear(arena, width, width, w.out());
      norm2 = RmsNorm.of(Tensor.of(arena, w.norm2(), width), DecoderShape.EPSILON);
      gateUp = linear(arena, 2 * shape.hidden(), width, joined(w.gate(), w.up()));
      down = linear(arena, width, shape.hidden(), w.down());
      int half = shape.dim() / 2;
      rotary =
          RotaryEmbedding.of(
              RotaryTable.of(
                  Tensor.of(arena, shape.angles(Math::cos), shape.keys(), half),
                  Tensor.of(arena, shape.angles(Math::sin), shape.keys(), half)),
              RotaryEmbedding.Style.HALF);
      cache = KvCache.allocate(arena, 1, shape.headsKv(), shape.keys(), shape.dim());
      if (shape.start() > 0) {
        cache.append(
            Tensor.of(arena, w.keys(), 1, shape.headsKv(), shape.start(), shape.dim()),
            Tensor.of(arena, w.values(), 1, shape.headsKv(), shape.start(), shape.dim()));
      }
      attention = Attention.builder().mask(Mask.causal(Alignment.BOTTOM_RIGHT)).build();

      int tokens = shape.tokens();
      x = Tensor.of(arena, w.x(), tokens, width);
      out = room(arena, tokens, width);
      normed = room(arena, tokens, width);
      packed = room(arena, tokens, width + 2 * widthKv);
      Tensor heads = packed.unsqueeze(0).splitHeads(shape.heads() + 2L * shape.headsKv());
      turned = heads.slice(1, 0, shape.heads() + shape.headsKv());
      q = heads.slice(1, 0, shape.heads());
      k = heads.slice(1, shape.heads(), shape.headsKv());
      v = heads.slice(1, shape.heads() + shape.headsKv(), shape.headsKv());
      read = room(arena, tokens, width);
      hidden = room(arena, tokens, 2 * shape.hidden());
      gate = hidden.slice(1, 0, shape.hidden());
      up = hidden.slice(1, shape.hidden(), shape.hidden());
    }

    private static Tensor room(Arena arena, int rows, int width) {
      return Tensor.allocate(arena, DType.F32, rows, width);
    }

    void forward() {
      cache.truncate(shape.start());
      out.copyFrom(x);
      norm1.forward(x, normed);
      queryKeyValue.forward(normed, packed);
      rotary.forward(turned, turned, shape.start());
      cache.append(k, v);
      attention.forward(q, cache, read.unsqueeze(0).splitHeads(shape.heads()));
      outProjection.forwardAdd(read, out);
      norm2.forward(out, normed);
      gateUp.forward(normed, hidden);
      SwiGlu.multiply(gate, up, gate);
      down.forwardAdd(gate, out);
    }
  }

  @Override
  public String name() {
    return "";
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
