package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * Texts for all-MiniLM-L6-v2, read from a line of {@code shapes/texts.txt}.
 *
 * @param name what the tables call it
 * @param count how many texts
 * @param fewest words of a text
 * @param most words of a text
 * @param source what such texts are
 */
record TextShape(String name, int count, int fewest, int most, String source) {
  /** The length to which all contenders truncate, because LangChain4j's model does. */
  static final int MOST_TOKENS = 128;

  /** A full stop and two special tokens. */
  private static final int BESIDE_WORDS = 3;

  private static final int LAYERS = 6;
  private static final double WIDTH = 384;
  private static final double HIDDEN = 1536;

  /** Each is one token of the vocabulary of BERT. */
  private static final String[] WORDS =
      """
      the of and to in is was for on that with as it by at from his her he she they we you are were
      be this which or had not but one have their an been has who its all more would time two when
      new what there so can out other about no than into could first only some them then over these
      like any after before man work most should people because through down great where much our
      way many even must between long life under old year off came state still own right such take
      every world day same number house three while last might use small place again help found
      home large night water room name keep never story early young city light open next school
      against thing white hand high face head always left best read four kind child away family
      company north south road river street paper music money machine engine garden window market
      letter bridge station winter summer morning evening
      """
          .strip()
          .split("\\s+");

  static List<TextShape> all() {
    return Shape.lines("texts").stream().map(TextShape::parse).toList();
  }

  private static TextShape parse(String line) {
    String[] words = line.strip().split("\\s+", 5);
    return new TextShape(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        words[4]);
  }

  private int words(int text) {
    return fewest + text % (most - fewest + 1);
  }

  /** The texts, with lengths in turn. */
  List<String> texts() {
    Random random = new Random(7);
    List<String> texts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      StringBuilder text = new StringBuilder();
      for (int word = 0; word < words(i); word++) {
        text.append(word == 0 ? "" : " ").append(WORDS[random.nextInt(WORDS.length)]);
      }
      texts.add(text.append('.').toString());
    }
    return texts;
  }

  /** How many tokens a text has after truncation. */
  int tokens(int text) {
    return Math.min(MOST_TOKENS, words(text) + BESIDE_WORDS);
  }

  /** The tokens of all texts, without padding. */
  double flops() {
    double flops = 0;
    for (int i = 0; i < count; i++) {
      double n = tokens(i);
      flops += LAYERS * (n * (8 * WIDTH * WIDTH + 4 * WIDTH * HIDDEN) + 4 * n * n * WIDTH);
    }
    return flops;
  }
}
