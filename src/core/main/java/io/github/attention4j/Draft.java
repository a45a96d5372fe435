package io.github.attention4j;

/**
 * The fields of an immutable value that has many of them. A draft is written while its value is
 * being built and never afterwards; the value keeps it in a final field, so that it can be shared
 * between threads. A changed value starts from a {@link #copy}.
 *
 * @param <D> the draft that extends this one
 */
abstract class Draft<D extends Draft<D>> implements Cloneable {
  @SuppressWarnings("unchecked") // clone() returns the class it is called on.
  final D copy() {
    try {
      return (D) clone();
    } catch (CloneNotSupportedException impossible) {
      throw new AssertionError(impossible);
    }
  }
}
