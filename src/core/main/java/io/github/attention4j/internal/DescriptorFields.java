package io.github.attention4j.internal;

import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The fields of a descriptor by name, for whatever reads them all: those of a struct inside are
 * called {@code k.dtype}. They are looked up once for each struct, because asking a layout for the
 * offset of a name takes longer than a short call.
 */
final class DescriptorFields {
  private static final Map<String, DescriptorFields> KNOWN = new ConcurrentHashMap<>();

  private final Map<String, Field> fields = new LinkedHashMap<>();

  private DescriptorFields(GroupLayout layout) {
    add("", 0, layout);
  }

  static DescriptorFields of(GroupLayout layout) {
    return KNOWN.computeIfAbsent(layout.name().orElseThrow(), name -> new DescriptorFields(layout));
  }

  private void add(String prefix, long offset, GroupLayout layout) {
    for (MemoryLayout member : layout.memberLayouts()) {
      String name = prefix + member.name().orElse("");
      if (member instanceof GroupLayout inside) {
        add(name + ".", offset, inside);
      } else if (member instanceof ValueLayout value) {
        fields.put(name, new Field(name, offset, value));
      }
      offset += member.byteSize();
    }
  }

  /** In the order of the struct. */
  Collection<Field> all() {
    return fields.values();
  }

  long get(MemorySegment descriptor, String name) {
    Field field = fields.get(name);
    if (field == null) {
      throw new IllegalArgumentException("no such field: " + name);
    }
    return field.in(descriptor);
  }

  /** A field of 4 or 8 bytes. */
  record Field(String name, long offset, ValueLayout layout) {
    long in(MemorySegment descriptor) {
      return switch (layout) {
        case ValueLayout.OfLong wide -> descriptor.get(wide, offset);
        case ValueLayout.OfInt narrow -> descriptor.get(narrow, offset);
        case ValueLayout.OfFloat real -> (long) descriptor.get(real, offset);
        default ->
            throw new IllegalArgumentException("neither a number of 4 nor of 8 bytes: " + this);
      };
    }
  }
}
