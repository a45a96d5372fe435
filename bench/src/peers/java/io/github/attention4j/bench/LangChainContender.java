package io.github.attention4j.bench;

import dev.langchain4j.data.embedding.Embedding;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.model.embedding.onnx.allminilml6v2.AllMiniLmL6V2EmbeddingModel;
import java.util.List;

/**
 * LangChain4j's all-MiniLM-L6-v2 as shipped: it runs ONNX Runtime text by text on threads of its
 * own, as many as there are processors. With one thread it gets one processor.
 */
final class LangChainContender implements Contender {
  private final int threads;

  LangChainContender(int threads) {
    this.threads = threads;
  }

  @Override
  public String about() {
    return "LangChain4j's AllMiniLmL6V2EmbeddingModel as shipped"
        + (threads == 1 ? ", on one processor" : "");
  }

  @Override
  public void warmUp() {}

  @Override
  public List<Opening> ways(Workload workload) {
    return workload instanceof Workload.Texts texts
        ? List.of(() -> new OfTexts(texts.texts(), threads))
        : List.of();
  }

  private static final class OfTexts implements Way {
    private final EmbeddingModel model;
    private final List<TextSegment> texts;
    private List<Embedding> result;

    OfTexts(TextShape shape, int threads) {
      // Threads inherit where their creator may run.
      if (threads == 1) {
        Limits.pin(0);
      }
      model = new AllMiniLmL6V2EmbeddingModel();
      texts = shape.texts().stream().map(TextSegment::from).toList();
    }

    @Override
    public String name() {
      return "";
    }

    @Override
    public void run() {
      result = model.embedAll(texts).content();
    }

    @Override
    public float[] result() {
      return FusedBlock.joined(result.stream().map(Embedding::vector).toArray(float[][]::new));
    }

    @Override
    public void close() {
      // The model has no close method; it ends with the process.
    }
  }
}
