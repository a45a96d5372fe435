package io.github.attention4j.io;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.FileKind;
import io.github.attention4j.internal.Json;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ThreadLocalRandom;

/**
 * A memory-mapped safetensors file. Its tensors are read-only views of the page cache, so opening a
 * file costs no more than reading its header, whatever its size.
 *
 * <pre>
 *   0           8                    8 + N                                          end of file
 *   +-----------+--------------------+-----------+-----------+--------+-------------+
 *   | N: uint64 | header: N bytes    | tensor 0  | tensor 1  |  ...   | tensor n-1  |
 *   +-----------+--------------------+-----------+-----------+--------+-------------+
 *                                    |&lt;--- data_offsets count from here -----------&gt;|
 *
 *   header = {"__metadata__": {"key": "text", ...},
 *             "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 * </pre>
 *
 * <p>All numbers are little-endian, tensors are contiguous and row-major, and they cover the data
 * from its first byte to its last without holes or overlap.
 *
 * <pre>{@code
 * try (SafeTensors file = SafeTensors.open(Path.of("model.safetensors"))) {
 *   Tensor weight = file.get("lm_head.weight");
 * }
 * }</pre>
 *
 * <p><b>Malformed files.</b> {@link #open(Path, Arena) open} checks the whole header before it maps
 * any data, and throws {@link SafeTensorsException} if anything is wrong; no tensor reaches outside
 * its own range of the file. The one thing that cannot be checked is that another process truncates
 * the file <em>while it is mapped</em>: accessing the lost pages then throws {@link InternalError},
 * or ends the process if native code does it. Replace files by renaming, as {@link #write} does;
 * the old content stays valid for those who have it mapped.
 *
 * <p><b>Other element types</b> (F64, U8, F8_E4M3 …) do not make a file unreadable: their tensors
 * are listed by {@link #names}, and refused only by {@link #get}. {@link #bytes} reads them.
 *
 * <p><b>Alignment.</b> The format does not align tensors. Common writers align them to the size of
 * the elements; in other files a tensor may have any address. {@link Tensor} reads it in either
 * case, but native operations need aligned elements: make a copy with {@link Tensor#toF32}.
 *
 * <p><b>Threads.</b> Safe for any number of threads, if the file was opened without an arena or
 * with a shared one.
 *
 * @see <a href="https://github.com/huggingface/safetensors#format">the format</a>
 */
public final class SafeTensors implements AutoCloseable {
  private static final String METADATA = "__metadata__";

  private static final int LENGTH_BYTES = Long.BYTES;

  /** The format's own limit. */
  private static final long MAX_HEADER_BYTES = 100_000_000;

  /** Data starts at a multiple of this, so that every type is aligned to its size. */
  private static final int HEADER_ALIGNMENT_BYTES = 8;

  private static final long WRITE_CHUNK_BYTES = 1 << 30;

  /** The number of names that a message lists. */
  private static final int SHOWN_NAMES = 50;

  /** The bits of an element of the format's types that {@link DType} does not have. */
  private static final Map<String, Integer> OTHER_TYPES =
      Map.ofEntries(
          Map.entry("F4", 4),
          Map.entry("F6_E2M3", 6),
          Map.entry("F6_E3M2", 6),
          Map.entry("U8", 8),
          Map.entry("F8_E5M2", 8),
          Map.entry("F8_E4M3", 8),
          Map.entry("F8_E8M0", 8),
          Map.entry("I16", 16),
          Map.entry("U16", 16),
          Map.entry("U32", 32),
          Map.entry("F64", 64),
          Map.entry("U64", 64),
          Map.entry("C64", 64));

  private final Path path;
  private final Map<String, Stored> stored;
  private final Map<String, String> metadata;

  /** The arena of the mapping if it belongs to this file, or null. */
  private final Arena ownArena;

  private SafeTensors(
      Path path, Map<String, Stored> stored, Map<String, String> metadata, Arena ownArena) {
    this.path = path;
    this.stored = Collections.unmodifiableMap(stored);
    this.metadata = Collections.unmodifiableMap(metadata);
    this.ownArena = ownArena;
  }

  /** One tensor as the header describes it; begin and end count from the start of the data. */
  @SuppressWarnings("ArrayRecordComponent") // Entries are never compared.
  private record Entry(String name, String dtype, long[] shape, long begin, long end) {}

  /** One tensor of the file; tensor is null if DType does not have its type. */
  private record Stored(Entry entry, MemorySegment bytes, Tensor tensor) {}

  // ---- Reading ----

  /**
   * Maps a file read-only and checks its header. The mapping lives until {@link #close}, and any
   * thread may read it.
   *
   * @param path the file
   * @return the file's tensors; to be closed
   * @throws SafeTensorsException if the file is malformed, or not a safetensors file
   * @throws IOException if the file cannot be read or mapped
   * @throws UnsupportedOperationException if the path's file system cannot map files
   */
  public static SafeTensors open(Path path) throws IOException {
    Objects.requireNonNull(path, "path");
    Arena arena = Arena.ofShared();
    try {
      return open(path, arena, arena);
    } catch (Throwable failure) {
      arena.close();
      throw failure;
    }
  }

  /**
   * Maps a file read-only and checks its header. The mapping lives as long as the arena; {@link
   * #close} does nothing.
   *
   * @param path the file
   * @param arena decides how long the mapping lives, and which threads may read it
   * @return the file's tensors
   * @throws SafeTensorsException if the file is malformed, or not a safetensors file; nothing is
   *     mapped then
   * @throws IOException if the file cannot be read or mapped
   * @throws UnsupportedOperationException if the path's file system cannot map files
   * @throws IllegalStateException if the arena is closed
   * @throws WrongThreadException if the arena is confined to another thread
   */
  public static SafeTensors open(Path path, Arena arena) throws IOException {
    Objects.requireNonNull(path, "path");
    Objects.requireNonNull(arena, "arena");
    return open(path, arena, null);
  }

  private static SafeTensors open(Path path, Arena arena, Arena ownArena) throws IOException {
    requireLittleEndian();
    requireFile(path);
    try (FileChannel channel = FileChannel.open(path, READ)) {
      long fileBytes = channel.size();
      Map<?, ?> header = readHeader(path, channel, fileBytes);
      long dataStart = channel.position();
      Map<String, String> metadata = parseMetadata(path, header.get(METADATA));
      List<Entry> entries = parseEntries(path, header, fileBytes - dataStart);

      MemorySegment mapping = map(path, channel, fileBytes, arena);
      Map<String, Stored> stored = new LinkedHashMap<>();
      for (Entry entry : entries) {
        MemorySegment range =
            mapping.asSlice(dataStart + entry.begin, entry.end - entry.begin).asReadOnly();
        DType dtype = dtypeOrNull(entry.dtype);
        Tensor tensor = dtype == null ? null : Tensor.of(range, dtype, entry.shape);
        stored.put(entry.name, new Stored(entry, range, tensor));
      }
      return new SafeTensors(path, stored, metadata, ownArena);
    }
  }

  private static void requireFile(Path path) throws IOException {
    if (Files.isDirectory(path)) {
      throw new IOException(path + " must be a file: it is a directory");
    }
  }

  private static MemorySegment map(Path path, FileChannel channel, long bytes, Arena arena)
      throws IOException {
    try {
      return channel.map(FileChannel.MapMode.READ_ONLY, 0, bytes, arena);
    } catch (UnsupportedOperationException e) {
      throw new UnsupportedOperationException(
          path
              + ": the file system \""
              + path.getFileSystem().provider().getScheme()
              + "\" cannot map files into memory; copy the file to the default file system first",
          e);
    }
  }

  /**
   * Ends the mapping if the file was opened without an arena; its tensors can no longer be used.
   * Closing twice has no effect.
   *
   * @throws IllegalStateException if a native call is reading a tensor of the file; it stays open
   */
  @Override
  public synchronized void close() {
    if (ownArena != null && ownArena.scope().isAlive()) {
      ownArena.close();
    }
  }

  /**
   * Returns the names of all tensors.
   *
   * @return an unmodifiable set in the order of the data in the file
   */
  public Set<String> names() {
    return stored.keySet();
  }

  /**
   * Tells whether the file has a tensor of this name, of whatever type.
   *
   * @param name the name as spelled in the file
   * @return true if it is one of {@link #names}
   */
  public boolean contains(String name) {
    return stored.containsKey(Objects.requireNonNull(name, "name"));
  }

  /**
   * Returns a tensor of the file. Its segment is exactly its range of the file; nothing is read
   * until its elements are accessed.
   *
   * @param name the name as spelled in the file
   * @return a contiguous read-only tensor that lives as long as the mapping
   * @throws IllegalArgumentException if there is no such tensor (the message lists the names), or
   *     {@link DType} does not have its type
   */
  public Tensor get(String name) {
    Stored found = find(name);
    if (found.tensor == null) {
      throw new IllegalArgumentException(
          path
              + ": "
              + tensor(name)
              + " must have one of the dtypes "
              + Arrays.toString(DType.values())
              + " to be read: dtype="
              + found.entry.dtype);
    }
    return found.tensor;
  }

  /**
   * Returns the element type of a tensor, as spelled in the file.
   *
   * @param name the name as spelled in the file
   * @return the name of a {@link DType}, or of another type such as {@code F64} or {@code F8_E4M3}
   * @throws IllegalArgumentException if there is no such tensor
   */
  public String typeOf(String name) {
    return find(name).entry.dtype;
  }

  /**
   * Returns the shape of a tensor of any type.
   *
   * @param name the name as spelled in the file
   * @return a copy of the sizes
   * @throws IllegalArgumentException if there is no such tensor
   */
  public long[] shapeOf(String name) {
    return find(name).entry.shape.clone();
  }

  /**
   * Returns the bytes of a tensor of any type.
   *
   * @param name the name as spelled in the file
   * @return its range of the file, read-only, alive as long as the mapping
   * @throws IllegalArgumentException if there is no such tensor
   */
  public MemorySegment bytes(String name) {
    return find(name).bytes;
  }

  private Stored find(String name) {
    Stored found = stored.get(Objects.requireNonNull(name, "name"));
    if (found == null) {
      throw new IllegalArgumentException(
          path + " has no tensor " + Json.show(name) + "; it has " + listNames());
    }
    return found;
  }

  /**
   * Returns the metadata: texts that the writer added.
   *
   * @return an unmodifiable map in the file's order, empty if there are none
   */
  public Map<String, String> metadata() {
    return metadata;
  }

  /**
   * Describes the file by its path and its number of tensors.
   *
   * @return for example {@code model.safetensors (42 tensors)}
   */
  @Override
  public String toString() {
    return path + " (" + stored.size() + " tensors)";
  }

  private String listNames() {
    if (stored.isEmpty()) {
      return "no tensors";
    }
    List<String> shown = stored.keySet().stream().limit(SHOWN_NAMES).map(Json::show).toList();
    int more = stored.size() - shown.size();
    return String.join(", ", shown) + (more > 0 ? " and " + more + " more" : "");
  }

  /** Leaves the channel at the first byte of the data. */
  private static Map<?, ?> readHeader(Path path, FileChannel channel, long fileBytes)
      throws IOException {
    if (fileBytes < LENGTH_BYTES) {
      throw notSafeTensors(
          channel, path, "file must have at least " + LENGTH_BYTES + " bytes: file=" + fileBytes);
    }
    long headerBytes = readFully(path, channel, LENGTH_BYTES).getLong();
    if (Long.compareUnsigned(headerBytes, MAX_HEADER_BYTES) > 0) {
      throw notSafeTensors(
          channel,
          path,
          "header must have at most "
              + MAX_HEADER_BYTES
              + " bytes: header="
              + Long.toUnsignedString(headerBytes));
    }
    if (headerBytes > fileBytes - LENGTH_BYTES) {
      throw notSafeTensors(
          channel,
          path,
          "header must end inside the file: header="
              + headerBytes
              + ", bytes after its length="
              + (fileBytes - LENGTH_BYTES));
    }
    byte[] bytes = readFully(path, channel, (int) headerBytes).array();
    if (bytes.length == 0 || bytes[0] != '{') {
      throw notSafeTensors(
          channel,
          path,
          "header must begin with '{': "
              + (bytes.length == 0 ? "it is empty" : "first byte=" + (bytes[0] & 0xff)));
    }
    try {
      return (Map<?, ?>) Json.parse(bytes);
    } catch (Json.MalformedException e) {
      throw new SafeTensorsException(path + ": header must be valid JSON: " + e.getMessage(), e);
    }
  }

  /** Says what the file is, if that is recognised, or else what is wrong with its header. */
  private static SafeTensorsException notSafeTensors(FileChannel channel, Path path, String message)
      throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(FileKind.PREFIX_BYTES);
    while (buffer.hasRemaining() && channel.read(buffer, buffer.position()) >= 0) {
      // Reads on until the prefix is complete or the file ends.
    }
    String kind = FileKind.of(Arrays.copyOf(buffer.array(), buffer.position()));
    boolean other = kind != null && !kind.equals(FileKind.SAFETENSORS);
    return malformed(path, other ? "file must be a safetensors file: it is " + kind : message);
  }

  private static ByteBuffer readFully(Path path, FileChannel channel, int bytes)
      throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    while (buffer.hasRemaining()) {
      if (channel.read(buffer) < 0) {
        throw new EOFException(path + ": file became shorter while its header was read");
      }
    }
    return buffer.flip();
  }

  private static Map<String, String> parseMetadata(Path path, Object value)
      throws SafeTensorsException {
    Map<String, String> metadata = new LinkedHashMap<>();
    if (value == null) {
      return metadata;
    }
    if (!(value instanceof Map<?, ?> members)) {
      throw malformed(path, METADATA + " must be an object: it is " + Json.show(value));
    }
    for (Map.Entry<?, ?> member : members.entrySet()) {
      if (!(member.getValue() instanceof String text)) {
        throw malformed(
            path,
            METADATA
                + "["
                + Json.show(member.getKey())
                + "] must be a string: it is "
                + Json.show(member.getValue()));
      }
      metadata.put((String) member.getKey(), text);
    }
    return metadata;
  }

  /** Returns the entries in the order of their data. */
  private static List<Entry> parseEntries(Path path, Map<?, ?> header, long dataBytes)
      throws SafeTensorsException {
    List<Entry> entries = new ArrayList<>();
    for (Map.Entry<?, ?> member : header.entrySet()) {
      if (!member.getKey().equals(METADATA)) {
        entries.add(parseEntry(path, (String) member.getKey(), member.getValue(), dataBytes));
      }
    }
    entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
    long covered = 0;
    String previous = null;
    for (Entry entry : entries) {
      if (entry.begin < covered) {
        throw malformed(
            path,
            tensor(entry.name)
                + " must not overlap "
                + tensor(previous)
                + ": begin="
                + entry.begin
                + ", end of the other="
                + covered);
      }
      if (entry.begin > covered) {
        throw malformed(
            path,
            "data must have no holes: "
                + tensor(entry.name)
                + " begins at "
                + entry.begin
                + ", data before it ends at "
                + covered);
      }
      covered = entry.end;
      previous = entry.name;
    }
    if (covered != dataBytes) {
      throw malformed(
          path,
          "data must end with the last tensor: end of tensors="
              + covered
              + ", end of data="
              + dataBytes);
    }
    return entries;
  }

  private static Entry parseEntry(Path path, String name, Object value, long dataBytes)
      throws SafeTensorsException {
    if (!(value instanceof Map<?, ?> members)) {
      throw malformed(path, tensor(name) + " must be an object: it is " + Json.show(value));
    }
    if (!(members.get("dtype") instanceof String dtype) || elementBits(dtype) == 0) {
      throw malformed(
          path,
          tensor(name)
              + " must have one of the dtypes "
              + Arrays.toString(DType.values())
              + " or "
              + new TreeSet<>(OTHER_TYPES.keySet())
              + ": dtype="
              + Json.show(members.get("dtype")));
    }
    long[] shape = parseLongs(path, name, "shape", members.get("shape"));
    long[] range = parseLongs(path, name, "data_offsets", members.get("data_offsets"));
    if (range.length != 2) {
      throw malformed(
          path, tensor(name) + " must have 2 data_offsets: data_offsets=" + range.length);
    }
    long begin = range[0];
    long end = range[1];
    if (begin > end || end > dataBytes) {
      throw malformed(
          path,
          tensor(name)
              + " must lie inside the data: data_offsets="
              + Arrays.toString(range)
              + ", data="
              + dataBytes
              + " bytes");
    }
    long bytes = byteSize(path, name, dtype, shape);
    if (bytes != end - begin) {
      throw malformed(
          path,
          tensor(name)
              + " must have as many bytes as its shape says: "
              + dtype
              + show(shape)
              + " needs "
              + bytes
              + ", data_offsets="
              + Arrays.toString(range)
              + " hold "
              + (end - begin));
    }
    return new Entry(name, dtype, shape, begin, end);
  }

  /** The type of this name, or null if {@link DType} does not have it. */
  private static DType dtypeOrNull(String name) {
    for (DType dtype : DType.values()) {
      if (dtype.name().equals(name)) {
        return dtype;
      }
    }
    return null;
  }

  /** The bits of an element, or 0 if the format has no such type. */
  private static int elementBits(String name) {
    DType dtype = dtypeOrNull(name);
    return dtype != null ? dtype.bytes() * Byte.SIZE : OTHER_TYPES.getOrDefault(name, 0);
  }

  private static long[] parseLongs(Path path, String name, String field, Object value)
      throws SafeTensorsException {
    if (!(value instanceof List<?> list)) {
      throw malformed(
          path, tensor(name) + " must have a list " + field + ": it is " + Json.show(value));
    }
    long[] numbers = new long[list.size()];
    for (int i = 0; i < numbers.length; i++) {
      if (!(list.get(i) instanceof Long number) || number < 0) {
        throw malformed(
            path,
            tensor(name)
                + " must have integers from 0 to 2^63-1 in "
                + field
                + ": "
                + field
                + "["
                + i
                + "]="
                + Json.show(list.get(i)));
      }
      numbers[i] = number;
    }
    return numbers;
  }

  /**
   * The bytes of a tensor. Zeros count as ones when checking for overflow, as in {@link Tensor}.
   */
  private static long byteSize(Path path, String name, String dtype, long[] shape)
      throws SafeTensorsException {
    int elementBits = elementBits(dtype);
    boolean wholeBytes = elementBits % Byte.SIZE == 0;
    long product = wholeBytes ? elementBits / Byte.SIZE : elementBits;
    boolean empty = false;
    for (long size : shape) {
      empty |= size == 0;
      if (product > Long.MAX_VALUE / Math.max(size, 1)) {
        throw malformed(
            path,
            tensor(name)
                + " must have a size of at most 2^63-1 "
                + (wholeBytes ? "bytes" : "bits")
                + ": shape="
                + show(shape)
                + ", dtype="
                + dtype);
      }
      product *= Math.max(size, 1);
    }
    if (empty || wholeBytes) {
      return empty ? 0 : product;
    }
    if (product % Byte.SIZE != 0) {
      throw malformed(
          path,
          tensor(name)
              + " must end at a whole byte: "
              + dtype
              + show(shape)
              + " has "
              + product
              + " bits");
    }
    return product / Byte.SIZE;
  }

  private static String tensor(String name) {
    return "tensor " + Json.show(name);
  }

  /** Abridges the shape, since a malicious header may have millions of dimensions. */
  private static String show(long[] shape) {
    return shape.length <= 16
        ? Arrays.toString(shape)
        : Arrays.toString(Arrays.copyOf(shape, 16)) + "… of rank " + shape.length;
  }

  private static SafeTensorsException malformed(Path path, String message) {
    return new SafeTensorsException(path + ": " + message);
  }

  // ---- Writing ----

  /**
   * Writes tensors to a safetensors file. The bytes depend only on the content, not on the order of
   * the maps: tensors are sorted by element type, largest first, then by name, so that every tensor
   * is aligned to the size of its elements.
   *
   * <p>The file appears complete or not at all: it is written to the same directory under a
   * temporary name, forced to disk, and then renamed to its final name, replacing any file there (a
   * symbolic link is replaced, not followed).
   *
   * @param path the file, created or replaced
   * @param tensors the tensors by name, with any strides. Not modified.
   * @param metadata texts to add, empty for none. Not modified.
   * @throws IllegalArgumentException if a tensor is named {@code __metadata__}, a name or text is
   *     not valid Unicode (has half of a surrogate pair), or the header would exceed 100,000,000
   *     bytes
   * @throws IOException if the file cannot be written; the temporary file is deleted
   */
  public static void write(Path path, Map<String, Tensor> tensors, Map<String, String> metadata)
      throws IOException {
    Objects.requireNonNull(path, "path");
    Objects.requireNonNull(tensors, "tensors");
    Objects.requireNonNull(metadata, "metadata");
    requireLittleEndian();
    List<Map.Entry<String, Tensor>> ordered = inFileOrder(tensors);
    ByteBuffer header = encodeHeader(ordered, metadata);

    Path absolute = path.toAbsolutePath();
    requireFile(absolute);
    String unique = Long.toHexString(ThreadLocalRandom.current().nextLong());
    Path temporary = absolute.resolveSibling(".safetensors-" + unique + ".tmp");
    try {
      try (FileChannel channel = FileChannel.open(temporary, CREATE_NEW, WRITE)) {
        writeFully(channel, header);
        for (Map.Entry<String, Tensor> entry : ordered) {
          writeTensor(channel, entry.getValue());
        }
        channel.force(true);
      }
      Files.move(temporary, absolute, ATOMIC_MOVE);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  private static List<Map.Entry<String, Tensor>> inFileOrder(Map<String, Tensor> tensors) {
    List<Map.Entry<String, Tensor>> ordered = new ArrayList<>();
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      String name = Objects.requireNonNull(entry.getKey(), "name of a tensor");
      Tensor tensor = Objects.requireNonNull(entry.getValue(), () -> tensor(name));
      if (name.equals(METADATA)) {
        throw new IllegalArgumentException(
            "a tensor must not be named "
                + METADATA
                + ": the format reserves that name for metadata");
      }
      ordered.add(Map.entry(name, tensor));
    }
    ordered.sort(
        Comparator.comparingInt((Map.Entry<String, Tensor> e) -> -e.getValue().dtype().bytes())
            .thenComparing(Map.Entry::getKey));
    return ordered;
  }

  private static Map<String, String> inOrderOfKeys(Map<String, String> metadata) {
    Map<String, String> ordered = new TreeMap<>();
    metadata.forEach(
        (key, text) -> {
          Objects.requireNonNull(key, "name of a text in metadata");
          ordered.put(key, Objects.requireNonNull(text, () -> "metadata[" + Json.show(key) + "]"));
        });
    return ordered;
  }

  /** Returns the length, the header, and spaces up to the next multiple of 8. */
  private static ByteBuffer encodeHeader(
      List<Map.Entry<String, Tensor>> ordered, Map<String, String> metadata) {
    List<String> members = new ArrayList<>();
    if (!metadata.isEmpty()) {
      List<String> texts = new ArrayList<>();
      for (Map.Entry<String, String> entry : inOrderOfKeys(metadata).entrySet()) {
        texts.add(Json.quote(entry.getKey()) + ":" + Json.quote(entry.getValue()));
      }
      members.add(Json.quote(METADATA) + ":{" + String.join(",", texts) + "}");
    }
    long begin = 0;
    for (Map.Entry<String, Tensor> entry : ordered) {
      Tensor tensor = entry.getValue();
      long end = begin + tensor.count() * tensor.dtype().bytes();
      String shape = Arrays.toString(tensor.shape()).replace(" ", "");
      members.add(
          Json.quote(entry.getKey())
              + ":{\"dtype\":\""
              + tensor.dtype()
              + "\",\"shape\":"
              + shape
              + ",\"data_offsets\":["
              + begin
              + ","
              + end
              + "]}");
      begin = end;
    }
    ByteBuffer json = encodeUtf8("{" + String.join(",", members) + "}");
    int padding = -json.remaining() & (HEADER_ALIGNMENT_BYTES - 1);
    int headerBytes = json.remaining() + padding;
    if (headerBytes > MAX_HEADER_BYTES) {
      throw new IllegalArgumentException(
          "header must have at most " + MAX_HEADER_BYTES + " bytes: header=" + headerBytes);
    }
    ByteBuffer header =
        ByteBuffer.allocate(LENGTH_BYTES + headerBytes)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(headerBytes)
            .put(json);
    while (header.hasRemaining()) {
      header.put((byte) ' ');
    }
    return header.flip();
  }

  private static ByteBuffer encodeUtf8(String text) {
    try {
      return StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(text));
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException(
          "names and metadata must be valid Unicode: one has half of a surrogate pair", e);
    }
  }

  private static void writeTensor(FileChannel channel, Tensor tensor) throws IOException {
    if (!tensor.isContiguous()) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor packed = Tensor.allocate(arena, tensor.dtype(), tensor.shape()).copyFrom(tensor);
        writeTensor(channel, packed);
      }
      return;
    }
    int elementBytes = tensor.dtype().bytes();
    long at = tensor.offset() * elementBytes;
    long end = at + tensor.count() * elementBytes;
    while (at < end) {
      long bytes = Math.min(end - at, WRITE_CHUNK_BYTES);
      writeFully(channel, tensor.segment().asSlice(at, bytes).asByteBuffer());
      at += bytes;
    }
  }

  private static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }

  /** Mapped elements are used in place. */
  private static void requireLittleEndian() {
    if (ByteOrder.nativeOrder() != ByteOrder.LITTLE_ENDIAN) {
      throw new UnsupportedOperationException("safetensors files need a little-endian platform");
    }
  }
}
