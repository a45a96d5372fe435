package io.github.attention4j.demo;

import java.net.URISyntaxException;
import java.nio.file.Path;

/** The two trained models among the demonstration's resources. */
public enum DemoModel {
  /** Causal multi-head attention. */
  LLAMA(
      "llama",
      "Llama",
      "head",
      "Causal multi-head attention. Each head has a softmax of its own: the weights of a row are"
          + " positive and sum to 1."),

  /** Differential attention, in Hugging Face's layout. */
  DIFFLLAMA(
      "diffllama",
      "DiffLlama",
      "pair",
      "Differential attention. A pair of heads subtracts one softmax from another, softmax₁ − λ"
          + " softmax₂: what both look at cancels, weights may be negative, and a row sums to"
          + " 1 − λ.");

  private final String folder;
  private final String title;
  private final String unit;
  private final String about;

  DemoModel(String folder, String title, String unit, String about) {
    this.folder = folder;
    this.title = title;
    this.unit = unit;
    this.about = about;
  }

  /**
   * Holds {@code config.json}, {@code model.safetensors} and {@code reference.safetensors}.
   *
   * @throws IllegalStateException if the resources are not in a directory of the file system
   */
  public Path directory() {
    try {
      return Path.of(DemoModel.class.getResource("/models/" + folder + "/config.json").toURI())
          .getParent();
    } catch (URISyntaxException e) {
      throw new IllegalStateException("no directory of the model " + folder, e);
    }
  }

  /** The name for people. */
  String title() {
    return title;
  }

  /** What each attention map belongs to: "head" or "pair". */
  String unit() {
    return unit;
  }

  /** A sentence or two about its attention. */
  String about() {
    return about;
  }
}
