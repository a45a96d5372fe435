package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.OnnxFile;
import io.github.attention4j.models.files.OnnxGraph;
import io.github.attention4j.models.files.OnnxWeights;
import io.github.attention4j.models.gguf.GgufFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;

/**
 * The kinds of files that come from elsewhere. Whatever their bytes are, opening them succeeds or
 * is refused, as {@link #isRefusal} says.
 */
enum ForeignFile {
  /** The header of safetensors, and every tensor. */
  SAFETENSORS("one.safetensors") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return golden(
          "encoder/bert_st_dense/2_Dense/model.safetensors",
          "encoder/gte_ntk/reference.safetensors");
    }

    @Override
    void open(Path file) throws IOException {
      try (SafeTensors opened = SafeTensors.open(file)) {
        Objects.requireNonNull(opened.metadata());
        for (String name : opened.names()) {
          MemorySegment bytes = opened.bytes(name);
          long last = bytes.byteSize() - 1;
          byte unused = last < 0 ? 0 : bytes.get(ValueLayout.JAVA_BYTE, last);
          boolean known =
              Arrays.stream(DType.values()).anyMatch(d -> d.name().equals(opened.typeOf(name)));
          if (known && opened.get(name).count() * opened.get(name).dtype().bytes() != last + 1) {
            throw new AssertionError(name + " has " + (last + 1) + " bytes, ends in " + unused);
          }
        }
      }
    }
  },

  /** The configuration of a language model, with the weights that it was made for. */
  LLM_CONFIG("config.json") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return configs("llm");
    }

    @Override
    void open(Path file) throws IOException {
      CausalLm.open(file.resolveSibling("")).close();
    }
  },

  /** The configuration of an encoder, with the weights that it was made for. */
  ENCODER_CONFIG("config.json") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return configs("encoder");
    }

    @Override
    void open(Path file) throws IOException {
      TextEncoder.open(file.resolveSibling("")).close();
    }
  },

  /** The index of a checkpoint of several files. */
  INDEX("model.safetensors.index.json") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return golden(
          "llm/qwen3_tied/model.safetensors.index.json",
          "llm/llama_linear_biases/model.safetensors.index.json");
    }

    @Override
    void open(Path file) throws IOException {
      CausalLm.open(file.resolveSibling("")).close();
    }
  },

  /** A GGUF file: its structure, its tokenizer, its model. */
  GGUF("one.gguf") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return golden(
          "gguf/malformed/file/good-every-metadata-type.gguf",
          "gguf/malformed/file/good-alignment.gguf",
          "gguf/tokenizers/bpe-gpt-2.gguf",
          "gguf/tokenizers/bpe-llama-bpe.gguf",
          "gguf/tokenizers/spm.gguf",
          "gguf/models/qwen2-bpe-q4_0.gguf");
    }

    @Override
    void open(Path file) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        Objects.requireNonNull(GgufFile.open(file, arena).tensors());
      }
      perhaps(
          () -> {
            GgufTokenizer tokenizer = GgufTokenizer.open(file);
            tokenizer.decode(tokenizer.encode(TEXT, true).tokens(), false);
          });
      perhaps(() -> CausalLm.open(file).close());
    }
  },

  /** An exported encoder: the protobuf, the graph, the weights. */
  ONNX("model.onnx") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      OnnxWriter writer = new OnnxWriter();
      writer.floats("any", new float[] {0});
      writer.floats("heads", new float[] {2});
      writer.floats("embeddings.word_embeddings.weight", new float[6], 2, 3);
      writer.unsigned("encoder.layer.0.output.dense.weight_quantized", new byte[9], 3, 3);
      writer.node("Concat", "/shape", List.of("any", "any", "heads"), List.of("shape"));
      writer.node("Softmax", "/encoder/0", List.of("scores"), List.of("weights"));
      writer.output("last_hidden_state");
      return List.of(Files.write(scratch.resolve("sample.onnx"), writer.toByteArray()));
    }

    @Override
    void open(Path file) throws IOException {
      byte[] bytes = Files.readAllBytes(file);
      OnnxFile onnx =
          OnnxFile.read(
              file.toString(),
              MemorySegment.ofArray(bytes),
              location -> {
                throw new IOException("no data beside " + file);
              });
      perhaps(
          () -> {
            try (Arena arena = Arena.ofConfined()) {
              OnnxWeights weights = new OnnxWeights(onnx);
              Checkpoint checkpoint = weights.checkpoint(List.of());
              for (String name : checkpoint.names()) {
                if (checkpoint.get(name).isReadable()) {
                  checkpoint.get(name).floats(arena);
                }
              }
              new OnnxGraph(onnx).settings(weights);
            }
          });
      perhaps(() -> TextEncoder.open(file).close());
    }
  },

  /** A tokenizer of Hugging Face's library. */
  TOKENIZER("tokenizer.json") {
    @Override
    List<Path> samples(Path scratch) throws IOException {
      return golden(
          "encoder/tokenizers/wordpiece-uncased/tokenizer.json",
          "encoder/tokenizers/bpe-llama2/tokenizer.json",
          "encoder/tokenizers/bytelevel-gpt2/tokenizer.json",
          "encoder/tokenizers/bytelevel-qwen/tokenizer.json",
          "encoder/tokenizers/unigram-xlmr/tokenizer.json");
    }

    @Override
    void open(Path file) throws IOException {
      try (HuggingFaceTokenizer tokenizer = HuggingFaceTokenizer.open(file)) {
        tokenizer.decode(tokenizer.encode(TEXT, true).tokens(), false);
      }
    }
  };

  private static final String TEXT = "Über 3 naïve café-goers,\n\t<s> [CLS] 東京 🙂 ";

  private final String fileName;

  ForeignFile(String fileName) {
    this.fileName = fileName;
  }

  /** Files that can be opened; the others in their folders belong to them. */
  abstract List<Path> samples(Path scratch) throws IOException;

  /** Opens the file, reads what it describes, and closes it. */
  abstract void open(Path file) throws IOException;

  /** Where a spoilt file is to be put, so that all else that belongs to the sample is beside it. */
  Path placeBeside(Path sample, Path folder) throws IOException {
    Files.createDirectories(folder);
    if (this == LLM_CONFIG || this == ENCODER_CONFIG || this == INDEX) {
      try (Stream<Path> files = Files.list(sample.resolveSibling(""))) {
        for (Path file : (Iterable<Path>) files::iterator) {
          if (!file.equals(sample) && Files.isRegularFile(file)) {
            Files.createSymbolicLink(folder.resolve(file.getFileName()), file.toAbsolutePath());
          }
        }
      }
    }
    return folder.resolve(fileName);
  }

  /**
   * Throws what is not a refusal: an exception for bad files and bad values that has a sentence.
   */
  static void requireRefusal(Exception e) {
    boolean kind =
        e instanceof IOException
            || e instanceof IllegalArgumentException && !(e instanceof NumberFormatException);
    if (!kind || e.getMessage() == null || e.getMessage().isBlank()) {
      throw new AssertionError("not a refusal: " + e, e);
    }
  }

  /** What reads the contents of a file. */
  @FunctionalInterface
  private interface Reading {
    void run() throws IOException;
  }

  /** Reads what may be in a file of that kind, but need not be. */
  private static void perhaps(Reading reading) {
    try {
      reading.run();
    } catch (Exception e) {
      requireRefusal(e);
    }
  }

  private static List<Path> golden(String... names) {
    List<Path> files = new ArrayList<>();
    for (String name : names) {
      files.add(root().resolve(name));
    }
    return files;
  }

  private static List<Path> configs(String folder) throws IOException {
    try (Stream<Path> folders = Files.list(root().resolve(folder))) {
      return folders
          .filter(f -> Files.exists(f.resolve("config.json")))
          .filter(f -> !f.endsWith("minilm"))
          .sorted()
          .map(f -> f.resolve("config.json"))
          .toList();
    }
  }

  private static Path root() {
    try {
      return Path.of(
          Objects.requireNonNull(ForeignFile.class.getResource("/golden-models")).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }
}
