package io.github.attention4j.models.files;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.FileKind;
import io.github.attention4j.internal.Json;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.QuantizedWeights;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The tensors of a checkpoint directory, from {@code model.safetensors} or from the files that
 * {@code model.safetensors.index.json} names, in the directory or below it.
 *
 * <p>If it is unclear which file is meant, the directory is refused: an index next to a {@code
 * model.safetensors} that it does not name, or an adapter next to a model.
 */
public final class Checkpoint {
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final String ADAPTER = "adapter_config.json";
  private static final String ADAPTER_WEIGHTS = "adapter_model.safetensors";

  /** Files that people have instead of safetensors, and what to tell them. */
  private static final List<String> ELSEWHERE =
      List.of(
          "pytorch_model.bin",
          "pytorch_model.bin.index.json",
          "consolidated.safetensors",
          "tf_model.h5",
          "flax_model.msgpack",
          "snapshots");

  private final Map<String, Stored> tensors;
  private final List<Path> files;

  private Checkpoint(Map<String, Stored> tensors, Collection<Path> files) {
    this.tensors = Collections.unmodifiableMap(tensors);
    this.files = List.copyOf(files);
  }

  /**
   * A checkpoint of tensors from elsewhere.
   *
   * @param tensors by Hugging Face's names
   * @param files the files that hold them
   */
  public static Checkpoint of(Map<String, Stored> tensors, Collection<Path> files) {
    return new Checkpoint(new LinkedHashMap<>(tensors), files);
  }

  /**
   * Maps the files of a directory.
   *
   * @param directory a checkpoint as Transformers writes it
   * @param arena determines how long the files stay mapped and which threads may read them
   * @throws IOException if a file is missing, cannot be read or is malformed
   * @throws IllegalArgumentException if the files contradict each other
   */
  public static Checkpoint open(Path directory, Arena arena) throws IOException {
    for (String adapter : List.of(ADAPTER, ADAPTER_WEIGHTS)) {
      if (Files.exists(directory.resolve(adapter))) {
        throw new IllegalArgumentException(
            directory
                + " has an adapter, "
                + adapter
                + ", which is not computed: merge it into the model, or take it away");
      }
    }
    Path index = directory.resolve(INDEX);
    Path single = directory.resolve(SINGLE);
    Map<String, Stored> tensors = new LinkedHashMap<>();
    Set<Path> files = new LinkedHashSet<>();
    if (Files.exists(index)) {
      for (String name : readShards(directory, index, arena, tensors)) {
        files.add(directory.resolve(name));
      }
    } else if (Files.exists(single)) {
      SafeTensors file = openFile(single, arena);
      file.names().forEach(name -> tensors.put(name, new Mapped(file, name)));
      files.add(single);
    } else {
      throw missing(directory, single);
    }
    return new Checkpoint(tensors, files);
  }

  private static NoSuchFileException missing(Path directory, Path wanted) {
    List<String> found =
        ELSEWHERE.stream().filter(name -> Files.exists(directory.resolve(name))).toList();
    return found.isEmpty()
        ? new NoSuchFileException(wanted.toString())
        : new NoSuchFileException(
            wanted.toString(),
            null,
            "weights are read from safetensors files; the directory has "
                + String.join(", ", found)
                + (found.contains("snapshots")
                    ? ", so the checkpoint is one of the directories in snapshots"
                    : " instead"));
  }

  /** Fills in the tensors, and returns the names of the files that the index lists. */
  private static Set<String> readShards(
      Path directory, Path index, Arena arena, Map<String, Stored> tensors) throws IOException {
    Object map = Settings.readObject(index).get("weight_map");
    if (!(map instanceof Map<?, ?> places)) {
      throw new IllegalArgumentException(
          index + ": weight_map must be an object: weight_map=" + Json.show(map));
    }
    Map<String, SafeTensors> files = new LinkedHashMap<>();
    List<String> problems = new ArrayList<>();
    for (Map.Entry<?, ?> place : places.entrySet()) {
      String name = (String) place.getKey();
      String fileName = fileName(index, name, place.getValue());
      SafeTensors file = files.get(fileName);
      if (file == null) {
        file = openFile(directory.resolve(fileName), arena);
        files.put(fileName, file);
      }
      if (file.contains(name)) {
        tensors.put(name, new Mapped(file, name));
      } else {
        problems.add(name + " must be in " + fileName + ", as the index says: it is not");
      }
    }
    if (Files.exists(directory.resolve(SINGLE)) && !files.containsKey(SINGLE)) {
      throw new IllegalArgumentException(
          directory
              + " must have one checkpoint: it has "
              + SINGLE
              + " and "
              + INDEX
              + ", which does not name it");
    }
    files.forEach(
        (fileName, file) ->
            file.names().stream()
                .filter(name -> !fileName.equals(places.get(name)))
                .forEach(
                    name ->
                        problems.add(
                            Json.show(name)
                                + " is in "
                                + fileName
                                + ", where the index does not name it")));
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(
          directory + ": the index must fit its files: " + String.join("; ", problems));
    }
    return files.keySet();
  }

  /** An index may only lead to files in its directory or below it. */
  private static String fileName(Path index, String tensor, Object value) {
    if (value instanceof String name
        && name.endsWith(".safetensors")
        && name.indexOf('\\') < 0
        && name.indexOf('\0') < 0
        && List.of(name.split("/", -1)).stream().noneMatch(Set.of("", ".", "..")::contains)) {
      return name;
    }
    throw new IllegalArgumentException(
        index
            + ": weight_map must name safetensors files in its directory or below it: "
            + Json.show(tensor)
            + " is in "
            + Json.show(value));
  }

  private static SafeTensors openFile(Path file, Arena arena) throws IOException {
    try {
      return SafeTensors.open(file, arena);
    } catch (UnsupportedOperationException e) {
      throw new IOException(
          file
              + " must be in a file system that can map files into memory: it is in "
              + file.getFileSystem().provider().getScheme(),
          e);
    }
  }

  /** What a file that is not GGUF is instead, or null if it is not recognised. */
  public static String insteadOfGguf(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      String kind = FileKind.of(in.readNBytes(FileKind.PREFIX_BYTES));
      return FileKind.GGUF.equals(kind) ? null : kind;
    }
  }

  /** The names of all tensors. */
  public Set<String> names() {
    return tensors.keySet();
  }

  /** The files that hold the tensors. */
  public List<Path> files() {
    return files;
  }

  /** A tensor, or null if there is none with this name. */
  public Stored get(String name) {
    return tensors.get(name);
  }

  /**
   * The same tensors by the names that the model uses, if the names differ only by a common prefix
   * that is missing or superfluous.
   *
   * @param known a name that the model needs, such as the embedding's
   * @param exempt a tensor whose name does not get the prefix, such as the head's
   */
  public Checkpoint withPrefixOf(String known, String exempt) {
    if (tensors.containsKey(known)) {
      return this;
    }
    for (String name : tensors.keySet()) {
      if (name.endsWith("." + known)) {
        String prefix = name.substring(0, name.length() - known.length());
        if (tensors.keySet().stream().allMatch(other -> other.startsWith(prefix))) {
          return renamed(prefix.length(), "", null);
        }
      }
      if (name.equals(known.substring(known.indexOf('.') + 1))) {
        return renamed(0, known.substring(0, known.length() - name.length()), exempt);
      }
    }
    return this;
  }

  private Checkpoint renamed(int drop, String add, String exempt) {
    Map<String, Stored> renamed = new LinkedHashMap<>();
    tensors.forEach(
        (name, tensor) ->
            renamed.put(name.equals(exempt) ? name : add + name.substring(drop), tensor));
    return new Checkpoint(renamed, files);
  }

  /** A tensor of a safetensors file. */
  private record Mapped(SafeTensors file, String name) implements Stored {
    @Override
    public String type() {
      return file.typeOf(name);
    }

    @Override
    public long[] shape() {
      return file.shapeOf(name);
    }

    @Override
    public long bytes() {
      return file.get(name).segment().byteSize();
    }

    @Override
    public boolean isReadable() {
      return switch (type()) {
        case "F32", "BF16", "F16" -> true;
        default -> false;
      };
    }

    @Override
    public Tensor inPlace() {
      Tensor tensor = file.get(name);
      return tensor.segment().address() % tensor.dtype().bytes() == 0 ? tensor : null;
    }

    @Override
    public QuantizedWeights quantized(Arena arena) {
      return null;
    }

    @Override
    public Tensor floats(Arena arena) {
      return file.get(name).toF32(arena);
    }

    @Override
    public void row(long row, Tensor out) {
      out.copyFrom(file.get(name).select(0, row));
    }
  }
}
