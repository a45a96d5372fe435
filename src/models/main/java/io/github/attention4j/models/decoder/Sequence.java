package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The keys and values of a text in all layers. */
public final class Sequence {
  private final Decoder decoder;
  private final List<LayerCache> layers = new ArrayList<>();
  private int length;

  Sequence(Decoder decoder, Arena arena, KvPagePool pool, DType dtype, int capacity, int mostNew) {
    this.decoder = decoder;
    for (Specification.Block block : decoder.specification().blocks()) {
      Specification.Attention attention = block.attention();
      layers.add(
          new LayerCache(
              arena,
              pool,
              dtype,
              attention.headsKv(),
              attention.dim(),
              capacity,
              attention.window(),
              mostNew));
    }
  }

  LayerCache layer(int index) {
    return layers.get(index);
  }

  /** The number of tokens that all layers have processed. */
  public int length() {
    return length;
  }

  void advance(int tokens) {
    length += tokens;
  }

  /**
   * Forgets the tokens from a length on, if the rest can be continued: windows may have dropped too
   * much, or the shorter text may need other keys.
   *
   * @return false if everything was forgotten, so the text must be processed again
   */
  public boolean truncate(int to) {
    return cut(to, !decoder.changesKeys(to, length));
  }

  /**
   * Brings all layers back to the same length after a pass that failed halfway, or forgets
   * everything.
   */
  public void repair(int to) {
    cut(to, true);
  }

  /** Cuts all layers, or forgets everything if one of them cannot or it is not allowed. */
  private boolean cut(int to, boolean allowed) {
    boolean possible = allowed && layers.stream().allMatch(layer -> layer.canTruncate(to));
    if (possible) {
      layers.forEach(layer -> layer.truncate(to));
      length = to;
    } else {
      clear();
    }
    return possible;
  }

  /** Forgets everything, and returns all pages. */
  public void clear() {
    layers.forEach(LayerCache::clear);
    length = 0;
  }

  /**
   * Copies the beginning of another text of the same model, or does nothing if part of it was
   * dropped. If it throws, this text is empty and holds no pages.
   *
   * @throws IllegalStateException if a pool has too few pages
   */
  public void copyFrom(Sequence other, int to) {
    boolean possible = to <= other.length && !decoder.changesKeys(to, other.length);
    for (LayerCache layer : other.layers) {
      possible &= layer.canTruncate(to);
    }
    if (!possible) {
      return;
    }
    boolean done = false;
    try {
      for (int i = 0; i < layers.size(); i++) {
        layers.get(i).copyFrom(other.layers.get(i), to);
      }
      length = to;
      done = true;
    } finally {
      if (!done) {
        clear();
      }
    }
  }

  /**
   * Adds the keys and values to the tensors to be saved.
   *
   * @param scratch supplies memory for copies
   */
  public void save(Arena scratch, Map<String, Tensor> tensors) {
    for (int i = 0; i < layers.size(); i++) {
      layers.get(i).save(scratch, "layers." + i, tensors);
    }
  }

  /** Loads the keys and values of a text of this length from a file. */
  public void restore(SafeTensors saved, int to) {
    for (int i = 0; i < layers.size(); i++) {
      layers.get(i).restore("layers." + i, saved, to);
    }
    length = to;
  }
}
