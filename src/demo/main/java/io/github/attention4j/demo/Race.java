package io.github.attention4j.demo;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Compares the speed and the logits of two implementations of one model on the same text.
 *
 * @param ours the rates of the library
 * @param plain the rates of plain Java
 * @param difference largest absolute difference between two logits, over all tokens of the text
 */
record Race(Rates ours, Rates plain, float difference) {

  /**
   * Tokens per second.
   *
   * @param prompt when the prompt is read in one pass
   * @param generation when tokens are read one at a time; NaN if the text has none after the prompt
   */
  record Rates(double prompt, double generation) {}

  /**
   * Lets both read a text in turns, round after round, and takes the median of the later half of
   * the rounds, after the JIT compiler has done its work.
   *
   * @param text the prompt and the generated text. Not modified.
   * @param prompt number of tokens in the prompt
   * @param duration of all rounds; there are at least four
   */
  static Race run(
      LanguageModel ours, LanguageModel plain, int[] text, int prompt, Duration duration) {
    List<Rates> oursRates = new ArrayList<>();
    List<Rates> plainRates = new ArrayList<>();
    long end = System.nanoTime() + duration.toNanos();
    while (oursRates.size() < 4 || System.nanoTime() < end) {
      oursRates.add(time(ours, text, prompt));
      plainRates.add(time(plain, text, prompt));
    }
    return new Race(
        median(oursRates),
        median(plainRates),
        largestDifference(ours.logits(text), plain.logits(text)));
  }

  private static Rates time(LanguageModel model, int[] text, int prompt) {
    LanguageModel.Reader reader = model.newReader();
    int[] head = Arrays.copyOf(text, prompt);
    int generated = text.length - prompt;
    long start = System.nanoTime();
    reader.read(head);
    long middle = System.nanoTime();
    for (int i = prompt; i < text.length; i++) {
      reader.read(text[i]);
    }
    long end = System.nanoTime();
    return new Rates(
        prompt * 1e9 / (middle - start),
        generated == 0 ? Double.NaN : generated * 1e9 / (end - middle));
  }

  private static Rates median(List<Rates> rates) {
    List<Rates> later = rates.subList(rates.size() / 2, rates.size());
    double[] prompt = later.stream().mapToDouble(Rates::prompt).sorted().toArray();
    double[] generation = later.stream().mapToDouble(Rates::generation).sorted().toArray();
    return new Rates(prompt[prompt.length / 2], generation[generation.length / 2]);
  }

  private static float largestDifference(float[][] a, float[][] b) {
    float largest = 0;
    for (int row = 0; row < a.length; row++) {
      for (int i = 0; i < a[row].length; i++) {
        largest = Math.max(largest, Math.abs(a[row][i] - b[row][i]));
      }
    }
    return largest;
  }
}
