package io.github.attention4j.bench;

import static io.github.attention4j.bench.TorchContender.sdpa;

import java.io.IOException;
import java.util.List;

/** Layers and blocks in PyTorch, composed of its functions, and its own fused ones. */
final class TorchBlocks {
  private TorchBlocks() {}

  static List<Contender.Opening> layer(LayerShape shape, Storage storage) {
    return shape.causal()
        ? List.of(() -> composedLayer(shape, storage))
        : List.of(() -> composedLayer(shape, storage), () -> nativeLayer(shape, storage));
  }

  /** A projection, its weights as PyTorch keeps them. */
  static Way product(Workload.Product product) throws Exception {
    Projection shape = product.shape();
    Storage storage = product.storage();
    return RotatingWay.of(
        product,
        () ->
            new TorchWay("")
                .with("x", storage, SharedRows.x(shape), shape.rows(), shape.dimIn())
                .with("w", storage, SharedRows.weight(shape), shape.dimOut(), shape.dimIn())
                .program("return torch.linear(x, w)"));
  }

  private static TorchWay composedLayer(LayerShape shape, Storage storage) throws IOException {
    return layerArguments("sdpa", shape, storage, new JavaLayer.Weights(shape))
        .program(attention(shape, shape.causal()) + "return y");
  }

  private static TorchWay nativeLayer(LayerShape shape, Storage storage) throws IOException {
    return layerArguments("native_mha", shape, storage, new JavaLayer.Weights(shape))
        .program(
            """
            y, w = torch._native_multi_head_attention(\
            x, x, x, %d, %d, wqkv, bqkv, wo, bo, None, False, True, None)
            return y
            """
                .formatted(shape.width(), shape.heads()));
  }

  private static TorchWay layerArguments(
      String name, LayerShape shape, Storage storage, JavaLayer.Weights weights) {
    int width = shape.width();
    return new TorchWay(name)
        .with("x", storage, weights.x(), shape.batch(), shape.length(), width)
        .with("wqkv", storage, FusedBlock.first3(weights.weight()), 3L * width, width)
        .with("bqkv", storage, FusedBlock.first3(weights.bias()), 3L * width)
        .with("wo", storage, weights.weight()[3], width, width)
        .with("bo", storage, weights.bias()[3], width);
  }

  /** Statements that compute y from x, wqkv, bqkv, wo, bo. */
  private static String attention(LayerShape shape, boolean causal) {
    int dim = shape.width() / shape.heads();
    String heads =
        "torch.transpose(torch.reshape(%%s, [%d, %d, %d, %d]), 1, 2)"
            .formatted(shape.batch(), shape.length(), shape.heads(), dim);
    return """
    q, k, v = torch.chunk(torch.linear(x, wqkv, bqkv), 3, 2)
    o = %s
    r = torch.reshape(torch.transpose(o, 1, 2), [%d, %d, %d])
    y = torch.linear(r, wo, bo)
    """
        .formatted(
            sdpa(heads.formatted("q"), heads.formatted("k"), heads.formatted("v"), causal),
            shape.batch(),
            shape.length(),
            shape.width());
  }

  static List<Contender.Opening> encoder(EncoderShape shape) {
    return List.of(() -> composedEncoder(shape), () -> nativeEncoder(shape));
  }

  private static TorchWay composedEncoder(EncoderShape shape) throws IOException {
    String norm = "torch.layer_norm(%s, [" + shape.width() + "], %s, %s, 0.00001, False)";
    return encoderArguments("sdpa", shape)
        .program(
            attention(shape.attention(), false)
                + """
                n = %s
                h = torch.relu(torch.linear(n, up, bup))
                z = torch.linear(h, down, bdown)
                return %s
                """
                    .formatted(
                        norm.formatted("torch.add(x, y)", "n1w", "n1b"),
                        norm.formatted("torch.add(n, z)", "n2w", "n2b")));
  }

  private static TorchWay nativeEncoder(EncoderShape shape) throws IOException {
    return encoderArguments("native", shape)
        .program(
            """
            return torch._transformer_encoder_layer_fwd(x, %d, %d, wqkv, bqkv, wo, bo, \
            False, False, 0.00001, n1w, n1b, n2w, n2b, up, bup, down, bdown, None, None)
            """
                .formatted(shape.width(), shape.heads()));
  }

  private static TorchWay encoderArguments(String name, EncoderShape shape) {
    EncoderShape.Weights w = new EncoderShape.Weights(shape);
    int width = shape.width();
    int hidden = shape.hidden();
    return layerArguments(name, shape.attention(), Storage.F32, w.attention())
        .with("n1w", w.norm1Weight(), width)
        .with("n1b", w.norm1Bias(), width)
        .with("up", w.up(), hidden, width)
        .with("bup", w.upBias(), hidden)
        .with("down", w.down(), width, hidden)
        .with("bdown", w.downBias(), width)
        .with("n2w", w.norm2Weight(), width)
        .with("n2b", w.norm2Bias(), width);
  }

  static List<Contender.Opening> decoder(DecoderShape shape) {
    return shape.isStep()
        ? List.of(() -> decoder(shape, "fold"), () -> decoder(shape, "bmm"))
        : List.of(() -> decoder(shape, "rep"));
  }

  private static TorchWay decoder(DecoderShape s, String kind) throws IOException {
    DecoderShape.Weights w = new DecoderShape.Weights(s);
    int half = s.dim() / 2;
    int group = s.heads() / s.headsKv();
    float[] cos = new float[s.tokens() * half];
    float[] sin = new float[s.tokens() * half];
    System.arraycopy(s.angles(Math::cos), s.start() * half, cos, 0, cos.length);
    System.arraycopy(s.angles(Math::sin), s.start() * half, sin, 0, sin.length);
    return new TorchWay(kind)
        .with("x", w.x(), 1, s.tokens(), s.width())
        .with("n1", w.norm1(), s.width())
        .with(
            "wqkv",
            FusedBlock.joined(w.query(), w.key(), w.value()),
            s.width() + 2L * s.widthKv(),
            s.width())
        .with("wo", w.out(), s.width(), s.width())
        .with("n2", w.norm2(), s.width())
        .with("wgu", FusedBlock.joined(w.gate(), w.up()), 2L * s.hidden(), s.width())
        .with("wd", w.down(), s.width(), s.hidden())
        .with("cos", cos, s.tokens(), half)
        .with("sin", sin, s.tokens(), half)
        .with("keys", room(s, w.keys()), 1, s.headsKv(), s.keys(), s.dim())
        .with("values", room(s, w.values()), 1, s.headsKv(), s.keys(), s.dim())
        .program(
            """
            n = torch.rms_norm(x, [%1$d], n1, 0.00001)
            p = torch.transpose(torch.reshape(torch.linear(n, wqkv), [1, %2$d, %3$d, %4$d]), 1, 2)
            q, k, v = torch.split(p, [%5$d, %6$d, %6$d], 1)
            q1, q2 = torch.chunk(q, 2, 3)
            k1, k2 = torch.chunk(k, 2, 3)
            rq1 = torch.sub(torch.mul(q1, cos), torch.mul(q2, sin))
            rq2 = torch.add(torch.mul(q2, cos), torch.mul(q1, sin))
            rq = torch.cat([rq1, rq2], 3)
            rk1 = torch.sub(torch.mul(k1, cos), torch.mul(k2, sin))
            rk2 = torch.add(torch.mul(k2, cos), torch.mul(k1, sin))
            rk = torch.cat([rk1, rk2], 3)
            a = torch.copy_(torch.narrow(keys, 2, %7$d, %2$d), rk)
            b = torch.copy_(torch.narrow(values, 2, %7$d, %2$d), v)
            """
                    .formatted(
                        s.width(),
                        s.tokens(),
                        s.heads() + 2 * s.headsKv(),
                        s.dim(),
                        s.heads(),
                        s.headsKv(),
                        s.start())
                + read(s, kind, group)
                + """
                r = torch.reshape(torch.transpose(o, 1, 2), [1, %d, %d])
                y = torch.add(x, torch.linear(r, wo))
                g, u = torch.chunk(torch.linear(torch.rms_norm(y, [%d], n2, 0.00001), wgu), 2, 2)
                return torch.add(y, torch.linear(torch.mul(torch.silu(g), u), wd))
                """
                    .formatted(s.tokens(), s.width(), s.width()));
  }

  /** Statements that compute o [1, heads, tokens, dim] from rq, keys, values. */
  private static String read(DecoderShape s, String kind, int group) {
    if (kind.equals("rep")) {
      return """
      ks = torch.repeat_interleave(keys, %d, 1)
      vs = torch.repeat_interleave(values, %d, 1)
      o = %s
      """
          .formatted(group, group, sdpa("rq", "ks", "vs", true));
    }
    String fold =
        kind.equals("fold")
            ? sdpa("f", "keys", "values", false)
            : TorchContender.composed("f", "keys", "values", 1 / Math.sqrt(s.dim()));
    return """
    f = torch.reshape(rq, [1, %d, %d, %d])
    o = torch.reshape(%s, [1, %d, 1, %d])
    """
        .formatted(s.headsKv(), group, s.dim(), fold, s.heads(), s.dim());
  }

  private static float[] room(DecoderShape s, float[] cached) {
    return Layouts.withRoom(cached, s.headsKv(), s.start(), s.keys(), s.dim());
  }
}
