package io.github.attention4j.models;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Cases of the kind {@code tokenizer}: what a {@code tokenizer.json} must give. */
final class GoldenTokenizers {
  static final Map<String, GoldenModel.Run> KINDS = Map.of("tokenizer", GoldenTokenizers::run);

  private static final Set<String> GROUP_KEYS =
      Set.of("group", "options", "add_special_tokens", "batch", "items");

  private GoldenTokenizers() {}

  private static void run(GoldenModel golden) throws IOException {
    Path directory = golden.pathOf("directory");
    Map<?, ?> checks = (Map<?, ?>) GoldenModel.json(directory.resolve("checks.json"));
    golden.require(
        Set.of("source", "groups").containsAll(checks.keySet()),
        "unknown parts " + checks.keySet());
    for (Object each : (List<?>) checks.get("groups")) {
      Map<?, ?> group = (Map<?, ?>) each;
      golden.require(GROUP_KEYS.containsAll(group.keySet()), "unknown parts " + group.keySet());
      group(golden, directory.resolve("tokenizer.json"), group);
    }
  }

  private static void group(GoldenModel golden, Path file, Map<?, ?> group) throws IOException {
    Map<String, String> options = new HashMap<>();
    ((Map<?, ?>) group.get("options"))
        .forEach((key, value) -> options.put((String) key, (String) value));
    boolean special = (Boolean) group.get("add_special_tokens");
    List<?> items = (List<?>) group.get("items");
    try (HuggingFaceTokenizer tokenizer =
        options.isEmpty()
            ? HuggingFaceTokenizer.openAsFileSays(file)
            : HuggingFaceTokenizer.open(file, options)) {
      List<HuggingFaceTokenizer.Details> batch = null;
      if ((Boolean) group.get("batch")) {
        batch = batch(tokenizer, items, special);
      }
      for (int i = 0; i < items.size(); i++) {
        String where = group.get("group") + "[" + i + "]";
        Item item = new Item(golden, where, (Map<?, ?>) items.get(i));
        item.check(tokenizer, special, batch == null ? null : batch.get(i));
        item.checkTruncation(file, options, special);
      }
    }
  }

  private static List<HuggingFaceTokenizer.Details> batch(
      HuggingFaceTokenizer tokenizer, List<?> items, boolean special) {
    List<String> texts = new ArrayList<>();
    List<String> pairs = new ArrayList<>();
    for (Object item : items) {
      texts.add((String) ((Map<?, ?>) item).get("text"));
      pairs.add((String) ((Map<?, ?>) item).get("pair"));
    }
    return tokenizer.describeBatch(texts, pairs.contains(null) ? null : pairs, special);
  }

  /** What one text must give. Nothing that it says is left unlooked at. */
  private record Item(GoldenModel golden, String where, Map<?, ?> values, Set<Object> unused) {
    Item(GoldenModel golden, String where, Map<?, ?> values) {
      this(golden, where, values, new LinkedHashSet<>(values.keySet()));
    }

    void check(
        HuggingFaceTokenizer tokenizer, boolean special, HuggingFaceTokenizer.Details batched) {
      String text = (String) take("text");
      String pair = (String) take("pair");
      if (values.containsKey("error")) {
        String error = (String) take("error");
        try {
          tokenizer.describe(text, pair, special);
        } catch (IllegalArgumentException e) {
          golden.require(e.getMessage().contains(error), where + " fails with " + e.getMessage());
          checkAllUsed();
          return;
        }
        golden.require(false, where + " does not fail, expected " + error);
      }
      HuggingFaceTokenizer.Details details =
          batched == null ? tokenizer.describe(text, pair, special) : batched;
      int n = details.tokens().length;
      same("ids", details.tokens(), null);
      same("type_ids", details.types(), new int[n]);
      int[] ones = new int[n];
      Arrays.fill(ones, 1);
      same("attention_mask", details.attentionMask(), ones);
      same("special_tokens_mask", details.specialTokensMask(), null);
      same("word_ids", details.words(), null);
      golden.require(details.texts().equals(take("tokens")), where + " tokens " + details.texts());
      checkOffsets(details);
      if (values.containsKey("decoded")) {
        same("decoded", tokenizer.decode(details.tokens(), false));
      }
      if (values.containsKey("decoded_skip_special")) {
        same("decoded_skip_special", tokenizer.decode(details.tokens(), true));
      }
      if (values.containsKey("overflowing")) {
        List<?> windows = (List<?>) take("overflowing");
        golden.require(
            windows.size() == details.overflowing().size(),
            where + " has " + details.overflowing().size() + " windows");
        for (int i = 0; i < windows.size(); i++) {
          same(
              "overflowing[" + i + "]",
              details.overflowing().get(i).tokens(),
              ints(windows.get(i)));
        }
      }
      checkAllUsed();
    }

    /** What models do: encode whole, and cut afterwards. */
    void checkTruncation(Path file, Map<String, String> options, boolean special)
        throws IOException {
      String truncation = options.getOrDefault("truncation", "");
      if (values.containsKey("error") || !options.getOrDefault("padding", "").equals("false")) {
        return;
      }
      try (HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.open(file)) {
        String text = (String) values.get("text");
        String pair = (String) values.get("pair");
        Encoding encoding =
            pair == null ? tokenizer.encode(text, special) : tokenizer.encodePair(text, pair);
        if (truncation.equals("longest_first")) {
          encoding = encoding.truncated(Integer.parseInt(options.get("maxLength")), false);
        } else if (!truncation.equals("false")) {
          return;
        }
        same("ids, cut", encoding.tokens(), ints(values.get("ids")));
        same(
            "type_ids, cut",
            encoding.types(),
            values.containsKey("type_ids")
                ? ints(values.get("type_ids"))
                : new int[encoding.length()]);
      }
    }

    private void checkOffsets(HuggingFaceTokenizer.Details details) {
      List<?> offsets = (List<?>) take("offsets");
      golden.require(offsets.size() == details.starts().length, where + " number of offsets");
      for (int i = 0; i < offsets.size(); i++) {
        int[] expected = ints(offsets.get(i));
        int start = details.starts()[i];
        int end = details.ends()[i];
        boolean nowhere = start == end && start <= 0;
        boolean same =
            expected.length == 0 || (expected[0] == 0 && expected[1] == 0)
                ? nowhere
                : expected[0] == start && expected[1] == end;
        golden.require(same, where + " offsets[" + i + "] is " + start + ", " + end);
      }
    }

    private Object take(String key) {
      unused.remove(key);
      return values.get(key);
    }

    private void checkAllUsed() {
      golden.require(unused.isEmpty(), where + " unknown parts " + unused);
    }

    private void same(String key, int[] got, int[] otherwise) {
      Object given = take(key);
      int[] expected = given == null ? otherwise : ints(given);
      golden.require(
          Arrays.equals(expected, got), where + " " + key + " is " + Arrays.toString(got));
    }

    private void same(String key, String got) {
      Object expected = take(key);
      golden.require(got.equals(expected), where + " " + key + " is \"" + got + "\"");
    }
  }

  static int[] ints(Object list) {
    return ((List<?>) list).stream().mapToInt(each -> ((Long) each).intValue()).toArray();
  }
}
