package io.github.attention4j.models.decoder;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Elementwise;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Stored;
import io.github.attention4j.models.weights.RowNorm;
import io.github.attention4j.models.weights.Storage;
import io.github.attention4j.models.weights.WeightReader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleConsumer;
import java.util.stream.IntStream;

/**
 * The interpreter of all decoders: computes what a {@link Specification} says, with the weights of
 * a checkpoint.
 *
 * <p>Immutable except for tables that grow, and safe for any number of threads. The weights belong
 * to the arena given to the constructor.
 */
public final class Decoder {
  private final Specification specification;
  private final Stored embedding;
  private final Tensor positions;
  private final List<Layer> layers;
  private final RowNorm norm;
  private final Linear head;
  private final List<Positions> rotaries;
  private final Map<String, Long> bytes;

  /** A layer's block and its weights. */
  private record Layer(
      Specification.Block block,
      RowNorm attentionNorm,
      Projector queryKeyValue,
      RowNorm queryNorm,
      RowNorm keyNorm,
      Positions rotary,
      Attention attention,
      Differential differential,
      float lambda,
      RmsNorm pairNorm,
      Projector out,
      RowNorm afterAttention,
      RowNorm feedForwardNorm,
      Projector router,
      List<Network> networks,
      RowNorm afterFeedForward) {}

  private record Network(Specification.Network shape, Projector up, Projector down) {}

  /**
   * The tokens of one text in a pass: rows {@code [from, from + rows)}.
   *
   * @param sequence the text so far; null if nothing is kept of it
   * @param start the position of the first of these tokens
   * @param length of the text, including these tokens and any already known to follow
   */
  public record Segment(Sequence sequence, int from, int rows, int start, int length) {
    /** The next tokens of a text. */
    public static Segment of(Sequence sequence, int from, int rows, int length) {
      return new Segment(sequence, from, rows, sequence.length(), length);
    }

    /**
     * The next tokens of a text as separate segments, so each gets the same bits as one at a time.
     *
     * @param rows at most as many as the product computes with the bits of a single row
     */
    public static List<Segment> oneByOne(Sequence sequence, int rows) {
      return IntStream.range(0, rows)
          .mapToObj(
              i -> new Segment(sequence, i, 1, sequence.length() + i, sequence.length() + i + 1))
          .toList();
    }
  }

  /**
   * Reads the weights, several layers at once.
   *
   * @param checkpoint holds every tensor that the specification needs
   * @param storage how matrices are stored
   * @param bf16Products whether products of many rows may round to bfloat16
   * @param progress is given the share of layers read so far, one call at a time
   * @param arena owns the weights; must be shared and outlive the decoder
   */
  public Decoder(
      Specification specification,
      Checkpoint checkpoint,
      Storage storage,
      boolean bf16Products,
      DoubleConsumer progress,
      Arena arena) {
    this.specification = specification;
    WeightReader reader =
        new WeightReader(specification.family(), checkpoint, storage, bf16Products, arena);
    DecoderWeights weights = new DecoderWeights(checkpoint, reader);
    embedding = checkpoint.get(specification.embedding().name());
    positions =
        specification.positions() == null ? null : weights.floats(specification.positions());
    head = weights.head(specification);
    // The last norm divides by the cap, as tanh(logits / cap) needs.
    double cap = specification.logitCap() == 0 ? 1 : specification.logitCap();
    norm = weights.norm(specification.norm(), specification.logitScale() / cap);
    Map<Specification.Rotary, Positions> shared = new IdentityHashMap<>();
    for (Specification.Block block : specification.blocks()) {
      if (block.attention().rotary() != null) {
        shared.computeIfAbsent(
            block.attention().rotary(),
            rotary -> new Positions(rotary, specification.context(), arena));
      }
    }
    rotaries = List.copyOf(shared.values());
    int[] done = {0};
    layers =
        IntStream.range(0, specification.blocks().size())
            .parallel()
            .mapToObj(
                i -> {
                  Layer layer = layer(weights, specification.blocks().get(i), i, shared);
                  synchronized (shared) {
                    done[0]++;
                    progress.accept((double) done[0] / specification.blocks().size());
                  }
                  return layer;
                })
            .toList();
    bytes = reader.bytes();
  }

  private static Layer layer(
      DecoderWeights weights,
      Specification.Block block,
      int index,
      Map<Specification.Rotary, Positions> rotaries) {
    Specification.Attention a = block.attention();
    Mask mask =
        a.window() == 0
            ? Mask.causal(Alignment.BOTTOM_RIGHT)
            : Mask.window(a.window() - 1, 0, Alignment.BOTTOM_RIGHT);
    Attention attention = null;
    Differential differential = null;
    float lambda = 0;
    RmsNorm pairNorm = null;
    if (a.lambda() == null) {
      Attention.Builder builder = Attention.builder().mask(mask).scale(a.scale());
      attention = a.cap() == 0 ? builder.build() : builder.softCap(a.cap()).build();
    } else {
      differential =
          Differential.builder()
              .pairing(Differential.Pairing.HALVES)
              .mask(mask)
              .scale(a.scale())
              .build();
      lambda =
          Differential.lambda(
              weights.floats(a.lambda().q1()),
              weights.floats(a.lambda().k1()),
              weights.floats(a.lambda().q2()),
              weights.floats(a.lambda().k2()),
              index);
      pairNorm =
          RmsNorm.withoutWeight(a.lambda().epsilon())
              .withScale(1 - (double) Differential.lambdaInit(index));
    }
    Specification.FeedForward feedForward = block.feedForward();
    return new Layer(
        block,
        weights.norm(block.attentionNorm()),
        weights.projector(a.queryKeyValue()),
        weights.norm(a.queryNorm()),
        weights.norm(a.keyNorm()),
        a.rotary() == null ? null : rotaries.get(a.rotary()),
        attention,
        differential,
        lambda,
        pairNorm,
        weights.projector(a.out()),
        weights.norm(block.afterAttention()),
        weights.norm(block.feedForwardNorm()),
        feedForward.router() == null ? null : weights.projector(feedForward.router()),
        feedForward.networks().stream().map(shape -> network(weights, shape)).toList(),
        weights.norm(block.afterFeedForward()));
  }

  private static Network network(DecoderWeights weights, Specification.Network shape) {
    Projector up = weights.projector(shape.up());
    return new Network(
        shape,
        shape.gated() ? up : up.withActivation(shape.activation()),
        weights.projector(shape.down()));
  }

  /** The specification that it computes. */
  public Specification specification() {
    return specification;
  }

  /** The embedding of a token, as floats. */
  public void embedding(int token, Tensor out) {
    embedding.row(token, out);
  }

  /** The λ of a layer with differential attention. */
  public float lambda(int layer) {
    return layers.get(layer).lambda();
  }

  /** Bytes of weights by how they are stored. */
  public Map<String, Long> bytes() {
    return bytes;
  }

  /** Makes room for passes of at most {@code rows} tokens. */
  public Room newRoom(Arena arena, int rows) {
    return new Room(arena, specification, rows);
  }

  /**
   * Makes the cache of an empty text.
   *
   * @param pool supplies the pages of keys and values; null for memory of the arena
   * @param dtype how keys and values are stored: F32, BF16 or F16; the pool's if there is one
   * @param capacity the most tokens
   * @param mostNew the most tokens that are read in one pass
   */
  public Sequence newSequence(
      Arena arena, KvPagePool pool, DType dtype, int capacity, int mostNew) {
    return new Sequence(this, arena, pool, dtype, capacity, mostNew);
  }

  /**
   * Makes a pool for the keys and values of texts.
   *
   * @param dtype how they are stored: F32, BF16 or F16
   * @param pageRows the tokens of a page, a multiple of 64
   * @param pages how many there are; a layer of a text takes its own
   */
  public KvPagePool newPool(Arena arena, DType dtype, int pageRows, int pages) {
    Specification.Attention attention = specification.attention();
    return KvPagePool.allocate(arena, dtype, attention.headsKv(), attention.dim(), pageRows, pages);
  }

  /**
   * The most pages that a text of this length needs in all layers.
   *
   * @param mostNew the most tokens that are read in one pass
   */
  public long pages(int length, int mostNew, int pageRows) {
    long pages = 0;
    for (Specification.Block block : specification.blocks()) {
      pages += LayerCache.pages(length, block.attention().window(), mostNew, pageRows);
    }
    return pages;
  }

  /** Whether keys that were cached at one length must be recomputed at another. */
  public boolean changesKeys(int from, int to) {
    for (Positions rotary : rotaries) {
      if (rotary.change(from, to)) {
        return true;
      }
    }
    return false;
  }

  // ---- Passes ----

  /**
   * Processes tokens of one or several texts, up to the last norm.
   *
   * @param tokens the tokens of all segments, concatenated
   * @param from where they begin in the array
   * @param room has as many rows as there are tokens
   * @param segments the texts and their rows; each sequence grows by its rows
   */
  public void forward(int[] tokens, int from, Room room, List<Segment> segments) {
    for (Segment segment : segments) {
      embed(tokens, from, room, segment);
    }
    for (int i = 0; i < layers.size(); i++) {
      layer(layers.get(i), i, room, segments);
    }
    segments.forEach(segment -> segment.sequence().advance(segment.rows()));
  }

  /**
   * Processes a whole text without caching its keys and values.
   *
   * @param weightsOf the layer whose attention weights are wanted, where the pass ends; -1 to run
   *     all layers
   * @param weights receives them; null if they are not wanted
   */
  public void forwardWhole(int[] tokens, Room room, int weightsOf, Tensor weights) {
    Segment whole = new Segment(null, 0, tokens.length, 0, tokens.length);
    embed(tokens, 0, room, whole);
    int count = weightsOf < 0 ? layers.size() : weightsOf;
    for (int i = 0; i < count; i++) {
      layer(layers.get(i), i, room, List.of(whole));
    }
    if (weightsOf >= 0) {
      Layer last = layers.get(weightsOf);
      beforeAttention(last, room);
      attend(last, weightsOf, room, whole, Extras.none().weights(weights));
    }
  }

  /**
   * Computes the logits of some rows of a room after all layers.
   *
   * @param from the first row
   * @param logits {@code [rows, vocabulary]}. Modified.
   */
  public void logits(Room room, int from, Tensor logits) {
    int rows = (int) logits.size(0);
    Tensor x = Room.rows(room.x, from, rows).select(0, 0);
    Tensor normed = Room.rows(room.normed, from, rows).select(0, 0);
    if (norm == null) {
      normed.copyFrom(x);
    } else {
      norm.forward(x, normed);
    }
    head.forward(normed, logits);
    if (specification.logitCap() != 0) {
      Activation.TANH.forward(logits, logits);
      multiply(logits, specification.logitCap());
    }
  }

  /** {@code factor · x}, computed as {@code (factor − 1) · x + x}, which rounds only once. */
  private static void multiply(Tensor x, double factor) {
    Elementwise.scaleAdd(x, (float) (factor - 1), x, x);
  }

  private void embed(int[] tokens, int from, Room room, Segment segment) {
    for (int i = 0; i < segment.rows(); i++) {
      int row = segment.from() + i;
      Tensor x = room.x.select(0, 0).select(0, row);
      int token = tokens[from + row];
      embedding.row(token, x);
    }
    Tensor rows = Room.rows(room.x, segment.from(), segment.rows());
    if (specification.embeddingScale() != 1) {
      multiply(rows, specification.embeddingScale());
    }
    if (positions != null) {
      Elementwise.add(rows, positions.slice(0, segment.start(), segment.rows()).unsqueeze(0), rows);
    }
  }

  private static void layer(Layer layer, int index, Room room, List<Segment> segments) {
    beforeAttention(layer, room);
    for (Segment segment : segments) {
      attend(layer, index, room, segment, Extras.none());
    }
    boolean parallel = layer.block().parallel();
    if (parallel && layer.feedForwardNorm() != null) {
      layer.feedForwardNorm().forward(room.x, room.normed);
    }
    add(layer, layer.out(), room.read, layer.afterAttention(), room);
    if (!parallel) {
      normInto(layer.feedForwardNorm(), room);
    }
    feedForward(layer, room);
  }

  private static void normInto(RowNorm norm, Room room) {
    if (norm == null) {
      room.normed.copyFrom(room.x);
    } else {
      norm.forward(room.x, room.normed);
    }
  }

  private static void beforeAttention(Layer layer, Room room) {
    normInto(layer.attentionNorm(), room);
    layer.queryKeyValue().forward(room.normed, room.packed);
    if (layer.queryNorm() != null) {
      if (layer.block().attention().normPerHead()) {
        normHeads(layer.queryNorm(), room.q);
        normHeads(layer.keyNorm(), room.k);
      } else {
        layer.queryNorm().forward(room.qRows, room.qRows);
        layer.keyNorm().forward(room.kRows, room.kRows);
      }
    }
  }

  /** In as few calls as possible: one for each head, or one for each row. */
  private static void normHeads(RowNorm norm, Tensor heads) {
    Tensor byHead = heads.select(0, 0);
    Tensor rows = byHead.size(0) <= byHead.size(1) ? byHead : byHead.transpose(0, 1);
    norm.forward(rows, rows);
  }

  /** Appends the keys and values of one text's rows and computes their attention. */
  private static void attend(Layer layer, int index, Room room, Segment segment, Extras extras) {
    boolean all = segment.rows() == room.rows();
    int from = segment.from();
    int rows = segment.rows();
    Tensor q = all ? room.q : Room.rows(room.q, from, rows);
    Tensor k = all ? room.k : Room.rows(room.k, from, rows);
    Tensor v = all ? room.v : Room.rows(room.v, from, rows);
    Tensor out = all ? room.readByMap : Room.rows(room.readByMap, from, rows);
    if (layer.rotary() != null) {
      Tensor turned = all ? room.turned : Room.rows(room.turned, from, rows);
      layer.rotary().forward(turned, segment.start(), segment.length());
    }
    KvCache cache = null;
    if (segment.sequence() != null) {
      LayerCache grown = segment.sequence().layer(index);
      grown.append(k, v);
      cache = grown.rows();
    }
    if (layer.differential() != null) {
      if (cache != null) {
        layer.differential().forward(q, cache, layer.lambda(), out, extras);
      } else {
        layer.differential().forward(q, k, v, layer.lambda(), out, extras);
      }
      long maps = room.readRows.size(0) / room.rows();
      Tensor pairs = room.readRows.slice(0, from * maps, rows * maps);
      layer.pairNorm().forward(pairs, pairs);
    } else if (cache != null) {
      layer.attention().forward(q, cache, out, extras);
    } else {
      layer.attention().forward(q, k, v, out, extras);
    }
  }

  /** {@code x += residual · after(projection(input))}. */
  private static void add(
      Layer layer, Projector projection, Tensor input, RowNorm after, Room room) {
    double residual = layer.block().residual();
    if (after == null && residual == 1) {
      projection.forwardAdd(input, room.x);
      return;
    }
    projection.forward(input, room.branch);
    if (after != null) {
      after.forward(room.branch, room.branch);
    }
    Elementwise.scaleAdd(room.branch, (float) residual, room.x, room.x);
  }

  private static void feedForward(Layer layer, Room room) {
    if (layer.router() != null) {
      mix(layer, room);
      return;
    }
    Network network = layer.networks().getFirst();
    Tensor inner = inner(network, room.normed, room);
    add(layer, network.down(), inner, layer.afterFeedForward(), room);
  }

  private static Tensor inner(Network network, Tensor x, Room room) {
    int hidden = network.shape().hidden();
    if (!network.shape().gated()) {
      Tensor up = room.ungated(hidden);
      network.up().forward(x, up);
      return up;
    }
    Room.Hidden both = room.gated(hidden);
    network.up().forward(x, both.both());
    network.shape().activation().gate(both.gate(), both.up(), both.gate());
    return both.gate();
  }

  // ---- Experts ----

  /**
   * Runs the experts, each on all of its tokens at once. A token's result sums its experts in their
   * order and does not depend on the other tokens.
   */
  private static void mix(Layer layer, Room room) {
    Specification.FeedForward shape = layer.block().feedForward();
    int rows = room.rows();
    int experts = layer.networks().size();
    try (Arena scratch = Arena.ofConfined()) {
      Tensor logits = Tensor.allocate(scratch, DType.F32, 1, rows, experts);
      layer.router().forward(room.normed, logits);
      float[] scores = logits.toFloatArray();
      List<List<Integer>> rowsOf = new ArrayList<>();
      for (int e = 0; e < experts; e++) {
        rowsOf.add(new ArrayList<>());
      }
      float[][] shares = new float[rows][];
      for (int row = 0; row < rows; row++) {
        shares[row] = shares(scores, row * experts, experts, shape);
        for (int e = 0; e < experts; e++) {
          if (shares[row][e] > 0) {
            rowsOf.get(e).add(row);
          }
        }
      }
      room.branch.fill(0);
      for (int e = 0; e < experts; e++) {
        List<Integer> chosen = rowsOf.get(e);
        if (!chosen.isEmpty()) {
          expert(layer.networks().get(e), e, chosen, shares, room, scratch);
        }
      }
    }
    if (layer.afterFeedForward() != null) {
      layer.afterFeedForward().forward(room.branch, room.branch);
    }
    Elementwise.scaleAdd(room.branch, (float) layer.block().residual(), room.x, room.x);
  }

  private static void expert(
      Network network, int index, List<Integer> rows, float[][] shares, Room room, Arena scratch) {
    long width = room.normed.size(2);
    Tensor x = Tensor.allocate(scratch, DType.F32, 1, rows.size(), width);
    Tensor out = Tensor.allocate(scratch, DType.F32, 1, rows.size(), width);
    for (int i = 0; i < rows.size(); i++) {
      Room.rows(x, i, 1).copyFrom(Room.rows(room.normed, rows.get(i), 1));
    }
    network.down().forward(inner(network, x, room.first(rows.size())), out);
    for (int i = 0; i < rows.size(); i++) {
      Tensor sum = Room.rows(room.branch, rows.get(i), 1);
      Elementwise.scaleAdd(Room.rows(out, i, 1), shares[rows.get(i)][index], sum, sum);
    }
  }

  /** The factor of each expert's result: 0 if it is not chosen. */
  private static float[] shares(
      float[] logits, int from, int experts, Specification.FeedForward shape) {
    double[] probabilities = new double[experts];
    double largest = Double.NEGATIVE_INFINITY;
    for (int e = 0; e < experts; e++) {
      largest = Math.max(largest, logits[from + e]);
    }
    double sum = 0;
    for (int e = 0; e < experts; e++) {
      probabilities[e] = Math.exp(logits[from + e] - largest);
      sum += probabilities[e];
    }
    float[] shares = new float[experts];
    double kept = 0;
    boolean[] chosen = new boolean[experts];
    for (int n = 0; n < shape.used(); n++) {
      int best = -1;
      for (int e = 0; e < experts; e++) {
        if (!chosen[e] && (best < 0 || probabilities[e] > probabilities[best])) {
          best = e;
        }
      }
      chosen[best] = true;
      kept += probabilities[best];
    }
    for (int e = 0; e < experts; e++) {
      if (chosen[e]) {
        shares[e] = (float) (probabilities[e] / (shape.normalise() ? kept : sum));
      }
    }
    return shares;
  }

  /** Copies a row of logits to the heap. */
  public static void copyRow(Tensor logits, float[] to) {
    MemorySegment.copy(
        logits.segment(), ValueLayout.JAVA_FLOAT, logits.offset() * Float.BYTES, to, 0, to.length);
  }
}
