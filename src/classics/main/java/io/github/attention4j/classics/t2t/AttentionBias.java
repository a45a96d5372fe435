package io.github.attention4j.classics.t2t;

import static io.github.attention4j.Score.batch;
import static io.github.attention4j.Score.floats;
import static io.github.attention4j.Score.key;
import static io.github.attention4j.Score.query;
import static io.github.attention4j.Score.score;

import io.github.attention4j.DType;
import io.github.attention4j.FloatExpression;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * The tensors that tensor2tensor adds to attention scores: its {@code attention_bias_*} functions
 * and those about padding, with their names and values, −10⁹ (float32) for hidden keys. All of them
 * can be passed to {@link Mask#bias}.
 *
 * <pre>{@code
 * Tensor bias = AttentionBias.ignorePadding(arena, AttentionBias.embeddingToPadding(arena, x));
 * Attention.builder().mask(Mask.bias(bias)).build().forward(q, k, v, out);
 * }</pre>
 *
 * <p>These methods allocate length × length matrices; prefer the {@link Mask} named on each, which
 * is faster and needs no matrix. The two differ for a query that sees no key: if every element is
 * −10⁹, the scores are lost to rounding and all weights are equal, while a mask gives output 0 and
 * weights 0.
 *
 * <p>Numbers of segments and coordinates, which tensor2tensor has as floats, may also be {@link
 * DType#I32}.
 */
public final class AttentionBias {
  /** Added to the score of a hidden key. */
  public static final float HIDDEN = -1e9f;

  private AttentionBias() {}

  /** The bias of query i and key j. */
  private interface Entry {
    float at(int i, int j);
  }

  // ---- By distance ----

  /**
   * Lets a query see the keys near it ({@code attention_bias_local}): 0 where {@code -maxBackward
   * <= j - i <= maxForward}. {@code Mask.window(maxBackward, maxForward, Alignment.TOP_LEFT)} does
   * the same without a matrix, where {@link Mask#UNBOUNDED} is the negative number.
   *
   * @param arena supplies the memory of the result
   * @param length the number of queries, and of keys
   * @param maxBackward t2t's {@code max_backward}, negative for no bound
   * @param maxForward t2t's {@code max_forward}, negative for no bound
   * @return {@link DType#F32} {@code [1, 1, length, length]}
   * @throws IllegalArgumentException if length is negative
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor local(Arena arena, int length, int maxBackward, int maxForward) {
    return square(
        arena,
        length,
        (i, j) ->
            (maxBackward < 0 || i - j <= maxBackward) && (maxForward < 0 || j - i <= maxForward)
                ? 0
                : HIDDEN);
  }

  /**
   * Hides the keys that come after a query ({@code attention_bias_lower_triangle}). {@link
   * Mask#causal} does the same without a matrix, and with half the work.
   *
   * @param arena supplies the memory of the result
   * @param length the number of queries, and of keys
   * @return {@link DType#F32} {@code [1, 1, length, length]}
   * @throws IllegalArgumentException if length is negative
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor lowerTriangle(Arena arena, int length) {
    return local(arena, length, -1, 0);
  }

  /**
   * Prefers keys that are near ({@code attention_bias_proximal}): {@code -log(1 + |i - j|)}. {@link
   * #proximalScore} does the same without a matrix.
   *
   * @param arena supplies the memory of the result
   * @param length the number of queries, and of keys
   * @return {@link DType#F32} {@code [1, 1, length, length]}
   * @throws IllegalArgumentException if length is negative
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor proximal(Arena arena, int length) {
    return square(arena, length, (i, j) -> (float) -Math.log1p(Math.abs(i - j)));
  }

  /**
   * Prefers keys that are near, like {@link #proximal} but without a matrix.
   *
   * @return a score for {@link io.github.attention4j.Attention.Builder#score}
   */
  public static FloatExpression proximalScore() {
    return score().minus(query().minus(key()).abs().plus(1).toFloat().log());
  }

  // ---- Padding ----

  /**
   * Hides padding ({@code attention_bias_ignore_padding}): {@code padding · -10⁹}. This is not a
   * length × length matrix; {@link Mask#padding} and {@link Mask#keyLengths} do the same for
   * padding that is known by tokens or lengths.
   *
   * @param arena supplies the memory of the result
   * @param padding {@link DType#F32} {@code [batch, lenK]}, t2t's {@code memory_padding}: 1 for
   *     padding, else 0. Not modified.
   * @return {@link DType#F32} {@code [batch, 1, 1, lenK]}
   * @throws IllegalArgumentException if the type is not F32 or the rank not 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor ignorePadding(Arena arena, Tensor padding) {
    Objects.requireNonNull(arena, "arena");
    Checks.input("padding", Objects.requireNonNull(padding, "padding"));
    float[] bias = matrix("padding", padding);
    for (int n = 0; n < bias.length; n++) {
      bias[n] = product(bias[n]);
    }
    return Tensor.of(arena, bias, padding.size(0), 1, 1, padding.size(1));
  }

  /**
   * Recovers padding from a bias ({@code attention_bias_to_padding}), the inverse of {@link
   * #ignorePadding}: 1 where the bias is less than −1, else 0.
   *
   * @param arena supplies the memory of the result
   * @param bias {@link DType#F32} {@code [batch, 1, 1, lenK]}. Not modified.
   * @return {@link DType#F32} {@code [batch, lenK]}
   * @throws IllegalArgumentException if the type is not F32, the rank not 4, or one of the two
   *     dimensions in the middle not 1
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor toPadding(Arena arena, Tensor bias) {
    Objects.requireNonNull(arena, "arena");
    Checks.rank("bias", Objects.requireNonNull(bias, "bias"), 4);
    Checks.input("bias", bias);
    Checks.shape("bias", bias, "[batch, 1, 1, lenK]", bias.size(0), 1, 1, bias.size(3));
    float[] padding = bias.toFloatArray();
    for (int n = 0; n < padding.length; n++) {
      padding[n] = padding[n] < -1 ? 1 : 0;
    }
    return Tensor.of(arena, padding, bias.size(0), bias.size(3));
  }

  /**
   * Finds padding in embeddings ({@code embedding_to_padding}): 1 where all numbers of an embedding
   * are exactly 0, else 0.
   *
   * @param arena supplies the memory of the result
   * @param emb {@link DType#F32} {@code [..., depth]}, of rank 2 or more. Not modified.
   * @return {@link DType#F32} {@code [...]}
   * @throws IllegalArgumentException if the type is not F32 or the rank less than 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor embeddingToPadding(Arena arena, Tensor emb) {
    Objects.requireNonNull(arena, "arena");
    checkRows("emb", emb);
    int depth = Checks.arrayLength("emb.depth", emb.size(-1));
    float[] zero = new float[Checks.arrayLength("the rows of emb", Checks.rows(emb))];
    float[] values = emb.toFloatArray();
    Tensor padding = Tensor.allocate(arena, DType.F32, allButLast(emb));
    for (int row = 0; row < zero.length; row++) {
      boolean all = true;
      for (int i = row * depth; i < (row + 1) * depth; i++) {
        all &= values[i] == 0;
      }
      zero[row] = all ? 1 : 0;
    }
    return padding.copyFrom(zero);
  }

  /**
   * Counts what is not padding ({@code padding_to_length}): the sum of {@code 1 - padding}, what
   * {@link Mask#keyLengths(Tensor)} expresses if the padding is at the end.
   *
   * @param arena supplies the memory of the result
   * @param padding {@link DType#F32} {@code [..., length]}, of rank 2 or more. Not modified.
   * @return {@link DType#I32} {@code [...]}
   * @throws IllegalArgumentException if the type is not F32 or the rank less than 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor paddingToLength(Arena arena, Tensor padding) {
    Objects.requireNonNull(arena, "arena");
    checkRows("padding", padding);
    int length = Checks.arrayLength("padding.length", padding.size(-1));
    int rows = Checks.arrayLength("the rows of padding", Checks.rows(padding));
    float[] values = padding.toFloatArray();
    Tensor lengths = Tensor.allocate(arena, DType.I32, allButLast(padding));
    Tensor flat = lengths.reshape(rows);
    for (int row = 0; row < rows; row++) {
      float sum = 0;
      for (int j = row * length; j < (row + 1) * length; j++) {
        sum += 1 - values[j];
      }
      flat.setInt((int) sum, row);
    }
    return lengths;
  }

  // ---- Segments and coordinates ----

  /**
   * Lets a query see only the keys of its own segment ({@code attention_bias_same_segment}). {@link
   * #sameSegmentMask} does the same without a matrix.
   *
   * @param arena supplies the memory of the result
   * @param querySegmentId {@link DType#F32} or {@link DType#I32} {@code [batch, lenQ]}, t2t's
   *     {@code query_segment_id}. Not modified.
   * @param memorySegmentId of either type, {@code [batch, lenK]}, t2t's {@code memory_segment_id}.
   *     Not modified.
   * @return {@link DType#F32} {@code [batch, 1, lenQ, lenK]}
   * @throws IllegalArgumentException if types, ranks or batches do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor sameSegment(Arena arena, Tensor querySegmentId, Tensor memorySegmentId) {
    Objects.requireNonNull(arena, "arena");
    float[] queries = matrix("querySegmentId", querySegmentId);
    float[] keys = matrix("memorySegmentId", memorySegmentId);
    long batch = querySegmentId.size(0);
    Checks.equal("memorySegmentId", "querySegmentId", "batch", memorySegmentId.size(0), batch);
    int lenQ = Checks.arrayLength("querySegmentId.lenQ", querySegmentId.size(1));
    int lenK = Checks.arrayLength("memorySegmentId.lenK", memorySegmentId.size(1));
    Tensor bias = Tensor.allocate(arena, DType.F32, batch, 1, lenQ, lenK);
    for (int b = 0; b < batch; b++) {
      int firstQ = b * lenQ;
      int firstK = b * lenK;
      fill(
          bias.select(0, b).select(0, 0),
          (i, j) -> queries[firstQ + i] == keys[firstK + j] ? 0 : HIDDEN);
    }
    return bias;
  }

  /**
   * Lets a query see only the keys of its own segment, like {@link #sameSegment} but without a
   * matrix.
   *
   * @param querySegmentId {@link DType#F32} {@code [batch, lenQ]}. Read at each call, not modified.
   * @param memorySegmentId {@link DType#F32} {@code [batch, lenK]}. Read at each call, not
   *     modified.
   * @return the mask
   * @throws IllegalArgumentException if types, ranks or batches do not fit
   */
  public static Mask sameSegmentMask(Tensor querySegmentId, Tensor memorySegmentId) {
    checkTable("querySegmentId", querySegmentId, 2);
    checkTable("memorySegmentId", memorySegmentId, 2);
    Checks.equal(
        "memorySegmentId",
        "querySegmentId",
        "batch",
        memorySegmentId.size(0),
        querySegmentId.size(0));
    return Mask.where(
        floats(querySegmentId)
            .at(batch(), query())
            .equalTo(floats(memorySegmentId).at(batch(), key())));
  }

  /**
   * Lets an input that precedes its target see all of itself, and the target only what precedes it
   * ({@code attention_bias_prepend_inputs_full_attention}). {@link #prependInputsFullAttentionMask}
   * does the same without a matrix.
   *
   * @param arena supplies the memory of the result
   * @param padding {@link DType#F32} {@code [batch, length]}: 1 at the single place that separates
   *     input and target, and at padding after them. Not modified.
   * @return {@link DType#F32} {@code [batch, 1, length, length]}
   * @throws IllegalArgumentException if the type is not F32 or the rank not 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor prependInputsFullAttention(Arena arena, Tensor padding) {
    Objects.requireNonNull(arena, "arena");
    float[] position = targetPositions(padding);
    int length = Checks.arrayLength("padding.length", padding.size(1));
    Tensor bias = Tensor.allocate(arena, DType.F32, padding.size(0), 1, length, length);
    for (int b = 0; b < padding.size(0); b++) {
      int first = b * length;
      fill(
          bias.select(0, b).select(0, 0),
          (i, j) -> position[first + j] > position[first + i] ? HIDDEN : 0);
    }
    return bias;
  }

  /**
   * Lets an input that precedes its target see all of itself, and the target only what precedes it,
   * like {@link #prependInputsFullAttention} but without a matrix.
   *
   * @param arena supplies the memory of a table, for as long as the mask is used
   * @param padding {@link DType#F32} {@code [batch, length]}: 1 at the single place that separates
   *     input and target, and at padding after them; read now. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not F32 or the rank not 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Mask prependInputsFullAttentionMask(Arena arena, Tensor padding) {
    Objects.requireNonNull(arena, "arena");
    Tensor position = Tensor.of(arena, targetPositions(padding), padding.shape());
    return Mask.where(
        floats(position).at(batch(), key()).atMost(floats(position).at(batch(), query())));
  }

  /** The place of each element within the target, from 1 on; 0 in the input. */
  private static float[] targetPositions(Tensor padding) {
    Checks.input("padding", Objects.requireNonNull(padding, "padding"));
    float[] position = matrix("padding", padding);
    int length = Checks.arrayLength("padding.length", padding.size(1));
    for (int first = 0; first < position.length; first += length) {
      float separators = 0;
      float sum = 0;
      for (int j = first; j < first + length; j++) {
        float own = position[j];
        sum += separators;
        separators += own;
        position[j] = sum;
      }
    }
    return position;
  }

  /**
   * Lets a query see only the keys of its own coordinate ({@code attention_bias_coordinates}), for
   * several sequences packed into one: {@code min(1, |c_j - c_i|) · -10⁹}. {@link
   * #batchCoordinatesMask} does the same without a matrix, and {@link
   * io.github.attention4j.Attention#forwardPacked forwardPacked} without looking at other
   * sequences' keys at all.
   *
   * @param arena supplies the memory of the result
   * @param queries {@link DType#F32} or {@link DType#I32} {@code [lenQ]} or {@code [lenQ, 1]},
   *     t2t's {@code batch_coordinates_q}. Not modified.
   * @param keys of either type, {@code [lenK]} or {@code [lenK, 1]}, t2t's {@code
   *     batch_coordinates_k}; in self-attention the same. Not modified.
   * @return {@link DType#F32} {@code [lenQ, lenK]}
   * @throws IllegalArgumentException if types or shapes do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor batchCoordinates(Arena arena, Tensor queries, Tensor keys) {
    Objects.requireNonNull(arena, "arena");
    float[] c = column("queries", queries);
    float[] other = column("keys", keys);
    return fill(
        Tensor.allocate(arena, DType.F32, c.length, other.length),
        (i, j) -> product(Math.min(1, Math.abs(other[j] - c[i]))));
  }

  /**
   * Lets a query see the keys of its own coordinate, like {@link #batchCoordinates} for whole
   * numbers but without a matrix.
   *
   * @param queries {@link DType#F32} {@code [lenQ]}. Read at each call, not modified.
   * @param keys {@link DType#F32} {@code [lenK]}. Read at each call, not modified.
   * @return the mask
   * @throws IllegalArgumentException if types or ranks do not fit
   */
  public static Mask batchCoordinatesMask(Tensor queries, Tensor keys) {
    checkTable("queries", queries, 1);
    checkTable("keys", keys, 1);
    return Mask.where(floats(queries).at(query()).equalTo(floats(keys).at(key())));
  }

  /**
   * Hides the keys of larger coordinates ({@code attention_bias_future}): {@code max(0, min(1, c_j
   * - c_i)) · -10⁹}. {@link #futureMask} does the same without a matrix.
   *
   * @param arena supplies the memory of the result
   * @param queries {@link DType#F32} or {@link DType#I32} {@code [lenQ]} or {@code [lenQ, 1]},
   *     t2t's {@code batch_coordinates_q}. Not modified.
   * @param keys of either type, {@code [lenK]} or {@code [lenK, 1]}, t2t's {@code
   *     batch_coordinates_k}; in self-attention the same. Not modified.
   * @return {@link DType#F32} {@code [lenQ, lenK]}
   * @throws IllegalArgumentException if types or shapes do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor future(Arena arena, Tensor queries, Tensor keys) {
    Objects.requireNonNull(arena, "arena");
    float[] c = column("queries", queries);
    float[] other = column("keys", keys);
    return fill(
        Tensor.allocate(arena, DType.F32, c.length, other.length),
        (i, j) -> product(Math.max(0, Math.min(1, other[j] - c[i]))));
  }

  /**
   * Hides the keys of larger coordinates, like {@link #future} for whole numbers but without a
   * matrix.
   *
   * @param queries {@link DType#F32} {@code [lenQ]}. Read at each call, not modified.
   * @param keys {@link DType#F32} {@code [lenK]}. Read at each call, not modified.
   * @return the mask
   * @throws IllegalArgumentException if types or ranks do not fit
   */
  public static Mask futureMask(Tensor queries, Tensor keys) {
    checkTable("queries", queries, 1);
    checkTable("keys", keys, 1);
    return Mask.where(floats(keys).at(key()).atMost(floats(queries).at(query())));
  }

  // ---- What all have in common ----

  private static Tensor square(Arena arena, int length, Entry entry) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    Tensor bias = Tensor.allocate(arena, DType.F32, 1, 1, length, length);
    fill(bias.select(0, 0).select(0, 0), entry);
    return bias;
  }

  private static Tensor fill(Tensor matrix, Entry entry) {
    float[] row = new float[(int) matrix.size(1)];
    for (int i = 0; i < matrix.size(0); i++) {
      for (int j = 0; j < row.length; j++) {
        row[j] = entry.at(i, j);
      }
      matrix.select(0, i).copyFrom(row);
    }
    return matrix;
  }

  /** The bias of a key that is hidden to this degree: +0 for 0. */
  private static float product(float hidden) {
    return hidden == 0 ? 0 : hidden * HIDDEN;
  }

  private static long[] allButLast(Tensor tensor) {
    return Arrays.copyOf(tensor.shape(), tensor.rank() - 1);
  }

  private static float[] matrix(String name, Tensor tensor) {
    Checks.rank(name, Objects.requireNonNull(tensor, name), 2);
    return numbers(name, tensor);
  }

  /** The numbers of [n] or [n, 1]. */
  private static float[] column(String name, Tensor tensor) {
    if (Objects.requireNonNull(tensor, name).rank() == 2) {
      Checks.shape(name, tensor, "[len, 1]", tensor.size(0), 1);
    } else {
      Checks.rank(name, tensor, 1);
    }
    return numbers(name, tensor);
  }

  private static float[] numbers(String name, Tensor tensor) {
    if (tensor.dtype() != DType.I32) {
      Checks.input(name, tensor);
      return tensor.toFloatArray();
    }
    Checks.reachable(name, tensor);
    int[] whole = tensor.toIntArray();
    float[] numbers = new float[whole.length];
    for (int n = 0; n < whole.length; n++) {
      numbers[n] = whole[n];
    }
    return numbers;
  }

  private static void checkRows(String name, Tensor tensor) {
    if (Objects.requireNonNull(tensor, name).rank() < 2) {
      throw new IllegalArgumentException(
          name + ".rank must be at least 2: " + name + ".rank=" + tensor.rank());
    }
    Checks.input(name, tensor);
  }

  private static void checkTable(String name, Tensor tensor, int rank) {
    Checks.rank(name, Objects.requireNonNull(tensor, name), rank);
    Checks.input(name, tensor);
  }
}
