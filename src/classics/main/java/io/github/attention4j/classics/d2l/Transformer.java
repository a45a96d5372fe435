package io.github.attention4j.classics.d2l;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Embedding;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * The Transformer (Vaswani et al., "Attention Is All You Need", 2017) as "Dive into Deep Learning"
 * builds it (chapter 11.7), an encoder and a decoder, post-norm:
 *
 * <pre>
 *   encoder   x = embedding(src) · sqrt(dim) + P;   for each block: x = block(x, srcValidLens)
 *   decoder   x = embedding(tokens) · sqrt(dim) + P;  for each block: x = block(x, encoder's x)
 *             logits = dense(x)
 * </pre>
 *
 * <pre>{@code
 * Transformer model = Transformer.load(SafeTensors.open(path, arena), "", 4, arena);
 * int[][] texts = model.predict(src, ValidLens.of(4, 6), bos, eos, 50);
 * }</pre>
 *
 * <p>When generating token by token, each step adds the encoding of its own position, so steps
 * agree with whole sequences. (The book's prediction adds that of position 0 at every step, which
 * is a bug.) The decoder caches keys and values, so a step costs one position.
 *
 * <p>All float tensors are {@link DType#F32}, tokens {@link DType#I32}. The model is immutable and
 * safe for any number of threads; a {@link State} belongs to one thread at a time.
 */
public final class Transformer {
  /** The most positions of a sequence, the book's {@code max_len}. */
  public static final int MAX_LEN = 1000;

  private final Embedding encoderEmbedding;
  private final List<TransformerEncoderBlock> encoderBlocks;
  private final Embedding decoderEmbedding;
  private final List<TransformerDecoderBlock> decoderBlocks;
  private final Linear dense;
  private final PositionalEncoding positions;
  private final long numHeads;

  private Transformer(
      Embedding encoderEmbedding,
      List<TransformerEncoderBlock> encoderBlocks,
      Embedding decoderEmbedding,
      List<TransformerDecoderBlock> decoderBlocks,
      Linear dense,
      PositionalEncoding positions,
      long numHeads) {
    this.encoderEmbedding = encoderEmbedding;
    this.encoderBlocks = encoderBlocks;
    this.decoderEmbedding = decoderEmbedding;
    this.decoderBlocks = decoderBlocks;
    this.dense = dense;
    this.positions = positions;
    this.numHeads = numHeads;
  }

  /**
   * Reads a model by the book's names: {@code encoder.embedding}, {@code encoder.blks.block0}…,
   * {@code decoder.embedding}, {@code decoder.blks.block0}…, {@code decoder.dense}; blocks may be
   * called {@code blks.0} too. How many blocks there are follows from the names.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with
   * @param numHeads the number of heads of every attention
   * @param arena supplies the memory of the position table, and of copies of weights that are not
   *     F32 or are misaligned in the file; it and the file's must stay open
   * @return the model
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other or the number of heads
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Transformer load(SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights all = new Weights(file, prefix, arena);
    Weights encoder = new Weights(file, all.part("encoder"), arena);
    Weights decoder = new Weights(file, all.part("decoder"), arena);
    all.requireAllRead();
    Embedding encoderEmbedding = Embedding.of(encoder.get("embedding.weight", "embedding"));
    List<TransformerEncoderBlock> encoderBlocks = new ArrayList<>();
    for (String block : blocks(encoder)) {
      encoderBlocks.add(TransformerEncoderBlock.load(file, block, numHeads, arena));
    }
    encoder.requireAllRead();
    Embedding decoderEmbedding = Embedding.of(decoder.get("embedding.weight", "embedding"));
    List<TransformerDecoderBlock> decoderBlocks = new ArrayList<>();
    for (String block : blocks(decoder)) {
      decoderBlocks.add(TransformerDecoderBlock.load(file, block, numHeads, arena));
    }
    Linear dense = Linear.of(decoder.get("dense.weight"), decoder.get("dense.bias"));
    decoder.requireAllRead();
    long dim = encoderEmbedding.dim();
    Checks.equal("decoder.embedding.dim", decoderEmbedding.dim(), "encoder.embedding.dim", dim);
    Checks.equal("decoder.dense.dimIn", dense.dimIn(), "decoder.embedding.dim", dim);
    return new Transformer(
        encoderEmbedding,
        encoderBlocks,
        decoderEmbedding,
        decoderBlocks,
        dense,
        PositionalEncoding.sinusoidal(arena, MAX_LEN, (int) dim),
        numHeads);
  }

  private static List<String> blocks(Weights weights) {
    List<String> blocks = new ArrayList<>();
    while (true) {
      String name = "blks.block" + blocks.size();
      String shorter = "blks." + blocks.size();
      if (!weights.hasPart(name, shorter)) {
        return blocks;
      }
      blocks.add(weights.part(name, shorter));
    }
  }

  // ---- What it is ----

  /**
   * Returns the width of the model.
   *
   * @return the book's {@code num_hiddens}
   */
  public long dim() {
    return encoderEmbedding.dim();
  }

  /**
   * Returns the number of heads of each attention.
   *
   * @return the book's {@code num_heads}
   */
  public long heads() {
    return numHeads;
  }

  /**
   * Returns the number of blocks of the encoder.
   *
   * @return the book's {@code num_blks}
   */
  public int encoderBlocks() {
    return encoderBlocks.size();
  }

  /**
   * Returns the number of blocks of the decoder.
   *
   * @return the book's {@code num_blks}
   */
  public int decoderBlocks() {
    return decoderBlocks.size();
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
   * @param srcValidLens how many of them are valid
   * @param out {@code [batch, lenSrc, dim]}, contiguous. Modified.
   * @throws IllegalArgumentException if types, shapes or strides do not fit, a token is not in the
   *     vocabulary, lenSrc exceeds {@link #MAX_LEN}, or the lengths do not match the batch
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void encode(Tensor src, ValidLens srcValidLens, Tensor out) {
    encode(src, srcValidLens, out, null);
  }

  /**
   * Encodes, and returns the weights of each block.
   *
   * @param src {@code [batch, lenSrc]}, tokens of the encoder's vocabulary. Not modified.
   * @param srcValidLens how many of them are valid
   * @param out {@code [batch, lenSrc, dim]}, contiguous. Modified.
   * @param weights {@code [encoderBlocks, batch, heads, lenSrc, lenSrc]}, contiguous; or null if
   *     not needed. Modified.
   * @throws IllegalArgumentException as {@link #encode(Tensor, ValidLens, Tensor)}, and if weights
   *     does not fit
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void encode(Tensor src, ValidLens srcValidLens, Tensor out, Tensor weights) {
    Checks.rank("src", Objects.requireNonNull(src, "src"), 2);
    Objects.requireNonNull(srcValidLens, "srcValidLens");
    Objects.requireNonNull(out, "out");
    Checks.shape("out", out, "[batch, lenSrc, dim]", src.size(0), src.size(1), dim());
    Checks.output("out", out);
    Checks.contiguous("out", out);
    if (weights != null) {
      Checks.rank("weights", weights, 5);
      Checks.equal("weights.blocks", weights.size(0), "encoder.blocks", encoderBlocks.size());
    }
    try (Arena scratch = Arena.ofConfined()) {
      Tensor x = Tensor.allocate(scratch, DType.F32, out.shape());
      encoderEmbedding.forward(src, x);
      positions.forward(x, Math.sqrt(dim()), 0, x);
      for (int n = 0; n < encoderBlocks.size(); n++) {
        if (weights == null) {
          encoderBlocks.get(n).forward(x, srcValidLens, out);
        } else {
          encoderBlocks.get(n).forward(x, srcValidLens, out, weights.select(0, n));
        }
        x.copyFrom(out);
      }
      out.copyFrom(x);
    }
  }

  // ---- Decoder ----

  /**
   * The state of a batch of sequences. Not safe for several threads.
   *
   * <p>All memory except the scratch of a step is allocated when it is created.
   */
  public static final class State {
    private final List<TransformerDecoderBlock.State> blocks;
    private final long batch;
    private int length;

    private State(List<TransformerDecoderBlock.State> blocks, long batch) {
      this.blocks = blocks;
      this.batch = batch;
    }

    /**
     * Returns how many tokens have been read.
     *
     * @return the position of the next token
     */
    public int length() {
      return length;
    }

    private void reorder(int[] parents) {
      for (TransformerDecoderBlock.State block : blocks) {
        block.reorder(parents);
      }
    }
  }

  /**
   * Starts sequences that attend to the encoder's outputs.
   *
   * @param arena supplies the memory of the state and decides how long it lives
   * @param encOutputs {@code [batch, lenSrc, dim]}, from {@link #encode}. Not modified.
   * @param srcValidLens how many of its positions are valid
   * @param capacity the most tokens, from 0 to {@link #MAX_LEN}
   * @return the state before the first token
   * @throws IllegalArgumentException if the tensor does not fit, or capacity is out of range
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public State newState(Arena arena, Tensor encOutputs, ValidLens srcValidLens, int capacity) {
    Checks.rank("encOutputs", Objects.requireNonNull(encOutputs, "encOutputs"), 3);
    Checks.inRange("capacity", capacity, 0, MAX_LEN);
    List<TransformerDecoderBlock.State> blocks = new ArrayList<>();
    for (TransformerDecoderBlock block : decoderBlocks) {
      blocks.add(block.newState(arena, encOutputs, srcValidLens, capacity));
    }
    return new State(blocks, encOutputs.size(0));
  }

  /**
   * Reads the next tokens of each sequence, one or many, each seeing those up to itself.
   *
   * @param tokens {@code [batch, len]}, of the decoder's vocabulary. Not modified.
   * @param state of these sequences. Modified.
   * @param logits {@code [batch, len, vocabulary]}, of the token that follows each. Modified.
   * @throws IllegalArgumentException if types, shapes or strides do not fit, or a token is not in
   *     the vocabulary
   * @throws IllegalStateException if the state has no room; then nothing has been read
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void decode(Tensor tokens, State state, Tensor logits) {
    Checks.rank("tokens", Objects.requireNonNull(tokens, "tokens"), 2);
    Objects.requireNonNull(state, "state");
    Objects.requireNonNull(logits, "logits");
    Checks.equal("tokens.batch", tokens.size(0), "state.batch", state.batch);
    Checks.shape(
        "logits", logits, "[batch, len, vocabulary]", state.batch, tokens.size(1), vocabulary());
    Checks.output("logits", logits);
    boolean done = false;
    try (Arena scratch = Arena.ofConfined()) {
      Tensor x = Tensor.allocate(scratch, DType.F32, state.batch, tokens.size(1), dim());
      Tensor y = Tensor.allocate(scratch, DType.F32, x.shape());
      decoderEmbedding.forward(tokens, x);
      positions.forward(x, Math.sqrt(dim()), state.length, x);
      for (int n = 0; n < decoderBlocks.size(); n++) {
        decoderBlocks.get(n).forward(x, state.blocks.get(n), y);
        Tensor swapped = x;
        x = y;
        y = swapped;
      }
      dense.forward(x, logits);
      state.length += (int) tokens.size(1);
      done = true;
    } finally {
      if (!done) {
        // Some blocks may have read what others have not.
        for (TransformerDecoderBlock.State block : state.blocks) {
          block.truncate(state.length);
        }
      }
    }
  }

  // ---- Prediction ----

  /**
   * Translates each source greedily: the likeliest token at each step.
   *
   * @param src {@code [batch, lenSrc]}. Not modified.
   * @param srcValidLens how many of its tokens are valid
   * @param bos the token that begins a text, which is not part of the result
   * @param eos the token that ends a text, which is; −1 if none does
   * @param maxSteps the most tokens to write, from 0 to {@link #MAX_LEN}
   * @return for each source its text
   * @throws IllegalArgumentException as {@link #encode(Tensor, ValidLens, Tensor)}, if bos is not
   *     in the vocabulary, or maxSteps is out of range
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public int[][] predict(Tensor src, ValidLens srcValidLens, int bos, int eos, int maxSteps) {
    Checks.rank("src", Objects.requireNonNull(src, "src"), 2);
    Checks.inRange("bos", bos, 0, decoderEmbedding.vocabulary() - 1);
    int batch = Checks.arrayLength("src.batch", src.size(0));
    try (Arena scratch = Arena.ofConfined()) {
      Tensor encoded = Tensor.allocate(scratch, DType.F32, src.size(0), src.size(1), dim());
      encode(src, srcValidLens, encoded);
      State state = newState(scratch, encoded, srcValidLens, maxSteps);
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
   * @param maxSteps the most tokens to write, from 0 to {@link #MAX_LEN}
   * @param beamSize how many beginnings to keep, at least 1
   * @param alpha the length penalty: scores are {@code log P / length^alpha}; 0.75 in the book
   * @return the best text
   * @throws IllegalArgumentException as {@link #predict}, if there is not one source, or beamSize
   *     is less than 1
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public Beam predictBeam(
      Tensor src, int srcValidLen, int bos, int eos, int maxSteps, int beamSize, double alpha) {
    Checks.rank("src", Objects.requireNonNull(src, "src"), 2);
    Checks.equal("src.batch", src.size(0), "one source", 1);
    Checks.positive("beamSize", beamSize);
    Checks.inRange("bos", bos, 0, decoderEmbedding.vocabulary() - 1);
    try (Arena scratch = Arena.ofConfined()) {
      Tensor encoded = Tensor.allocate(scratch, DType.F32, 1, src.size(1), dim());
      encode(src, ValidLens.of(srcValidLen), encoded);
      int[] lens = new int[beamSize];
      Arrays.fill(lens, srcValidLen);
      State state = newState(scratch, encoded.expand(0, beamSize), ValidLens.of(lens), maxSteps);
      return BeamSearch.search(decoder(state, scratch), beamSize, bos, eos, maxSteps, alpha);
    }
  }

  private BeamSearch.Decoder decoder(State state, Arena scratch) {
    Tensor tokens = Tensor.allocate(scratch, DType.I32, state.batch, 1);
    Tensor logits = Tensor.allocate(scratch, DType.F32, state.batch, 1, vocabulary());
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
