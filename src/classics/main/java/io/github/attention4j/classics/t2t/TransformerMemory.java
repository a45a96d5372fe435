package io.github.attention4j.classics.t2t;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.MaskedSoftmax;
import io.github.attention4j.classics.d2l.ValidLens;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * A memory of a fixed number of items that is addressed by content, {@code
 * transformer_memory.TransformerMemory} of tensor2tensor, after the Neural Turing Machine (Graves
 * et al., 2014) and its addressing by least use (Gulcehre et al., 2016):
 *
 * <pre>
 *   before attention   access = sharpen · cos(mem_query(x), mem_key(mem))        [len, memorySize]
 *                      read   = softmax(access) mem                             [len, valDepth]
 *   after it           out    = post_x(attended) + post_mem(read)
 *                      write  = access − sigmoid(gamma(x)) · mean_logits
 *                      w      = softmax(write)
 *                      mem    = mean over len of (1 − sigmoid(erase(x)) · w) · mem
 *                                                + w · relu(candidate_value(x))
 *                      mean_logits = 0.1 · mean_logits + 0.9 · mean over len of write
 * </pre>
 *
 * cos divides by {@code |q|·|k| + 10⁻⁷}, where {@code |x| = sqrt(Σ x² + 10⁻⁷)}.
 *
 * <pre>{@code
 * TransformerMemory memory = TransformerMemory.load(file, "neural_memory/", 1, arena);
 * TransformerMemory.State state = memory.newState(arena, batch);
 * TransformerMemory.Read read = state.preAttention(arena, chunkNumber, x, null);
 * // the ordinary attention over x, giving result
 * read.postAttention(result); // changes result
 * }</pre>
 *
 * A sequence whose segment number is less than in the previous call starts afresh: its items and
 * mean logits become 0. If a call has fewer sequences than the state, the others are read and
 * written as zeros in segment 0, as in the original.
 *
 * <p>All tensors are {@link DType#F32}. The layer is immutable and safe for any number of threads;
 * a {@link State} belongs to one thread at a time.
 */
public final class TransformerMemory {
  /** The segment before the first one, larger than any, so that the first call starts afresh. */
  private static final int NO_SEGMENT = 100_000;

  private static final double EPSILON = 1e-7;

  private final Linear key;
  private final Linear query;
  private final Linear gamma;
  private final Linear candidate;
  private final Linear erase;
  private final Linear postX;
  private final Linear postMemory;
  private final double sharpenFactor;

  private TransformerMemory(
      Linear key,
      Linear query,
      Linear gamma,
      Linear candidate,
      Linear erase,
      Linear postX,
      Linear postMemory,
      double sharpenFactor) {
    this.key = key;
    this.query = query;
    this.gamma = gamma;
    this.candidate = candidate;
    this.erase = erase;
    this.postX = postX;
    this.postMemory = postMemory;
    this.sharpenFactor = sharpenFactor;
    long channels = query.dimIn();
    Checks.equal("mem_query.depth", query.dimOut(), "mem_key.depth", key.dimOut());
    Checks.equal("gamma.dimIn", gamma.dimIn(), "mem_query.dimIn", channels);
    Checks.equal("gamma.depth", gamma.dimOut(), "the depth of a gate", 1);
    Checks.equal("candidate_value.dimIn", candidate.dimIn(), "mem_query.dimIn", channels);
    Checks.equal("candidate_value.depth", candidate.dimOut(), "mem_key.dimIn", valDepth());
    Checks.equal("erase.dimIn", erase.dimIn(), "mem_query.dimIn", channels);
    Checks.equal("post_x.depth", postX.dimOut(), "post_x.dimIn", postX.dimIn());
    Checks.equal("post_mem.dimIn", postMemory.dimIn(), "mem_key.dimIn", valDepth());
    Checks.equal("post_mem.depth", postMemory.dimOut(), "post_x.depth", postX.dimOut());
  }

  /**
   * Reads the layer by the names of tensor2tensor's variables; kernels {@code [in, out]} are
   * transposed: {@code pre_attention/mem_key/kernel} and {@code bias}, {@code mem_query} likewise,
   * {@code post_attention/dense/kernel}, {@code post_attention/dense_1/kernel} and {@code bias},
   * and {@code gamma}, {@code candidate_value} and {@code erase}; or by their short names {@code
   * mem_key.kernel}, …, {@code post_x.kernel}, {@code post_mem.kernel}, …. The state at the end of
   * training, {@code memvals}, {@code meanlogits} and {@code segment_number}, may be present and is
   * ignored.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "neural_memory/"}
   * @param sharpenFactor {@code sharpen_factor}, by which cosines become logits; finite
   * @param arena for the transposed weights
   * @return the layer
   * @throws IllegalArgumentException if a tensor is missing or unknown, the shapes do not match
   *     each other, or the factor is not a finite float
   * @throws OutOfMemoryError if there is no memory for the weights
   */
  public static TransformerMemory load(
      SafeTensors file, String prefix, double sharpenFactor, Arena arena) {
    if (!Float.isFinite((float) sharpenFactor)) {
      throw new IllegalArgumentException(
          "sharpenFactor must be a finite float: sharpenFactor=" + sharpenFactor);
    }
    Weights weights = new Weights(file, prefix, arena);
    TransformerMemory memory =
        new TransformerMemory(
            dense(weights, "mem_key", "pre_attention/mem_key", true, arena),
            dense(weights, "mem_query", "pre_attention/mem_query", true, arena),
            dense(weights, "gamma", "post_attention/gamma", true, arena),
            dense(weights, "candidate_value", "post_attention/candidate_value", true, arena),
            dense(weights, "erase", "post_attention/erase", true, arena),
            dense(weights, "post_x", "post_attention/dense", false, arena),
            dense(weights, "post_mem", "post_attention/dense_1", true, arena),
            sharpenFactor);
    for (String state : new String[] {"memvals", "meanlogits", "segment_number"}) {
      weights.leave(state);
    }
    weights.requireAllRead();
    return memory;
  }

  private static Linear dense(
      Weights weights, String name, String path, boolean bias, Arena arena) {
    Tensor kernel = weights.get(name + ".kernel", path + "/kernel");
    Checks.rank(name + ".kernel", kernel, 2);
    Tensor weight = kernel.transpose(0, 1).toF32(arena);
    return Linears.of(weight, bias ? weights.get(name + ".bias", path + "/bias") : null);
  }

  // ---- Sizes ----

  /**
   * Returns the number of items.
   *
   * @return {@code memory_size}
   */
  public long memorySize() {
    return erase.dimOut();
  }

  /**
   * Returns the width of the vectors that address items.
   *
   * @return {@code key_depth}
   */
  public long keyDepth() {
    return key.dimOut();
  }

  /**
   * Returns the width of an item.
   *
   * @return {@code val_depth}
   */
  public long valDepth() {
    return key.dimIn();
  }

  // ---- State ----

  /** The memories of the sequences of a batch. For one thread at a time. */
  public static final class State implements RecurrentMemory {
    private final TransformerMemory layer;
    private final Tensor memVals;
    private final Tensor meanLogits;
    private final int[] segmentNumbers;

    /** Changes at every read and write, so that each read is written once. */
    private long version;

    private State(
        TransformerMemory layer, Tensor memVals, Tensor meanLogits, int[] segmentNumbers) {
      this.layer = layer;
      this.memVals = memVals;
      this.meanLogits = meanLogits;
      this.segmentNumbers = segmentNumbers;
    }

    /**
     * Returns the items.
     *
     * @return a read-only view {@code [batch, memorySize, valDepth]}, which reflects later writes
     */
    public Tensor memVals() {
      return memVals.asReadOnly();
    }

    /**
     * Returns how much has recently been written to each item.
     *
     * @return a read-only view {@code [batch, memorySize]}, which reflects later writes
     */
    public Tensor meanLogits() {
      return meanLogits.asReadOnly();
    }

    /**
     * Returns the segment of each sequence at the last read.
     *
     * @return a copy, one number for each sequence; 100000 before the first
     */
    public int[] segmentNumbers() {
      return segmentNumbers.clone();
    }

    /**
     * Reads the memory for a chunk, after resetting it for sequences that start afresh.
     *
     * @param arena supplies the memory of what is read
     * @param chunkNumber for each sequence the number of its segment. Copied.
     * @param queryAntecedent the chunk's features {@code [batch, len, channels]}, batch at most the
     *     state's, len at least 1. Copied.
     * @param bias returned unchanged; may be null. Not modified.
     * @return what was read; its {@link Read#postAttention} writes the chunk
     * @throws IllegalArgumentException if types, shapes or alignment do not fit
     * @throws OutOfMemoryError if the memory cannot be allocated
     */
    @Override
    public Read preAttention(Arena arena, int[] chunkNumber, Tensor queryAntecedent, Tensor bias) {
      return layer.read(arena, chunkNumber, queryAntecedent, bias, this);
    }

    private int batch() {
      return segmentNumbers.length;
    }
  }

  /**
   * Creates empty memories.
   *
   * @param arena supplies the memory of the state and decides how long it lives
   * @param batch the most sequences of a call
   * @return the state before the first segment
   * @throws IllegalArgumentException if batch is less than 1, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public State newState(Arena arena, long batch) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("batch", batch, 1, Integer.MAX_VALUE);
    int[] segmentNumbers = new int[(int) batch];
    Arrays.fill(segmentNumbers, NO_SEGMENT);
    return new State(
        this,
        Tensor.allocate(arena, DType.F32, batch, memorySize(), valDepth()),
        Tensor.allocate(arena, DType.F32, batch, memorySize()),
        segmentNumbers);
  }

  /**
   * Creates memories with given contents.
   *
   * @param arena supplies the memory of the state and decides how long it lives
   * @param memVals {@code [batch, memorySize, valDepth]}. Copied.
   * @param meanLogits {@code [batch, memorySize]}. Copied.
   * @param segmentNumbers the segment of each sequence. Copied.
   * @return the state
   * @throws IllegalArgumentException if types, shapes or alignment do not fit, or batch is 0
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public State newState(Arena arena, Tensor memVals, Tensor meanLogits, int[] segmentNumbers) {
    Objects.requireNonNull(arena, "arena");
    int[] own = Objects.requireNonNull(segmentNumbers, "segmentNumbers").clone();
    Checks.positive("segmentNumbers.length", own.length);
    Checks.input("memVals", Objects.requireNonNull(memVals, "memVals"));
    Checks.input("meanLogits", Objects.requireNonNull(meanLogits, "meanLogits"));
    Checks.shape(
        "memVals", memVals, "[batch, memorySize, valDepth]", own.length, memorySize(), valDepth());
    Checks.shape("meanLogits", meanLogits, "[batch, memorySize]", own.length, memorySize());
    return new State(this, memVals.toF32(arena), meanLogits.toF32(arena), own);
  }

  // ---- Around attention ----

  /** What was read for one chunk, and what is needed to write it. */
  public static final class Read implements RecurrentMemory.Chunk {
    private final State state;
    private final long madeAt;
    private final int batch;
    private final Tensor bias;
    private final Tensor x;
    private final Tensor accessLogits;
    private final Tensor retrieved;

    private Read(
        State state, int batch, Tensor bias, Tensor x, Tensor accessLogits, Tensor retrieved) {
      this.state = state;
      this.madeAt = state.version;
      this.batch = batch;
      this.bias = bias;
      this.x = x;
      this.accessLogits = accessLogits;
      this.retrieved = retrieved;
    }

    /**
     * Returns null: the chunk attends only to itself, and the memory is read separately.
     *
     * @return null
     */
    @Override
    public Tensor memoryAntecedent() {
      return null;
    }

    @Override
    public Tensor bias() {
      return bias;
    }

    /**
     * Adds what was read to the result of attention, and writes the chunk to the memory.
     *
     * @param x the result of attention (and what follows it) {@code [batch, len, depth]}, of the
     *     chunk's batch and length; becomes {@code post_x(x) + post_mem(read)}. Modified.
     * @throws IllegalArgumentException if type, shape, strides or alignment do not fit, or x is
     *     read-only or overlaps a weight
     * @throws IllegalStateException if the state has been read again since, or this reading has
     *     been written already
     * @throws OutOfMemoryError if there is no memory to compute in
     */
    @Override
    public void postAttention(Tensor x) {
      state.layer.mixAndWrite(this, x);
    }

    /**
     * Returns the similarity of each item to each token.
     *
     * @return a read-only view {@code [state's batch, len, memorySize]}
     */
    public Tensor accessLogits() {
      return accessLogits.asReadOnly();
    }

    /**
     * Returns what was read.
     *
     * @return a read-only view {@code [state's batch, len, valDepth]}
     */
    public Tensor retrieved() {
      return retrieved.asReadOnly();
    }
  }

  private Read read(
      Arena arena, int[] chunkNumber, Tensor queryAntecedent, Tensor bias, State state) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(chunkNumber, "chunkNumber");
    Checks.rank("queryAntecedent", Objects.requireNonNull(queryAntecedent, "queryAntecedent"), 3);
    Checks.input("queryAntecedent", queryAntecedent);
    Checks.reachable("state", state.memVals);
    int all = state.batch();
    Checks.inRange("queryAntecedent.batch", queryAntecedent.size(0), 0, all);
    int batch = (int) queryAntecedent.size(0);
    Checks.positive("queryAntecedent.len", queryAntecedent.size(1));
    Checks.equal("queryAntecedent.dim", queryAntecedent.size(2), "mem_query.dimIn", query.dimIn());
    Checks.equal("chunkNumber.length", chunkNumber.length, "queryAntecedent.batch", batch);
    int[] numbers = Arrays.copyOf(chunkNumber, all);
    for (int b = 0; b < all; b++) {
      if (numbers[b] < state.segmentNumbers[b]) {
        state.memVals.select(0, b).fill(0);
        state.meanLogits.select(0, b).fill(0);
      }
      state.segmentNumbers[b] = numbers[b];
    }
    state.version++;

    long len = queryAntecedent.size(1);
    Tensor x = Tensor.allocate(arena, DType.F32, all, len, query.dimIn());
    x.slice(0, 0, batch).copyFrom(queryAntecedent);
    Tensor access = Tensor.allocate(arena, DType.F32, all, len, memorySize());
    Tensor retrieved = Tensor.allocate(arena, DType.F32, all, len, valDepth());
    try (Scratch scratch = new Scratch()) {
      address(x, state.memVals, access, scratch);
      Tensor weights = scratch.floats(all, len, memorySize());
      MaskedSoftmax.forward(access, ValidLens.none(), weights);
      Tensor items = scratch.floats(valDepth(), memorySize());
      for (int b = 0; b < all; b++) {
        items.copyFrom(state.memVals.select(0, b).transpose(0, 1));
        Linear.of(items).forward(weights.select(0, b), retrieved.select(0, b));
      }
    }
    return new Read(state, batch, bias, x, access, retrieved);
  }

  /** Sharpened cosines of the projected tokens and items. */
  private void address(Tensor x, Tensor memVals, Tensor access, Scratch scratch) {
    Tensor keys = scratch.floats(memVals.size(0), memorySize(), keyDepth());
    Tensor queries = scratch.floats(x.size(0), x.size(1), keyDepth());
    key.forward(memVals, keys);
    query.forward(x, queries);
    double[] keyNorms = norms(keys);
    double[] queryNorms = norms(queries);
    int items = (int) memorySize();
    int len = (int) x.size(1);
    for (int b = 0; b < x.size(0); b++) {
      Tensor products = access.select(0, b);
      Linear.of(keys.select(0, b)).forward(queries.select(0, b), products);
      float[] logits = products.toFloatArray();
      for (int t = 0; t < len; t++) {
        for (int m = 0; m < items; m++) {
          double norm = queryNorms[b * len + t] * keyNorms[b * items + m] + EPSILON;
          logits[t * items + m] = (float) (sharpenFactor * logits[t * items + m] / norm);
        }
      }
      products.copyFrom(logits);
    }
  }

  private static double[] norms(Tensor rows) {
    int width = (int) rows.size(-1);
    float[] values = rows.toFloatArray();
    double[] norms = new double[values.length / width];
    for (int i = 0; i < norms.length; i++) {
      double squares = EPSILON;
      for (int d = 0; d < width; d++) {
        double value = values[i * width + d];
        squares += value * value;
      }
      norms[i] = Math.sqrt(squares);
    }
    return norms;
  }

  private void mixAndWrite(Read read, Tensor result) {
    State state = read.state;
    if (read.madeAt != state.version) {
      throw new IllegalStateException(
          "read must be written before its state changes: changes then="
              + read.madeAt
              + ", now="
              + state.version);
    }
    Checks.output("x", Objects.requireNonNull(result, "x"));
    Checks.shape("x", result, "[batch, len, depth]", read.batch, read.x.size(1), postX.dimIn());
    Checks.reachable("state", state.memVals);
    try (Scratch scratch = new Scratch()) {
      Tensor attended = scratch.floats(result.shape()).copyFrom(result);
      postX.forward(attended, result);
      postMemory.forwardAdd(read.retrieved.slice(0, 0, read.batch), result);
    }
    state.version++;
    write(read, state);
  }

  private void write(Read read, State state) {
    int all = state.batch();
    int len = (int) read.x.size(1);
    int items = (int) memorySize();
    try (Scratch scratch = new Scratch()) {
      Tensor gates = scratch.floats(all, len, 1);
      gamma.forward(read.x, gates);
      Tensor candidates = scratch.floats(all, len, valDepth());
      candidate.forward(read.x, candidates);
      Activation.RELU.forward(candidates, candidates);
      Tensor erased = scratch.floats(all, len, items);
      erase.forward(read.x, erased);
      Tensor logits = scratch.floats(all, len, items);
      for (int b = 0; b < all; b++) {
        logits.select(0, b).copyFrom(writeLogits(read, gates, state.meanLogits, b));
      }
      Tensor weights = scratch.floats(all, len, items);
      MaskedSoftmax.forward(logits, ValidLens.none(), weights);
      Tensor perItem = scratch.floats(items, len);
      Tensor perValue = scratch.floats(valDepth(), len);
      Tensor added = scratch.floats(items, valDepth());
      for (int b = 0; b < all; b++) {
        perItem.copyFrom(weights.select(0, b).transpose(0, 1));
        perValue.copyFrom(candidates.select(0, b).transpose(0, 1));
        Linear.of(perValue).forward(perItem, added);
        update(
            state,
            b,
            weights.select(0, b).toFloatArray(),
            erased.select(0, b).toFloatArray(),
            logits.select(0, b).toFloatArray(),
            added.toFloatArray());
      }
    }
  }

  /** An item that was written recently is less likely to be written again. */
  private static float[] writeLogits(Read read, Tensor gates, Tensor meanLogits, int batch) {
    float[] logits = read.accessLogits.select(0, batch).toFloatArray();
    float[] means = meanLogits.select(0, batch).toFloatArray();
    float[] gate = gates.select(0, batch).toFloatArray();
    for (int t = 0; t < gate.length; t++) {
      double opened = sigmoid(gate[t]);
      for (int m = 0; m < means.length; m++) {
        logits[t * means.length + m] -= (float) (opened * means[m]);
      }
    }
    return logits;
  }

  /** One sequence's items and mean logits; {@code added} is the sum over the chunk's tokens. */
  private void update(
      State state, int batch, float[] weights, float[] erased, float[] logits, float[] added) {
    Tensor memVals = state.memVals.select(0, batch);
    Tensor meanLogits = state.meanLogits.select(0, batch);
    float[] values = memVals.toFloatArray();
    float[] means = meanLogits.toFloatArray();
    int items = means.length;
    int width = values.length / items;
    int len = weights.length / items;
    for (int m = 0; m < items; m++) {
      double forgotten = 0;
      double written = 0;
      for (int t = 0; t < len; t++) {
        forgotten += sigmoid(erased[t * items + m]) * weights[t * items + m];
        written += logits[t * items + m];
      }
      double kept = 1 - forgotten / len;
      for (int d = m * width; d < (m + 1) * width; d++) {
        values[d] = (float) (kept * values[d] + added[d] / (double) len);
      }
      means[m] = (float) (0.1 * means[m] + 0.9 * written / len);
    }
    memVals.copyFrom(values);
    meanLogits.copyFrom(means);
  }

  private static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }
}
