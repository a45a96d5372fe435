package io.github.attention4j.models.chat;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Locale;
import java.util.stream.LongStream;

/** Functions that chat templates may call. */
public final class TemplateFunctions {
  /** The most elements of a range, as in Jinja's sandbox. */
  private static final int MOST_STEPS = 100_000;

  private TemplateFunctions() {}

  /** An error raised by a template, in its own words. */
  public static final class RaisedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final String text;

    public RaisedException(String text) {
      // Jinjava makes a format of the message.
      super(text.replace("%", "%%"));
      this.text = text;
    }

    /** What went wrong. */
    public String text() {
      return text;
    }
  }

  /**
   * Python's range.
   *
   * @param first the end, or the start if there are others
   * @param others the end and the step
   */
  static List<Long> range(Object first, Object... others) {
    long start = others.length == 0 ? 0 : integer(first);
    long stop = integer(others.length == 0 ? first : others[0]);
    long step = others.length < 2 ? 1 : integer(others[1]);
    if (step == 0 || others.length > 2) {
      throw new RaisedException("range must have 1 to 3 arguments and a step other than 0");
    }
    double steps = Math.ceil(((double) stop - start) / step);
    if (steps > MOST_STEPS) {
      throw new RaisedException(
          "chat template asks for too long a range: range=%.0f, limit=%d"
              .formatted(steps, MOST_STEPS));
    }
    return LongStream.range(0, (long) Math.max(0, steps))
        .map(i -> start + i * step)
        .boxed()
        .toList();
  }

  private static long integer(Object value) {
    if (value instanceof Number number && number.doubleValue() == number.longValue()) {
      return number.longValue();
    }
    throw new RaisedException("range must be given integers: " + value);
  }

  /** The local time in a format of C's strftime. */
  static String strftimeNow(String format) {
    LocalDateTime now = LocalDateTime.now();
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < format.length(); i++) {
      char c = format.charAt(i);
      if (c != '%' || i + 1 == format.length()) {
        text.append(c);
        continue;
      }
      String pattern =
          switch (format.charAt(++i)) {
            case 'd' -> "dd";
            case 'm' -> "MM";
            case 'Y' -> "yyyy";
            case 'y' -> "yy";
            case 'b' -> "MMM";
            case 'B' -> "MMMM";
            case 'a' -> "EEE";
            case 'A' -> "EEEE";
            case 'H' -> "HH";
            case 'I' -> "hh";
            case 'M' -> "mm";
            case 'S' -> "ss";
            case 'p' -> "a";
            case 'j' -> "DDD";
            default ->
                throw new RaisedException(
                    "strftime_now must be given a format of %d %m %Y %y %b %B %a %A %H %I %M %S %p"
                        + " %j: format="
                        + format);
          };
      text.append(now.format(DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH)));
    }
    return text.toString();
  }
}
