package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class SamplerTest {

  @Test
  void shouldDrawTheSameTokensForTheSameSeedAndTheLikeliestWhenCold() {
    float[] logits = {1, 3, 2, 3.5f};
    Sampler one = new Sampler(1, 42);
    Sampler other = new Sampler(1, 42);
    Sampler cold = new Sampler(0.01f, 7);
    int[] counts = new int[4];
    for (int i = 0; i < 2000; i++) {
      int token = one.next(logits);
      assertEquals(token, other.next(logits));
      assertEquals(3, cold.next(logits));
      counts[token]++;
    }
    double sum = Math.exp(1) + Math.exp(3) + Math.exp(2) + Math.exp(3.5);
    for (int i = 0; i < 4; i++) {
      assertEquals(Math.exp(logits[i]) / sum, counts[i] / 2000.0, 0.05, "token " + i);
    }
  }
}
