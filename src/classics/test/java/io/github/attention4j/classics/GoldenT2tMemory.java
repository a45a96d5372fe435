package io.github.attention4j.classics;

import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AttentionBias;
import io.github.attention4j.classics.t2t.RecentTokensMemory;
import io.github.attention4j.classics.t2t.Tensor2TensorAttention;
import io.github.attention4j.classics.t2t.TransformerMemory;
import java.util.Arrays;
import java.util.List;

/** Runs the golden cases of tensor2tensor's recurrent memories. */
final class GoldenT2tMemory {
  private GoldenT2tMemory() {}

  static void run(GoldenCase golden) {
    if (golden.holds("in.mem_vals")) {
      transformerMemory(golden);
    } else {
      recentTokens(golden);
    }
  }

  private static void recentTokens(GoldenCase golden) {
    Tensor x = golden.get("in.query_antecedent");
    long batch = x.size(0);
    int chunks = (int) golden.integer("chunks", 0);
    long len = golden.integer("chunk_length", 0);
    golden.require(x.size(1) == chunks * len, "options chunks and chunk_length");
    long items = golden.integer("num_memory_items", len);
    int[][] segments = segments(golden, chunks);
    Tensor2TensorAttention layer = GoldenT2tLayer.layer(golden, x);
    RecentTokensMemory memory =
        RecentTokensMemory.allocate(golden.arena(), batch, len, items, x.size(2));
    Tensor bias = AttentionBias.lowerTriangle(golden.arena(), (int) len);
    Tensor out = golden.wanted("out.output");
    Tensor weights = golden.wanted("out.weights");
    for (int c = 0; c < chunks; c++) {
      layer.forwardChunk(
          x.slice(1, c * len, len),
          memory,
          segments[c],
          bias,
          out.slice(1, c * len, len),
          Extras.none().weights(weights.select(0, c)));
      if (golden.holds("out.memory_bias_after_chunk_" + c)) {
        Tensor hidden = Tensor.allocate(golden.arena(), DType.I32, batch, 1, 1, items);
        for (long n = 0; n < hidden.count(); n++) {
          boolean seen = memory.bias().reshape(hidden.count()).getFloat(n) == 0;
          hidden.reshape(hidden.count()).setInt(seen ? 0 : 1, n);
        }
        golden.expectInts("out.memory_bias_after_chunk_" + c, hidden);
      }
    }
    golden.expect("out.output", out);
    golden.expect("out.weights", weights);
    golden.expect("out.memory_vals_final", memory.values());
  }

  private static void transformerMemory(GoldenCase golden) {
    Tensor x = golden.get("in.x");
    Tensor attended = golden.get("in.attention_output");
    int steps = (int) x.size(0);
    long batch = x.size(1);
    golden.describes("steps", steps);
    golden.describes("batch", batch);
    golden.describes("length", x.size(2));
    golden.describes("channels", x.size(3));
    golden.word("linear_layout", "in_out", "in_out");
    int[][] segments = segments(golden, steps);
    TransformerMemory memory =
        TransformerMemory.load(
            golden.weights("w."), "w.", golden.number("sharpen_factor", 1), golden.arena());
    golden.describes("memory_size", memory.memorySize());
    golden.describes("key_depth", memory.keyDepth());
    golden.describes("val_depth", memory.valDepth());
    int[] start = golden.get("in.segment_number").toIntArray();
    golden.describes("memory_batch", start.length);
    if (golden.has("start_segment")) {
      golden.require(
          Arrays.equals(start, golden.integers("start_segment")), "option start_segment");
    }
    TransformerMemory.State state =
        memory.newState(
            golden.arena(), golden.get("in.mem_vals"), golden.get("in.mean_logits"), start);
    Tensor out = golden.wanted("out.output");
    Tensor access = golden.wanted("out.access_logits");
    Tensor retrieved = golden.wanted("out.retrieved");
    for (int t = 0; t < steps; t++) {
      TransformerMemory.Read read =
          state.preAttention(golden.arena(), segments[t], x.select(0, t), null);
      access.select(0, t).copyFrom(read.accessLogits().slice(0, 0, access.size(1)));
      retrieved.select(0, t).copyFrom(read.retrieved().slice(0, 0, retrieved.size(1)));
      out.select(0, t).copyFrom(attended.select(0, t));
      read.postAttention(out.select(0, t));
    }
    golden.expect("out.output", out);
    golden.expect("out.access_logits", access);
    golden.expect("out.retrieved", retrieved);
    golden.expect("out.mem_vals_final", state.memVals());
    golden.expect("out.mean_logits_final", state.meanLogits());
  }

  /** The segments of each chunk, which options and tensors both say. */
  private static int[][] segments(GoldenCase golden, int chunks) {
    Tensor tensor = golden.get("in.segments");
    List<?> option = (List<?>) golden.option("segments");
    int[][] segments = new int[chunks][];
    for (int c = 0; c < chunks; c++) {
      segments[c] = tensor.select(0, c).toIntArray();
      int[] described =
          option == null
              ? segments[c]
              : ((List<?>) option.get(c)).stream().mapToInt(s -> ((Long) s).intValue()).toArray();
      golden.require(Arrays.equals(segments[c], described), "option segments=" + option);
    }
    golden.require(tensor.size(0) == chunks, "in.segments: " + tensor);
    return segments;
  }
}
