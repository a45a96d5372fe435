package io.github.attention4j.models.decoder;

import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/** The keys and values of a text in all layers. */
public final class Sequence {
  private final Decoder decoder;
  private final List<LayerCache> layers = new ArrayList<>();
  private int length;

  Sequence(Decoder decoder, Arena arena, int capacity, int mostNew) {
    this.decoder = decoder;
    for (Specification.Block block : decoder.specification().blocks()) {
      Specification.Attention attention = block.attention();
      layers.add(
          new LayerCache(
              arena, attention.headsKv(), attention.dim(), capacity, attention.window(), mostNew));
    }
  }

  LayerCache layer(int index) {
    return layers.get(index);
  }

  /** The number of tokens that all layers have read. */
  public int length() {
    return length;
  }

  void advance(int tokens) {
    length += tokens;
  }

  /**
   * Forgets the tokens from a length on, if what stays suffices to go on: windows may have
   * forgotten too much of it, or the keys of a shorter text may be others.
   *
   * @return false if everything was forgotten, so that the text must be read again
   */
  public boolean truncate(int to) {
    boolean possible = !decoder.changesKeys(to, length);
    for (LayerCache layer : layers) {
      possible &= layer.canTruncate(to);
    }
    if (possible) {
      layers.forEach(layer -> layer.truncate(to));
      length = to;
    } else {
      clear();
    }
    return possible;
  }

  /** Makes layers equal again after a pass that failed halfway, or forgets everything. */
  public void repair(int to) {
    boolean possible = true;
    for (LayerCache layer : layers) {
      possible &= layer.canTruncate(to);
    }
    if (possible) {
      layers.forEach(layer -> layer.truncate(to));
      length = to;
    } else {
      clear();
    }
  }

  /** Forgets everything. */
  public void clear() {
    layers.forEach(LayerCache::clear);
    length = 0;
  }
}
