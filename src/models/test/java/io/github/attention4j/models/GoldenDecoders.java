package io.github.attention4j.models;

import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.Map;

/** Runs cases of kind {@code decoder}: a checkpoint directory and what its model answers. */
final class GoldenDecoders {
  private GoldenDecoders() {}

  static final Map<String, GoldenModel.Run> KINDS = Map.of("decoder", GoldenDecoders::run);

  private static void run(GoldenModel golden) throws Exception {
    golden.describes(
        "style",
        "dtype",
        "shards",
        "options",
        "atol_loose",
        "largest_logit",
        "smallest_gap",
        "float32_rehearsal",
        "if_forgotten");
    golden.open(golden.path(golden.name()).resolve("reference.safetensors"));
    int[] prompt = golden.get("prompt").toIntArray();
    int[] greedy = golden.get("greedy").toIntArray();
    float[] logits = golden.get("logits").toFloatArray();
    double atol = golden.number("atol");
    golden.require(prompt.length == golden.integer("prompt"), "prompt has other tokens");
    try (CausalLm model = CausalLm.open(golden.path(golden.name()));
        Arena arena = Arena.ofConfined()) {
      golden.require(model.family().equals(golden.text("family")), "family is " + model.family());
      golden.require(
          model.vocabulary() == golden.integer("vocabulary"),
          "vocabulary is " + model.vocabulary());
      expectWithin(golden, "logits", logits, model.logits(arena, prompt).toFloatArray(), atol);
      tokenByToken(golden, model, arena, prompt, logits, atol);
      continuation(golden, model, arena, prompt, greedy);
    }
  }

  /** The first half of the prompt in one part, then each token by itself. */
  private static void tokenByToken(
      GoldenModel golden, CausalLm model, Arena arena, int[] prompt, float[] logits, double atol)
      throws IOException {
    CausalLm.Session session = model.newSession(arena);
    int first = keysChange(golden) ? prompt.length : prompt.length / 2;
    Tensor got = session.prefill(Arrays.copyOf(prompt, first));
    for (int t = first - 1; ; got = session.step(prompt[t])) {
      int vocabulary = model.vocabulary();
      float[] wanted = Arrays.copyOfRange(logits, t * vocabulary, (t + 1) * vocabulary);
      expectWithin(golden, "logits after token " + t, wanted, got.toFloatArray(), atol);
      if (++t == prompt.length) {
        return;
      }
    }
  }

  /** LongRoPE: what a part of the text says depends on how long the whole is. */
  private static boolean keysChange(GoldenModel golden) throws IOException {
    return Files.readString(golden.path(golden.name()).resolve("config.json"))
        .contains("\"long_factor\"");
  }

  /** The continuation that ignores ends, and the one that stops at them. */
  private static void continuation(
      GoldenModel golden, CausalLm model, Arena arena, int[] prompt, int[] greedy) {
    CausalLm.Session session = model.newSession(arena);
    Tensor logits = session.prefill(prompt);
    for (int t = prompt.length; t < greedy.length; t++) {
      int token = Sampler.greedy().next(logits, t);
      golden.require(token == greedy[t], "token " + t + " is " + token + ", expected " + greedy[t]);
      logits = session.step(token);
    }
    int generate = golden.integer("generate");
    int[] generated =
        model.generate(prompt, greedy.length - prompt.length, Sampler.greedy(), token -> {});
    golden.require(
        Arrays.equals(
            generated, Arrays.copyOfRange(greedy, prompt.length, prompt.length + generate)),
        "generated " + Arrays.toString(generated));
  }

  private static void expectWithin(
      GoldenModel golden, String what, float[] wanted, float[] got, double atol) {
    golden.require(wanted.length == got.length, what + " has " + got.length + " elements");
    for (int i = 0; i < wanted.length; i++) {
      // Written so that NaN fails.
      golden.require(
          Math.abs((double) got[i] - wanted[i]) <= atol,
          what + "[" + i + "] is " + got[i] + ", expected " + wanted[i]);
    }
  }
}
