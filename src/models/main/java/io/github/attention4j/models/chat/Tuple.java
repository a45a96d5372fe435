package io.github.attention4j.models.chat;

import java.util.AbstractList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Python's tuple: a list that is written with parentheses. */
final class Tuple extends AbstractList<Object> {
  private final List<Object> elements;

  Tuple(List<Object> elements) {
    this.elements = Collections.unmodifiableList(elements);
  }

  static Tuple of(Object... elements) {
    return new Tuple(Arrays.asList(elements));
  }

  @Override
  public Object get(int index) {
    return elements.get(index);
  }

  @Override
  public int size() {
    return elements.size();
  }
}
