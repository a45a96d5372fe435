/** Models from checkpoint files, built on attention4j. */
module io.github.attention4j.models {
  requires transitive io.github.attention4j;
  requires ai.djl.api;
  requires ai.djl.tokenizers;
  requires java.desktop;
  requires jinjava;

  exports io.github.attention4j.models;
  exports io.github.attention4j.models.gguf;
}
