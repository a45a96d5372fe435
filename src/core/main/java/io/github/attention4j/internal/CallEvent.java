package io.github.attention4j.internal;

import io.github.attention4j.bindings.a4j_h;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** One call of the native library. Off unless a recording's settings switch it on. */
@Name("io.github.attention4j.Call")
@Label("attention4j call")
@Category("attention4j")
@Description(
    "One operation in native code; waiting for the limit on concurrent calls comes before it")
@Enabled(false)
@StackTrace(false)
final class CallEvent extends Event {
  private static final Pattern SIZES =
      Pattern.compile(
          "batch|heads\\w*|len(_\\w+)?|rows|dim\\w*|height|width|capacity|maps|\\w*dtype|\\w+\\.dtype");

  /** The fields that an event shows, for each descriptor. */
  private static final Map<String, List<DescriptorFields.Field>> SHOWN = new ConcurrentHashMap<>();

  @Label("Operation")
  String operation;

  @Label("Sizes")
  @Description("Sizes and element types as the descriptor names them")
  String sizes;

  @Label("Kernels")
  String isa;

  @Label("Threads Allowed")
  int threadsAllowed;

  @Label("Threads Used")
  int threadsUsed;

  @Label("Team Busy")
  @Description("The call wanted to share its work and found the team busy with another call")
  boolean teamBusy;

  @Label("Bytes")
  @Description("The elements of the inputs and outputs, each counted once")
  @DataAmount
  long bytes;

  static boolean isOn() {
    return new CallEvent().isEnabled();
  }

  static CallEvent started() {
    a4j_h.a4j_team_last(); // discards what earlier calls left
    CallEvent event = new CallEvent();
    event.begin();
    return event;
  }

  void end(String function, GroupLayout layout, MemorySegment descriptor, long bytesBeside) {
    end();
    if (!shouldCommit()) {
      return;
    }
    int got = a4j_h.a4j_team_last();
    operation = function;
    isa = NativeLibrary.isa();
    threadsAllowed = descriptor.get(ValueLayout.JAVA_INT, 3 * Integer.BYTES);
    threadsUsed = Math.max(got, 1);
    teamBusy = got < 0;
    sizes = sizes(layout, descriptor);
    bytes = CallBytes.of(function, layout, descriptor) + bytesBeside;
    commit();
  }

  /** The fields that are sizes or types, such as {@code batch=1 heads_q=8}. */
  private static String sizes(GroupLayout layout, MemorySegment descriptor) {
    StringJoiner text = new StringJoiner(" ");
    for (DescriptorFields.Field field : shown(layout)) {
      long value = field.in(descriptor);
      text.add(field.name() + "=" + (field.name().endsWith("dtype") ? type(value) : value));
    }
    return text.toString();
  }

  private static List<DescriptorFields.Field> shown(GroupLayout layout) {
    return SHOWN.computeIfAbsent(
        layout.name().orElseThrow(),
        name ->
            DescriptorFields.of(layout).all().stream()
                .filter(field -> SIZES.matcher(field.name()).matches())
                .toList());
  }

  /** The name of a value of {@code enum a4j_dtype}. */
  private static String type(long value) {
    List<String> names = List.of("F32", "BF16", "F16", "I8", "I4", "I6");
    return value >= 0 && value < names.size() ? names.get((int) value) : Long.toString(value);
  }
}
