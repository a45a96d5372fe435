package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Key ranges are made, joined, intersected and refused as documented. */
class KeyRangesTest {
  private static final boolean O = false;
  private static final boolean X = true;

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static KeyRanges list(int[]... ranges) {
    return KeyRanges.of(4, new int[] {0, ranges.length}, ranges);
  }

  @Test
  void shouldJoinRangesThatTouchWithinAList() {
    int[][] ranges = {{0, 2}, {2, 5}, {7, 8}, {8, 9}};
    KeyRanges joined = KeyRanges.of(1, new int[] {0, 3, 4}, ranges);
    assertArrayEquals(new int[] {0, 2, 3}, joined.starts());
    assertArrayEquals(new int[] {0, 5, 7, 8, 8, 9}, joined.bounds());
    assertEquals(3, joined.count());
    assertEquals(9, joined.lastKey());
  }

  @Test
  void shouldFollowAMatrixOfBlocks() {
    boolean[][] seen = {{X, X, O, X}, {O, O, O, O}, {O, X, O, O}};
    KeyRanges blocks = KeyRanges.ofBlocks(16, 8, 30, seen);
    assertEquals(16, blocks.rowsPerBlock());
    assertEquals(3, blocks.blocks());
    assertArrayEquals(new int[] {0, 2, 2, 3}, blocks.starts());
    assertArrayEquals(new int[] {0, 16, 24, 30, 8, 16}, blocks.bounds());
  }

  @Test
  void shouldLetEachTokenOfATreeSeeItsAncestors() {
    KeyRanges tree = KeyRanges.tree(3, -1, 0, 0, 1, -1);
    assertArrayEquals(new int[] {0, 1, 2, 4, 6, 8}, tree.starts());
    assertArrayEquals(new int[] {0, 4, 0, 5, 0, 4, 5, 6, 0, 5, 6, 7, 0, 3, 7, 8}, tree.bounds());
  }

  @Test
  void shouldIntersectRangeByRange() {
    KeyRanges a = list(new int[] {0, 5}, new int[] {8, 12}, new int[] {20, 30});
    KeyRanges b = list(new int[] {3, 10}, new int[] {11, 21}, new int[] {29, 40});
    assertArrayEquals(new int[] {3, 5, 8, 10, 11, 12, 20, 21, 29, 30}, a.and(b).bounds());
    assertArrayEquals(a.and(b).bounds(), b.and(a).bounds());
    assertEquals(0, a.and(list(new int[] {5, 8})).count());
  }

  @Test
  void shouldRepeatWhatIsSharedWhenItIsIntersected() {
    KeyRanges left = list(new int[] {0, 5});
    KeyRanges right = list(new int[] {3, 9});
    KeyRanges heads = KeyRanges.perHead(left, right);
    KeyRanges batches = KeyRanges.perBatch(right, left, right);
    KeyRanges both = heads.and(batches);
    assertEquals(3, both.batches());
    assertEquals(2, both.heads());
    assertArrayEquals(new int[] {3, 5, 3, 9, 0, 5, 3, 5, 3, 5, 3, 9}, both.bounds());
    KeyRanges nested = KeyRanges.perBatch(heads, heads);
    assertEquals(4, nested.lists());
    assertEquals(2, nested.heads());
  }

  @Test
  void shouldRefuseListsThatMakeNoSense() {
    refuse(
        "rowsPerBlock must be at least 1: rowsPerBlock=0",
        () -> KeyRanges.of(0, new int[] {0}, new int[0][]));
    refuse(
        "starts[1] must equal ranges.length: starts[1]=2, ranges.length=1",
        () -> KeyRanges.of(1, new int[] {0, 2}, new int[][] {{0, 1}}));
    refuse(
        "starts must ascend: starts[1]=2, starts[2]=1",
        () -> KeyRanges.of(1, new int[] {0, 2, 1, 2}, new int[][] {{0, 1}, {2, 3}}));
    refuse(
        "a range must be a pair {begin, end}: range 1 of list 0 has length 3",
        () -> list(new int[] {0, 1}, new int[] {1, 2, 3}));
    refuse(
        "a range must have 0 <= begin < end: range 0 of list 1 is [3, 3)",
        () -> KeyRanges.of(1, new int[] {0, 1, 2}, new int[][] {{0, 1}, {3, 3}}));
    refuse(
        "a range must have 0 <= begin < end: range 0 of list 0 is [-1, 3)",
        () -> list(new int[] {-1, 3}));
    refuse(
        "ranges of a list must ascend without overlap: list 0 has [0, 4) before [3, 5)",
        () -> list(new int[] {0, 4}, new int[] {3, 5}));
    refuse(
        "seen[0].length must equal ceil(lenK / keysPerBlock): seen[0].length=1,"
            + " ceil(lenK / keysPerBlock)=2",
        () -> KeyRanges.ofBlocks(1, 8, 9, new boolean[][] {{X}}));
    refuse("parents[1] must lie in [-1, 0]: parents[1]=1", () -> KeyRanges.tree(0, -1, 1));
  }

  @Test
  void shouldRefuseToJoinOtherBlocks() {
    KeyRanges four = list(new int[] {0, 1});
    KeyRanges five = KeyRanges.of(5, new int[] {0, 0}, new int[0][]);
    refuse(
        "key ranges must have the same blocks of rows to be intersected: 1 blocks of 4 and 1"
            + " blocks of 5",
        () -> four.and(five));
    refuse(
        "heads[1].rowsPerBlock must equal heads[0].rowsPerBlock: heads[1].rowsPerBlock=5,"
            + " heads[0].rowsPerBlock=4",
        () -> KeyRanges.perHead(four, five));
    refuse(
        "heads[0] must be for one head and batch: heads=2, batches=1",
        () -> KeyRanges.perHead(KeyRanges.perHead(four, four)));
    refuse(
        "key ranges must have the same number of heads to be intersected: 2 and 3",
        () -> KeyRanges.perHead(four, four).and(KeyRanges.perHead(four, four, four)));
  }
}
