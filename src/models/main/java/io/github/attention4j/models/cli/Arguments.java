package io.github.attention4j.models.cli;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The words after a command: options ({@code --name VALUE}, {@code --name=VALUE}, or {@code
 * --flag}) and the rest. Anything that a command does not use is refused.
 */
final class Arguments {
  private final String command;
  private final Map<String, List<String>> options = new LinkedHashMap<>();
  private final List<String> others = new ArrayList<>();

  /**
   * @param known all options of the command
   * @param flags the options without a value
   */
  Arguments(String command, List<String> words, Set<String> known, Set<String> flags) {
    this.command = command;
    for (int i = 0; i < words.size(); i++) {
      String word = words.get(i);
      if (word.equals("--")) {
        others.addAll(words.subList(i + 1, words.size()));
        break;
      }
      if (!word.startsWith("--")) {
        others.add(word);
        continue;
      }
      int equals = word.indexOf('=');
      String name = equals < 0 ? word : word.substring(0, equals);
      if (!known.contains(name)) {
        throw new UsageException(command + " has no option " + name);
      }
      String value;
      if (flags.contains(name)) {
        if (equals >= 0) {
          throw new UsageException(name + " takes no value: " + word);
        }
        value = "";
      } else if (equals >= 0) {
        value = word.substring(equals + 1);
      } else if (i + 1 < words.size()) {
        value = words.get(++i);
      } else {
        throw new UsageException(name + " needs a value");
      }
      options.computeIfAbsent(name, unused -> new ArrayList<>()).add(value);
    }
  }

  /** The word at a position, which must be present. */
  String required(int position, String what) {
    if (position >= others.size()) {
      throw new UsageException(command + " needs " + what);
    }
    return others.get(position);
  }

  /** The word at a position, or null. */
  String optional(int position) {
    return position < others.size() ? others.get(position) : null;
  }

  boolean flag(String name) {
    return !all(name).isEmpty();
  }

  List<String> all(String name) {
    return options.getOrDefault(name, List.of());
  }

  /** The value of an option, or null. */
  String text(String name) {
    List<String> values = all(name);
    if (values.size() > 1) {
      throw new UsageException(name + " must be given once: " + values);
    }
    return values.isEmpty() ? null : values.getFirst();
  }

  Integer integer(String name) {
    String text = text(name);
    try {
      return text == null ? null : Integer.valueOf(text);
    } catch (NumberFormatException e) {
      throw new UsageException(name + " must be a whole number: " + name + "=" + text);
    }
  }

  Long big(String name) {
    String text = text(name);
    try {
      return text == null ? null : Long.valueOf(text);
    } catch (NumberFormatException e) {
      throw new UsageException(name + " must be a whole number: " + name + "=" + text);
    }
  }

  Double number(String name) {
    String text = text(name);
    try {
      return text == null ? null : Double.valueOf(text);
    } catch (NumberFormatException e) {
      throw new UsageException(name + " must be a number: " + name + "=" + text);
    }
  }

  Duration seconds(String name) {
    Integer seconds = integer(name);
    return seconds == null ? null : Duration.ofSeconds(seconds);
  }

  /** Refuses too many words. */
  void done(int words) {
    if (others.size() > words) {
      throw new UsageException(
          "%s takes at most %d words: %s".formatted(command, words, String.join(" ", others)));
    }
  }
}
