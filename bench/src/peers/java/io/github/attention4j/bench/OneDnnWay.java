package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.bytedeco.dnnl.IntMemoryMap;
import org.bytedeco.dnnl.engine;
import org.bytedeco.dnnl.global.dnnl;
import org.bytedeco.dnnl.matmul;
import org.bytedeco.dnnl.memory;
import org.bytedeco.dnnl.post_ops;
import org.bytedeco.dnnl.primitive;
import org.bytedeco.dnnl.primitive_attr;
import org.bytedeco.dnnl.reorder;
import org.bytedeco.dnnl.softmax_forward;
import org.bytedeco.dnnl.stream;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.PointerScope;

/**
 * A sequence of oneDNN's primitives, which are made once and executed in each call. Memory is
 * oneDNN's own; numbers are float32 or bfloat16.
 */
final class OneDnnWay implements Way {
  private static final engine ENGINE = new engine(engine.kind.cpu, 0);
  private static final stream STREAM = new stream(ENGINE);

  /** Owns everything that is made for this way. */
  private final PointerScope scope = new PointerScope();

  private final String name;
  private final List<Step> steps = new ArrayList<>();
  private View result;
  private UnaryOperator<float[]> layout;

  private record Step(primitive what, IntMemoryMap arguments) {}

  /**
   * Numbers somewhere in a memory.
   *
   * @param whole owns the bytes
   * @param offset of the first number, in elements
   */
  record View(memory whole, memory.data_type type, long offset, long[] dims, long[] strides) {
    View(memory whole, memory.data_type type, long... dims) {
      this(whole, type, 0, dims, dense(dims));
    }

    memory.desc desc() {
      return new memory.desc(dims, type, strides);
    }

    memory memory() {
      BytePointer bytes = new BytePointer(whole.get_data_handle());
      return new memory(desc(), ENGINE, bytes.position(offset * memory.data_type_size(type)));
    }

    /** Indices [start, start + count) of one dimension. */
    View slice(int dim, long start, long count) {
      long[] sizes = dims.clone();
      sizes[dim] = count;
      return new View(whole, type, offset + start * strides[dim], sizes, strides);
    }

    View transposed() {
      int last = dims.length - 1;
      long[] sizes = dims.clone();
      long[] steps = strides.clone();
      sizes[last] = dims[last - 1];
      sizes[last - 1] = dims[last];
      steps[last] = strides[last - 1];
      steps[last - 1] = strides[last];
      return new View(whole, type, offset, sizes, steps);
    }

    /** Another view of the same bytes. */
    View as(long[] sizes, long[] steps) {
      return new View(whole, type, offset, sizes, steps);
    }
  }

  private OneDnnWay(String name) {
    this.name = name;
  }

  /** The steps of a way. */
  interface Maker {
    /** Adds the steps; returns where their result is. */
    View make(OneDnnWay way);
  }

  /** Makes a way; its result becomes what {@link #result} returns by the last argument. */
  static OneDnnWay of(String name, Maker maker, UnaryOperator<float[]> layout) {
    OneDnnWay way = new OneDnnWay(name);
    try {
      way.result = maker.make(way);
      way.layout = layout;
      way.scope.extend();
      return way;
    } finally {
      way.scope
          .close(); // of what follows it owns nothing; what it has is freed unless it was extended
    }
  }

  static String version() {
    return "%d.%d.%d"
        .formatted(dnnl.DNNL_VERSION_MAJOR, dnnl.DNNL_VERSION_MINOR, dnnl.DNNL_VERSION_PATCH);
  }

  static long[] dense(long... dims) {
    long[] strides = new long[dims.length];
    long stride = 1;
    for (int i = dims.length - 1; i >= 0; i--) {
      strides[i] = stride;
      stride *= dims[i];
    }
    return strides;
  }

  // ---- Memory ----

  View room(memory.data_type type, long... dims) {
    return new View(new memory(new memory.desc(dims, type, dense(dims)), ENGINE), type, dims);
  }

  View of(float[] values, memory.data_type type, long... dims) {
    View floats = room(memory.data_type.f32, dims);
    new FloatPointer(floats.whole.get_data_handle()).put(values, 0, values.length);
    if (type == memory.data_type.f32) {
      return floats;
    }
    View stored = room(type, dims);
    copy(floats.whole, stored.whole);
    return stored;
  }

  private static void copy(memory from, memory to) {
    new reorder(from, to).execute(STREAM, from, to);
    STREAM._wait();
  }

  // ---- Steps ----

  private void add(primitive what, IntMemoryMap arguments) {
    steps.add(new Step(what, arguments));
  }

  /** {@code out = scale · a · b + mask}; the mask is float32, or null. */
  void product(View a, View b, double scale, View mask, View out) {
    primitive_attr attributes = new primitive_attr();
    post_ops after = new post_ops();
    if (scale != 1) {
      after.append_eltwise(dnnl.algorithm.eltwise_linear, (float) scale, 0);
    }
    if (mask != null) {
      after.append_binary(dnnl.algorithm.binary_add, mask.desc());
    }
    attributes.set_post_ops(after);
    matmul.primitive_desc how =
        new matmul.primitive_desc(ENGINE, a.desc(), b.desc(), out.desc(), attributes, false);
    IntMemoryMap arguments =
        new IntMemoryMap()
            .put(dnnl.DNNL_ARG_SRC, a.memory())
            .put(dnnl.DNNL_ARG_WEIGHTS, b.memory())
            .put(dnnl.DNNL_ARG_DST, out.memory());
    if (mask != null) {
      int place = dnnl.DNNL_ARG_ATTR_MULTIPLE_POST_OP_BASE * (scale != 1 ? 2 : 1);
      arguments.put(place | dnnl.DNNL_ARG_SRC_1, mask.memory());
    }
    add(new matmul(how), arguments);
  }

  /** {@code out = x · wᵀ + bias} for w [out, in], packed as oneDNN prefers; bias may be null. */
  void linear(View x, View w, View bias, View out) {
    long[] dims = w.transposed().dims;
    memory.desc any = new memory.desc(dims, w.type, memory.format_tag.any);
    primitive_attr attributes = new primitive_attr();
    matmul.primitive_desc how =
        bias == null
            ? new matmul.primitive_desc(ENGINE, x.desc(), any, out.desc(), attributes, false)
            : new matmul.primitive_desc(
                ENGINE, x.desc(), any, bias.desc(), out.desc(), attributes, false);
    memory packed = new memory(how.weights_desc(), ENGINE);
    copy(w.transposed().memory(), packed);
    IntMemoryMap arguments =
        new IntMemoryMap()
            .put(dnnl.DNNL_ARG_SRC, x.memory())
            .put(dnnl.DNNL_ARG_WEIGHTS, packed)
            .put(dnnl.DNNL_ARG_DST, out.memory());
    if (bias != null) {
      arguments.put(dnnl.DNNL_ARG_BIAS, bias.memory());
    }
    add(new matmul(how), arguments);
  }

  /** The softmax of each row, into other memory if that has another type. */
  void softmax(View scores, View weights) {
    softmax_forward.primitive_desc how =
        new softmax_forward.primitive_desc(
            ENGINE,
            dnnl.prop_kind.forward_inference,
            dnnl.algorithm.softmax_accurate,
            scores.desc(),
            weights.desc(),
            scores.dims.length - 1);
    add(
        new softmax_forward(how),
        new IntMemoryMap()
            .put(dnnl.DNNL_ARG_SRC, scores.memory())
            .put(dnnl.DNNL_ARG_DST, weights.memory()));
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void run() {
    for (Step step : steps) {
      step.what.execute(STREAM, step.arguments);
    }
    STREAM._wait();
  }

  @Override
  public float[] result() {
    View floats = room(memory.data_type.f32, result.dims);
    copy(result.memory(), floats.whole);
    long count = 1;
    for (long size : result.dims) {
      count *= size;
    }
    float[] values = new float[Math.toIntExact(count)];
    new FloatPointer(floats.whole.get_data_handle()).get(values);
    return layout.apply(values);
  }

  @Override
  public void close() {
    scope.close();
  }
}
