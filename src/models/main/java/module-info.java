/** Models from checkpoint files, built on attention4j. */
module io.github.attention4j.models {
  requires transitive io.github.attention4j;
  requires ai.djl.api;
  requires ai.djl.tokenizers;
  requires java.desktop;
  requires jinjava;
  requires com.google.gson;
  requires jdk.httpserver;
  requires jdk.unsupported;

  exports io.github.attention4j.models;
  exports io.github.attention4j.models.gguf;
  exports io.github.attention4j.models.server;
  exports io.github.attention4j.models.text;
}
