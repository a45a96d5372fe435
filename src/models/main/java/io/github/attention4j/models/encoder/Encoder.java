package io.github.attention4j.models.encoder;

import static io.github.attention4j.Score.batch;
import static io.github.attention4j.Score.floats;
import static io.github.attention4j.Score.head;
import static io.github.attention4j.Score.ints;
import static io.github.attention4j.Score.key;
import static io.github.attention4j.Score.query;
import static io.github.attention4j.Score.score;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.FloatExpression;
import io.github.attention4j.IntExpression;
import io.github.attention4j.Mask;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Elementwise;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Buckets;
import io.github.attention4j.models.encoder.EncoderSpec.Convolution;
import io.github.attention4j.models.encoder.EncoderSpec.Disentangled;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Head;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Rotary;
import io.github.attention4j.models.encoder.EncoderSpec.Step;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.weights.RowNorm;
import io.github.attention4j.models.weights.Storage;
import io.github.attention4j.models.weights.WeightReader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs any {@link EncoderSpec} on packed texts:
 *
 * <pre>
 *   post-norm   x = norm(x + out(attention(x)))         x = norm(x + down(act(up(x))))
 *   pre-norm    x = x + out(attention(norm(x)))         x = x + down(act(gate(norm(x))) · up(norm(x)))
 * </pre>
 *
 * <p>Texts are concatenated without padding. Weights are packed, and every operation works row by
 * row or text by text, so a text's hidden states have the same bits in any batch.
 *
 * <p>Immutable and safe for any number of threads; each call needs its own {@link Scratch}.
 */
public final class Encoder {
  private final EncoderSpec spec;
  private final Tensor words;
  private final Tensor positions;
  private final Tensor types;
  private final RowNorm embeddingNorm;
  private final Linear embeddingProjection;
  private final List<Layer> layers;
  private final RowNorm finalNorm;
  private final Conv convolution;
  private final HeadLayers pooler;
  private final HeadLayers classifier;
  private final long parameters;

  private record Layer(
      Block block,
      Linear queryKeyValue,
      Linear out,
      RowNorm attentionNorm,
      RowNorm queryNorm,
      RowNorm keyNorm,
      RotaryEmbedding rotary,
      Attention attention,
      RelativeProducts relative,
      Linear up,
      Linear gate,
      Linear down,
      RowNorm feedForwardNorm) {}

  /**
   * DeBERTa's projections of the embeddings of distances, one for each head.
   *
   * @param byQuery from queries; null if not in use
   * @param byKey from keys; null if not in use
   * @param buckets {@code [2 · maxTokens − 1]}: the row for query − key
   */
  private record RelativeProducts(
      List<Linear> byQuery, List<Linear> byKey, Tensor buckets, int rows, double scale) {}

  /** A tap for each group and each position in the kernel. */
  private record Conv(Convolution spec, List<List<Linear>> taps, Tensor bias, RowNorm norm) {}

  private record HeadLayers(Head head, List<Linear> linears, List<RowNorm> norms) {
    long width() {
      return linears.getLast().dimOut();
    }
  }

  /**
   * Reads the weights.
   *
   * @param source the name of the checkpoint in messages
   * @param arena where they live; must be accessible to all threads that will call
   * @param storage how matrices are stored in memory
   * @throws IllegalArgumentException if tensors are missing or have other shapes; the message names
   *     them all
   */
  public Encoder(
      String source, EncoderSpec spec, Checkpoint checkpoint, Arena arena, Storage storage) {
    this.spec = spec;
    WeightReader reader = new WeightReader(source, checkpoint, storage, false, arena);
    EncoderWeights weights = new EncoderWeights(checkpoint, spec, reader);
    EncoderSpec.Embedding embedding = spec.embedding();
    int narrow = embedding.width();
    words = weights.stored(weights.base(embedding.word() + ".weight"), spec.vocabulary(), narrow);
    int rows = spec.maxTokens() + (embedding.pad() >= 0 ? embedding.pad() + 1 : 0);
    positions =
        embedding.position() == null
            ? null
            : weights.floats(weights.base(embedding.position() + ".weight"), rows, narrow);
    types =
        embedding.type() == null
            ? null
            : weights.floats(weights.base(embedding.type() + ".weight"), embedding.types(), narrow);
    embeddingNorm = weights.norm(embedding.norm(), true, narrow);
    embeddingProjection =
        embedding.projection() == null
            ? null
            : weights.linear(embedding.projection(), true, narrow, spec.width());
    layers = layers(weights);
    finalNorm = weights.norm(spec.finalNorm(), true, spec.width());
    convolution = convolution(weights);
    pooler = readHead(weights, spec.pooler(), spec.width());
    classifier = readHead(weights, spec.classifier(), spec.labels());
    reader.requireComplete();
    parameters = reader.parameters();
  }

  public EncoderSpec spec() {
    return spec;
  }

  public long parameters() {
    return parameters;
  }

  public boolean hasPooler() {
    return pooler != null;
  }

  public boolean hasClassifier() {
    return classifier != null;
  }

  /** The number of the classifier's labels; 0 without a classifier. */
  public int labels() {
    return classifier == null ? 0 : Math.toIntExact(classifier.width());
  }

  // ---- Reading ----

  private List<Layer> layers(EncoderWeights weights) {
    Map<Block, Layer> read = new IdentityHashMap<>();
    Map<Rotary, RotaryEmbedding> rotaries = new HashMap<>();
    Shared shared = new Shared();
    List<Layer> all = new ArrayList<>();
    for (Block block : spec.blocks()) {
      Layer layer = read.get(block);
      if (layer == null) {
        layer = layer(weights, block, rotaries, shared);
        read.put(block, layer);
      }
      all.add(layer);
    }
    return all;
  }

  /** What relative positions need and all layers share. */
  private static final class Shared {
    Tensor biases;
    Tensor buckets;
    Tensor relative;
  }

  private Layer layer(
      EncoderWeights weights, Block block, Map<Rotary, RotaryEmbedding> rotaries, Shared shared) {
    Heads heads = block.heads();
    long q = (long) heads.count() * heads.dim();
    long kv = (long) heads.countKv() * heads.dim();
    RotaryEmbedding rotary =
        heads.rotary() == null
            ? null
            : rotaries.computeIfAbsent(heads.rotary(), each -> rotary(weights, each, heads.dim()));
    Attention.Builder builder = Attention.builder();
    Mask mask = heads.causal() ? Mask.causal(Alignment.TOP_LEFT) : Mask.none();
    if (heads.window() >= 0) {
      mask = mask.and(Mask.window(heads.window(), heads.window(), Alignment.TOP_LEFT));
    }
    builder.mask(mask);
    RelativeProducts products = null;
    if (heads.relative() instanceof Buckets buckets) {
      builder.score(biased(weights, buckets, heads, shared));
    } else if (heads.relative() instanceof Disentangled disentangled) {
      products = relative(weights, disentangled, heads, shared);
    }
    FeedForward network = block.feedForward();
    long hidden = network.hidden();
    Linear[] up = up(weights, network);
    return new Layer(
        block,
        weights.linear(block.queryKeyValue(), true, spec.width(), q, kv, kv),
        weights.linear(block.out(), true, q, spec.width()),
        weights.norm(block.attentionNorm(), true, spec.width()),
        weights.norm(heads.queryNorm(), true, heads.dim()),
        weights.norm(heads.keyNorm(), true, heads.dim()),
        rotary,
        builder.build(),
        products,
        up[0],
        up[1],
        weights.linear(network.down(), true, hidden, spec.width()),
        weights.norm(block.feedForwardNorm(), true, spec.width()));
  }

  /** The up projection with the activation, or up and a gate with the activation. */
  private Linear[] up(EncoderWeights weights, FeedForward network) {
    long hidden = network.hidden();
    if (!network.gated()) {
      Linear up = weights.linear(network.up(), true, spec.width(), hidden);
      return new Linear[] {up.withActivation(network.activation()), null};
    }
    Linear[] halves = weights.halves(network.up(), spec.width(), hidden);
    Linear gate = halves[network.gateFirst() ? 0 : 1].withActivation(network.activation());
    return new Linear[] {halves[network.gateFirst() ? 1 : 0], gate};
  }

  private RotaryEmbedding rotary(EncoderWeights weights, Rotary rotary, int dim) {
    return RotaryEmbedding.of(
        RotaryTable.compute(
            weights.arena(),
            spec.maxTokens(),
            rotary.turned(dim),
            rotary.theta(),
            rotary.scaling()),
        RotaryEmbedding.Style.HALF);
  }

  // ---- MPNet's biases ----

  private FloatExpression biased(
      EncoderWeights weights, Buckets buckets, Heads heads, Shared shared) {
    int reach = spec.maxTokens();
    if (shared.biases == null) {
      Tensor table = weights.floats(weights.base(buckets.table()), buckets.rows(), heads.count());
      shared.biases = Tensor.allocate(weights.arena(), DType.F32, heads.count(), 2L * reach - 1);
      for (int h = 0; h < heads.count(); h++) {
        for (int distance = 1 - reach; distance < reach; distance++) {
          shared.biases.setFloat(table.getFloat(bucket(distance), h), h, distance + reach - 1L);
        }
      }
    }
    return score().plus(floats(shared.biases).at(head(), key().minus(query()).plus(reach - 1)));
  }

  /** The distance at which each bucket after the exact ones begins. */
  private static final int[] BUCKET_BEGINS = {8, 12, 16, 23, 32, 46, 64, 91};

  /** The bucket of key − query: 16 for each direction, exact up to 7, then logarithmic. */
  private static int bucket(int distance) {
    int n = Math.abs(distance);
    int bucket = n;
    if (n >= BUCKET_BEGINS[0]) {
      bucket = 7;
      for (int begin : BUCKET_BEGINS) {
        bucket += n >= begin ? 1 : 0;
      }
    }
    return bucket + (distance > 0 ? 16 : 0);
  }

  // ---- DeBERTa's relative embeddings ----

  private RelativeProducts relative(
      EncoderWeights weights, Disentangled disentangled, Heads heads, Shared shared) {
    int rows = 2 * disentangled.span();
    if (shared.relative == null) {
      Tensor table = weights.floats(weights.base(disentangled.table()), rows, spec.width());
      RowNorm norm = weights.norm(disentangled.norm(), true, spec.width());
      if (norm != null) {
        norm.forward(table, table);
      }
      shared.relative = table;
      shared.buckets = distanceRows(weights.arena(), disentangled, spec.maxTokens());
    }
    int terms =
        1
            + (disentangled.keyProjection() == null ? 0 : 1)
            + (disentangled.queryProjection() == null ? 0 : 1);
    double scale = 1 / Math.sqrt((double) heads.dim() * terms);
    return new RelativeProducts(
        products(weights, disentangled.keyProjection(), heads, shared.relative, scale),
        products(weights, disentangled.queryProjection(), heads, shared.relative, scale),
        shared.buckets,
        rows,
        scale);
  }

  /**
   * The row of the table for each value of query − key from {@code 1 − most} to {@code most − 1}.
   */
  private static Tensor distanceRows(Arena arena, Disentangled disentangled, int most) {
    Tensor buckets = Tensor.allocate(arena, DType.I32, 2L * most - 1);
    int span = disentangled.span();
    int middle = span / 2;
    for (int r = 1 - most; r < most; r++) {
      int n = Math.abs(r);
      int bucket = r;
      if (disentangled.buckets() && n > middle) {
        double steps =
            Math.log((double) n / middle)
                / Math.log((disentangled.most() - 1.0) / middle)
                * (middle - 1);
        bucket = Integer.signum(r) * (middle + (int) Math.ceil(steps));
      }
      buckets.setInt(Math.clamp((long) bucket + span, 0, 2 * span - 1), r + most - 1L);
    }
    return buckets;
  }

  /** The table multiplied by a layer's projection and scaled: one matrix for each head. */
  private List<Linear> products(
      EncoderWeights weights,
      EncoderSpec.Projection projection,
      Heads heads,
      Tensor table,
      double scale) {
    if (projection == null) {
      return null;
    }
    long width = (long) heads.count() * heads.dim();
    List<Linear> products = new ArrayList<>();
    try (Arena temporary = Arena.ofConfined()) {
      Tensor projected = Tensor.allocate(temporary, DType.F32, table.size(0), width);
      weights.linear(temporary, projection, true, spec.width(), width).forward(table, projected);
      for (long r = 0; r < projected.size(0); r++) {
        for (long c = 0; c < width; c++) {
          projected.setFloat((float) (projected.getFloat(r, c) * scale), r, c);
        }
      }
      for (int h = 0; h < heads.count(); h++) {
        Tensor own = projected.slice(1, (long) h * heads.dim(), heads.dim());
        products.add(weights.packed(own));
      }
    }
    return products;
  }

  // ---- Convolution and heads ----

  private Conv convolution(EncoderWeights weights) {
    Convolution conv = spec.convolution();
    if (conv == null) {
      return null;
    }
    long in = spec.width() / conv.groups();
    List<List<Linear>> taps = new ArrayList<>();
    Tensor bias = weights.floats(weights.base(conv.name() + ".bias"), spec.width());
    try (Arena temporary = Arena.ofConfined()) {
      Tensor kernel =
          weights.floats(weights.base(conv.name() + ".weight"), spec.width(), in, conv.kernel());
      for (int g = 0; g < conv.groups(); g++) {
        List<Linear> group = new ArrayList<>();
        for (int k = 0; k < conv.kernel(); k++) {
          Tensor tap = kernel.select(2, k).slice(0, g * in, in);
          group.add(weights.packed(tap.toF32(temporary)));
        }
        taps.add(group);
      }
    }
    return new Conv(conv, taps, bias, weights.norm(conv.norm(), true, spec.width()));
  }

  /**
   * Reads a head whose tensors are all there; otherwise returns null, because most checkpoints that
   * have a pooler have no classifier.
   *
   * @param outputs of the last step; 0 for as many as its weight has rows
   */
  private HeadLayers readHead(EncoderWeights weights, Head head, int outputs) {
    if (head == null
        || !head.steps().stream()
            .allMatch(step -> weights.has(step.projection(), step.prefixed()))) {
      return null;
    }
    Step end = head.steps().getLast();
    long wanted = outputs > 0 ? outputs : weights.rows(end.projection(), end.prefixed());
    List<Linear> linears = new ArrayList<>();
    List<RowNorm> norms = new ArrayList<>();
    for (Step step : head.steps()) {
      boolean last = step == head.steps().getLast();
      Linear linear =
          weights.linear(
              step.projection(), step.prefixed(), spec.width(), last ? wanted : spec.width());
      linears.add(linear.withActivation(step.activation()));
      norms.add(weights.norm(step.norm(), step.prefixed(), spec.width()));
    }
    return new HeadLayers(head, linears, norms);
  }

  // ---- Computing ----

  /**
   * Computes hidden states.
   *
   * @param tokens the tokens of all texts, concatenated, each in the vocabulary
   * @param tokenTypes likewise, each below the number of types; null for zeros
   * @param sequences the lengths of the texts, each at most {@code maxTokens}
   * @param out {@code [tokens, width]}, contiguous. Modified.
   */
  public void forward(
      int[] tokens, int[] tokenTypes, Sequences sequences, Tensor out, Scratch scratch) {
    forward(tokens, tokenTypes, sequences, null, out, scratch);
  }

  /**
   * Computes only some hidden states: after attention, the last layer skips the others. The results
   * have the same bits as if all were computed.
   *
   * @param wanted the tokens whose hidden states are wanted, in ascending order; null for all
   * @param out {@code [tokens, width]}, contiguous. Modified: the wanted hidden states are its
   *     first rows; the other rows hold intermediate results.
   */
  public void forward(
      int[] tokens,
      int[] tokenTypes,
      Sequences sequences,
      int[] wanted,
      Tensor out,
      Scratch scratch) {
    int n = sequences.total();
    if (n == 0) {
      return;
    }
    Room room = scratch.room(n);
    embed(tokens, tokenTypes, sequences, room, out);
    if (convolution != null) {
      room.normed().copyFrom(out);
    }
    Tensor positionsTensor = room.positions(sequences);
    Tensor x = out;
    for (int i = 0; i < layers.size(); i++) {
      Layer layer = layers.get(i);
      boolean convolves = i == 0 && convolution != null;
      boolean last = wanted != null && i == layers.size() - 1;
      attend(layer, room, sequences, positionsTensor, x, null);
      if (last && !convolves) {
        Rows.keep(room.read(), wanted);
        x = Rows.keep(x, wanted);
        room = room.first(wanted.length);
      }
      addRead(layer, room, x);
      feedForward(layer, room, x);
      if (convolves) {
        convolve(room, sequences, x);
      }
      if (last && convolves) {
        x = Rows.keep(x, wanted);
      }
    }
    if (finalNorm != null) {
      finalNorm.forward(x, x);
    }
  }

  private void embed(int[] tokens, int[] tokenTypes, Sequences sequences, Room room, Tensor out) {
    EncoderSpec.Embedding embedding = spec.embedding();
    int narrow = embedding.width();
    Tensor x = embeddingProjection == null ? out : room.narrow();
    int pad = embedding.pad();
    int row = 0;
    for (int s = 0; s < sequences.count(); s++) {
      int last = pad;
      for (int i = 0; i < sequences.length(s); i++, row++) {
        // No token is -1, with which positions count every token.
        int position = tokens[row] == pad ? pad : ++last;
        Rows.copy(words, tokens[row], x, row, narrow);
        if (positions != null) {
          Rows.add(positions, position, x, row, narrow);
        }
        if (types != null) {
          Rows.add(types, tokenTypes == null ? 0 : tokenTypes[row], x, row, narrow);
        }
      }
    }
    if (embeddingNorm != null) {
      embeddingNorm.forward(x, x);
    }
    if (embeddingProjection != null) {
      embeddingProjection.forward(x, out);
    }
  }

  /** The number of layers. */
  public int layers() {
    return layers.size();
  }

  /** The number of query heads of a layer. */
  public int heads(int layer) {
    return layers.get(layer).block.heads().count();
  }

  /**
   * Computes the weights of attention of one text in one layer.
   *
   * @param x {@code [tokens, width]}, overwritten
   * @param weights {@code [1, heads, tokens, tokens]}
   */
  public void attentionWeights(int[] tokens, int layer, Tensor x, Tensor weights, Scratch scratch) {
    Sequences sequences = Sequences.ofLengths(tokens.length);
    Room room = scratch.room(tokens.length);
    embed(tokens, null, sequences, room, x);
    if (convolution != null) {
      room.normed().copyFrom(x);
    }
    Tensor positionsTensor = room.positions(sequences);
    for (int i = 0; i < layer; i++) {
      attend(layers.get(i), room, sequences, positionsTensor, x, null);
      addRead(layers.get(i), room, x);
      feedForward(layers.get(i), room, x);
      if (i == 0 && convolution != null) {
        convolve(room, sequences, x);
      }
    }
    attend(layers.get(layer), room, sequences, positionsTensor, x, weights);
  }

  /** Computes attention into {@code room.read}. */
  private void attend(
      Layer layer,
      Room room,
      Sequences sequences,
      Tensor positionsTensor,
      Tensor x,
      Tensor weights) {
    Heads heads = layer.block.heads();
    Tensor in = x;
    if (layer.block.preNorm() && layer.attentionNorm != null) {
      layer.attentionNorm.forward(x, room.normed());
      in = room.normed();
    }
    layer.queryKeyValue.forward(in, room.packed());
    Tensor all =
        room.packed().reshape(room.rows(), heads.count() + 2L * heads.countKv(), heads.dim());
    Tensor q = all.slice(1, 0, heads.count());
    Tensor k = all.slice(1, heads.count(), heads.countKv());
    Tensor v = all.slice(1, heads.count() + (long) heads.countKv(), heads.countKv());
    if (layer.queryNorm != null) {
      Tensor byHead = q.transpose(0, 1);
      layer.queryNorm.forward(byHead, byHead);
    }
    if (layer.keyNorm != null) {
      Tensor byHead = k.transpose(0, 1);
      layer.keyNorm.forward(byHead, byHead);
    }
    if (layer.rotary != null) {
      Tensor turned =
          all.slice(1, 0, heads.count() + (long) heads.countKv()).transpose(0, 1).unsqueeze(0);
      layer.rotary.forward(turned, turned, positionsTensor);
    }
    Tensor read = room.read().reshape(room.rows(), heads.count(), heads.dim());
    Attention attention = attention(layer, room, q, k, sequences);
    if (weights == null) {
      attention.forwardPacked(q, sequences, k, v, sequences, read);
    } else {
      attention.forward(whole(q), whole(k), whole(v), whole(read), Extras.none().weights(weights));
    }
  }

  /** Adds the output of attention to x. */
  private static void addRead(Layer layer, Room room, Tensor x) {
    layer.out.forwardAdd(room.read(), x);
    if (!layer.block.preNorm()) {
      layer.attentionNorm.forward(x, x);
    }
  }

  /** Rows of one text as {@code [1, heads, tokens, dim]}. */
  private static Tensor whole(Tensor rows) {
    return rows.transpose(0, 1).unsqueeze(0);
  }

  private Attention attention(Layer layer, Room room, Tensor q, Tensor k, Sequences sequences) {
    RelativeProducts relative = layer.relative;
    if (relative == null) {
      return layer.attention;
    }
    IntExpression row = ints(relative.buckets).at(query().minus(key()).plus(spec.maxTokens() - 1));
    IntExpression begin = ints(room.begins(sequences)).at(batch());
    FloatExpression score = score();
    if (relative.byQuery != null) {
      Tensor products = product(relative.byQuery, q, room.byQuery(relative.rows));
      score = score.plus(floats(products).at(begin.plus(query()), head(), row));
    }
    if (relative.byKey != null) {
      Tensor products = product(relative.byKey, k, room.byKey(relative.rows));
      score = score.plus(floats(products).at(begin.plus(key()), head(), row));
    }
    return Attention.builder().scale(relative.scale).score(score).build();
  }

  /** Multiplies each head's rows by its projection, into {@code [rows, heads, distances]}. */
  private static Tensor product(List<Linear> projections, Tensor x, Tensor out) {
    for (int h = 0; h < projections.size(); h++) {
      projections.get(h).forward(x.select(1, h), out.select(1, h));
    }
    return out;
  }

  private static void feedForward(Layer layer, Room room, Tensor x) {
    boolean preNorm = layer.block.preNorm();
    Tensor in = x;
    if (preNorm) {
      layer.feedForwardNorm.forward(x, room.normed());
      in = room.normed();
    }
    layer.up.forward(in, room.hidden());
    if (layer.gate != null) {
      layer.gate.forwardMultiply(in, room.hidden());
    }
    layer.down.forwardAdd(room.hidden(), x);
    if (!preNorm) {
      layer.feedForwardNorm.forward(x, x);
    }
  }

  /** {@code x = norm(x + activation(conv(e) + bias))}; e has been kept in {@code room.normed}. */
  private void convolve(Room room, Sequences sequences, Tensor x) {
    Convolution conv = convolution.spec;
    Tensor sum = room.convolved();
    for (int i = 0; i < room.rows(); i++) {
      Rows.copy(convolution.bias.unsqueeze(0), 0, sum, i, spec.width());
    }
    long in = spec.width() / conv.groups();
    int row = 0;
    for (int s = 0; s < sequences.count(); s++) {
      int length = sequences.length(s);
      Tensor from = room.normed().slice(0, row, length);
      Tensor to = sum.slice(0, row, length);
      for (int k = 0; k < conv.kernel(); k++) {
        int shift = k - conv.kernel() / 2;
        int count = length - Math.abs(shift);
        for (int g = 0; g < conv.groups() && count > 0; g++) {
          convolution
              .taps
              .get(g)
              .get(k)
              .forwardAdd(
                  from.slice(0, Math.max(shift, 0), count).slice(1, g * in, in),
                  to.slice(0, Math.max(-shift, 0), count).slice(1, g * in, in));
        }
      }
      row += length;
    }
    conv.activation().forward(sum, sum);
    Elementwise.add(x, sum, x);
    convolution.norm.forward(x, x);
  }

  // ---- Heads ----

  /** {@code pooler_output}: {@code [texts, width]}. */
  public Tensor pool(Tensor hidden, Sequences sequences, Arena arena) {
    return apply(pooler, hidden, sequences, arena);
  }

  /** Which hidden states of each text the classifier reads; null without one. */
  public EncoderSpec.Reads classified() {
    return classifier == null ? null : classifier.head.reads();
  }

  /** The logits of a classifier: {@code [texts, labels]}. */
  public Tensor classify(Tensor hidden, Sequences sequences, Arena arena) {
    return apply(classifier, hidden, sequences, arena);
  }

  private Tensor apply(HeadLayers layers, Tensor hidden, Sequences sequences, Arena arena) {
    Tensor x =
        switch (layers.head.reads()) {
          case FIRST -> Rows.first(hidden, sequences, arena);
          case LAST -> Rows.last(hidden, sequences, arena);
          case MEAN -> Rows.mean(hidden, sequences, arena);
          case EACH -> hidden;
        };
    for (int i = 0; i < layers.linears.size(); i++) {
      Linear linear = layers.linears.get(i);
      Tensor out = Tensor.allocate(arena, DType.F32, x.size(0), linear.dimOut());
      linear.forward(x, out);
      RowNorm norm = layers.norms.get(i);
      if (norm != null) {
        norm.forward(out, out);
      }
      x = out;
    }
    return layers.head.reads() == EncoderSpec.Reads.EACH ? Rows.mean(x, sequences, arena) : x;
  }

  // ---- Room ----

  /** Makes memory that calls can reuse, one call at a time. */
  public Scratch newScratch() {
    return new Scratch(this);
  }

  /** Memory for intermediate results, which grows as needed. For one call at a time. */
  public static final class Scratch implements AutoCloseable {
    private final Encoder encoder;
    private static final int FEWEST_ROWS = 64;

    private Arena arena;
    private Room room;
    private Tensor hidden;

    private Scratch(Encoder encoder) {
      this.encoder = encoder;
    }

    Room room(int rows) {
      reserve(rows);
      return room.first(rows);
    }

    /**
     * A tensor for hidden states, overwritten when this is called again.
     *
     * @return {@code [rows, width]}
     */
    public Tensor hidden(int rows) {
      reserve(rows);
      return hidden.slice(0, 0, rows);
    }

    private void reserve(int rows) {
      if (room == null || room.rows() < rows) {
        close();
        int most = Math.max(rows, FEWEST_ROWS);
        arena = Arena.ofShared();
        hidden = Tensor.allocate(arena, DType.F32, most, encoder.spec.width());
        room = encoder.newRoom(arena, most);
      }
    }

    @Override
    public void close() {
      if (arena != null) {
        arena.close();
        arena = null;
        room = null;
        hidden = null;
      }
    }
  }

  private Room newRoom(Arena arena, int rows) {
    long packed = 0;
    long read = 0;
    long hidden = 0;
    long relative = 0;
    for (Layer layer : layers) {
      Heads heads = layer.block.heads();
      packed = Math.max(packed, (heads.count() + 2L * heads.countKv()) * heads.dim());
      read = Math.max(read, (long) heads.count() * heads.dim());
      hidden = Math.max(hidden, layer.block.feedForward().hidden());
      if (layer.relative != null) {
        relative = Math.max(relative, (long) heads.count() * layer.relative.rows);
      }
    }
    int heads = spec.blocks().isEmpty() ? 1 : spec.blocks().getFirst().heads().count();
    return new Room(
        heads,
        Tensor.allocate(arena, DType.F32, rows, spec.width()),
        Tensor.allocate(arena, DType.F32, rows, packed),
        Tensor.allocate(arena, DType.F32, rows, read),
        Tensor.allocate(arena, DType.F32, rows, hidden),
        embeddingProjection == null
            ? null
            : Tensor.allocate(arena, DType.F32, rows, spec.embedding().width()),
        convolution == null ? null : Tensor.allocate(arena, DType.F32, rows, spec.width()),
        relative == 0 ? null : Tensor.allocate(arena, DType.F32, 2, rows * relative),
        Tensor.allocate(arena, DType.I32, 2, rows));
  }

  /** The intermediate results of some number of rows. */
  private record Room(
      int heads,
      Tensor normed,
      Tensor packed,
      Tensor read,
      Tensor hidden,
      Tensor narrow,
      Tensor convolved,
      Tensor relative,
      Tensor numbers) {

    int rows() {
      return (int) normed.size(0);
    }

    Room first(int rows) {
      return rows == rows()
          ? this
          : new Room(
              heads,
              normed.slice(0, 0, rows),
              packed.slice(0, 0, rows),
              read.slice(0, 0, rows),
              hidden.slice(0, 0, rows),
              narrow == null ? null : narrow.slice(0, 0, rows),
              convolved == null ? null : convolved.slice(0, 0, rows),
              relative,
              numbers);
    }

    /** Each row's position in its text. */
    Tensor positions(Sequences sequences) {
      Tensor positions = numbers.select(0, 0).slice(0, 0, rows());
      MemorySegment segment = positions.segment();
      int row = 0;
      for (int s = 0; s < sequences.count(); s++) {
        for (int i = 0; i < sequences.length(s); i++) {
          segment.setAtIndex(ValueLayout.JAVA_INT, positions.offset() + row++, i);
        }
      }
      return positions;
    }

    /** The row at which each text begins. */
    Tensor begins(Sequences sequences) {
      Tensor begins = numbers.select(0, 1).slice(0, 0, sequences.count());
      int row = 0;
      for (int s = 0; s < sequences.count(); s++) {
        begins.setInt(row, s);
        row += sequences.length(s);
      }
      return begins;
    }

    Tensor byQuery(int distances) {
      return relative
          .select(0, 0)
          .slice(0, 0, (long) rows() * heads * distances)
          .reshape(rows(), heads, distances);
    }

    Tensor byKey(int distances) {
      return relative
          .select(0, 1)
          .slice(0, 0, (long) rows() * heads * distances)
          .reshape(rows(), heads, distances);
    }
  }
}
