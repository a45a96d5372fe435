package io.github.attention4j.models.gguf;

import static java.nio.file.StandardOpenOption.READ;

import io.github.attention4j.internal.Json;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A GGUF file of version 2 or 3, memory-mapped: metadata, and tensors as views of the page cache.
 *
 * <pre>
 *   "GGUF"  u32 version  u64 tensors  u64 entries
 *   entries ×  string key, u32 type, value
 *   tensors ×  string name, u32 dimensions, u64 × dimensions, u32 type, u64 offset
 *   zeros up to a multiple of the alignment
 *   data       each tensor at its offset
 * </pre>
 *
 * <p>All numbers are little-endian. Every length, count and offset is checked against the size of
 * the file before it is used, so nothing outside the file is read, and a hostile count cannot make
 * it allocate memory.
 *
 * <p>A model in several files ({@code NAME-00001-of-00003.gguf}) is opened by its first file and
 * has the tensors of all of them.
 *
 * <p>As with {@link io.github.attention4j.io.SafeTensors}, there is no protection against others
 * truncating the file while it is mapped.
 *
 * <p><b>Threads.</b> Immutable. The tensors belong to the arena with which the file was opened.
 */
public final class GgufFile {
  private static final int DEFAULT_ALIGNMENT = 32;
  private static final int MOST_DIMENSIONS = 4;
  private static final int MOST_KEY_BYTES = 65_535;
  private static final int MOST_NAME_BYTES = 64;

  /** The least size of a metadata entry, and of a tensor's name, sizes, type and offset. */
  private static final int LEAST_ENTRY_BYTES = 8 + 1 + 4 + 1;

  private static final int LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8;

  private static final int STRING = 8;
  private static final int ARRAY = 9;

  private static final Pattern PART = Pattern.compile("(.*)-(\\d{5})-of-(\\d{5})\\.gguf");

  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final List<Path> files;
  private final Map<String, Object> metadata;
  private final Map<String, GgufTensor> tensors;

  private GgufFile(
      List<Path> files, Map<String, Object> metadata, Map<String, GgufTensor> tensors) {
    this.files = List.copyOf(files);
    this.metadata = Collections.unmodifiableMap(metadata);
    this.tensors = Collections.unmodifiableMap(tensors);
  }

  /**
   * Maps a file, or all parts of a model, and checks everything that the header says.
   *
   * @param path the file, or the first of several
   * @param arena determines how long the mapping lives and which threads may read it
   * @return metadata and tensors
   * @throws GgufException if the content is malformed or not supported
   * @throws IOException if a file is missing, or cannot be read or mapped
   */
  public static GgufFile open(Path path, Arena arena) throws IOException {
    Objects.requireNonNull(path, "path");
    Objects.requireNonNull(arena, "arena");
    GgufFile first = new Parser(path, map(path, arena)).read();
    if (!(first.metadata.get("split.count") instanceof Long count) || count <= 1) {
      return first;
    }
    return joined(first, Math.toIntExact(Math.min(count, 100_000)), arena);
  }

  private static MemorySegment map(Path path, Arena arena) throws IOException {
    try (FileChannel channel = FileChannel.open(path, READ)) {
      return channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
    } catch (UnsupportedOperationException e) {
      throw new IOException(
          path
              + " must be in a file system that can map files into memory: it is in "
              + path.getFileSystem().provider().getScheme(),
          e);
    }
  }

  // ---- Parts ----

  private static GgufFile joined(GgufFile first, int count, Arena arena) throws IOException {
    Path path = first.path();
    Matcher name = PART.matcher(String.valueOf(path.getFileName()));
    if (!name.matches() || Integer.parseInt(name.group(3)) != count) {
      throw new GgufException(
          path
              + ": split.count is "
              + count
              + ", so this is one part of a model and its name must end in "
              + String.format("-%05d-of-%05d.gguf", 1, count));
    }
    if (!Long.valueOf(0).equals(first.metadata.get("split.no"))) {
      throw new GgufException(
          path
              + " must be the first part of the model, "
              + part(name.group(1), 1, count)
              + ": split.no="
              + first.metadata.get("split.no"));
    }
    List<Path> files = new ArrayList<>(first.files);
    Map<String, GgufTensor> tensors = new LinkedHashMap<>(first.tensors);
    for (int i = 1; i < count; i++) {
      Path file = path.resolveSibling(part(name.group(1), i + 1, count));
      if (!Files.exists(file)) {
        throw new NoSuchFileException(
            file.toString(), null, "part " + (i + 1) + " of " + count + " of " + path);
      }
      GgufFile other = new Parser(file, map(file, arena)).read();
      files.add(file);
      if (!Long.valueOf(i).equals(other.metadata.get("split.no"))
          || !Long.valueOf(count).equals(other.metadata.get("split.count"))) {
        throw new GgufException(
            file
                + " must be part "
                + i
                + " of "
                + count
                + ": split.no="
                + other.metadata.get("split.no")
                + ", split.count="
                + other.metadata.get("split.count"));
      }
      for (GgufTensor tensor : other.tensors.values()) {
        if (tensors.put(tensor.name(), tensor) != null) {
          throw new GgufException(
              file + ": tensor " + Json.show(tensor.name()) + " is in another part too");
        }
      }
    }
    Object wanted = first.metadata.get("split.tensors.count");
    if (wanted instanceof Long all && all != tensors.size()) {
      throw new GgufException(
          path
              + ": all parts together must have as many tensors as split.tensors.count says:"
              + " tensors="
              + tensors.size()
              + ", split.tensors.count="
              + all);
    }
    return new GgufFile(files, first.metadata, tensors);
  }

  private static String part(String name, int number, int count) {
    return String.format("%s-%05d-of-%05d.gguf", name, number, count);
  }

  // ---- What it holds ----

  /**
   * Returns the path.
   *
   * @return the path with which it was opened
   */
  public Path path() {
    return files.getFirst();
  }

  /**
   * Returns all files that were read.
   *
   * @return {@link #path()}, and the other parts in their order if there are several. Unmodifiable.
   */
  public List<Path> files() {
    return files;
  }

  /**
   * Returns the metadata, of the first part if there are several.
   *
   * @return by key, in the file's order: {@link Long} for every integer (of u64 the same bits),
   *     {@link Double} for f32 and f64, {@link Boolean}, {@link String} (invalid UTF-8 replaced by
   *     U+FFFD), or {@link List} of these. Unmodifiable.
   */
  public Map<String, Object> metadata() {
    return metadata;
  }

  /**
   * Returns the tensors.
   *
   * @return by name, in the file's order. Unmodifiable.
   */
  public Map<String, GgufTensor> tensors() {
    return tensors;
  }

  /**
   * Shows the path and the number of tensors.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return path() + " (" + tensors.size() + " tensors)";
  }

  // ---- Reading ----

  /** The description of one tensor; the offset counts from the start of the data. */
  @SuppressWarnings("ArrayRecordComponent") // Never compared.
  private record Info(String name, GgufType type, long[] shape, long bytes, long offset) {}

  private static final class Parser {
    private final Path path;
    private final MemorySegment file;
    private final long length;
    private long at;
    private boolean alignmentIsU32;

    Parser(Path path, MemorySegment file) {
      this.path = path;
      this.file = file;
      this.length = file.byteSize();
    }

    GgufFile read() throws GgufException {
      magic();
      long tensorCount = u64("the header");
      long entryCount = u64("the header");
      require(
          Long.compareUnsigned(tensorCount, (length - at) / LEAST_TENSOR_BYTES) <= 0,
          Long.toUnsignedString(tensorCount) + " tensors cannot be in a file of this length");
      require(
          Long.compareUnsigned(entryCount, (length - at) / LEAST_ENTRY_BYTES) <= 0,
          Long.toUnsignedString(entryCount)
              + " metadata entries cannot be in a file of this length");
      Map<String, Object> metadata = new LinkedHashMap<>();
      for (long i = 0; i < entryCount; i++) {
        entry(i, metadata);
      }
      List<Info> infos = new ArrayList<>();
      Map<String, Info> byName = new LinkedHashMap<>();
      int alignment = alignment(metadata);
      for (long i = 0; i < tensorCount; i++) {
        Info info = info(i, alignment);
        require(
            byName.put(info.name, info) == null, "tensor " + Json.show(info.name) + " comes twice");
        infos.add(info);
      }
      return new GgufFile(List.of(path), metadata, place(infos, alignment));
    }

    private void magic() throws GgufException {
      require(length > 0, "the file is empty: no GGUF magic");
      require(length >= 4, "the file ends inside the magic: it has " + length + " bytes");
      String magic = new String(bytes(4, "the magic"), StandardCharsets.ISO_8859_1);
      require(magic.equals("GGUF"), "not a GGUF file: it begins with " + Json.show(magic));
      int version = u32("the header");
      require(
          version != Integer.reverseBytes(2) && version != Integer.reverseBytes(3),
          "the file is big-endian (version reads as "
              + Integer.toUnsignedString(version)
              + "); only little-endian is supported");
      require(
          version == 2 || version == 3,
          "version "
              + Integer.toUnsignedString(version)
              + " is not supported; versions 2 and 3 are");
    }

    private void entry(long index, Map<String, Object> metadata) throws GgufException {
      String key = text("the key of metadata entry " + index, MOST_KEY_BYTES);
      require(!key.isEmpty(), "the key of metadata entry " + index + " is empty");
      int type = u32("the metadata");
      Object value = type == ARRAY ? array(key) : scalar(type, "value type %d of key " + key, key);
      require(metadata.put(key, value) == null, "key " + key + " comes twice");
      alignmentIsU32 |= key.equals("general.alignment") && type == 4;
    }

    private Object array(String key) throws GgufException {
      int type = u32("the metadata");
      long count = u64("the metadata");
      require(type != ARRAY, "key " + key + " is an array of arrays, which is not supported");
      int least = type == STRING ? 8 : size(type, "value type %d in the array of key " + key);
      require(
          Long.compareUnsigned(count, (length - at) / least) <= 0,
          "the array of key "
              + key
              + ", of "
              + Long.toUnsignedString(count)
              + " values, reaches past the end of the file");
      List<Object> values = new ArrayList<>();
      for (long i = 0; i < count; i++) {
        values.add(scalar(type, "", key));
      }
      return Collections.unmodifiableList(values);
    }

    private Object scalar(int type, String unknown, String key) throws GgufException {
      if (type == STRING) {
        return text("the string of key " + key, Long.MAX_VALUE);
      }
      need(size(type, unknown), "the metadata");
      Object value =
          switch (type) {
            case 0 -> (long) (file.get(ValueLayout.JAVA_BYTE, at) & 0xff);
            case 1 -> (long) file.get(ValueLayout.JAVA_BYTE, at);
            case 2 -> (long) (file.get(U16, at) & 0xffff);
            case 3 -> (long) file.get(U16, at);
            case 4 -> file.get(U32, at) & 0xffffffffL;
            case 5 -> (long) file.get(U32, at);
            case 6 -> (double) Float.intBitsToFloat(file.get(U32, at));
            case 7 -> {
              byte bool = file.get(ValueLayout.JAVA_BYTE, at);
              require(bool == 0 || bool == 1, "the boolean of key " + key + " is " + bool);
              yield bool == 1;
            }
            case 10, 11 -> file.get(U64, at);
            default -> Double.longBitsToDouble(file.get(U64, at));
          };
      at += size(type, unknown);
      return value;
    }

    private int size(int type, String unknown) throws GgufException {
      return switch (type) {
        case 0, 1, 7 -> 1;
        case 2, 3 -> 2;
        case 4, 5, 6 -> 4;
        case 10, 11, 12 -> 8;
        default ->
            throw malformed(
                unknown.replace("%d", Integer.toUnsignedString(type)) + " is not known");
      };
    }

    private int alignment(Map<String, Object> metadata) throws GgufException {
      Object value = metadata.get("general.alignment");
      if (value == null) {
        return DEFAULT_ALIGNMENT;
      }
      require(
          value instanceof Long number && number > 0 && Long.bitCount(number) == 1,
          "general.alignment must be a power of two: general.alignment=" + Json.show(value));
      require(alignmentIsU32, "general.alignment must be a u32");
      long alignment = (Long) value;
      require(
          alignment < length,
          "with an alignment of " + alignment + " the data would start past the end of the file");
      return (int) alignment;
    }

    private Info info(long index, int alignment) throws GgufException {
      String name = text("the name of tensor " + index, MOST_NAME_BYTES);
      String tensor = "tensor " + Json.show(name);
      int dimensions = u32("the tensor infos");
      require(
          Integer.compareUnsigned(dimensions, MOST_DIMENSIONS) <= 0,
          tensor
              + " has "
              + Integer.toUnsignedString(dimensions)
              + " dimensions; at most "
              + MOST_DIMENSIONS);
      long[] shape = new long[dimensions];
      for (int i = 0; i < dimensions; i++) {
        shape[dimensions - 1 - i] = u64("the tensor infos");
      }
      int number = u32("the tensor infos");
      long offset = u64("the tensor infos");
      GgufType type = GgufType.of(number);
      require(type != null, tensor + ": " + GgufType.describe(Integer.toUnsignedLong(number)));
      for (long size : shape) {
        require(size >= 0, tensor + " must lie inside the file: dimensions=" + reversed(shape));
      }
      long columns = dimensions == 0 ? 1 : shape[dimensions - 1];
      require(
          columns % type.blockValues() == 0,
          tensor
              + ": rows of "
              + columns
              + " values are not whole blocks of "
              + type.blockValues()
              + ", as "
              + type
              + " has them");
      long bytes = columns / type.blockValues();
      boolean empty = columns == 0;
      for (int i = 0; i < dimensions - 1; i++) {
        empty |= shape[i] == 0;
      }
      for (int i = 0; i < dimensions - 1 && !empty; i++) {
        require(
            bytes <= length / shape[i],
            tensor + " must lie inside the file: dimensions=" + reversed(shape));
        bytes *= shape[i];
      }
      require(
          empty || bytes <= length / type.blockBytes(),
          tensor + " must lie inside the file: dimensions=" + reversed(shape));
      bytes = empty ? 0 : bytes * type.blockBytes();
      require(
          Long.remainderUnsigned(offset, alignment) == 0,
          "the offset "
              + Long.toUnsignedString(offset)
              + " of "
              + tensor
              + " is no multiple of the alignment "
              + alignment);
      return new Info(name, type, shape, bytes, offset);
    }

    private static String reversed(long[] shape) {
      long[] dimensions = new long[shape.length];
      for (int i = 0; i < shape.length; i++) {
        dimensions[i] = shape[shape.length - 1 - i];
      }
      return Arrays.stream(dimensions).mapToObj(Long::toUnsignedString).toList().toString();
    }

    /** Finds each tensor's bytes, which must not overlap. */
    private Map<String, GgufTensor> place(List<Info> infos, int alignment) throws GgufException {
      long start = Math.ceilDiv(at, (long) alignment) * alignment;
      Map<String, GgufTensor> tensors = new LinkedHashMap<>();
      for (Info info : infos) {
        long available = Math.max(0, length - start);
        require(
            Long.compareUnsigned(info.offset, available) <= 0
                && info.bytes <= available - info.offset,
            "tensor "
                + Json.show(info.name)
                + " reaches past the end of the file: offset in the file="
                + Long.toUnsignedString(start + info.offset)
                + ", bytes="
                + info.bytes
                + ", file="
                + length);
        MemorySegment segment =
            info.bytes == 0 ? file.asSlice(0, 0) : file.asSlice(start + info.offset, info.bytes);
        tensors.put(
            info.name, new GgufTensor(info.name, info.type, info.shape, segment.asReadOnly()));
      }
      List<Info> ordered = new ArrayList<>(infos);
      ordered.removeIf(info -> info.bytes == 0);
      ordered.sort(Comparator.comparingLong(Info::offset));
      for (int i = 1; i < ordered.size(); i++) {
        Info before = ordered.get(i - 1);
        Info info = ordered.get(i);
        require(
            before.offset + before.bytes <= info.offset,
            "tensors "
                + Json.show(before.name)
                + " and "
                + Json.show(info.name)
                + " share bytes: end="
                + (before.offset + before.bytes)
                + ", offset="
                + info.offset);
      }
      return tensors;
    }

    // ---- Pieces ----

    private String text(String what, long most) throws GgufException {
      long bytes = u64(what);
      require(
          Long.compareUnsigned(bytes, length - at) <= 0,
          what
              + ", of "
              + Long.toUnsignedString(bytes)
              + " bytes, reaches past the end of the file");
      require(bytes <= most, what + " must have at most " + most + " bytes: it has " + bytes);
      require(bytes <= Integer.MAX_VALUE - 8, what + " is too long: bytes=" + bytes);
      return new String(bytes((int) bytes, what), StandardCharsets.UTF_8);
    }

    private byte[] bytes(int count, String what) throws GgufException {
      need(count, what);
      byte[] bytes = new byte[count];
      MemorySegment.copy(file, ValueLayout.JAVA_BYTE, at, bytes, 0, count);
      at += count;
      return bytes;
    }

    private int u32(String what) throws GgufException {
      need(Integer.BYTES, what);
      int value = file.get(U32, at);
      at += Integer.BYTES;
      return value;
    }

    private long u64(String what) throws GgufException {
      need(Long.BYTES, what);
      long value = file.get(U64, at);
      at += Long.BYTES;
      return value;
    }

    private void need(long bytes, String what) throws GgufException {
      require(bytes <= length - at, "the file ends after " + length + " bytes, inside " + what);
    }

    private void require(boolean condition, String otherwise) throws GgufException {
      if (!condition) {
        throw malformed(otherwise);
      }
    }

    private GgufException malformed(String message) {
      return new GgufException(path + ": " + message);
    }
  }
}
