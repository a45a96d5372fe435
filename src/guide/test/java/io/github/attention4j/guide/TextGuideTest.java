package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import io.github.attention4j.models.text.TextGenerator;
import io.github.attention4j.testing.Snippets;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Runs the Java of the page about texts, with tiny models of random weights. */
class TextGuideTest {
  private static final Path MODELS = Path.of("src/models/test/resources/golden-models");

  @Test
  void shouldFindTheNearestDocument() throws Exception {
    Path embeddingModel = MODELS.resolve("encoder/bert_st_mean");
    List<String> documents = List.of("Who repairs cars?", "a red apple");

    double best = Double.NEGATIVE_INFINITY;
    try (TextEmbedder embedder = TextEmbedder.open(embeddingModel)) {
      float[] query = embedder.embedQuery("Who repairs cars?");
      for (TextEmbedder.Result document : embedder.embedDocuments(documents)) {
        double similarity = 0; // a cosine, because the vectors are normalized
        for (int i = 0; i < query.length; i++) {
          similarity += query[i] * document.vector()[i];
        }
        best = Math.max(best, similarity);
      }
    }

    assertTrue(best > 0.5 && best < 1.001, "similarity " + best);
  }

  @Test
  void shouldScorePassages() throws Exception {
    Path rerankingModel = MODELS.resolve("encoder/bert_cross_encoder");
    List<String> passages = List.of("a garage", "a red apple");

    float[] scores;
    try (Reranker reranker = Reranker.open(rerankingModel)) {
      scores = reranker.score("Who repairs cars?", passages); // the higher, the better
    }

    assertEquals(2, scores.length);
  }

  @Test
  void shouldAnswerTwice() throws Exception {
    Path languageModel = MODELS.resolve("gguf/models/qwen3-bpe-f32.gguf");

    try (Printed printed = new Printed()) {
      converse(languageModel);
      assertTrue(printed.size() > 0);
    }
  }

  private static void converse(Path languageModel) throws IOException {
    List<ChatMessage> messages = new ArrayList<>();
    try (Chat chat = Chat.open(languageModel)) {
      messages.add(ChatMessage.system("You answer in one sentence."));
      messages.add(ChatMessage.user("Why is the sky blue?"));
      Chat.Reply reply = chat.reply(messages, System.out::print);
      messages.add(reply.message());
      messages.add(ChatMessage.user("And in the evening?"));
      TextGenerator.Builder request = TextGenerator.request(chat.generator().model());
      request.maxTokens(50).sampler(Sampler.builder().temperature(0.7).topP(0.9).build());
      chat.reply(messages, List.of(), request.build(), System.out::print); // no tools
    }

    assertEquals(4, messages.size());
  }

  @Test
  void shouldRunEveryBlockOfThePage() {
    Snippets.requireRunBy(TextGuideTest.class, Path.of("src/guide/text.md"), 3);
  }
}
