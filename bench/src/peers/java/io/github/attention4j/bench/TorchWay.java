package io.github.attention4j.bench;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValue;
import ai.djl.pytorch.jni.JniUtils;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;

/** One TorchScript program in libtorch, with its arguments. */
final class TorchWay implements Way {
  /** Numbers of PyTorch's types. */
  private static final int FLOAT32 = 6;

  private static final int BFLOAT16 = 15;

  private final String name;
  private final PtNDManager manager;
  private final List<IValue> arguments = new ArrayList<>();
  private final List<String> names = new ArrayList<>();
  private PtSymbolBlock program;
  private IValue[] call;
  private IValue last;
  private UnaryOperator<float[]> layout = UnaryOperator.identity();

  TorchWay(String name) {
    this.name = name;
    manager = (PtNDManager) engine().newBaseManager(Device.cpu());
  }

  static Engine engine() {
    return Engine.getEngine("PyTorch");
  }

  /** Adds an argument of the program. */
  TorchWay with(String argument, float[] values, long... shape) {
    return with(argument, Storage.F32, values, shape);
  }

  /** The same, in bfloat16 unless it is stored in float32. */
  TorchWay with(String argument, Storage storage, float[] values, long... shape) {
    PtNDArray array = manager.create(FloatBuffer.wrap(values), new Shape(shape), DataType.FLOAT32);
    IValue floats = IValue.from(array);
    arguments.add(storage == Storage.F32 ? floats : cast(floats, BFLOAT16));
    names.add(argument + ": Tensor");
    return this;
  }

  /** PyTorch's own conversion, because DJL does not support bfloat16 here. */
  private IValue cast(IValue tensor, int type) {
    String body = "    return torch.to(x, %d, False, False)".formatted(type);
    try {
      return JniUtils.loadModule(manager, TorchScript.archive("x: Tensor", body), false, false)
          .forward(tensor);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Compiles the program; each line of its body is a statement. */
  TorchWay program(String body) throws IOException {
    String source = body.strip().indent(4);
    program =
        JniUtils.loadModule(
            manager, TorchScript.archive(String.join(", ", names), source), false, false);
    call = arguments.toArray(IValue[]::new);
    return this;
  }

  /** Says how the program's result becomes what {@link #result} returns. */
  TorchWay layout(UnaryOperator<float[]> change) {
    layout = change;
    return this;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void run() {
    if (last != null) {
      last.close();
    }
    last = program.forward(call);
  }

  @Override
  public float[] result() {
    try (IValue floats = cast(last, FLOAT32);
        PtNDArray array = floats.toTensor(manager)) {
      return layout.apply(array.toFloatArray());
    }
  }

  @Override
  public void close() {
    if (last != null) {
      last.close();
    }
    arguments.forEach(IValue::close);
    program.close();
    manager.close();
  }
}
