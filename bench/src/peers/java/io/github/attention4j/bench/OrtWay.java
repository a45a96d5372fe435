package io.github.attention4j.bench;

import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.ShortBuffer;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;

/**
 * One model in ONNX Runtime: its session, inputs in off-heap buffers, and outputs pinned to such
 * buffers, so that a call copies nothing.
 */
final class OrtWay implements Way {
  private static final int ALIGNMENT = 64;

  private final String name;
  private final OrtSession session;
  private final Map<String, OnnxTensor> inputs = new HashMap<>();
  private final Map<String, OnnxTensor> outputs = new HashMap<>();
  private String resultName;
  private ByteBuffer result;
  private boolean half;
  private UnaryOperator<float[]> layout = UnaryOperator.identity();

  OrtWay(String name, OnnxGraph graph, int threads) throws OrtException {
    this.name = name;
    OrtSession.SessionOptions options = new OrtSession.SessionOptions();
    options.setIntraOpNumThreads(threads);
    options.setInterOpNumThreads(1);
    options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
    options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
    session = environment().createSession(graph.model(), options);
    for (Map.Entry<String, long[]> output : graph.outputs().entrySet()) {
      boolean isHalf = graph.isHalf(output.getKey());
      ByteBuffer buffer = bytes((isHalf ? 2 : 4) * count(output.getValue()));
      outputs.put(output.getKey(), tensor(buffer, isHalf, output.getValue()));
      if (result == null) {
        result = buffer;
        half = isHalf;
        resultName = output.getKey();
      }
    }
  }

  static OrtEnvironment environment() {
    return OrtEnvironment.getEnvironment();
  }

  OrtWay with(String input, float[] values, long... shape) throws OrtException {
    ByteBuffer buffer = bytes(4 * values.length);
    buffer.asFloatBuffer().put(0, values);
    inputs.put(input, tensor(buffer, false, shape));
    return this;
  }

  /** The same, in float16 unless it is stored in float32. */
  OrtWay with(String input, Storage storage, float[] values, long... shape) throws OrtException {
    return storage == Storage.F32 ? with(input, values, shape) : withHalf(input, values, shape);
  }

  private OrtWay withHalf(String input, float[] values, long... shape) throws OrtException {
    ByteBuffer buffer = bytes(2 * values.length);
    ShortBuffer halves = buffer.asShortBuffer();
    for (int i = 0; i < values.length; i++) {
      halves.put(i, Float.floatToFloat16(values[i]));
    }
    inputs.put(input, tensor(buffer, true, shape));
    return this;
  }

  OrtWay with(String input, int[] values, long... shape) throws OrtException {
    IntBuffer buffer = bytes(4 * values.length).asIntBuffer().put(0, values);
    inputs.put(input, OnnxTensor.createTensor(environment(), buffer, shape));
    return this;
  }

  /** Lets an output share the memory of an input: a cache that is appended to in place. */
  OrtWay inPlace(String output, String input) {
    outputs.put(output, inputs.get(input));
    return this;
  }

  /** Says how the model's result becomes what {@link #result} returns. */
  OrtWay layout(UnaryOperator<float[]> change) {
    layout = change;
    return this;
  }

  private static OnnxTensor tensor(ByteBuffer values, boolean half, long[] shape)
      throws OrtException {
    return OnnxTensor.createTensor(
        environment(), values, shape, half ? OnnxJavaType.FLOAT16 : OnnxJavaType.FLOAT);
  }

  private static ByteBuffer bytes(int size) {
    return ByteBuffer.allocateDirect(size + 2 * ALIGNMENT)
        .alignedSlice(ALIGNMENT)
        .slice(0, size)
        .order(ByteOrder.nativeOrder());
  }

  private static int count(long[] shape) {
    long count = 1;
    for (long size : shape) {
      count *= size;
    }
    return Math.toIntExact(count);
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void run() {
    try (OrtSession.Result ignored = session.run(inputs, Set.of(), outputs)) {
      // The outputs are pinned, so there is nothing to fetch.
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public float[] result() {
    float[] values = new float[result.capacity() / (half ? 2 : 4)];
    if (half) {
      ShortBuffer halves = result.asShortBuffer();
      for (int i = 0; i < values.length; i++) {
        values[i] = Float.float16ToFloat(halves.get(i));
      }
    } else {
      result.asFloatBuffer().get(0, values);
    }
    return layout.apply(values);
  }

  @Override
  public void close() {
    try {
      session.close();
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
    inputs.values().forEach(OnnxTensor::close);
    outputs.values().forEach(OnnxTensor::close);
  }

  @Override
  public String toString() {
    return name + " to " + resultName;
  }
}
