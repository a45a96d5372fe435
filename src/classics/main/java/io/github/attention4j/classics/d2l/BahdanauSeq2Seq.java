package io.github.attention4j.classics.d2l;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Embedding;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * Translation by a recurrent encoder and a recurrent decoder that attends to it (Bahdanau, Cho,
 * Bengio, 2015), as "Dive into Deep Learning" builds it (chapter 11.4):
 *
 * <pre>
 *   encoder   outputs, state = GRU(embedding(src))
 *   decoder   context_t = additive attention(query = last layer's h_{t−1}, outputs, srcValidLens)
 *             y_t, h_t  = GRU([context_t, embedding(token_t)], h_{t−1})
 *             logits_t  = dense(y_t)
 * </pre>
 *
 * <pre>{@code
 * BahdanauSeq2Seq model =
 *     BahdanauSeq2Seq.load(SafeTensors.open(path, arena), "", arena);
 * int[][] texts = model.predict(src, ValidLens.of(6, 3), bos, eos, 20);
 * }</pre>
 *
 * <p>As in the book, the encoder also reads padding; valid lengths only affect attention.
 *
 * <p>All float tensors are {@link DType#F32}, tokens {@link DType#I32}. The model is immutable and
 * safe for any number of threads; a {@link State} belongs to one thread at a time.
 */
public final class BahdanauSeq2Seq {
  private final Embedding encoderEmbedding;
  private final Gru encoderRnn;
  private final Embedding decoderEmbedding;
  private final AdditiveAttention attention;
  private final Gru decoderRnn;
  private final Linear dense;

  private BahdanauSeq2Seq(
      Embedding encoderEmbedding,
      Gru encoderRnn,
      Embedding decoderEmbedding,
      AdditiveAttention attention,
      Gru decoderRnn,
      Linear dense) {
    this.encoderEmbedding = encoderEmbedding;
    this.encoderRnn = encoderRnn;
    this.decoderEmbedding = decoderEmbedding;
    this.attention = attention;
    this.decoderRnn = decoderRnn;
    this.dense = dense;
    long hidden = encoderRnn.hidden();
    Checks.equal(
        "encoder.embedding.dim", encoderEmbedding.dim(), "encoder.rnn.dimIn", encoderRnn.dimIn());
    Checks.equal("decoder.rnn.hidden", decoderRnn.hidden(), "encoder.rnn.hidden", hidden);
    Checks.equal(
        "decoder.rnn.layers", decoderRnn.layers(), "encoder.rnn.layers", encoderRnn.layers());
    Checks.equal(
        "decoder.rnn.dimIn",
        decoderRnn.dimIn(),
        "hidden + decoder.embedding.dim",
        hidden + decoderEmbedding.dim());
    Checks.equal("decoder.dense.dimIn", dense.dimIn(), "decoder.rnn.hidden", hidden);
  }

  /**
   * Reads a model by the book's names: {@code encoder.embedding}, {@code encoder.rnn.rnn}, {@code
   * decoder.embedding}, {@code decoder.attention}, {@code decoder.rnn.rnn} or {@code decoder.rnn},
   * {@code decoder.dense}.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the model
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static BahdanauSeq2Seq load(SafeTensors file, String prefix, Arena arena) {
    Weights all = new Weights(file, prefix, arena);
    Weights encoder = new Weights(file, all.part("encoder"), arena);
    Weights decoder = new Weights(file, all.part("decoder"), arena);
    all.requireAllRead();
    BahdanauSeq2Seq model =
        new BahdanauSeq2Seq(
            Embedding.of(encoder.get("embedding.weight", "embedding")),
            Gru.load(file, encoder.part("rnn.rnn", "rnn"), arena),
            Embedding.of(decoder.get("embedding.weight", "embedding")),
            AdditiveAttention.load(file, decoder.part("attention"), arena),
            Gru.load(file, decoder.part("rnn.rnn", "rnn"), arena),
            Linear.of(decoder.get("dense.weight"), decoder.get("dense.bias")));
    encoder.requireAllRead();
    decoder.requireAllRead();
    return model;
  }

  // ---- What it is ----

  /**
   * Returns the width of the states.
   *
   * @return the book's {@code num_hiddens}
   */
  public long hidden() {
    return encoderRnn.hidden();
  }

  /**
   * Returns the width of the embeddings.
   *
   * @return the book's {@code embed_size}
   */
  public long embedSize() {
    return encoderEmbedding.dim();
  }

  /**
   * Returns the number of recurrent layers, in the encoder as in the decoder.
   *
   * @return the book's {@code num_layers}
   */
  public int layers() {
    return encoderRnn.layers();
  }

  /**
   * Returns the number of tokens that the decoder can write.
   *
   * @return the width of its logits
   */
  public long vocabulary() {
    return dense.dimOut();
  }

  // ---- Encoder ----

  /**
   * Encodes.
   *
   * @param src {@code [batch, lenSrc]}, tokens of the encoder's vocabulary. Not modified.
   * @param outputs of the last layer, {@code [batch, lenSrc, hidden]}. Modified.
   * @param state of every layer after the last token, {@code [layers, batch, hidden]}, contiguous.
   *     Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or a token
   *     is not in the vocabulary
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void encode(Tensor src, Tensor outputs, Tensor state) {
    Checks.rank("src", Objects.requireNonNull(src, "src"), 2);
    Checks.output("state", Objects.requireNonNull(state, "state"));
    Checks.shape("state", state, "[layers, batch, hidden]", layers(), src.size(0), hidden());
    try (Arena scratch = Arena.ofConfined()) {
      Tensor x =
          Tensor.allocate(scratch, DType.F32, src.size(0), src.size(1), encoderEmbedding.dim());
      encoderEmbedding.forward(src, x);
      state.fill(0);
      encoderRnn.forward(x, state, outputs);
    }
  }

  // ---- Decoder ----

  /**
   * The state of a batch of sequences: what they have read and what they attend to. Not safe for
   * several threads.
   */
  public static final class State {
    private final Tensor outputs;
    private final Tensor projected;
    private final ValidLens validLens;
    private final Tensor hidden;

    private State(Tensor outputs, Tensor projected, ValidLens validLens, Tensor hidden) {
      this.outputs = outputs;
      this.projected = projected;
      this.validLens = validLens;
      this.hidden = hidden;
    }

    /**
     * Returns the state of the recurrent layers.
     *
     * @return a read-only view {@code [layers, batch, hidden]}, which reflects what has been read
     */
    public Tensor hidden() {
      return hidden.asReadOnly();
    }

    private long batch() {
      return hidden.size(1);
    }

    private void reorder(int[] parents) {
      try (Arena scratch = Arena.ofConfined()) {
        Tensor before = hidden.toF32(scratch);
        for (int i = 0; i < parents.length; i++) {
          hidden.select(1, i).copyFrom(before.select(1, parents[i]));
        }
      }
    }
  }

  /**
   * Starts sequences that attend to the encoder's outputs, whose keys are projected here, once.
   *
   * @param arena supplies the memory of the state and decides how long it lives
   * @param outputs {@code [batch, lenSrc, hidden]}, from {@link #encode}; read at every step. Kept,
   *     not modified.
   * @param encState {@code [layers, batch, hidden]}, from {@link #encode}. Copied.
   * @param srcValidLens how many of the outputs are valid
   * @return the state before the first token
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public State newState(Arena arena, Tensor outputs, Tensor encState, ValidLens srcValidLens) {
    Checks.rank("outputs", Objects.requireNonNull(outputs, "outputs"), 3);
    Objects.requireNonNull(encState, "encState");
    Objects.requireNonNull(srcValidLens, "srcValidLens");
    long batch = outputs.size(0);
    Checks.equal("outputs.dim", outputs.size(2), "hidden", hidden());
    Checks.shape("encState", encState, "[layers, batch, hidden]", layers(), batch, hidden());
    Tensor projected =
        Tensor.allocate(arena, DType.F32, batch, outputs.size(1), attention.hidden());
    attention.projectKeys(outputs, projected);
    return new State(outputs, projected, srcValidLens, encState.toF32(arena));
  }

  /**
   * Reads the next tokens of each sequence, one or many.
   *
   * @param tokens {@code [batch, len]}, of the decoder's vocabulary. Not modified.
   * @param state of these sequences. Modified.
   * @param logits {@code [batch, len, vocabulary]}, of the token that follows each. Modified.
   * @throws IllegalArgumentException if types, shapes or strides do not fit, a token is not in the
   *     vocabulary, or the state's lengths do not match the batch
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void decode(Tensor tokens, State state, Tensor logits) {
    decode(tokens, state, logits, null, null);
  }

  /**
   * Reads the next tokens of each sequence, and returns what the attention read at each step.
   *
   * @param tokens {@code [batch, len]}, of the decoder's vocabulary. Not modified.
   * @param state of these sequences. Modified.
   * @param logits {@code [batch, len, vocabulary]}, of the token that follows each. Modified.
   * @param weights {@code [batch, len, lenSrc]}, the weights of the attention; or null. Modified.
   * @param contexts {@code [batch, len, hidden]}, what it read; or null. Modified.
   * @throws IllegalArgumentException as {@link #decode(Tensor, State, Tensor)}, and if weights or
   *     contexts do not fit
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void decode(Tensor tokens, State state, Tensor logits, Tensor weights, Tensor contexts) {
    Checks.rank("tokens", Objects.requireNonNull(tokens, "tokens"), 2);
    Objects.requireNonNull(state, "state");
    long batch = state.batch();
    long len = tokens.size(1);
    long lenSrc = state.outputs.size(1);
    Checks.equal("tokens.batch", tokens.size(0), "state.batch", batch);
    checkResult("logits", Objects.requireNonNull(logits, "logits"), batch, len, vocabulary());
    if (weights != null) {
      checkResult("weights", weights, batch, len, lenSrc);
    }
    if (contexts != null) {
      checkResult("contexts", contexts, batch, len, hidden());
    }
    try (Arena scratch = Arena.ofConfined()) {
      Tensor embedded = Tensor.allocate(scratch, DType.F32, batch, len, decoderEmbedding.dim());
      decoderEmbedding.forward(tokens, embedded);
      Tensor x = Tensor.allocate(scratch, DType.F32, batch, 1, decoderRnn.dimIn());
      Tensor context = Tensor.allocate(scratch, DType.F32, batch, 1, hidden());
      Tensor read = Tensor.allocate(scratch, DType.F32, batch, 1, lenSrc);
      Tensor all = Tensor.allocate(scratch, DType.F32, batch, len, hidden());
      Tensor y = Tensor.allocate(scratch, DType.F32, batch, 1, hidden());
      // A step that fails leaves the state as it was before the first.
      Tensor next = state.hidden.toF32(scratch);
      for (long t = 0; t < len; t++) {
        Tensor query = next.select(0, layers() - 1).unsqueeze(1);
        attention.forwardProjected(
            query,
            state.projected,
            state.outputs,
            state.validLens,
            context,
            weights == null ? null : read);
        x.slice(2, 0, hidden()).copyFrom(context);
        x.slice(2, hidden(), embedded.size(2)).copyFrom(embedded.slice(1, t, 1));
        decoderRnn.forward(x, next, y);
        all.slice(1, t, 1).copyFrom(y);
        if (weights != null) {
          weights.slice(1, t, 1).copyFrom(read);
        }
        if (contexts != null) {
          contexts.slice(1, t, 1).copyFrom(context);
        }
      }
      dense.forward(all, logits);
      state.hidden.copyFrom(next);
    }
  }

  private static void checkResult(String name, Tensor result, long batch, long len, long dim) {
    Checks.shape(name, result, "[batch, len, dim]", batch, len, dim);
    Checks.output(name, result);
  }

  // ---- Prediction ----

  /**
   * Translates each source greedily: the likeliest token at each step.
   *
   * @param src {@code [batch, lenSrc]}. Not modified.
   * @param srcValidLens how many of its tokens are valid
   * @param bos the token that begins a text, which is not part of the result
   * @param eos the token that ends a text, which is; −1 if none does
   * @param maxSteps the most tokens to write, not negative
   * @return for each source its text
   * @throws IllegalArgumentException as {@link #encode}, if the lengths do not match the batch, bos
   *     is not in the vocabulary, or maxSteps is negative
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public int[][] predict(Tensor src, ValidLens srcValidLens, int bos, int eos, int maxSteps) {
    check(src, bos, maxSteps);
    int batch = Checks.arrayLength("src.batch", src.size(0));
    try (Arena scratch = Arena.ofConfined()) {
      State state = encoded(scratch, src, srcValidLens, 1);
      return BeamSearch.greedy(decoder(state, scratch), batch, bos, eos, maxSteps);
    }
  }

  /**
   * Translates one source by beam search.
   *
   * @param src {@code [1, lenSrc]}. Not modified.
   * @param srcValidLen how many of its tokens are valid
   * @param bos the token that begins a text, which is not part of the result
   * @param eos the token that ends a text, which is; −1 if none does
   * @param maxSteps the most tokens to write, not negative
   * @param beamSize how many beginnings to keep, at least 1
   * @param alpha the length penalty: scores are {@code log P / length^alpha}; 0.75 in the book
   * @return the best text
   * @throws IllegalArgumentException as {@link #predict}, if there is not one source, or beamSize
   *     is less than 1
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public Beam predictBeam(
      Tensor src, int srcValidLen, int bos, int eos, int maxSteps, int beamSize, double alpha) {
    check(src, bos, maxSteps);
    Checks.equal("src.batch", src.size(0), "one source", 1);
    Checks.positive("beamSize", beamSize);
    int[] lens = new int[beamSize];
    Arrays.fill(lens, srcValidLen);
    try (Arena scratch = Arena.ofConfined()) {
      State state = encoded(scratch, src, ValidLens.of(lens), beamSize);
      return BeamSearch.search(decoder(state, scratch), beamSize, bos, eos, maxSteps, alpha);
    }
  }

  private void check(Tensor src, int bos, int maxSteps) {
    Checks.rank("src", Objects.requireNonNull(src, "src"), 2);
    Checks.inRange("bos", bos, 0, decoderEmbedding.vocabulary() - 1);
    Checks.inRange("maxSteps", maxSteps, 0, Integer.MAX_VALUE);
  }

  /** Encodes, and repeats each source for its beams. */
  private State encoded(Arena scratch, Tensor src, ValidLens validLens, int beams) {
    long batch = src.size(0);
    Tensor outputs = Tensor.allocate(scratch, DType.F32, batch, src.size(1), hidden());
    Tensor state = Tensor.allocate(scratch, DType.F32, layers(), batch, hidden());
    encode(src, outputs, state);
    return beams == 1
        ? newState(scratch, outputs, state, validLens)
        : newState(scratch, outputs.expand(0, beams), state.expand(1, beams), validLens);
  }

  private BeamSearch.Decoder decoder(State state, Arena scratch) {
    Tensor tokens = Tensor.allocate(scratch, DType.I32, state.batch(), 1);
    Tensor logits = Tensor.allocate(scratch, DType.F32, state.batch(), 1, vocabulary());
    return new BeamSearch.Decoder() {
      @Override
      public Tensor step(int[] next) {
        for (int b = 0; b < next.length; b++) {
          tokens.setInt(next[b], b, 0);
        }
        decode(tokens, state, logits);
        return logits.select(1, 0);
      }

      @Override
      public void reorder(int[] parents) {
        state.reorder(parents);
      }
    };
  }
}
