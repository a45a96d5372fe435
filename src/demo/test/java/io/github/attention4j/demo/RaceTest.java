package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class RaceTest {

  @Test
  void shouldLetBothReadTheSameTextAndFindTheLargestDifference() {
    Recorder ours = new Recorder(0);
    Recorder plain = new Recorder(-0.25f);
    Race race = Race.run(ours, plain, new int[] {7, 8, 9, 4}, 2, Duration.ZERO);
    assertEquals(0.25f, race.difference());
    assertEquals(ours.read, plain.read);
    assertEquals(List.of(2, 1, 1), ours.read.subList(0, 3), "the prompt at once, the rest singly");
    assertTrue(race.ours().prompt() > 0 && race.ours().generation() > 0);
  }

  @Test
  void shouldHaveNoGenerationRateWhenThePromptFillsTheText() {
    Race race = Race.run(new Recorder(0), new Recorder(0), new int[] {7, 8}, 2, Duration.ZERO);
    assertEquals(Double.NaN, race.ours().generation());
    assertEquals(0, race.difference());
  }

  /** Remembers how many tokens it was given at a time; its logits are the tokens and an error. */
  private static final class Recorder implements LanguageModel {
    private final float error;
    private final List<Integer> read = new ArrayList<>();

    Recorder(float error) {
      this.error = error;
    }

    @Override
    public Reader newReader() {
      return tokens -> {
        read.add(tokens.length);
        return new float[] {tokens[tokens.length - 1]};
      };
    }

    @Override
    public float[][] logits(int[] tokens) {
      float[][] logits = new float[tokens.length][1];
      for (int i = 0; i < tokens.length; i++) {
        logits[i][0] = tokens[i] + (i == 1 ? error : 0);
      }
      return logits;
    }

    @Override
    public float[][][][] attentionWeights(int[] tokens) {
      return new float[0][][][];
    }
  }
}
