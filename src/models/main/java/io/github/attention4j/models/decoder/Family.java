package io.github.attention4j.models.decoder;

import io.github.attention4j.models.files.Settings;

/** A family of models: turns settings into a specification. */
@FunctionalInterface
public interface Family {
  /**
   * Reads the settings. The caller refuses keys that were not read.
   *
   * @param settings {@code config.json}, or a GGUF file's metadata under the same keys
   * @param layout how the file arranges weights
   * @throws IllegalArgumentException if a value is missing, wrong or not supported
   */
  Specification read(Settings settings, Layout layout);

  /** How a kind of file arranges the weights of a family. */
  enum Layout {
    /** As Transformers writes them. */
    HUGGING_FACE,

    /** As llama.cpp's converter writes them, under Hugging Face's names. */
    GGUF
  }
}
