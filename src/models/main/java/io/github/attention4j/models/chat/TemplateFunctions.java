package io.github.attention4j.models.chat;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/** Functions that chat templates may call. */
public final class TemplateFunctions {
  private TemplateFunctions() {}

  /** An error raised by a template, in its own words. */
  public static final class RaisedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public RaisedException(String message) {
      super(message);
    }
  }

  /** Ends the template with a message. */
  public static Object raiseException(Object message) {
    throw new RaisedException(String.valueOf(message));
  }

  /** The local time in a format of C's strftime. */
  public static String strftimeNow(String format) {
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
