package io.github.attention4j.models;

import io.github.attention4j.models.encoder.EncoderSpec;
import io.github.attention4j.models.encoder.Family;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.OnnxFile;
import io.github.attention4j.models.files.OnnxGraph;
import io.github.attention4j.models.files.OnnxWeights;
import io.github.attention4j.models.files.Settings;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.URI;
import java.net.URL;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * Where the files of an encoder are: a directory, an ONNX file with or without a model directory,
 * or resources on the class path.
 *
 * @param root the directory of sentence-transformers' {@code modules.json}, if there is one; null
 *     if there is no directory
 * @param directory of the configuration, the weights and the tokenizer; null if there is none
 * @param onnx the ONNX file; null for safetensors in the directory, or for a resource
 * @param loader finds the resources; null for files
 * @param onnxResource the ONNX file
 * @param tokenizerResource the tokenizer; null if there is none
 */
record ModelFiles(
    Path root,
    Path directory,
    Path onnx,
    ClassLoader loader,
    String onnxResource,
    String tokenizerResource) {
  private static final String CONFIG = "config.json";
  private static final String TOKENIZER = "tokenizer.json";

  /** Families whose exports contain no constants other than those of BERT's formulas. */
  private static final Set<String> PLAIN =
      Set.of("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert");

  static ModelFiles of(Path root) throws IOException {
    Path path = Pipeline.transformer(Objects.requireNonNull(root, "path"));
    if (Files.isDirectory(path)) {
      boolean safetensors =
          Files.exists(path.resolve("model.safetensors"))
              || Files.exists(path.resolve("model.safetensors.index.json"));
      for (String name : List.of("model.onnx", "onnx/model.onnx")) {
        if (!safetensors && Files.exists(path.resolve(name))) {
          return new ModelFiles(root, path, path.resolve(name), null, null, null);
        }
      }
      return new ModelFiles(root, path, null, null, null, null);
    }
    if (!Files.exists(path)) {
      throw new FileNotFoundException(path + " must be a directory or an ONNX file: it is missing");
    }
    Path parent = path.toAbsolutePath().getParent();
    Path above = parent.getParent();
    boolean higher = above != null && !Files.exists(parent.resolve(CONFIG));
    boolean found = Files.exists((higher ? above : parent).resolve(CONFIG));
    Path directory = found && higher ? above : parent;
    return new ModelFiles(directory, directory, path, null, null, null);
  }

  static ModelFiles of(ClassLoader loader, String onnx, String tokenizer) {
    Objects.requireNonNull(loader, "loader");
    Objects.requireNonNull(onnx, "onnx");
    return new ModelFiles(null, null, null, loader, onnx, tokenizer);
  }

  /** The model's name in messages. */
  String source() {
    if (loader != null) {
      return onnxResource;
    }
    return (onnx == null ? directory : onnx).toString();
  }

  /** Whether the directory has a file. */
  boolean has(String name) {
    return directory != null && Files.exists(directory.resolve(name));
  }

  /** Whether there are sentence-transformers' modules. */
  boolean hasModules() {
    return root != null && Files.exists(root.resolve(Pipeline.MODULES));
  }

  /** The settings of a file in the directory; empty if there is no such file. */
  Settings settings(String name) throws IOException {
    return settings(directory, name);
  }

  /** The settings of sentence-transformers beside its modules; empty if there are none. */
  Settings sentenceTransformers() throws IOException {
    return settings(root, "config_sentence_transformers.json");
  }

  private Settings settings(Path where, String name) throws IOException {
    return where != null && Files.exists(where.resolve(name))
        ? Settings.read(where.resolve(name))
        : Settings.of(source() + " without " + name, Map.of());
  }

  HuggingFaceTokenizer openTokenizer() throws IOException {
    if (loader == null) {
      if (!has(TOKENIZER)) {
        throw new FileNotFoundException(
            directory + " must have a " + TOKENIZER + " to turn text into tokens");
      }
      return HuggingFaceTokenizer.open(directory.resolve(TOKENIZER));
    }
    if (tokenizerResource == null) {
      throw new IllegalArgumentException(
          source() + ": there must be a tokenizer: no resource was named, nor one given");
    }
    try (InputStream in = resource(tokenizerResource).openStream()) {
      return HuggingFaceTokenizer.of(tokenizerResource, in.readAllBytes());
    }
  }

  private URL resource(String name) throws IOException {
    URL url = loader.getResource(name);
    if (url == null) {
      throw new FileNotFoundException("there must be a resource " + name + ": it is missing");
    }
    return url;
  }

  // ---- The encoder ----

  /**
   * Opens the encoder.
   *
   * @param poolsAsFilesSay whether files say how to pool, so a graph may include it
   */
  TextEncoder openEncoder(boolean poolsAsFilesSay, WeightStorage storage) throws IOException {
    // Only this thread reads the files, but all threads read the weights.
    try (Arena files = Arena.ofConfined()) {
      if (loader == null && onnx == null) {
        if (!has(CONFIG)) {
          throw new FileNotFoundException(
              directory + " must hold a model: it has neither a config.json nor a model.onnx");
        }
        EncoderSpec spec = Family.spec(Settings.read(directory.resolve(CONFIG)));
        Checkpoint checkpoint = Checkpoint.open(directory, files);
        return TextEncoder.of(source(), spec, checkpoint, storage);
      }
      Map<String, MemorySegment> beside = new LinkedHashMap<>();
      OnnxFile file =
          OnnxFile.read(
              source(),
              bytes(files),
              location -> {
                MemorySegment bytes = beside.get(location);
                if (bytes == null) {
                  bytes = bytesBeside(location, files);
                  beside.put(location, bytes);
                }
                return bytes;
              });
      List<Path> read = new ArrayList<>();
      if (loader == null) {
        read.add(onnx);
        beside.keySet().forEach(location -> read.add(onnx.resolveSibling(location)));
      }
      return openOnnx(file, read, poolsAsFilesSay, storage);
    }
  }

  private TextEncoder openOnnx(
      OnnxFile file, List<Path> read, boolean poolsAsFilesSay, WeightStorage storage)
      throws IOException {
    OnnxGraph graph = new OnnxGraph(file);
    graph.requireEncoder();
    if (graph.poolsItself() && !poolsAsFilesSay) {
      throw new IllegalArgumentException(
          source()
              + ": the graph pools by itself (sentence_embedding), in a way that only modules.json"
              + " beside it would say");
    }
    OnnxWeights weights = new OnnxWeights(file);
    Settings settings =
        has(CONFIG) ? Settings.read(directory.resolve(CONFIG)) : graph.settings(weights);
    EncoderSpec spec = Family.spec(settings);
    if (PLAIN.contains(spec.family())) {
      EncoderSpec.Block block = spec.blocks().getFirst();
      graph.requireFormulas(
          spec.blocks().size(), block.heads().dim(), block.attentionNorm().epsilon());
    }
    TextEncoder encoder = TextEncoder.of(source(), spec, weights.checkpoint(read), storage);
    try {
      weights.requireAllUsed();
      TextEncoder checked = encoder;
      encoder = null;
      return checked;
    } finally {
      if (encoder != null) {
        encoder.close();
      }
    }
  }

  // ---- Bytes ----

  /** The ONNX file. */
  private MemorySegment bytes(Arena arena) throws IOException {
    return loader == null ? map(onnx, arena) : map(onnxResource, arena);
  }

  /** A file of weights that the ONNX file refers to. */
  private MemorySegment bytesBeside(String location, Arena arena) throws IOException {
    if (loader != null) {
      return map(onnxResource.substring(0, onnxResource.lastIndexOf('/') + 1) + location, arena);
    }
    Path file = onnx.resolveSibling(location);
    if (!Files.exists(file)) {
      throw new FileNotFoundException(
          source() + " has weights in " + file + ", which must be there: it is missing");
    }
    return map(file, arena);
  }

  private static MemorySegment map(Path file, Arena arena) throws IOException {
    try (FileChannel channel = FileChannel.open(file)) {
      return channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
    }
  }

  /**
   * A resource. A resource in a jar is unpacked into a temporary file, because opening the model
   * would otherwise need its memory twice. The file is deleted before it is read, so nothing is
   * left behind even if the process is killed.
   */
  private MemorySegment map(String name, Arena arena) throws IOException {
    URL url = resource(name);
    if (url.getProtocol().equals("file")) {
      return map(Path.of(URI.create(url.toString())), arena);
    }
    Path copy;
    try {
      copy = Files.createTempFile("attention4j-", ".model");
    } catch (IOException e) {
      throw new IOException(
          name
              + " must be unpacked into a temporary directory (-Djava.io.tmpdir): "
              + e.getMessage(),
          e);
    }
    try (InputStream in = url.openStream()) {
      Files.copy(in, copy, StandardCopyOption.REPLACE_EXISTING);
      return map(copy, arena);
    } finally {
      Files.delete(copy);
    }
  }
}
