package io.github.attention4j.classics.d2l;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.internal.Workspaces;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Stacked gated recurrent units (Cho et al., 2014) in the form of PyTorch's {@code nn.GRU}:
 *
 * <pre>
 *   r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        W_i = weight_ih, rows reset, update, new
 *   z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        W_h = weight_hh, likewise
 *   n  = tanh(W_in x + b_in + r · (W_hn h + b_hn))
 *   h' = (1 − z) · n + z · h                           the input of the next layer, and the state
 * </pre>
 *
 * One matrix product projects the inputs of all steps; the state takes one product per step.
 *
 * <p>All tensors are {@link DType#F32}.
 */
public final class Gru {
  private final List<Layer> layers;
  private final long dimIn;
  private final long hidden;

  private record Layer(Linear input, Linear state) {}

  private Gru(List<Layer> layers) {
    this.layers = layers;
    this.dimIn = layers.getFirst().input.dimIn();
    this.hidden = layers.getFirst().state.dimIn();
    for (int n = 0; n < layers.size(); n++) {
      Layer layer = layers.get(n);
      String name = "layer " + n + ": ";
      Checks.equal(name + "weight_hh.dimIn", layer.state.dimIn(), "hidden", hidden);
      Checks.equal(name + "weight_hh.dimOut", layer.state.dimOut(), "3 * hidden", 3 * hidden);
      Checks.equal(name + "weight_ih.dimOut", layer.input.dimOut(), "3 * hidden", 3 * hidden);
      if (n > 0) {
        Checks.equal(name + "weight_ih.dimIn", layer.input.dimIn(), "hidden", hidden);
      }
    }
  }

  /**
   * Reads {@code weight_ih_l0}, {@code weight_hh_l0}, {@code bias_ih_l0}, {@code bias_hh_l0}, and
   * so on for each layer; each layer has both biases or neither.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "encoder.rnn.rnn."}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the layers
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static Gru load(SafeTensors file, String prefix, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    List<Layer> layers = new ArrayList<>();
    do {
      String number = "_l" + layers.size();
      layers.add(new Layer(read(weights, "ih" + number), read(weights, "hh" + number)));
    } while (weights.has("weight_ih_l" + layers.size()));
    weights.requireAllRead();
    return new Gru(layers);
  }

  private static Linear read(Weights weights, String name) {
    return Linears.of(weights.get("weight_" + name), weights.getOptional("bias_" + name));
  }

  /**
   * Returns the width of the inputs.
   *
   * @return PyTorch's {@code input_size}
   */
  public long dimIn() {
    return dimIn;
  }

  /**
   * Returns the width of the state.
   *
   * @return PyTorch's {@code hidden_size}
   */
  public long hidden() {
    return hidden;
  }

  /**
   * Returns the number of layers.
   *
   * @return PyTorch's {@code num_layers}
   */
  public int layers() {
    return layers.size();
  }

  /**
   * Processes a sequence of inputs, continuing from a state.
   *
   * @param x {@code [batch, len, dimIn]}. Not modified.
   * @param state {@code [layers, batch, hidden]}, contiguous: on entry the state before the first
   *     input, zeros to start; on return the state for the next call. Modified.
   * @param out the output of the last layer at each step, {@code [batch, len, hidden]}. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or state or
   *     out is read-only or overlaps another tensor
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void forward(Tensor x, Tensor state, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Objects.requireNonNull(state, "state");
    Objects.requireNonNull(out, "out");
    long batch = x.size(0);
    long len = x.size(1);
    Checks.equal("x.dim", x.size(2), "weight_ih.dimIn", dimIn);
    Checks.shape("state", state, "[layers, batch, hidden]", layers.size(), batch, hidden);
    Checks.shape("out", out, "[batch, len, hidden]", batch, len, hidden);
    Checks.input("x", x);
    Checks.output("state", state);
    Checks.output("out", out);
    Checks.contiguous("state", state);
    Checks.packedRows("out", out);
    Checks.disjoint("state", state, "x", x);
    Checks.disjoint("out", out, "x", x);
    Checks.disjoint("out", out, "state", state);
    if (batch == 0 || len == 0) {
      return;
    }
    try (Scratch scratch = new Scratch()) {
      Tensor fromInputs = scratch.floats(batch, len, 3 * hidden);
      Tensor fromState = scratch.floats(batch, 3 * hidden);
      Tensor between = layers.size() > 1 ? scratch.floats(batch, len, hidden) : null;
      Tensor inputs = x;
      for (int n = 0; n < layers.size(); n++) {
        // A layer's inputs are no longer needed when its outputs overwrite them.
        Tensor outputs = n == layers.size() - 1 ? out : between;
        layers.get(n).input.forward(inputs, fromInputs);
        Tensor h = state.select(0, n);
        for (long t = 0; t < len; t++) {
          layers.get(n).state.forward(h, fromState);
          Tensor next = outputs.select(1, t);
          step(fromInputs.select(1, t), fromState, h, next);
          h = next;
        }
        state.select(0, n).copyFrom(h);
        inputs = outputs;
      }
    }
  }

  private void step(Tensor x, Tensor u, Tensor h, Tensor out) {
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.gru(
              lease,
              A4j.threads(),
              x.size(0),
              hidden,
              x.stride(0),
              u.stride(0),
              h.stride(0),
              out.stride(0));
      Downcalls.gru(d, Checks.first(x), Checks.first(u), Checks.first(h), Checks.first(out));
    }
  }
}
