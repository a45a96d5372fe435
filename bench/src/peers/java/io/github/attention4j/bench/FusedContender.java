package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import java.util.List;

/** attention4j, off-heap tensors, through its public API. */
final class FusedContender implements Contender {
  private final int threads;
  private final boolean parts;

  /** If {@code parts}, only layers, each measured part by part. */
  FusedContender(int threads, boolean parts) {
    this.threads = threads;
    this.parts = parts;
    A4j.threads(threads);
  }

  @Override
  public String about() {
    return A4j.describe()
        .lines()
        .filter(line -> !line.contains("/"))
        .map(line -> line.replaceAll("\\s+", " "))
        .reduce((a, b) -> a + "; " + b)
        .orElse("");
  }

  @Override
  public List<Opening> ways(Workload workload) {
    if (parts) {
      return workload instanceof Workload.Layer layer && workload.storage() == Storage.F32
          ? List.of(() -> new FusedParts(layer.layer()))
          : List.of();
    }
    return switch (workload) {
      case Workload.Prefill prefill ->
          prefill.storage() == Storage.F32
              ? List.of(() -> new OfShape(prefill.shape(), false, false))
              : List.of(() -> FusedStored.prefill(prefill, threads));
      case Workload.Step step ->
          step.storage() == Storage.F32
              ? List.of(() -> new OfShape(step.shape(), false, true))
              : List.of(() -> FusedStored.step(step, threads));
      case Workload.Pairs pairs ->
          pairs.storage() == Storage.F32
              ? List.of(() -> new OfShape(pairs.shape(), true, false))
              : List.of(() -> FusedStored.pairs(pairs, threads));
      case Workload.Layer layer ->
          layer.storage() == Storage.F32
              ? List.of(() -> FusedBlock.layer(layer.layer()))
              : List.of(() -> FusedStored.layer(layer));
      case Workload.Product product -> FusedStored.products(product);
      case Workload.Encoder encoder -> List.of(() -> FusedBlock.encoder(encoder.block()));
      case Workload.Decoder decoder -> List.of(() -> FusedBlock.decoder(decoder.block()));
      case Workload.Texts texts -> List.of(() -> FusedModels.texts(texts.texts()));
      case Workload.Model model -> List.of(() -> FusedModels.model(model.model()));
    };
  }

  /** Only attention. */
  private final class OfShape implements Way {
    private final Fused fused;
    private final boolean pairs;
    private final boolean step;

    OfShape(Shape shape, boolean pairs, boolean step) {
      this.pairs = pairs;
      this.step = step;
      this.fused =
          pairs
              ? Fused.pairs(shape, SharedInputs.of(shape.unpaired()), threads)
              : Fused.plain(shape, SharedInputs.of(shape), threads);
    }

    @Override
    public String name() {
      return "";
    }

    @Override
    public void run() {
      if (pairs) {
        fused.differential();
      } else {
        fused.forward();
      }
    }

    @Override
    public Way beside() {
      return step ? new SumWay(threads, fused.keys(), fused.values()) : null;
    }

    @Override
    public float[] result() {
      return fused.resultArray();
    }

    @Override
    public void close() {
      fused.close();
    }
  }
}
