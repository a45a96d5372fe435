package io.github.attention4j.classics;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.AttentionBias;
import io.github.attention4j.classics.t2t.AttentionImage;
import io.github.attention4j.classics.t2t.LocalMasks;
import io.github.attention4j.classics.t2t.TimingSignal;
import java.lang.foreign.Arena;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Sizes that no array of Java holds are refused with the numbers, before memory is taken. */
@Timeout(30)
class ExtremeSizesTest {
  private static final long HUGE = 1L << 40;

  private final Arena arena = Arena.ofConfined();

  @AfterEach
  void close() {
    arena.close();
  }

  private static void assertRefused(String name, long size, Executable call) {
    String message = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertEquals(name + " must lie in ", message.substring(0, message.indexOf('[')));
    assertEquals(name + "=" + size, message.substring(message.indexOf("]: ") + 3));
  }

  /** A tensor of this shape whose elements are all the same one. */
  private Tensor repeated(long... shape) {
    return Tensor.strided(
        Tensor.zeros(arena, 1).segment(), DType.F32, 0, shape, new long[shape.length]);
  }

  @Test
  void shouldRefusePicturesOfTooManyHeadsOrWeights() {
    assertRefused("weights.heads", HUGE, () -> AttentionImage.summary(repeated(1, HUGE, 2, 2)));
    assertRefused(
        "weights.lenQ * weights.lenK",
        1L << 36,
        () -> AttentionImage.summary(repeated(1, 3, 1 << 18, 1 << 18)));
    int most = Integer.MAX_VALUE;
    assertEquals(
        "the product of imageShapes' first half must equal weights.lenQ: the product of"
            + " imageShapes' first half=9223372036854775807, weights.lenQ=2",
        assertThrows(
                IllegalArgumentException.class,
                () ->
                    AttentionImage.summary(
                        repeated(1, 3, 2, 2), most, most, most, most, most, most))
            .getMessage());
  }

  @Test
  void shouldRefuseMatricesWithoutElementsThatAreTooLong() {
    assertRefused(
        "emb.depth", HUGE, () -> AttentionBias.embeddingToPadding(arena, repeated(0, HUGE)));
    assertRefused(
        "the rows of emb", HUGE, () -> AttentionBias.embeddingToPadding(arena, repeated(HUGE, 0)));
    assertRefused(
        "padding.length", HUGE, () -> AttentionBias.paddingToLength(arena, repeated(0, HUGE)));
    assertRefused(
        "the rows of padding", HUGE, () -> AttentionBias.paddingToLength(arena, repeated(HUGE, 0)));
    Tensor ids = repeated(0, HUGE);
    assertRefused("querySegmentId.lenQ", HUGE, () -> AttentionBias.sameSegment(arena, ids, ids));
    assertRefused(
        "padding.length",
        HUGE,
        () -> AttentionBias.prependInputsFullAttention(arena, repeated(0, HUGE)));
  }

  @Test
  void shouldRefuseSignalsWithoutElementsThatAreTooLong() {
    Tensor x = Tensor.zeros(arena, 0, HUGE, 4);
    TimingSignal signal = TimingSignal.standard();
    List<Tensor> positions = List.of(Tensor.zeros(arena, 0, HUGE));
    assertRefused("x.length", HUGE, () -> signal.addGivenPositions(x, positions, x));
    Tensor grid = Tensor.zeros(arena, 0, 1 << 20, 1 << 20, 4);
    assertRefused("d1 * ... * dn * channels", 1L << 42, () -> signal.addNd(grid, grid));
  }

  @Test
  void shouldRefuseMasksOfTooManyHeadsOrBlocks() {
    assertRefused(
        "k.batch * k.heads",
        1L << 36,
        () -> LocalMasks.localUnmasked(repeated(1 << 18, 1 << 18, 2, 1), 1, 1));
    assertRefused("k.len", HUGE, () -> LocalMasks.localUnmasked(repeated(1, 1, HUGE, 1), 1, 1));
    assertRefused(
        "the number of blocks + 1",
        1L << 31,
        () -> LocalMasks.localUnmasked(Integer.MAX_VALUE, 1, 1));
  }
}
