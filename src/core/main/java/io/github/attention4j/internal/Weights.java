package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * Reads the weights of a single layer from a safetensors file: the tensors whose names start with a
 * prefix, as float32 or in their stored type. Tensors that the layer does not read are refused.
 *
 * <p>Some tensors have two names: that of the original's state dictionary, and the shorter one of
 * its parameter.
 *
 * <p>Whole models in {@code attention4j-models} are read by {@code WeightReader} instead: there a
 * specification lists all tensors, files have several formats, and matrices may be stored packed or
 * quantised.
 */
public final class Weights {
  private final SafeTensors file;
  private final String prefix;
  private final Arena arena;
  private final Set<String> unread = new LinkedHashSet<>();

  /**
   * Starts reading.
   *
   * @param prefix the start of the names, with its final dot, or empty
   * @param arena supplies the memory for tensors that native code cannot read in place
   */
  public Weights(SafeTensors file, String prefix, Arena arena) {
    this.file = Objects.requireNonNull(file, "file");
    this.prefix = Objects.requireNonNull(prefix, "prefix");
    this.arena = Objects.requireNonNull(arena, "arena");
    for (String name : file.names()) {
      if (name.startsWith(prefix)) {
        unread.add(name);
      }
    }
  }

  /** Whether there is an unread tensor with one of these names. */
  public boolean has(String... names) {
    return found(names) != null;
  }

  /** The tensor with the first of these names that exists, as floats that native code can read. */
  public Tensor get(String... names) {
    Tensor tensor = take(names);
    return tensor.dtype() == DType.F32 && aligned(tensor) ? tensor : tensor.toF32(arena);
  }

  /** The same in its stored type if native code can widen it (F32, BF16, F16), else as floats. */
  public Tensor getStored(String... names) {
    Tensor tensor = take(names);
    return tensor.dtype().isFloat() && aligned(tensor) ? tensor : tensor.toF32(arena);
  }

  /** The same as {@link #get}, or null if there is no such tensor. */
  public Tensor getOptional(String... names) {
    return has(names) ? get(names) : null;
  }

  /**
   * Reads the projection {@code name.weight} with the optional {@code name.bias}, or the parameters
   * {@code name} and {@code biasName}.
   */
  public Linear linear(String name, String biasName) {
    Tensor weight = getStored(name + ".weight", name);
    return Linears.of(weight, getOptional(name + ".bias", biasName));
  }

  private static boolean aligned(Tensor tensor) {
    return tensor.segment().address() % tensor.dtype().bytes() == 0;
  }

  private Tensor take(String... names) {
    String name = found(names);
    if (name == null) {
      throw new IllegalArgumentException(
          file + " must have the tensor " + describe(names) + ": it has " + listUnread());
    }
    unread.remove(name);
    return file.get(name);
  }

  /** Marks a tensor, if it exists, as known to the layer but not used. */
  public void leave(String name) {
    unread.remove(prefix + name);
  }

  /**
   * Marks the tensors of a part as read, because another reader with the returned prefix reads
   * them.
   *
   * @param names the names of the part, without their final dot
   * @return the full prefix of the part, with its final dot
   */
  public String part(String... names) {
    for (String name : names) {
      String whole = prefix + name + ".";
      if (unread.removeIf(tensor -> tensor.startsWith(whole))) {
        return whole;
      }
    }
    throw new IllegalArgumentException(
        file + " must have tensors below " + describe(names) + ": it has " + listUnread());
  }

  /** Whether there are unread tensors below one of these names. */
  public boolean hasPart(String... names) {
    for (String name : names) {
      for (String tensor : unread) {
        if (tensor.startsWith(prefix + name + ".")) {
          return true;
        }
      }
    }
    return false;
  }

  /** Refuses tensors that have not been read. */
  public void requireAllRead() {
    if (!unread.isEmpty()) {
      throw new IllegalArgumentException(
          file
              + " must not have tensors below "
              + Json.show(prefix)
              + " that the layer does not use: it has "
              + listUnread());
    }
  }

  private String found(String... names) {
    for (String name : names) {
      if (unread.contains(prefix + name)) {
        return prefix + name;
      }
    }
    return null;
  }

  private String describe(String... names) {
    return String.join(
        " or ", List.of(names).stream().map(name -> Json.show(prefix + name)).toList());
  }

  private String listUnread() {
    int most = 20;
    String shown = String.join(", ", unread.stream().limit(most).map(Json::show).toList());
    int more = unread.size() - most;
    return unread.isEmpty() ? "none" : more > 0 ? shown + " and " + more + " more" : shown;
  }
}
