package io.github.attention4j.models.weights;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Stored;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;

/**
 * Reads the tensors of a checkpoint into the form that a model computes with. {@link Storage} says
 * how matrices are stored; vectors are always copied as floats.
 *
 * <p>Tensors that are missing, have another shape or hold no floats are replaced by zeros until
 * {@link #requireComplete} reports all of them at once; or sooner, if the zeros would take more
 * memory than the checkpoint's own tensors, so that a setting cannot demand memory that no file
 * fills.
 *
 * <p>Safe for any number of threads.
 */
public final class WeightReader {
  /** Zeros in place of wrong tensors are not limited to fewer elements than this. */
  private static final long FEW = 1 << 20;

  private final String source;
  private final Checkpoint checkpoint;
  private final Storage storage;
  private final boolean bf16Products;
  private final Arena arena;
  private final Problems problems = new Problems();
  private final LongAdder parameters = new LongAdder();
  private final AtomicLong replaced = new AtomicLong();

  /** Bytes of weights by how they are stored. */
  private final Map<String, Long> bytes = new ConcurrentSkipListMap<>();

  /**
   * Starts reading.
   *
   * @param source what messages begin with
   * @param storage how matrices are stored
   * @param bf16Products whether products of many rows may round to bfloat16
   * @param arena owns the weights
   */
  public WeightReader(
      String source, Checkpoint checkpoint, Storage storage, boolean bf16Products, Arena arena) {
    this.source = source;
    this.checkpoint = checkpoint;
    this.storage = storage;
    this.bf16Products = bf16Products || storage == Storage.PACKED_BF16;
    this.arena = arena;
  }

  /** The arena of the weights. */
  public Arena arena() {
    return arena;
  }

  /**
   * Bytes of weights by how they are stored, except packed matrices; all but mapped ones are
   * copies.
   */
  public Map<String, Long> bytes() {
    return new TreeMap<>(bytes);
  }

  /** The number of elements read so far. */
  public long parameters() {
    return parameters.sum();
  }

  /**
   * Requires that every tensor read so far was usable.
   *
   * @throws IllegalArgumentException if a tensor was missing, had another shape or held no floats
   */
  public void requireComplete() {
    problems.throwIfAny(source, "the configuration");
  }

  private void count(String kind, long size) {
    bytes.merge(kind, size, Long::sum);
  }

  /** A tensor of the checkpoint, or null after noting a problem. */
  private Stored find(Source source) {
    Stored stored = checkpoint.get(source.name());
    return problems.check(source.name(), source, stored) ? stored : null;
  }

  // ---- Tensors ----

  /** A copy as floats, in the order that the model uses. */
  public Tensor floats(Source source) {
    return floats(arena, source);
  }

  private Tensor floats(Arena target, Source source) {
    Stored stored = source.view() == null ? find(source) : null;
    Tensor copy;
    if (stored != null) {
      copy = stored.floats(target);
      parameters.add(copy.count());
    } else {
      try (Arena scratch = Arena.ofConfined()) {
        copy = byRows(source, view(source, scratch).toF32(target));
      }
    }
    count("F32", copy.count() * Float.BYTES);
    return copy;
  }

  /** A copy in the stored type. */
  public Tensor stored(Source source) {
    try (Arena scratch = Arena.ofConfined()) {
      Tensor tensor = get(source, scratch);
      return Tensor.allocate(arena, tensor.dtype(), tensor.shape()).copyFrom(tensor);
    }
  }

  /**
   * A tensor in the order that the model uses, and in the stored type if possible; contiguous and
   * aligned.
   *
   * @param scratch where it is copied to if necessary
   */
  private Tensor get(Source source, Arena scratch) {
    Tensor view = view(source, scratch);
    boolean ready = view.isContiguous() && view.segment().address() % view.dtype().bytes() == 0;
    return byRows(
        source, ready ? view : Tensor.allocate(scratch, view.dtype(), view.shape()).copyFrom(view));
  }

  private Tensor view(Source source, Arena scratch) {
    Stored stored = find(source);
    Tensor tensor = stored == null ? zeros(scratch, source.shape()) : stored.tensor(scratch);
    Tensor view = source.view() == null ? tensor : source.view().apply(tensor);
    parameters.add(view.count());
    return view;
  }

  private Tensor zeros(Arena scratch, long[] shape) {
    double count = 1;
    for (long size : shape) {
      count *= size;
    }
    long all = replaced.addAndGet((long) Math.min(count, Integer.MAX_VALUE));
    if (all > FEW && all > bytesOfCheckpoint() / Float.BYTES) {
      requireComplete();
    }
    return Tensor.allocate(scratch, DType.F32, shape);
  }

  private long bytesOfCheckpoint() {
    return checkpoint.names().stream().mapToLong(name -> checkpoint.get(name).bytes()).sum();
  }

  /** Views may split rows by heads; this merges those dimensions again, into a matrix or vector. */
  private static Tensor byRows(Source source, Tensor tensor) {
    long[] shape = tensor.shape();
    int splits = 3;
    if (source.view() == null || shape.length < splits) {
      return tensor;
    }
    return shape.length == splits
        ? tensor.reshape(tensor.count())
        : tensor.reshape(tensor.count() / shape[splits], shape[splits]);
  }

  // ---- Projections ----

  /** A projection; bias may be null. */
  public Linear linear(Source weight, Source bias) {
    return linear(arena, List.of(weight), bias == null ? List.of() : List.of(bias));
  }

  /**
   * A projection by stacked matrices.
   *
   * @param target the arena of these weights
   * @param biases one for each matrix; empty for none
   */
  public Linear linear(Arena target, List<Source> weights, List<Source> biases) {
    Tensor bias = biases.isEmpty() ? null : bias(target, biases);
    Source only = weights.size() == 1 ? weights.getFirst() : null;
    if (only != null && only.view() == null && storage == Storage.AS_STORED) {
      Linear linear = asStored(target, only, bias);
      if (linear != null) {
        return linear;
      }
    }
    Quantization format = storage.quantization;
    if (only != null && format == null && !storage.packed) {
      return rounding(Linears.of(floats(target, only), bias));
    }
    try (Arena scratch = Arena.ofConfined()) {
      Tensor matrix = joined(scratch, weights);
      if (!problems.isEmpty()) {
        return Linears.of(matrix, bias);
      }
      if (format != null && matrix.size(1) % format.group() == 0) {
        return quantized(QuantizedWeights.quantize(target, matrix, format), "", bias);
      }
      if (storage.packed) {
        return packed(target, rounding(Linears.of(matrix, bias)), matrix, bias);
      }
      count("F32", matrix.count() * Float.BYTES);
      return rounding(Linears.of(matrix.toF32(target), bias));
    }
  }

  /** A matrix that is mapped, or packed from the file's own blocks; null if neither is possible. */
  private Linear asStored(Arena target, Source source, Tensor bias) {
    Stored stored = find(source);
    Tensor inPlace = stored == null ? null : stored.inPlace();
    if (inPlace != null) {
      parameters.add(inPlace.count());
      count(stored.type() + " mapped", stored.bytes());
      return rounding(Linears.of(inPlace, bias));
    }
    QuantizedWeights blocks = stored == null ? null : stored.quantized(target);
    if (blocks == null) {
      return null;
    }
    parameters.add(blocks.rows() * blocks.columns());
    return quantized(blocks, stored.type() + " as ", bias);
  }

  private Linear rounding(Linear linear) {
    return bf16Products ? linear.withBf16Products() : linear;
  }

  /** Counts the bytes of quantised weights. */
  private Linear quantized(QuantizedWeights weights, String of, Tensor bias) {
    Quantization format = weights.quantization();
    count(
        of
            + format.bits()
            + " bits, "
            + format.scales()
            + " scales"
            + (format.minimums() ? " and minimums" : "")
            + " of "
            + format.group(),
        weights.byteSize());
    return Linears.of(weights, bias);
  }

  /** A packed projection by a computed float32 matrix, whatever the storage. */
  public Linear packed(Tensor matrix) {
    return packed(arena, Linear.of(matrix), matrix, null);
  }

  /** The matrix may be temporary: the result does not refer to it. */
  private static Linear packed(Arena target, Linear linear, Tensor matrix, Tensor bias) {
    Linear packed = linear.packed(target);
    // A BLAS reads the matrix itself.
    return packed != linear ? packed : Linears.of(matrix.toF32(target), bias);
  }

  private Tensor bias(Arena target, List<Source> sources) {
    if (sources.size() == 1) {
      return floats(target, sources.getFirst());
    }
    try (Arena scratch = Arena.ofConfined()) {
      Tensor bias = joined(scratch, sources).toF32(target);
      count("F32", bias.count() * Float.BYTES);
      return bias;
    }
  }

  /** Stacks tensors in one type; a single one is not copied. */
  private Tensor joined(Arena scratch, List<Source> sources) {
    List<Tensor> parts = new ArrayList<>();
    long rows = 0;
    for (Source source : sources) {
      parts.add(get(source, scratch));
      rows += parts.getLast().size(0);
    }
    Tensor first = parts.getFirst();
    if (parts.size() == 1) {
      return first;
    }
    boolean same = parts.stream().allMatch(part -> part.dtype() == first.dtype());
    long[] shape = first.shape();
    shape[0] = rows;
    Tensor joined = Tensor.allocate(scratch, same ? first.dtype() : DType.F32, shape);
    long row = 0;
    for (Tensor part : parts) {
      joined.slice(0, row, part.size(0)).copyFrom(part);
      row += part.size(0);
    }
    return joined;
  }
}
