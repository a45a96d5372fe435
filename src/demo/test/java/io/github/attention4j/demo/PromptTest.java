package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class PromptTest {

  @Test
  void shouldReadAPromptAsTheBytesOfItsUtf8() {
    assertArrayEquals(new int[] {65, 195, 169, 10}, Prompt.tokens("Aé\n", 4));
  }

  @Test
  void shouldRejectAPromptLongerThanTheContextWithBothNumbers() {
    assertRejected(
        "prompt must fit the context: prompt=257 bytes, context=256",
        () -> Prompt.tokens("x" + "é".repeat(128), 256));
  }

  @Test
  void shouldAcceptAPromptThatFillsTheContext() {
    assertEquals(256, Prompt.tokens("é".repeat(128), 256).length);
  }

  @Test
  void shouldRejectAPromptThatIsEmptyOrNotUnicode() {
    assertRejected("prompt must have a character: prompt=0 bytes", () -> Prompt.tokens("", 256));
    assertRejected("prompt must be well-formed Unicode", () -> Prompt.tokens("\ud834", 256));
  }

  private static void assertRejected(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
