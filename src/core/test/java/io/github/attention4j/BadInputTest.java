package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Bad arguments are refused with a message that names them and gives both numbers. */
class BadInputTest {
  private final Attention attention = Attention.builder().build();
  private Arena arena;
  private Tensor q;
  private Tensor k;
  private Tensor v;
  private Tensor out;

  @BeforeEach
  void makeGoodInput() {
    arena = Arena.ofConfined();
    q = floats(2, 4, 5, 8);
    k = floats(2, 2, 7, 8);
    v = floats(2, 2, 7, 6);
    out = floats(2, 4, 5, 6);
    attention.forward(q, k, v, out);
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  private void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private void refuseStart(Class<? extends Exception> type, String start, Executable call) {
    String message = assertThrows(type, call).getMessage();
    assertTrue(
        message.startsWith(start), () -> "«" + message + "» must start with «" + start + "»");
  }

  // ---- Types and shapes ----

  @Test
  void shouldRefuseNullByName() {
    assertEquals(
        "k",
        assertThrows(NullPointerException.class, () -> attention.forward(q, (Tensor) null, v, out))
            .getMessage());
    assertEquals(
        "mask",
        assertThrows(NullPointerException.class, () -> Attention.builder().mask(null))
            .getMessage());
  }

  @Test
  void shouldRefuseOtherTypes() {
    Tensor half = Tensor.allocate(arena, DType.BF16, 2, 2, 7, 8);
    refuse(
        "v.dtype must equal k.dtype: v.dtype=F32, k.dtype=BF16",
        () -> attention.forward(q, half, v, out));
    Tensor ints = Tensor.allocate(arena, DType.I32, 2, 4, 5, 6);
    refuse(
        "out.dtype must be F32, BF16 or F16: out.dtype=I32",
        () -> attention.forward(q, k, v, ints));
    refuse("allow.dtype must be BOOL: allow.dtype=F32", () -> Mask.allow(floats(5, 7)));
    refuse(
        "bias.dtype must be F32: bias.dtype=BOOL",
        () -> Mask.bias(Tensor.allocate(arena, DType.BOOL, 5, 7)));
    refuse(
        "keyLengths.dtype must be I32 or I64: keyLengths.dtype=F32",
        () -> Mask.keyLengths(floats(2)));
    Extras keep = Extras.none().keep(floats(5, 7), 0.5);
    refuse("keep.dtype must be BOOL: keep.dtype=F32", () -> attention.forward(q, k, v, out, keep));
  }

  @Test
  void shouldRefuseOtherRanks() {
    refuse(
        "q.rank must be 4 [batch, heads, length, dim] or 3 [batch, length, dim]: q.rank=2",
        () -> attention.forward(floats(5, 8), k, v, out));
    refuse(
        "v.rank must equal q.rank: v.rank=3, q.rank=4",
        () -> attention.forward(q, k, floats(2, 7, 6), out));
    refuse(
        "allow.rank must be at most 4 [batch, heads, lenQ, lenK]: allow.rank=5",
        () -> Mask.allow(Tensor.allocate(arena, DType.BOOL, 1, 1, 1, 1, 1)));
    refuse(
        "keyLengths.rank must be 1 [batch] or 2 [batch, lenQ]: keyLengths.rank=3",
        () -> Mask.keyLengths(Tensor.allocate(arena, DType.I32, 2, 1, 1)));
  }

  @Test
  void shouldRefuseSizesThatDoNotFit() {
    refuse(
        "k.batch must equal q.batch: k.batch=3, q.batch=2",
        () -> attention.forward(q, floats(3, 2, 7, 8), v, out));
    refuse(
        "k.dim must equal q.dim: k.dim=9, q.dim=8",
        () -> attention.forward(q, floats(2, 2, 7, 9), v, out));
    refuse(
        "v.lenK must equal k.lenK: v.lenK=6, k.lenK=7",
        () -> attention.forward(q, k, floats(2, 2, 6, 6), out));
    refuse(
        "v.heads must equal k.heads: v.heads=4, k.heads=2",
        () -> attention.forward(q, k, floats(2, 4, 7, 6), out));
    refuse(
        "q.heads must be a multiple of k.heads: q.heads=4, k.heads=3",
        () -> attention.forward(q, floats(2, 3, 7, 8), floats(2, 3, 7, 6), out));
    refuse(
        "q.heads must be a multiple of k.heads: q.heads=4, k.heads=0",
        () -> attention.forward(q, floats(2, 0, 7, 8), floats(2, 0, 7, 6), out));
    refuse(
        "out.lenQ must equal q.lenQ: out.lenQ=4, q.lenQ=5",
        () -> attention.forward(q, k, v, floats(2, 4, 4, 6)));
    refuse(
        "out.dim must equal v.dim: out.dim=8, v.dim=6",
        () -> attention.forward(q, k, v, floats(2, 4, 5, 8)));
    refuse(
        "q.dim must be at least 1: q.dim=0",
        () -> attention.forward(floats(2, 4, 5, 0), floats(2, 2, 7, 0), v, out));
    refuse(
        "logsumexp.shape must be [batch, heads, lenQ] = [2, 4, 5]: logsumexp.shape=[2, 5, 4]",
        () -> attention.forward(q, k, v, out, Extras.none().logsumexp(floats(2, 5, 4))));
    refuse(
        "weights.shape must be [batch, heads, lenQ, lenK] = [2, 4, 5, 7]: "
            + "weights.shape=[2, 4, 5, 8]",
        () -> attention.forward(q, k, v, out, Extras.none().weights(floats(2, 4, 5, 8))));
  }

  @Test
  void shouldRefuseMasksThatDoNotFit() {
    Tensor allow = Tensor.allocate(arena, DType.BOOL, 2, 5, 6);
    refuse(
        "mask.allow must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 5, 7]: "
            + "mask.allow.shape=[2, 5, 6]",
        () -> attention.withMask(Mask.allow(allow)).forward(q, k, v, out));
    Mask tooLong = Mask.keyLengths(7, 8);
    refuse(
        "mask.keyLengths[1] must lie in [0, 7]: mask.keyLengths[1]=8",
        () -> attention.withMask(tooLong).forward(q, k, v, out));
    Mask tooMany = Mask.keyLengths(7, 7, 7);
    refuse(
        "mask.keyLengths.length must equal q.batch: mask.keyLengths.length=3, q.batch=2",
        () -> attention.withMask(tooMany).forward(q, k, v, out));
    Tensor negative = Tensor.allocate(arena, DType.I32, 2);
    negative.setInt(-1, 0);
    refuse(
        "mask.keyLengths[0] must lie in [0, 7]: mask.keyLengths[0]=-1",
        () -> attention.withMask(Mask.keyLengths(negative)).forward(q, k, v, out));
    refuse("keyLengths[1] must not be negative: keyLengths[1]=-2", () -> Mask.keyLengths(3, -2));
    Tensor large = Tensor.allocate(arena, DType.I64, 2);
    large.segment().setAtIndex(ValueLayout.JAVA_LONG, 1, (1L << 32) + 1);
    refuse(
        "mask.keyLengths[1] must lie in [0, 7]: mask.keyLengths[1]=4294967297",
        () -> attention.withMask(Mask.keyLengths(large)).forward(q, k, v, out));
  }

  @Test
  void shouldRefuseIntersectionsThatMakeNoSense() {
    refuse(
        "an intersection must have one alignment: TOP_LEFT and BOTTOM_RIGHT",
        () -> Mask.causal(Alignment.TOP_LEFT).and(Mask.causal(Alignment.BOTTOM_RIGHT)));
    refuseStart(
        IllegalArgumentException.class,
        "an intersection can have only one bias tensor, combine the two into one tensor first: ",
        () -> Mask.bias(floats(5, 7)).and(Mask.bias(floats(5, 7))));
    refuse(
        "key lengths must be for the same number of batches: 2 and 1",
        () -> Mask.keyLengths(1, 2).and(Mask.keyLengths(1)));
    Mask.bias(out).and(Mask.bias(out)).and(Mask.none());
  }

  @Test
  void shouldRefuseMaskPartsThatMakeNoSense() {
    refuse(
        "left must lie in [-1, 2147483647]: left=-2", () -> Mask.window(-2, 0, Alignment.TOP_LEFT));
    refuse("size must be at least 1: size=0", () -> Mask.chunks(0, Alignment.TOP_LEFT));
    refuse(
        "offsets must hold one number for each batch: offsets.length=0",
        () -> Mask.causal(new int[0]));
    refuse(
        "tokens.rank must be 2 [batch, lenK]: tokens.rank=1",
        () -> Mask.padding(Tensor.allocate(arena, DType.I32, 7), 0));
    refuse(
        "an intersection must have one alignment: offsets [1, 2] and TOP_LEFT",
        () -> Mask.causal(1, 2).and(Mask.chunks(4, Alignment.TOP_LEFT)));
    refuse(
        "an intersection must have one size of chunks: 4 and 6",
        () -> Mask.chunks(4, 1, 2).and(Mask.chunks(6, 1, 2)));
    Tensor tokens = Tensor.allocate(arena, DType.I32, 2, 7);
    refuse(
        "an intersection can have only one padding token: 1 and 2",
        () -> Mask.padding(tokens, 1).and(Mask.padding(tokens, 2)));
    Mask.causal(3, 4).and(Mask.window(5, 5, 3, 4)).and(Mask.chunks(4, 3, 4));
  }

  @Test
  void shouldRefuseMaskPartsThatDoNotFit() {
    refuse(
        "offsets.length must equal q.batch: offsets.length=3, q.batch=2",
        () -> attention.withMask(Mask.causal(1, 2, 3)).forward(q, k, v, out));
    Tensor tokens = Tensor.allocate(arena, DType.I32, 2, 6);
    refuse(
        "mask.padding.shape must be [batch, lenK] = [2, 7]: mask.padding.shape=[2, 6]",
        () -> attention.withMask(Mask.padding(tokens, 0)).forward(q, k, v, out));
    Tensor rows = Tensor.allocate(arena, DType.I32, 2, 5);
    rows.setInt(8, 1, 3);
    refuse(
        "mask.keyLengths[1, 3] must lie in [0, 7]: mask.keyLengths[1, 3]=8",
        () -> attention.withMask(Mask.keyLengths(rows)).forward(q, k, v, out));
    refuse(
        "mask.keyLengths.shape must be [batch, lenQ] = [2, 5]: mask.keyLengths.shape=[5, 2]",
        () -> attention.withMask(Mask.keyLengths(rows.transpose(0, 1))).forward(q, k, v, out));
    Tensor longer = Tensor.allocate(arena, DType.BOOL, 5, 8);
    refuse(
        "mask.allow must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 5, 7]: "
            + "mask.allow.shape=[5, 8]",
        () -> attention.withMask(Mask.allow(longer)).forward(q, k, v, out));
    Tensor shorter = Tensor.allocate(arena, DType.BOOL, 5, 6);
    refuse(
        "mask.allow must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 5, 7]"
            + " (Mask.paddedWithHidden hides the keys beyond it): mask.allow.shape=[5, 6]",
        () -> attention.withMask(Mask.allow(shorter)).forward(q, k, v, out));
    refuse(
        "mask.bias must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 5, 7]"
            + " (Mask.paddedWithHidden hides the keys beyond it): mask.bias.shape=[5, 6]",
        () ->
            attention
                .withMask(Mask.bias(floats(5, 6)).and(Mask.allow(shorter).paddedWithHidden()))
                .forward(q, k, v, out));
    attention.withMask(Mask.allow(shorter).paddedWithHidden()).forward(q, k, v, out);
    refuse(
        "keep must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 5, 7]: keep.shape=[5, 6]",
        () -> attention.forward(q, k, v, out, Extras.none().keep(shorter, 0.5)));
    KeyRanges ranges = KeyRanges.of(3, new int[] {0, 1, 1}, new int[][] {{0, 8}});
    refuse(
        "the last end of mask.keyRanges must lie in [0, 7]: the last end of mask.keyRanges=8",
        () -> attention.withMask(Mask.keyRanges(ranges)).forward(q, k, v, out));
    KeyRanges one = KeyRanges.of(3, new int[] {0, 1}, new int[][] {{0, 7}});
    refuse(
        "mask.keyRanges.blocks must equal ceil(lenQ / rowsPerBlock): mask.keyRanges.blocks=1,"
            + " ceil(lenQ / rowsPerBlock)=2",
        () -> attention.withMask(Mask.keyRanges(one)).forward(q, k, v, out));
    KeyRanges two = KeyRanges.of(3, new int[] {0, 1, 1}, new int[][] {{0, 7}});
    refuse(
        "mask.keyRanges.heads must equal out.heads: mask.keyRanges.heads=3, out.heads=4",
        () ->
            attention
                .withMask(Mask.keyRanges(KeyRanges.perHead(two, two, two)))
                .forward(q, k, v, out));
  }

  @Test
  void shouldRefuseMasksShorterThanTheKeysOfACache() {
    KvCache cache = KvCache.of(k, floats(2, 2, 7, 8), 7, 7);
    Tensor shorter = Tensor.allocate(arena, DType.BOOL, 1, 6);
    Tensor one = floats(2, 4, 1, 8);
    Tensor result = floats(2, 4, 1, 8);
    refuse(
        "mask.allow must broadcast to [batch, heads, lenQ, lenK] = [2, 4, 1, 7]"
            + " (Mask.paddedWithHidden hides the keys beyond it): mask.allow.shape=[1, 6]",
        () -> attention.withMask(Mask.allow(shorter)).forward(one, cache, result));
  }

  @Test
  void shouldSayThatACacheAlignsItsQueries() {
    KvCache cache = KvCache.of(k, floats(2, 2, 7, 8), 7, 6);
    String message =
        "attention over a cache aligns its queries BOTTOM_RIGHT, so mask, ALiBi, score and relative"
            + " positions must be aligned BOTTOM_RIGHT too: they are aligned ";
    refuse(
        message + "TOP_LEFT",
        () ->
            attention
                .withMask(Mask.causal(Alignment.TOP_LEFT))
                .forward(q, cache, floats(2, 4, 5, 8)));
    refuse(
        message + "offsets [1, 2]",
        () ->
            Attention.builder()
                .alibi(new int[] {1, 2}, Alibi.slopes(4))
                .build()
                .forward(q, cache, floats(2, 4, 5, 8)));
    refuse(
        message + "TOP_LEFT",
        () ->
            Differential.builder()
                .mask(Mask.causal(Alignment.TOP_LEFT))
                .build()
                .forward(q, cache, 0.5f, floats(2, 2, 5, 16)));
  }

  @Test
  void shouldRefuseScoreOptionsThatDoNotFit() {
    refuse(
        "softCap must be a positive, finite float: softCap=0.0",
        () -> Attention.builder().softCap(0));
    refuse(
        "slopes[1] must be finite: slopes[1]=NaN",
        () -> Attention.builder().alibi(Alignment.TOP_LEFT, 1, Float.NaN));
    refuse(
        "sinks[0] must be a number below infinity: sinks[0]=Infinity",
        () -> Attention.builder().sinks(Float.POSITIVE_INFINITY));
    refuse("heads must be at least 1: heads=0", () -> Alibi.slopes(0));
    refuse(
        "slopes.length must equal out.heads: slopes.length=2, out.heads=4",
        () -> Attention.builder().alibi(Alignment.TOP_LEFT, 1, 2).build().forward(q, k, v, out));
    refuse(
        "mask and ALiBi must have one alignment: TOP_LEFT and BOTTOM_RIGHT",
        () ->
            Attention.builder()
                .mask(Mask.causal(Alignment.TOP_LEFT))
                .alibi(Alignment.BOTTOM_RIGHT, Alibi.slopes(4))
                .build());
    refuse(
        "scores.shape must be [batch, heads, lenQ, lenK] = [2, 4, 5, 7]: scores.shape=[2, 4, 5]",
        () ->
            attention.forward(
                q, k, v, out, Extras.none().scores(ScoreStage.SCALED, floats(2, 4, 5))));
    refuse(
        "work.shape must be one number = [1]: work.shape=[2]",
        () ->
            attention.forward(
                q, k, v, out, Extras.none().work(Tensor.allocate(arena, DType.I64, 2))));
    Tensor matrix = floats(2, 4, 5, 7);
    refuseStart(
        IllegalArgumentException.class,
        "scores must not overlap weights: ",
        () ->
            attention.forward(
                q, k, v, out, Extras.none().weights(matrix).scores(ScoreStage.LOGITS, matrix)));
  }

  @Test
  void shouldRefuseMoreKeyLengthsThanOneCallHolds() {
    Tensor one = Tensor.allocate(arena, DType.I32, 1);
    long many = 1L << 33;
    Tensor empty = Tensor.allocate(arena, DType.F32, 1, 1, 0, 8).expand(0, many);
    refuse(
        "mask.keyLengths.length must lie in [0, 268435456]: mask.keyLengths.length=8589934592",
        () ->
            attention
                .withMask(Mask.keyLengths(one.expand(0, many)))
                .forward(empty, empty, empty, empty));
  }

  @Test
  void shouldRefuseOptionsOutOfRange() {
    refuse("scale must be a finite float: scale=NaN", () -> Attention.builder().scale(Double.NaN));
    refuse("scale must be a finite float: scale=1.0E39", () -> Attention.builder().scale(1e39));
    refuse("threads must be at least 1: threads=0", () -> Attention.builder().threads(0));
    Tensor keep = Tensor.allocate(arena, DType.BOOL, 5, 7);
    refuse("p must lie in [0, 1): p=1.0", () -> Extras.none().keep(keep, 1));
    refuse("p must lie in [0, 1): p=NaN", () -> Extras.none().keep(keep, Double.NaN));
  }

  // ---- Memory ----

  @Test
  void shouldRefuseRowsWhoseElementsAreApart() {
    Tensor apart = floats(2, 2, 8, 7).transpose(2, 3);
    refuse(
        "k.stride(-1) must be 1, the elements of a row contiguous: k.stride(-1)=7",
        () -> attention.forward(q, apart, v, out));
    Tensor repeated = floats(2, 2, 7, 1).expand(3, 6);
    refuse(
        "v.stride(-1) must be 1, the elements of a row contiguous: v.stride(-1)=0",
        () -> attention.forward(q, k, repeated, out));
    refuse(
        "weights must be contiguous: shape=[2, 4, 5, 7], strides=[140, 35, 1, 5]",
        () ->
            attention.forward(
                q, k, v, out, Extras.none().weights(floats(2, 4, 7, 5).transpose(2, 3))));
  }

  @Test
  void shouldRefuseMisalignedAddresses() {
    MemorySegment odd = arena.allocate(4 * 320 + 8, 64).asSlice(2);
    Tensor misaligned = Tensor.of(odd, DType.F32, 2, 4, 5, 8);
    refuse(
        "q must be aligned to its elements' 4 bytes: address=0x" + Long.toHexString(odd.address()),
        () -> attention.forward(misaligned, k, v, out));
  }

  @Test
  void shouldRefuseReadOnlyOutput() {
    refuseStart(
        IllegalArgumentException.class,
        "out must be writable: it is read-only, ",
        () -> attention.forward(q, k, v, out.asReadOnly()));
    attention.forward(q.asReadOnly(), k.asReadOnly(), v.asReadOnly(), out);
  }

  @Test
  void shouldRejectOutputThatOverlapsKeys() {
    Tensor store = floats(1000);
    Tensor keys = store.slice(0, 0, 224).reshape(2, 2, 7, 8);
    Tensor overlapping = store.slice(0, 223, 240).reshape(2, 4, 5, 6);
    long start = store.segment().address();
    refuse(
        "out must not overlap k: out=[0x%x, 0x%x), k=[0x%x, 0x%x)"
            .formatted(start + 223 * 4, start + 463 * 4, start, start + 224 * 4),
        () -> attention.forward(q, keys, v, overlapping));
    Tensor beside = store.slice(0, 224, 240).reshape(2, 4, 5, 6);
    attention.forward(q, keys, v, beside);
  }

  @Test
  void shouldRefuseOutputsThatOverlapAnything() {
    refuseStart(
        IllegalArgumentException.class,
        "out must not overlap q: ",
        () -> attention.forward(out.slice(3, 0, 6), floats(2, 2, 7, 6), v, out));
    Tensor bias = floats(2, 4, 5, 7);
    refuseStart(
        IllegalArgumentException.class,
        "weights must not overlap mask.bias: ",
        () ->
            attention.withMask(Mask.bias(bias)).forward(q, k, v, out, Extras.none().weights(bias)));
    Tensor lse = out.reshape(240).slice(0, 200, 40).reshape(2, 4, 5);
    refuseStart(
        IllegalArgumentException.class,
        "logsumexp must not overlap out: ",
        () -> attention.forward(q, k, v, out, Extras.none().logsumexp(lse)));
    Tensor keep = Tensor.of(out.segment(), DType.BOOL, 5, 7);
    refuseStart(
        IllegalArgumentException.class,
        "out must not overlap keep: ",
        () -> attention.forward(q, k, v, out, Extras.none().keep(keep, 0.5)));
  }

  @Test
  void shouldRefuseOutputThatOverlapsItself() {
    Tensor repeated = floats(1, 4, 5, 6).expand(0, 2);
    refuse(
        "out must not overlap itself, each element needs its own place: "
            + "shape=[2, 4, 5, 6], strides=[0, 30, 6, 1]",
        () -> attention.forward(q, k, v, repeated));
    Tensor sliding =
        Tensor.strided(
            floats(1000).segment(),
            DType.F32,
            0,
            new long[] {2, 4, 5, 6},
            new long[] {120, 30, 5, 1});
    refuse(
        "out must not overlap itself, each element needs its own place: "
            + "shape=[2, 4, 5, 6], strides=[120, 30, 5, 1]",
        () -> attention.forward(q, k, v, sliding));
  }

  @Test
  void shouldAcceptViewsThatInterleaveWithoutTouching() {
    Tensor packed = floats(2, 5, 4 * 8 + 2 * 8 + 2 * 6 + 4 * 6);
    Tensor query = packed.slice(2, 0, 32).splitHeads(4);
    Tensor key = packed.slice(2, 32, 16).splitHeads(2);
    Tensor value = packed.slice(2, 48, 12).splitHeads(2);
    Tensor result = packed.slice(2, 60, 24).splitHeads(4);
    attention.forward(query, key, value, result);
    attention.forward(query, query.slice(1, 0, 2), query.slice(1, 2, 2).slice(3, 0, 6), result);
    Tensor touching = packed.slice(2, 59, 24).splitHeads(4);
    refuseStart(
        IllegalArgumentException.class,
        "out must not overlap v: ",
        () -> attention.forward(query, key, value, touching));
  }

  @Test
  void shouldRefuseClosedArenas() {
    Arena other = Arena.ofConfined();
    Tensor gone = Tensor.allocate(other, DType.F32, 2, 2, 7, 8);
    other.close();
    refuseStart(
        IllegalStateException.class,
        "k is in an arena that has been closed: ",
        () -> attention.forward(q, gone, v, out));
  }

  @Test
  void shouldRefuseClosedArenasOfMasksAndExtras() {
    Arena other = Arena.ofConfined();
    Tensor ints = Tensor.allocate(other, DType.I32, 2, 7);
    Tensor floats = Tensor.allocate(other, DType.F32, 2, 4, 5, 7);
    Tensor work = Tensor.allocate(other, DType.I64, 1);
    other.close();
    refuseStart(
        IllegalStateException.class,
        "mask.padding is in an arena that has been closed: ",
        () -> attention.withMask(Mask.padding(ints, 0)).forward(q, k, v, out));
    refuseStart(
        IllegalStateException.class,
        "mask.keyLengths is in an arena that has been closed: ",
        () -> attention.withMask(Mask.keyLengths(ints.slice(1, 0, 5))).forward(q, k, v, out));
    refuseStart(
        IllegalStateException.class,
        "scores is in an arena that has been closed: ",
        () -> attention.forward(q, k, v, out, Extras.none().scores(ScoreStage.CAPPED, floats)));
    refuseStart(
        IllegalStateException.class,
        "work is in an arena that has been closed: ",
        () -> attention.forward(q, k, v, out, Extras.none().work(work)));
  }

  @Test
  void shouldCountNoWorkWhereThereIsNone() {
    Tensor work = Tensor.allocate(arena, DType.I64, 1);
    work.setInt(7, 0);
    Tensor none = floats(2, 4, 0, 8);
    attention.forward(none, k, v, floats(2, 4, 0, 6), Extras.none().work(work));
    assertEquals(0, work.getInt(0));
  }

  @Test
  void shouldRefuseConfinedArenasOfOtherThreads() {
    CompletableFuture<Void> call =
        CompletableFuture.runAsync(() -> attention.forward(q, k, v, out));
    Throwable failure = assertThrows(CompletionException.class, call::join).getCause();
    assertEquals(IllegalStateException.class, failure.getClass());
    assertTrue(
        failure.getMessage().startsWith("q is in an arena that is confined to another thread: "),
        failure.getMessage());
  }

  @Test
  void shouldKeepSharedArenasOpenForTheDurationOfACall() throws Exception {
    for (int round = 0; round < 20; round++) {
      Arena shared = Arena.ofShared();
      Tensor x = Tensor.allocate(shared, DType.F32, 1, 2, 300, 32);
      Tensor result = Tensor.allocate(shared, DType.F32, 1, 2, 300, 32);
      AtomicReference<Throwable> failure = new AtomicReference<>();
      CompletableFuture<Void> started = new CompletableFuture<>();
      Thread caller =
          new Thread(
              () -> {
                try {
                  while (true) {
                    attention.forward(x, x, x, result);
                    started.complete(null);
                  }
                } catch (IllegalStateException closed) {
                  failure.set(closed);
                }
              });
      caller.start();
      started.join();
      int refused = 0;
      while (shared.scope().isAlive()) {
        try {
          shared.close();
        } catch (IllegalStateException inUse) {
          refused++;
        }
      }
      caller.join();
      assertTrue(failure.get() != null, "the caller must have been refused, " + refused);
    }
  }

  @Test
  void shouldRefuseSizesWhoseProductOverflows() {
    Tensor one = floats(1, 1, 1, 1);
    Tensor wide = one.expand(0, 1L << 30).expand(1, 1L << 30);
    assertThrows(IllegalArgumentException.class, () -> wide.expand(2, 1L << 30));
    refuseStart(
        IllegalArgumentException.class,
        "out.batch must equal q.batch: ",
        () -> attention.forward(wide, wide, wide, one));
  }

  // ---- Merging ----

  @Test
  void shouldRefusePartsThatDoNotFit() {
    Tensor lse = floats(2, 4, 5);
    refuse(
        "lseA.shape must be the shape of outA without its last dimension = [2, 4, 5]: "
            + "lseA.shape=[2, 4, 4]",
        () -> Attention.merge(out, floats(2, 4, 4), out, lse, floats(2, 4, 5, 6), null));
    refuse(
        "outB.shape must be the shape of outA = [2, 4, 5, 6]: outB.shape=[2, 4, 5, 8]",
        () -> Attention.merge(out, lse, q, lse, floats(2, 4, 5, 6), null));
    refuseStart(
        IllegalArgumentException.class,
        "out must not overlap outB: ",
        () -> Attention.merge(floats(2, 4, 5, 6), lse, out, lse, out, null));
    refuseStart(
        IllegalArgumentException.class,
        "lse must not overlap lseB: ",
        () -> Attention.merge(out, floats(2, 4, 5), floats(2, 4, 5, 6), lse, out, lse));
  }
}
