package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * One call of the native attention operation, plain or differential. {@link Attention} and {@link
 * Differential} check q, k, v and out and fill in the sizes and strides, in which they differ; this
 * class checks and describes everything else, and runs the call.
 */
final class AttentionCall {
  /** The most key lengths of one call; they are copied into its descriptor. */
  private static final int MOST_LENGTHS = 1 << 28;

  private static final int[] NO_WORDS = {};

  final Tensor q;
  final Tensor k;
  final Tensor v;
  final Tensor out;

  /** 4, or 3 if the tensors have no head dimension. */
  final int rank;

  long batch;
  long headsQ;
  long headsKv;
  long lenQ;
  long lenK;
  long dimQk;
  long dimV;
  int maps = 1;
  int keyMap = Descriptor.KEY_PAIRS;
  int valueParts = 1;
  int lambdaForm = Descriptor.LAMBDA_AS_GIVEN;

  /** The sequences in the rows of q and of k; null unless they are packed. */
  Sequences queries;

  Sequences keys;

  long strideHeadQ;
  long strideMapQ;
  long strideHeadK;
  long strideMapK;
  long strideHeadV;
  long stridePartV;

  /** For differential attention: λ as a tensor with its strides, or null for lambdaValue. */
  Tensor lambda;

  float lambdaValue;
  long strideBatchLambda;
  long strideHeadLambda;
  long strideRowLambda;

  /** The cache whose rows k and v are, if that is what was given. */
  private final KvCache cache;

  AttentionCall(Tensor q, Tensor k, Tensor v, Tensor out) {
    this(q, k, v, out, null);
  }

  AttentionCall(Tensor q, KvCache cache, Tensor out) {
    this(q, cache.keyView(), cache.valueView(), out, cache);
  }

  private AttentionCall(Tensor q, Tensor k, Tensor v, Tensor out, KvCache cache) {
    this.cache = cache;
    this.q = q;
    this.k = k;
    this.v = v;
    this.out = out;
    this.rank = q.rank();
    checkTypes();
    batch = q.size(0);
    lenQ = q.size(-2);
    lenK = k.size(-2);
    dimQk = q.size(-1);
    checkSizes();
  }

  // Two methods, because the JIT compiler would not inline a constructor as long as both together.

  private void checkTypes() {
    Checks.rankOf3Or4("q", q);
    checkMember("k", k);
    checkMember("v", v);
    checkMember("out", out);
    Checks.realInput("q", q);
    checkStored("k", k);
    checkStored("v", v);
    Checks.realOutput("out", out);
    if (v.dtype() != k.dtype()) {
      throw new IllegalArgumentException(
          "v.dtype must equal k.dtype: v.dtype=" + v.dtype() + ", k.dtype=" + k.dtype());
    }
  }

  private void checkSizes() {
    Checks.equal("k", "q", "batch", k.size(0), batch);
    Checks.equal("v", "k", "batch", v.size(0), k.size(0));
    Checks.equal("out", "q", "batch", out.size(0), batch);
    Checks.equal("k", "q", "dim", k.size(-1), dimQk);
    Checks.equal("v", "k", "lenK", v.size(-2), lenK);
    Checks.equal("out", "q", "lenQ", out.size(-2), lenQ);
    Checks.positive("q.dim", dimQk);
    Checks.positive("v.dim", v.size(-1));
    Checks.packedRows("q", q);
    Checks.packedRows("k", k);
    Checks.packedRows("v", v);
    Checks.packedRows("out", out);
  }

  /** Quantised keys and values come from a cache, which has their scales. */
  private void checkStored(String name, Tensor tensor) {
    if (cache != null && tensor.dtype() == DType.I8) {
      Checks.input(name, tensor, DType.I8);
    } else {
      Checks.realInput(name, tensor);
    }
  }

  private void checkMember(String name, Tensor tensor) {
    if (tensor.rank() != rank) {
      Checks.equal(name + ".rank", tensor.rank(), "q.rank", rank);
    }
  }

  /**
   * Makes a call over packed sequences {@code [total, heads, dim]}, viewed as one batch that
   * contains the rows of all sequences.
   */
  static AttentionCall packed(
      Tensor q, Sequences queries, Tensor k, Tensor v, Sequences keys, Tensor out) {
    Objects.requireNonNull(queries, "queries");
    Objects.requireNonNull(keys, "keys");
    checkPacked("q", q, "queries", queries);
    checkPacked("k", k, "keys", keys);
    checkPacked("v", v, "keys", keys);
    checkPacked("out", out, "queries", queries);
    Checks.equal("keys.count", keys.count(), "queries.count", queries.count());
    AttentionCall call = new AttentionCall(asBatch(q), asBatch(k), asBatch(v), asBatch(out));
    call.queries = queries;
    call.keys = keys;
    call.batch = queries.count();
    call.lenQ = queries.longest();
    call.lenK = keys.longest();
    return call;
  }

  private static void checkPacked(
      String name, Tensor tensor, String sequencesName, Sequences sequences) {
    if (Objects.requireNonNull(tensor, name).rank() != 3) {
      throw new IllegalArgumentException(
          name + ".rank must be 3 [total, heads, dim]: " + name + ".rank=" + tensor.rank());
    }
    Checks.equal(
        name + ".total", tensor.size(0), sequencesName + ".total", (long) sequences.total());
  }

  private static Tensor asBatch(Tensor packed) {
    return packed.transpose(0, 1).unsqueeze(0);
  }

  private boolean isPacked() {
    return queries != null;
  }

  private String batchName() {
    return isPacked() ? "queries.count" : "q.batch";
  }

  /** Checks the options and extras, and computes. */
  void run(Options options, Extras extras) {
    boolean storedApart = cache != null && cache.isStoredApart();
    if (storedApart) {
      for (Tensor output : outputs(extras)) {
        if (output != null) {
          cache.checkApart(output == out ? "out" : "an output", output);
        }
      }
    }
    if (extras == Extras.none() && options.isPlain() && maps == 1 && !isPacked() && !storedApart) {
      runPlain(options);
    } else {
      runWith(options, extras);
    }
  }

  /**
   * Fast path for calls without options: the smallest call takes two thirds of the time, and the
   * JIT compiler is finished with it much sooner.
   */
  private void runPlain(Options options) {
    Checks.disjointReachable("out", out, "q", q);
    Checks.disjointReachable("out", out, "k", k);
    Checks.disjointReachable("out", out, "v", v);
    if (out.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d = Descriptor.attention(lease);
      describe(d, options, lenK);
      Descriptor.placement(d, options.placement().code(), 0);
      Downcalls.attention(
          lease, d, Checks.first(q), Checks.first(k), Checks.first(v), Checks.first(out));
    }
  }

  /** Writes what every call has. */
  private void describe(MemorySegment d, Options options, long keyLimit) {
    options.describe(d, dimQk, keyLimit);
    Descriptor.maps(d, maps, keyMap, valueParts, lambdaForm);
    Descriptor.sizes(d, batch, headsQ, headsKv, lenQ, lenK, dimQk, dimV);
    Descriptor.query(d, q.dtype(), batchStride(q), strideHeadQ, strideMapQ, q.stride(-2));
    Descriptor.keys(d, k.dtype(), batchStride(k), strideHeadK, strideMapK, k.stride(-2));
    Descriptor.values(d, v.dtype(), batchStride(v), strideHeadV, stridePartV, v.stride(-2));
    Descriptor.out(d, out.dtype(), batchStride(out), Checks.headStride(out), out.stride(-2));
  }

  private void runWith(Options options, Extras extras) {
    Mask mask = options.mask();
    checkOutputs(extras);
    checkInputs(mask, extras);
    checkApart(mask, extras);
    checkTables(options.tables(), extras);
    if (options.relative() != null) {
      checkRelative(options.relative(), extras);
    }
    if (isPacked()) {
      checkPackedOptions(options, extras);
    }
    if (extras.noise() != null && options.hardening() == null) {
      throw new IllegalArgumentException(
          "gumbelNoise is added to weights before they are hardened: choose topK or hardAttention");
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      compute(lease, options, extras);
    }
  }

  private void compute(Workspaces.Lease lease, Options options, Extras extras) {
    Mask mask = options.mask();
    Descriptor.Tail tail = new Descriptor.Tail();
    final Lengths lengths = Lengths.of(this, mask, options.placement());
    final long lengthsOffset = lengths.values == null ? 0 : tail.ints(lengths.values);
    int[] offsets = lengths.placement.offsets();
    if (offsets != null) {
      Checks.equal("offsets.length", offsets.length, batchName(), batch);
    }
    final long rowOffsets = offsets == null ? 0 : tail.ints(offsets);
    final Options.Slopes slopeValues = options.slopes();
    final long slopes = slopes(tail, slopeValues);
    final long sinks = perHead(tail, "sinks", options.sinks(), maps);
    final long queryBegins = isPacked() ? tail.ints(queries.begins()) : 0;
    final long keyBegins = isPacked() ? tail.ints(keys.begins()) : 0;
    KeyRanges ranges = mask.ranges();
    final long rangeStarts = ranges == null ? 0 : tail.ints(checked(ranges).starts());
    final long rangeBounds = ranges == null ? 0 : tail.ints(ranges.bounds());
    final List<Tensor> tables = options.tables();
    final int[] maskCode = words(mask.program(), tables);
    final int[] scoreCode = words(options.score(), tables);
    final long maskProgram = maskCode.length == 0 ? 0 : tail.ints(maskCode);
    final long scoreProgram = scoreCode.length == 0 ? 0 : tail.ints(scoreCode);
    final Tensor allow = mask.allow();
    final Tensor bias = mask.bias();
    final Tensor keep = extras.keep();
    final long keyLimit =
        Math.min(
            checkBroadcast("mask.allow", allow, mask.isAllowPadded()),
            checkBroadcast("mask.bias", bias, mask.isBiasPadded()));
    checkBroadcast("keep", keep, false);
    final Tensor uniform = extras.uniform();
    checkBroadcast("uniform", uniform, false);
    if (out.count() == 0) {
      if (extras.work() != null) {
        Checks.first(extras.work()).set(ValueLayout.JAVA_LONG, 0, 0);
      }
      return;
    }

    MemorySegment d = Descriptor.attention(lease, tail);
    describe(d, options, keyLimit);
    Descriptor.placement(d, lengths.placement.code(), rowOffsets);
    Descriptor.keyLengths(d, lengthsOffset, lengths.perRow ? lenQ : 1, lengths.perRow ? 1 : 0);
    boolean eachBatch = slopeValues != null && slopeValues.batches() > 0;
    Descriptor.heads(d, slopes, eachBatch ? headsQ : 0, sinks);
    Descriptor.packed(d, queryBegins, keyBegins);
    if (ranges != null) {
      Descriptor.ranges(
          d,
          ranges.rowsPerBlock(),
          ranges.lists(),
          rangeStarts,
          rangeBounds,
          ranges.batches() == 1 ? 0 : (long) ranges.heads() * ranges.blocks(),
          ranges.heads() == 1 ? 0 : ranges.blocks());
    }
    Descriptor.programs(d, maskProgram, maskCode.length, scoreProgram, scoreCode.length);
    long rows = isPacked() ? queries.total() : lenQ;
    Descriptor.logsumexpStrides(d, isPacked() ? 0 : headsQ * maps * rows, maps * rows, rows);
    if (extras.stage() != null) {
      Descriptor.scoresStage(d, code(extras.stage()));
    }

    Downcalls.AttentionBuffers buffers = new Downcalls.AttentionBuffers();
    buffers.q = Checks.first(q);
    buffers.k = Checks.first(k);
    buffers.v = Checks.first(v);
    if (cache != null && cache.isStoredApart()) {
      cache.describe(d, this, buffers);
    }
    describeMask(d, mask, lease, buffers);
    describeChance(d, extras, buffers);
    if (maps == 2) {
      Descriptor.lambdaStrides(d, strideBatchLambda, strideHeadLambda, strideRowLambda);
      buffers.lambda = lambda == null ? lease.scalar(lambdaValue) : Checks.first(lambda);
    }
    if (options.relative() != null) {
      describeRelative(d, options.relative(), buffers);
    }
    for (int i = 0; i < tables.size(); i++) {
      Descriptor.tableCount(d, i, tables.get(i).count());
      buffers.tables[i] = Checks.first(tables.get(i));
    }
    buffers.out = Checks.first(out);
    buffers.logsumexp = Checks.firstOrNull(extras.logsumexp());
    buffers.weights = Checks.firstOrNull(extras.weights());
    buffers.scores = Checks.firstOrNull(extras.scores());
    buffers.work = Checks.firstOrNull(extras.work());
    Downcalls.attention(lease, d, buffers);
  }

  // The parts of the description. As one method they cost the JVM's first compiler 50 MB of
  // memory, and it gave up.

  private void describeMask(
      MemorySegment d, Mask mask, Workspaces.Lease lease, Downcalls.AttentionBuffers buffers) {
    Tensor allow = mask.allow();
    if (allow != null) {
      Descriptor.maskStrides(
          d, strideBatch(allow), strideHead(allow), strideRow(allow), strideKey(allow));
      buffers.mask = Checks.first(allow);
    }
    if (mask.tokens() != null) {
      Descriptor.keyMaskStride(d, lenK);
      buffers.keyMask = Padding.keyMask(lease, mask.tokens(), mask.padToken());
    }
    Tensor bias = mask.bias();
    if (bias != null) {
      Descriptor.biasStrides(
          d, strideBatch(bias), strideHead(bias), strideRow(bias), strideKey(bias));
      buffers.bias = Checks.first(bias);
    }
  }

  /** Dropout and noise. */
  private void describeChance(MemorySegment d, Extras extras, Downcalls.AttentionBuffers buffers) {
    Tensor keep = extras.keep();
    if (keep != null) {
      Descriptor.keep(
          d,
          extras.keepScale(),
          strideBatch(keep),
          strideHead(keep),
          strideRow(keep),
          strideKey(keep));
      buffers.keep = Checks.first(keep);
    }
    if (extras.dropout() != null) {
      Dropout dropout = extras.dropout();
      Descriptor.dropout(d, dropout.rate(), dropout.keepScale(), dropout.seed(), dropout.shared());
    }
    if (extras.noise() != null) {
      Descriptor.noise(d, extras.noise().weight(), extras.noise().seed());
    }
    Tensor uniform = extras.uniform();
    if (uniform != null) {
      Descriptor.noiseStrides(
          d, strideBatch(uniform), strideHead(uniform), strideRow(uniform), strideKey(uniform));
      buffers.noise = Checks.first(uniform);
    }
  }

  private void describeRelative(
      MemorySegment d, RelativePositions relative, Downcalls.AttentionBuffers buffers) {
    Descriptor.relative(
        d,
        relative.rows(),
        relative.zero(),
        relative.beyond() == RelativePositions.Beyond.CLIP
            ? Descriptor.BEYOND_CLIP
            : Descriptor.BEYOND_ZERO,
        relative.firstWithValues());
    if (relative.keys() != null) {
      Descriptor.relativeKeysStrides(d, tableHead(relative.keys()), relative.keys().stride(-2));
      buffers.relativeKeys = Checks.first(relative.keys());
    }
    if (relative.values() != null) {
      Descriptor.relativeValuesStrides(
          d, tableHead(relative.values()), relative.values().stride(-2));
      buffers.relativeValues = Checks.first(relative.values());
    }
  }

  private static int[] words(Program program, List<Tensor> tables) {
    return program == null ? NO_WORDS : program.words(tables);
  }

  private static int code(ScoreStage stage) {
    return switch (stage) {
      case SCALED -> Descriptor.STAGE_SCALED;
      case CAPPED -> Descriptor.STAGE_CAPPED;
      case LOGITS -> Descriptor.STAGE_LOGITS;
    };
  }

  private long batchStride(Tensor tensor) {
    return isPacked() ? 0 : tensor.stride(0);
  }

  private long slopes(Descriptor.Tail tail, Options.Slopes slopes) {
    if (slopes == null || slopes.batches() == 0) {
      return perHead(tail, "slopes", slopes == null ? null : slopes.values(), 1);
    }
    Checks.equal("slopes.length", slopes.batches(), batchName(), batch);
    Checks.equal(
        "slopes[0].length", slopes.values().length / slopes.batches(), "out.heads", headsQ);
    return tail.floats(slopes.values());
  }

  private long perHead(Descriptor.Tail tail, String name, float[] values, int each) {
    if (values == null) {
      return 0;
    }
    Checks.equal(
        name + ".length", values.length, each == 2 ? "2 * pairs" : "out.heads", headsQ * each);
    return tail.floats(values);
  }

  private KeyRanges checked(KeyRanges ranges) {
    long blocks = Math.ceilDiv(lenQ, (long) ranges.rowsPerBlock());
    Checks.equal("mask.keyRanges.blocks", ranges.blocks(), "ceil(lenQ / rowsPerBlock)", blocks);
    if (ranges.batches() != 1) {
      Checks.equal("mask.keyRanges.batches", ranges.batches(), batchName(), batch);
    }
    if (ranges.heads() != 1) {
      Checks.equal("mask.keyRanges.heads", ranges.heads(), "out.heads", headsQ);
    }
    Checks.inRange("the last end of mask.keyRanges", ranges.lastKey(), 0, lenK);
    return ranges;
  }

  // ---- Key lengths ----

  /** The numbers of keys, of each batch or of each query, or null; and where the queries are. */
  private record Lengths(int[] values, boolean perRow, Placement placement) {
    static Lengths of(AttentionCall call, Mask mask, Placement placement) {
      int[] perBatch = call.batchLengths(mask);
      int[] queries = call.queryLengths(mask);
      if (mask.rowLengths() == null && queries == null) {
        return new Lengths(perBatch, false, placement);
      }
      int[] perRow = call.rowLengths(mask.rowLengths(), perBatch, queries);
      if ((perBatch != null || queries != null)
          && placement.alignment() == Alignment.BOTTOM_RIGHT) {
        // Lengths of batches move the end of BOTTOM_RIGHT, but have just been merged into those of
        // rows, which do not.
        int[] offsets = new int[(int) call.batch];
        for (int b = 0; b < offsets.length; b++) {
          long keys = perBatch == null ? call.lenK : perBatch[b];
          offsets[b] = Math.toIntExact(keys - (queries == null ? call.lenQ : queries[b]));
        }
        return new Lengths(perRow, true, new Placement(null, offsets));
      }
      return new Lengths(perRow, true, placement);
    }
  }

  /** Each batch's number of queries, or null. */
  private int[] queryLengths(Mask mask) {
    int[] lengths = mask.queryLengths();
    if (lengths != null) {
      Checks.equal("mask.queryLengths.length", lengths.length, batchName(), batch);
      for (int b = 0; b < lengths.length; b++) {
        Checks.inRange("mask.queryLengths[" + b + "]", lengths[b], 0, lenQ);
      }
    }
    return lengths;
  }

  /** Each batch's number of keys, or null. */
  private int[] batchLengths(Mask mask) {
    int[] fixed = mask.keyLengths();
    Tensor tensor = mask.keyLengthsTensor();
    if (fixed != null) {
      Checks.equal("mask.keyLengths.length", fixed.length, batchName(), batch);
      for (int b = 0; b < fixed.length; b++) {
        checkLength(fixed[b], b);
      }
    }
    if (tensor == null) {
      return fixed;
    }
    Checks.equal("mask.keyLengths.length", tensor.size(0), batchName(), batch);
    Checks.inRange("mask.keyLengths.length", tensor.size(0), 0, MOST_LENGTHS);
    int[] lengths = new int[(int) tensor.size(0)];
    for (int b = 0; b < lengths.length; b++) {
      long length = tensor.getLong(b);
      checkLength(length, b);
      lengths[b] = fixed == null ? (int) length : (int) Math.min(length, fixed[b]);
    }
    return lengths;
  }

  private void checkLength(long length, int b) {
    long most = isPacked() ? keys.length(b) : lenK;
    if (length < 0 || length > most) {
      Checks.inRange("mask.keyLengths[" + b + "]", length, 0, most);
    }
  }

  /** Each query's number of keys: the least of those given, and none for a query of padding. */
  private int[] rowLengths(Tensor tensor, int[] perBatch, int[] queries) {
    if (tensor != null) {
      Checks.shape("mask.keyLengths", tensor, "[batch, lenQ]", batch, lenQ);
    }
    Checks.inRange("k.len", lenK, 0, Integer.MAX_VALUE);
    Checks.inRange("batch * lenQ", batch * lenQ, 0, MOST_LENGTHS);
    int[] lengths = new int[(int) (batch * lenQ)];
    for (int n = 0; n < lengths.length; n++) {
      int b = (int) (n / lenQ);
      int i = (int) (n % lenQ);
      long length = tensor == null ? lenK : tensor.getLong(b, i);
      if (length < 0 || length > lenK) {
        Checks.inRange("mask.keyLengths[" + b + ", " + i + "]", length, 0, lenK);
      }
      if (perBatch != null) {
        length = Math.min(length, perBatch[b]);
      }
      lengths[n] = queries != null && i >= queries[b] ? 0 : (int) length;
    }
    return lengths;
  }

  // ---- Outputs other than out ----

  private void checkOutputs(Extras extras) {
    if (extras.logsumexp() != null) {
      checkContiguous("logsumexp", extras.logsumexp());
      checkLogsumexp(extras.logsumexp());
    }
    if (extras.weights() != null) {
      checkContiguous("weights", extras.weights());
      if (!isPacked()) {
        checkMatrix("weights", extras.weights());
      }
    }
    if (extras.scores() != null) {
      checkContiguous("scores", extras.scores());
      if (maps == 2 && !isPacked()) {
        Checks.shape(
            "scores",
            extras.scores(),
            "[batch, pairs, 2, lenQ, lenK]",
            batch,
            headsQ,
            2,
            lenQ,
            lenK);
      } else if (!isPacked()) {
        checkMatrix("scores", extras.scores());
      }
    }
    if (extras.work() != null) {
      Checks.output("work", extras.work(), DType.I64);
      Checks.shape("work", extras.work(), "one number", 1);
    }
  }

  private static void checkContiguous(String name, Tensor tensor) {
    Checks.output(name, tensor);
    Checks.contiguous(name, tensor);
  }

  private void checkLogsumexp(Tensor lse) {
    if (isPacked()) {
      long total = queries.total();
      if (maps == 2) {
        Checks.shape("logsumexp", lse, "[pairs, 2, totalQ]", headsQ, 2, total);
      } else {
        Checks.shape("logsumexp", lse, "[heads, totalQ]", headsQ, total);
      }
    } else if (maps == 2) {
      Checks.shape("logsumexp", lse, "[batch, pairs, 2, lenQ]", batch, headsQ, 2, lenQ);
    } else if (rank == 4) {
      Checks.shape("logsumexp", lse, "[batch, heads, lenQ]", batch, headsQ, lenQ);
    } else {
      Checks.shape("logsumexp", lse, "[batch, lenQ]", batch, lenQ);
    }
  }

  private void checkMatrix(String name, Tensor matrix) {
    if (rank == 4) {
      Checks.shape(name, matrix, "[batch, heads, lenQ, lenK]", batch, headsQ, lenQ, lenK);
    } else {
      Checks.shape(name, matrix, "[batch, lenQ, lenK]", batch, lenQ, lenK);
    }
  }

  private static void checkPackedOptions(Options options, Extras extras) {
    Mask mask = options.mask();
    String why = "packed sequences, which have no matrix of rows and keys";
    options.refuseHardening(why);
    Options.refuse("mask.allow", mask.allow(), why);
    Options.refuse("mask.bias", mask.bias(), why);
    Options.refuse("mask.padding", mask.tokens(), why);
    Options.refuse("mask.keyLengths of each query", mask.rowLengths(), why);
    Options.refuse("keep", extras.keep(), why);
    Options.refuse("weights", extras.weights(), why);
    Options.refuse("scores", extras.scores(), why);
    Options.refuse(
        "mask.queryLengths",
        mask.queryLengths(),
        "packed sequences, which have lengths of their own");
  }

  // ---- Inputs other than q, k and v ----

  private void checkInputs(Mask mask, Extras extras) {
    checkInput("mask.allow", mask.allow(), DType.BOOL);
    checkInput("mask.bias", mask.bias(), DType.F32);
    checkLengths(mask.keyLengthsTensor());
    checkLengths(mask.rowLengths());
    checkInput("mask.padding", mask.tokens(), DType.I32);
    if (mask.tokens() != null && !isPacked()) {
      Checks.shape("mask.padding", mask.tokens(), "[batch, lenK]", batch, lenK);
    }
    checkInput("keep", extras.keep(), DType.BOOL);
    checkInput("uniform", extras.uniform(), DType.F32);
    checkInput("lambda", lambda, DType.F32);
  }

  private static void checkLengths(Tensor lengths) {
    if (lengths != null) {
      Checks.input("mask.keyLengths", lengths, lengths.dtype());
    }
  }

  private static void checkInput(String name, Tensor tensor, DType dtype) {
    if (tensor != null) {
      Checks.input(name, tensor, dtype);
    }
  }

  private static final String[] OUTPUTS = {"out", "logsumexp", "weights", "scores", "work"};

  private Tensor[] outputs(Extras extras) {
    return new Tensor[] {out, extras.logsumexp(), extras.weights(), extras.scores(), extras.work()};
  }

  /** No output shares a byte with an input or with another output. */
  private void checkApart(Mask mask, Extras extras) {
    checkApartFromInputs("out", out, mask, extras);
    if (extras == Extras.none()) {
      return;
    }
    Tensor[] outputs = outputs(extras);
    for (int o = 1; o < outputs.length; o++) {
      if (outputs[o] == null) {
        continue;
      }
      checkApartFromInputs(OUTPUTS[o], outputs[o], mask, extras);
      for (int earlier = 0; earlier < o; earlier++) {
        checkApart(OUTPUTS[o], outputs[o], OUTPUTS[earlier], outputs[earlier]);
      }
    }
  }

  private void checkApartFromInputs(String name, Tensor output, Mask mask, Extras extras) {
    Checks.disjoint(name, output, "q", q);
    Checks.disjoint(name, output, "k", k);
    Checks.disjoint(name, output, "v", v);
    checkApart(name, output, "mask.allow", mask.allow());
    checkApart(name, output, "mask.bias", mask.bias());
    checkApart(name, output, "mask.keyLengths", mask.keyLengthsTensor());
    checkApart(name, output, "mask.keyLengths", mask.rowLengths());
    checkApart(name, output, "mask.padding", mask.tokens());
    checkApart(name, output, "keep", extras.keep());
    checkApart(name, output, "uniform", extras.uniform());
    checkApart(name, output, "lambda", lambda);
  }

  private static void checkApart(String name, Tensor output, String otherName, Tensor other) {
    if (other != null) {
      Checks.disjoint(name, output, otherName, other);
    }
  }

  /** An optional input shares no byte with an output. */
  private void checkApartFromOutputs(String name, Tensor input, Extras extras) {
    Tensor[] outputs = outputs(extras);
    for (int o = 0; o < outputs.length; o++) {
      if (outputs[o] != null) {
        Checks.disjoint(OUTPUTS[o], outputs[o], name, input);
      }
    }
  }

  /** Checks tables of expressions as inputs. */
  private void checkTables(List<Tensor> tables, Extras extras) {
    for (Tensor table : tables) {
      Checks.input("table", table, table.dtype());
      checkApartFromOutputs("table", table, extras);
    }
  }

  /** Checks the tables of relative positions as inputs, as wide as a key and a value. */
  private void checkRelative(RelativePositions relative, Extras extras) {
    checkRelative("relative.keys", relative.keys(), "q.dim", dimQk, extras);
    checkRelative("relative.values", relative.values(), "v.dim", dimV, extras);
  }

  private void checkRelative(
      String name, Tensor table, String widthName, long width, Extras extras) {
    if (table == null) {
      return;
    }
    Checks.input(name, table);
    Checks.packedRows(name, table);
    Checks.equal(name + ".dim", table.size(-1), widthName, width);
    if (table.rank() == 3) {
      Checks.equal(name + ".heads", table.size(0), "q.heads", headsQ);
    }
    checkApartFromOutputs(name, table, extras);
  }

  private static long tableHead(Tensor table) {
    return table.rank() == 3 ? table.stride(0) : 0;
  }

  /**
   * Checks that the tensor broadcasts to the weights. Returns how many of the keys it covers: all,
   * unless it is padded with hidden ones.
   */
  private long checkBroadcast(String name, Tensor tensor, boolean padded) {
    if (tensor == null) {
      return lenK;
    }
    int t = tensor.rank();
    boolean fits =
        t <= rank
            && (t < 1 || Checks.broadcasts(tensor.size(-1), lenK) || tensor.size(-1) < lenK)
            && (t < 2 || Checks.broadcasts(tensor.size(-2), lenQ))
            && (t < 3 || Checks.broadcasts(tensor.size(-3), rank == 4 ? headsQ : batch))
            && (t < 4 || Checks.broadcasts(tensor.size(-4), batch));
    boolean shorter = fits && t >= 1 && !Checks.broadcasts(tensor.size(-1), lenK);
    if (!fits || shorter && !padded) {
      boolean mask = name.startsWith("mask.");
      throw new IllegalArgumentException(
          name
              + " must broadcast to "
              + (rank == 4
                  ? "[batch, heads, lenQ, lenK] = "
                      + Arrays.toString(new long[] {batch, headsQ, lenQ, lenK})
                  : "[batch, lenQ, lenK] = " + Arrays.toString(new long[] {batch, lenQ, lenK}))
              + (shorter && mask ? " (Mask.paddedWithHidden hides the keys beyond it)" : "")
              + ": "
              + name
              + ".shape="
              + Arrays.toString(tensor.shape()));
    }
    return shorter ? tensor.size(-1) : lenK;
  }

  private long strideBatch(Tensor tensor) {
    return stride(tensor, rank);
  }

  private long strideHead(Tensor tensor) {
    return rank == 4 ? stride(tensor, 3) : 0;
  }

  private static long strideRow(Tensor tensor) {
    return stride(tensor, 2);
  }

  private static long strideKey(Tensor tensor) {
    return stride(tensor, 1);
  }

  private static long stride(Tensor tensor, int fromEnd) {
    return fromEnd > tensor.rank() || tensor.size(-fromEnd) == 1 ? 0 : tensor.stride(-fromEnd);
  }
}
