package io.github.attention4j.models.files;

import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Set;

/** Named tensors of floats, from whatever kind of file. */
public interface TensorSource {
  /** Whether there is a tensor of this name. */
  boolean contains(String name);

  /** The sizes of a tensor that is there. */
  long[] shape(String name);

  /** Whether a tensor that is there holds floats. */
  boolean isFloat(String name);

  /**
   * A tensor of floats, not to be modified, in the type in which it is stored if possible.
   *
   * @param temporary where it is decoded if it cannot be used as it is stored
   */
  Tensor get(String name, Arena temporary);

  /** What messages call the source, such as a path. */
  String source();

  /**
   * The tensors of a checkpoint.
   *
   * @param source what messages call it
   */
  static TensorSource of(String source, Checkpoint checkpoint) {
    Set<String> names = checkpoint.names();
    return new TensorSource() {
      @Override
      public boolean contains(String name) {
        return names.contains(name);
      }

      @Override
      public long[] shape(String name) {
        return checkpoint.get(name).shape();
      }

      @Override
      public boolean isFloat(String name) {
        return checkpoint.get(name).isReadable();
      }

      @Override
      public Tensor get(String name, Arena temporary) {
        Stored stored = checkpoint.get(name);
        Tensor inPlace = stored.inPlace();
        return inPlace != null ? inPlace : stored.floats(temporary);
      }

      @Override
      public String source() {
        return source;
      }
    };
  }
}
