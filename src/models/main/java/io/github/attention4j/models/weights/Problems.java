package io.github.attention4j.models.weights;

import io.github.attention4j.models.files.Stored;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Collects what is wrong with the tensors of a checkpoint, to report it all at once. Safe for many
 * threads.
 */
public final class Problems {
  private static final int SHOWN = 40;

  private final List<String> all = new ArrayList<>();

  /** Adds a problem. */
  public synchronized void add(String problem) {
    all.add(problem);
  }

  synchronized boolean isEmpty() {
    return all.isEmpty();
  }

  /**
   * Checks that a tensor exists, has the shape of its source and can be decoded to floats; if not,
   * adds a problem.
   *
   * @param name the tensor's name in the message
   * @param stored null if the checkpoint has no such tensor
   * @return whether all is well
   */
  public boolean check(String name, Source source, Stored stored) {
    if (stored != null && stored.isReadable() && Arrays.equals(stored.shape(), source.shape())) {
      return true;
    }
    String found =
        stored == null ? "missing" : stored.type() + " " + Arrays.toString(stored.shape());
    add(name + " must hold floats " + Arrays.toString(source.shape()) + ": it is " + found);
    return false;
  }

  /**
   * Throws if there are problems.
   *
   * @param where what the message begins with
   * @param settings the name of the specification's source in the message
   * @throws IllegalArgumentException listing them, up to 40
   */
  public synchronized void throwIfAny(String where, String settings) {
    if (all.isEmpty()) {
      return;
    }
    StringBuilder text =
        new StringBuilder(where)
            .append(": tensors must be those that ")
            .append(settings)
            .append(" asks for: wrong=")
            .append(all.size());
    for (String problem : all.subList(0, Math.min(all.size(), SHOWN))) {
      text.append("\n  ").append(problem);
    }
    if (all.size() > SHOWN) {
      text.append("\n  and ").append(all.size() - SHOWN).append(" more");
    }
    throw new IllegalArgumentException(text.toString());
  }
}
