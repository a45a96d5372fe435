package io.github.attention4j.io;

import static io.github.attention4j.DType.BF16;
import static io.github.attention4j.DType.BOOL;
import static io.github.attention4j.DType.F16;
import static io.github.attention4j.DType.F32;
import static io.github.attention4j.DType.I32;
import static io.github.attention4j.DType.I64;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafeTensorsTest {
  private static final List<DType> TYPES = List.of(DType.values());
  private static final int FUZZ_ROUNDS = 20_000;
  private static final int FUZZ_SAMPLES = 40;

  @TempDir private Path directory;

  private final Arena arena = Arena.ofConfined();

  @AfterEach
  void closeArena() {
    arena.close();
  }

  // ---- Reading ----

  @Test
  void shouldReadEveryType() throws IOException {
    ByteBuffer data = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN);
    data.putLong(-5).putLong(1L << 40); // i64[2]
    data.putFloat(1.5f).putFloat(-2); // f32[2, 1]
    data.putInt(7); // i32 scalar
    data.putShort((short) 0x3fc0).putShort((short) 0x3e00); // bf16[1], f16[1]
    data.put(new byte[] {1, 0, 1}); // bool[3]
    data.flip();
    Path path =
        file(
            "{\"i64\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                + "\"f32\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[16,24]},"
                + "\"i32\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[24,28]},"
                + "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[28,30]},"
                + "\"f16\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[30,32]},"
                + "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[32,35]}}",
            Arrays.copyOf(data.array(), data.limit()));

    SafeTensors file = SafeTensors.open(path, arena);

    assertEquals(List.of("i64", "f32", "i32", "bf16", "f16", "bool"), List.copyOf(file.names()));
    assertEquals(-5, file.get("i64").getInt(0));
    assertEquals(1L << 40, file.get("i64").segment().get(ValueLayout.JAVA_LONG_UNALIGNED, 8));
    assertArrayEquals(new float[] {1.5f, -2}, file.get("f32").toFloatArray());
    assertArrayEquals(new long[] {2, 1}, file.get("f32").shape());
    assertEquals(7, file.get("i32").getInt());
    assertEquals(1.5f, file.get("bf16").getFloat(0));
    assertEquals(1.5f, file.get("f16").getFloat(0));
    assertTrue(file.get("bool").getBoolean(2));
    assertFalse(file.get("bool").getBoolean(1));
    assertTrue(file.contains("f32"));
    assertFalse(file.contains("f33"));
    assertEquals(Map.of(), file.metadata());
    assertEquals(path + " (6 tensors)", file.toString());
  }

  @Test
  void shouldNameTensorsInTheOrderOfTheirData() throws IOException {
    Path path =
        file(
            "{\"b\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[2,3]},"
                + "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[2,2]},"
                + "\"a\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}",
            new byte[3]);

    SafeTensors file = SafeTensors.open(path, arena);

    assertEquals(List.of("a", "empty", "b"), List.copyOf(file.names()));
    assertEquals(0, file.get("empty").count());
    assertThrows(UnsupportedOperationException.class, () -> file.names().remove("a"));
  }

  @Test
  void shouldReadMisalignedTensors() throws IOException {
    byte[] data = new byte[1 + 8];
    ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).put((byte) 1).putFloat(3).putFloat(-4);
    Path path =
        file(
            "{\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]},"
                + "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}",
            data);

    Tensor x = SafeTensors.open(path, arena).get("x");

    assertEquals(-4, x.getFloat(1));
    assertArrayEquals(new float[] {3, -4}, x.toFloatArray());
    assertEquals(0, x.toF32(arena).segment().address() % 64);
  }

  @Test
  void shouldGiveEachTensorExactlyItsRangeReadOnly() throws IOException {
    Path path = directory.resolve("two");
    Tensor ones = Tensor.allocate(arena, F32, 2, 3).fill(1);
    SafeTensors.write(path, Map.of("a", ones, "b", ones), Map.of());

    Tensor a = SafeTensors.open(path, arena).get("a");

    assertEquals(24, a.segment().byteSize());
    assertEquals(0, a.offset());
    assertTrue(a.isContiguous());
    assertTrue(a.segment().isReadOnly());
    assertTrue(a.segment().isMapped());
    assertEquals(
        "tensor must not be read-only to be written: F32[2, 3]",
        assertThrows(IllegalStateException.class, () -> a.fill(0)).getMessage());
  }

  @Test
  void shouldReadFileWithoutTensors() throws IOException {
    SafeTensors none = SafeTensors.open(file("{}", new byte[0]), arena);
    assertTrue(none.names().isEmpty());
    SafeTensors texts =
        SafeTensors.open(
            file("{\"__metadata__\":{\"b\":\"1\",\"a\":\"é\"}}  ", new byte[0]), arena);
    assertTrue(texts.names().isEmpty());
    assertEquals(List.of("b", "a"), List.copyOf(texts.metadata().keySet()));
    assertEquals("é", texts.metadata().get("a"));
    assertThrows(UnsupportedOperationException.class, () -> texts.metadata().clear());
    assertEquals(
        texts.toString().replace(" (0 tensors)", "") + " has no tensor \"x\"; it has no tensors",
        assertThrows(IllegalArgumentException.class, () -> texts.get("x")).getMessage());
  }

  @Test
  void shouldListWhatExistsWhenAskedForATensorThatDoesNot() throws IOException {
    Tensor tensor = Tensor.allocate(arena, F32, 1);
    Path few = directory.resolve("few");
    SafeTensors.write(few, Map.of("b", tensor, "a", tensor), Map.of());
    SafeTensors file = SafeTensors.open(few, arena);
    assertEquals(
        few + " has no tensor \"c\"; it has \"a\", \"b\"",
        assertThrows(IllegalArgumentException.class, () -> file.get("c")).getMessage());

    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (int i = 100; i < 200; i++) {
      tensors.put("layer" + i, tensor);
    }
    Path many = directory.resolve("many");
    SafeTensors.write(many, tensors, Map.of());
    SafeTensors large = SafeTensors.open(many, arena);
    String message =
        assertThrows(IllegalArgumentException.class, () -> large.get("c")).getMessage();
    assertTrue(message.endsWith("\"layer148\", \"layer149\" and 50 more"), message);
  }

  @Test
  void shouldRefuseNullByName() throws IOException {
    SafeTensors file = SafeTensors.open(file("{}", new byte[0]), arena);
    Path path = directory.resolve("x");
    assertNull("path", () -> SafeTensors.open(null, arena));
    assertNull("arena", () -> SafeTensors.open(path, null));
    assertNull("name", () -> file.get(null));
    assertNull("name", () -> file.contains(null));
    assertNull("path", () -> SafeTensors.write(null, Map.of(), Map.of()));
    assertNull("tensors", () -> SafeTensors.write(path, null, Map.of()));
    assertNull("metadata", () -> SafeTensors.write(path, Map.of(), null));
    Map<String, Tensor> nullTensor = new LinkedHashMap<>();
    nullTensor.put("a", null);
    assertNull("tensor \"a\"", () -> SafeTensors.write(path, nullTensor, Map.of()));
    Map<String, Tensor> nullName = new LinkedHashMap<>();
    nullName.put(null, Tensor.allocate(arena, F32));
    assertNull("name of a tensor", () -> SafeTensors.write(path, nullName, Map.of()));
    Map<String, String> nullText = new LinkedHashMap<>();
    nullText.put("a", null);
    assertNull("metadata[\"a\"]", () -> SafeTensors.write(path, Map.of(), nullText));
    Map<String, String> nullKey = new LinkedHashMap<>();
    nullKey.put(null, "a");
    assertNull("name of a text in metadata", () -> SafeTensors.write(path, Map.of(), nullKey));
    assertFalse(Files.exists(path));
  }

  @Test
  void shouldPassOnWhatTheFileSystemSays() {
    assertThrows(
        NoSuchFileException.class, () -> SafeTensors.open(directory.resolve("absent"), arena));
    assertThrows(IOException.class, () -> SafeTensors.open(directory, arena));
  }

  @Test
  void shouldRefuseClosedArenaOnOpeningAndOnReading() throws IOException {
    Path path = directory.resolve("x");
    SafeTensors.write(path, Map.of("a", Tensor.allocate(arena, F32, 1)), Map.of());
    Arena closed = Arena.ofConfined();
    Tensor a = SafeTensors.open(path, closed).get("a");
    closed.close();

    assertEquals(
        "Already closed",
        assertThrows(IllegalStateException.class, () -> SafeTensors.open(path, closed))
            .getMessage());
    assertEquals(
        "Already closed",
        assertThrows(IllegalStateException.class, () -> a.getFloat(0)).getMessage());
  }

  // ---- Element types that DType does not have ----

  @ParameterizedTest
  @CsvSource({
    "F64, 8",
    "U64, 8",
    "C64, 8",
    "U32, 4",
    "U16, 2",
    "I16, 2",
    "U8, 1",
    "F8_E4M3, 1",
    "F8_E5M2, 1",
    "F8_E8M0, 1",
    "F6_E2M3, 0.75",
    "F6_E3M2, 0.75",
    "F4, 0.5"
  })
  void shouldRefuseOtherTypesOnlyWhenTheyAreTouched(String dtype, double elementBytes)
      throws IOException {
    int bytes = (int) (4 * elementBytes);
    byte[] data = new byte[8 + bytes];
    ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).putFloat(1.5f).putFloat(-2);
    data[8] = 42;
    Path path =
        file(
            "{\"good\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"other\":{\"dtype\":\""
                + dtype
                + "\",\"shape\":[2,2],\"data_offsets\":[8,"
                + data.length
                + "]}}",
            data);
    SafeTensors file = SafeTensors.open(path, arena);
    assertEquals(List.of("good", "other"), List.copyOf(file.names()));
    assertArrayEquals(new float[] {1.5f, -2}, file.get("good").toFloatArray());
    assertEquals("F32", file.typeOf("good"));
    assertTrue(file.contains("other"));
    assertEquals(dtype, file.typeOf("other"));
    assertEquals(bytes, file.bytes("other").byteSize());
    assertEquals(42, file.bytes("other").get(ValueLayout.JAVA_BYTE, 0));
    assertTrue(file.bytes("other").isReadOnly());
    assertEquals(
        path
            + ": tensor \"other\" must have one of the dtypes [F32, BF16, F16, I32, I64, I8, BOOL]"
            + " to be read: dtype="
            + dtype,
        assertThrows(IllegalArgumentException.class, () -> file.get("other")).getMessage());
  }

  // ---- Closing ----

  @Test
  void shouldEndItsOwnMapping() throws IOException {
    Path path = sample(new Random(9));
    Tensor tensor;
    SafeTensors file = SafeTensors.open(path);
    try (file) {
      tensor = file.get(file.names().iterator().next());
      assertTrue(tensor.segment().isAccessibleBy(new Thread(() -> {})));
    }
    assertFalse(tensor.segment().scope().isAlive());
    file.close();
    Path malformed = directory.resolve("malformed");
    Files.write(malformed, new byte[4]);
    assertThrows(SafeTensorsException.class, () -> SafeTensors.open(malformed));
  }

  @Test
  void shouldNotCloseTheCallersArena() throws IOException {
    Path path = sample(new Random(9));
    try (SafeTensors file = SafeTensors.open(path, arena)) {
      assertFalse(file.names().isEmpty());
    }
    assertTrue(arena.scope().isAlive());
  }

  // ---- Files of other kinds ----

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          version https://git-lfs.github.com/spec/v1\\noid sha256:4d7a | a Git LFS pointer, not the content (run: git lfs pull)
          <!DOCTYPE html>\\n<html><head><title>404        | an HTML page, perhaps the error page of a failed download
          <html lang="en">                               | an HTML page, perhaps the error page of a failed download
          <?xml version="1.0"?><Error>                   | an XML document, perhaps the error of a failed download
          PK\\3\\4\\24\\0\\0\\0\\0\\0                           | a zip archive, such as a PyTorch checkpoint (pytorch_model.bin)
          GGUF\\3\\0\\0\\0\\42\\0\\0\\0                          | a GGUF file
          \\200\\2ctorch._utils\\n                          | a Python pickle, such as an old PyTorch checkpoint
          \\37\\213\\10\\0\\0\\0\\0\\0                           | a gzip archive
          \\211HDF\\15\\12\\32\\12\\0                          | an HDF5 file, such as a Keras checkpoint
          {"metadata":{"total_size":1},"weight_map":{}}  | JSON text, such as config.json or model.safetensors.index.json
          GGUF                                           | a GGUF file
          """)
  void shouldSayWhatAFileIs(String content, String kind) throws IOException {
    Path path = directory.resolve("model.safetensors");
    Files.write(path, content.translateEscapes().getBytes(StandardCharsets.ISO_8859_1));
    assertMalformed("file must be a safetensors file: it is " + kind, path);
  }

  @Test
  void shouldSayThatAFileIsFilledWithZeros() throws IOException {
    Path path = directory.resolve("model.safetensors");
    Files.write(path, new byte[1000]);
    assertMalformed(
        "file must be a safetensors file: it is filled with zeros, perhaps an unfinished download",
        path);
  }

  @Test
  void shouldSayThatFilesInsideArchivesCannotBeMapped() throws IOException {
    Path zip = directory.resolve("models.zip");
    try (FileSystem archive = FileSystems.newFileSystem(zip, Map.of("create", "true"))) {
      Path inside = archive.getPath("/model.safetensors");
      Files.copy(sample(new Random(9)), inside);
      assertEquals(
          "/model.safetensors: the file system \"jar\" cannot map files into memory; copy the file"
              + " to the default file system first",
          assertThrows(UnsupportedOperationException.class, () -> SafeTensors.open(inside, arena))
              .getMessage());
    }
  }

  // ---- Malformed files, each with its own message and 16 bytes of data ----

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}} \
            | tensor "b" must not overlap tensor "a": begin=4, end of the other=8
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}} \
            | tensor "b" must not overlap tensor "a": begin=0, end of the other=16
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}} \
            | tensor "b" must not overlap tensor "a": begin=4, end of the other=16
          {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}} \
            | data must have no holes: tensor "b" begins at 8, data before it ends at 4
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}} \
            | data must have no holes: tensor "a" begins at 8, data before it ends at 0
          {"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}} \
            | data must end with the last tensor: end of tensors=12, end of data=16
          {} \
            | data must end with the last tensor: end of tensors=0, end of data=16
          {"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}} \
            | tensor "a" must lie inside the data: data_offsets=[0, 20], data=16 bytes
          {"a":{"dtype":"F32","shape":[0],"data_offsets":[20,20]}} \
            | tensor "a" must lie inside the data: data_offsets=[20, 20], data=16 bytes
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}} \
            | tensor "a" must lie inside the data: data_offsets=[16, 0], data=16 bytes
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,9223372036854775807]}} \
            | tensor "a" must lie inside the data: data_offsets=[0, 9223372036854775807], data=16 bytes
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in data_offsets: data_offsets[0]=-16
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551632]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in data_offsets: data_offsets[1]=1.8446744073709552E19
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16.0]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in data_offsets: data_offsets[1]=16.0
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,"16"]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in data_offsets: data_offsets[1]="16"
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}} \
            | tensor "a" must have 2 data_offsets: data_offsets=1
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8,16]}} \
            | tensor "a" must have 2 data_offsets: data_offsets=3
          {"a":{"dtype":"F32","shape":[4],"data_offsets":16}} \
            | tensor "a" must have a list data_offsets: it is 16
          {"a":{"dtype":"F32","shape":[4]}} \
            | tensor "a" must have a list data_offsets: it is null
          {"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}} \
            | tensor "a" must have as many bytes as its shape says: F32[3] needs 12, data_offsets=[0, 16] hold 16
          {"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,16]}} \
            | tensor "a" must have as many bytes as its shape says: F16[2, 2] needs 8, data_offsets=[0, 16] hold 16
          {"a":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,16]}} \
            | tensor "a" must have a size of at most 2^63-1 bytes: shape=[4294967296, 4294967297], dtype=F32
          {"a":{"dtype":"F32","shape":[4611686018427387908],"data_offsets":[0,16]}} \
            | tensor "a" must have a size of at most 2^63-1 bytes: shape=[4611686018427387908], dtype=F32
          {"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}} \
            | tensor "a" must have a size of at most 2^63-1 bytes: shape=[0, 9223372036854775807], dtype=F32
          {"a":{"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in shape: shape[0]=-2
          {"a":{"dtype":"F32","shape":[4,null],"data_offsets":[0,16]}} \
            | tensor "a" must have integers from 0 to 2^63-1 in shape: shape[1]=null
          {"a":{"dtype":"F32","data_offsets":[0,16]}} \
            | tensor "a" must have a list shape: it is null
          {"a":{"dtype":"F64","shape":[3],"data_offsets":[0,16]}} \
            | tensor "a" must have as many bytes as its shape says: F64[3] needs 24, data_offsets=[0, 16] hold 16
          {"a":{"dtype":"F6_E2M3","shape":[21],"data_offsets":[0,16]}} \
            | tensor "a" must end at a whole byte: F6_E2M3[21] has 126 bits
          {"a":{"dtype":"F4","shape":[4611686018427387904],"data_offsets":[0,16]}} \
            | tensor "a" must have a size of at most 2^63-1 bits: shape=[4611686018427387904], dtype=F4
          {"a":{"dtype":7,"shape":[4],"data_offsets":[0,16]}} \
            | tensor "a" must have one of the dtypes [F32, BF16, F16, I32, I64, I8, BOOL] or [C64, F4, F64, F6_E2M3, F6_E3M2, F8_E4M3, F8_E5M2, F8_E8M0, I16, U16, U32, U64, U8]: dtype=7
          {"a":{"shape":[4],"data_offsets":[0,16]}} \
            | tensor "a" must have one of the dtypes [F32, BF16, F16, I32, I64, I8, BOOL] or [C64, F4, F64, F6_E2M3, F6_E3M2, F8_E4M3, F8_E5M2, F8_E8M0, I16, U16, U32, U64, U8]: dtype=null
          {"a":{"dtype":"F65","shape":[2],"data_offsets":[0,16]}} \
            | tensor "a" must have one of the dtypes [F32, BF16, F16, I32, I64, I8, BOOL] or [C64, F4, F64, F6_E2M3, F6_E3M2, F8_E4M3, F8_E5M2, F8_E8M0, I16, U16, U32, U64, U8]: dtype="F65"
          {"a":{"dtype":"f32","shape":[4],"data_offsets":[0,16]}} \
            | tensor "a" must have one of the dtypes [F32, BF16, F16, I32, I64, I8, BOOL] or [C64, F4, F64, F6_E2M3, F6_E3M2, F8_E4M3, F8_E5M2, F8_E8M0, I16, U16, U32, U64, U8]: dtype="f32"
          {"a":[0,16]} \
            | tensor "a" must be an object: it is a list of 2 values
          {"a":null} \
            | tensor "a" must be an object: it is null
          {"__metadata__":"x"} \
            | __metadata__ must be an object: it is "x"
          {"__metadata__":{"k":1}} \
            | __metadata__["k"] must be a string: it is 1
          {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}} \
            | header must be valid JSON: names in an object must differ: "a" again at character 55
          {"a":{"dtype":"F32","dtype":"I32","shape":[4],"data_offsets":[0,16]}} \
            | header must be valid JSON: names in an object must differ: "dtype" again at character 20
          {"a" \
            | header must be valid JSON: expected ':' but got the end at character 4
          {} x \
            | header must be valid JSON: expected the end but got 'x' at character 3
          [] \
            | header must begin with '{': first byte=91
          "a" \
            | header must begin with '{': first byte=34
          ` {}` \
            | header must begin with '{': first byte=32
          `` \
            | header must begin with '{': it is empty
          """)
  void shouldRefuseHeader(String header, String message) throws IOException {
    assertMalformed(message, file(header, new byte[16]));
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 7})
  void shouldRefuseFileWithoutRoomForTheHeadersLength(int bytes) throws IOException {
    Path path = directory.resolve("short");
    Files.write(path, new byte[bytes]);
    assertMalformed("file must have at least 8 bytes: file=" + bytes, path);
  }

  @Test
  void shouldRefuseHeaderThatEndsOutsideTheFile() throws IOException {
    assertMalformed(
        "header must end inside the file: header=3, bytes after its length=2",
        bytes(3, "{}".getBytes(StandardCharsets.UTF_8)));
    assertMalformed(
        "header must end inside the file: header=100000000, bytes after its length=2",
        bytes(100_000_000, "{}".getBytes(StandardCharsets.UTF_8)));
  }

  @Test
  void shouldRefuseHeaderBeyondTheFormatsLimit() throws IOException {
    assertMalformed(
        "header must have at most 100000000 bytes: header=100000001",
        bytes(100_000_001, new byte[16]));
    assertMalformed(
        "header must have at most 100000000 bytes: header=18446744073709551615",
        bytes(-1, new byte[16]));
    assertMalformed(
        "header must have at most 100000000 bytes: header=9223372036854775808",
        bytes(Long.MIN_VALUE, new byte[16]));
  }

  @Test
  void shouldRefuseFileThatWasCutAnywhere() throws IOException {
    byte[] whole = Files.readAllBytes(sample(new Random(5)));
    for (int length = 0; length < whole.length; length++) {
      Path path = directory.resolve("cut");
      Files.write(path, Arrays.copyOf(whole, length));
      assertThrows(
          SafeTensorsException.class, () -> SafeTensors.open(path, arena), "length " + length);
    }
  }

  @Test
  void shouldRefuseTrailingData() throws IOException {
    byte[] whole = Files.readAllBytes(sample(new Random(6)));
    Path path = directory.resolve("long");
    Files.write(path, Arrays.copyOf(whole, whole.length + 1));
    assertThrows(SafeTensorsException.class, () -> SafeTensors.open(path, arena));
  }

  @Test
  void shouldRefuseHeaderThatIsNotUtf8() throws IOException {
    byte[] header = "{\"\u00ff\":1}".getBytes(StandardCharsets.ISO_8859_1);
    assertMalformed(
        "header must be valid JSON: text must be valid UTF-8: it is not at byte 2",
        bytes(header.length, header));
  }

  @Test
  void shouldShowHostileNamesAndShapesShort() throws IOException {
    String name = "n".repeat(10_000);
    String shape = "1,".repeat(100_000) + "1";
    Path path =
        file(
            "{\""
                + name
                + "\":{\"dtype\":\"F32\",\"shape\":["
                + shape
                + "],\"data_offsets\":[0,0]}}",
            new byte[0]);
    SafeTensorsException e =
        assertThrows(SafeTensorsException.class, () -> SafeTensors.open(path, arena));
    assertTrue(e.getMessage().endsWith("… of rank 100001 needs 4, data_offsets=[0, 0] hold 0"));
    assertTrue(e.getMessage().length() < 500, e.getMessage());
  }

  @Test
  void shouldIgnoreFieldsThatItDoesNotKnow() throws IOException {
    Path path =
        file(
            "{\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1],\"x\":{}}}",
            new byte[1]);
    assertEquals(1, SafeTensors.open(path, arena).get("a").count());
  }

  /**
   * However a valid file is mutated, it either throws SafeTensorsException, or its tensors cover
   * its data exactly and all can be read.
   */
  @Test
  void shouldRefuseOrStayInsideTheMappingWhateverTheBytes() throws IOException {
    List<byte[]> samples = new ArrayList<>();
    for (int seed = 0; seed < FUZZ_SAMPLES; seed++) {
      samples.add(Files.readAllBytes(sample(new Random(seed))));
    }
    int opened = 0;
    Path path = directory.resolve("mutant");
    for (int seed = 0; seed < FUZZ_ROUNDS; seed++) {
      Random random = new Random(seed);
      byte[] mutant = mutate(random, samples.get(random.nextInt(FUZZ_SAMPLES)).clone());
      Files.write(path, mutant);
      try (Arena mapping = Arena.ofConfined()) {
        SafeTensors file = SafeTensors.open(path, mapping);
        long headerBytes = ByteBuffer.wrap(mutant).order(ByteOrder.LITTLE_ENDIAN).getLong();
        int at = (int) (8 + headerBytes);
        for (String name : file.names()) {
          byte[] read = file.bytes(name).toArray(ValueLayout.JAVA_BYTE);
          if (Arrays.stream(DType.values()).anyMatch(d -> d.name().equals(file.typeOf(name)))) {
            Tensor tensor = file.get(name);
            assertEquals(tensor.count() * tensor.dtype().bytes(), read.length, "seed " + seed);
            assertEquals(0, tensor.segment().mismatch(file.bytes(name)) + 1, "seed " + seed);
          } else {
            assertThrows(IllegalArgumentException.class, () -> file.get(name), "seed " + seed);
          }
          assertArrayEquals(Arrays.copyOfRange(mutant, at, at + read.length), read, "seed " + seed);
          at += read.length;
        }
        assertEquals(mutant.length, at, "seed " + seed);
        opened++;
      } catch (SafeTensorsException e) {
        assertTrue(e.getMessage().startsWith(path + ": "), "seed " + seed + ": " + e);
        assertNotNull(e.getMessage());
      }
    }
    assertTrue(opened > FUZZ_ROUNDS / 100, "opened: " + opened);
    assertTrue(opened < FUZZ_ROUNDS * 9 / 10, "opened: " + opened);
  }

  private static byte[] mutate(Random random, byte[] original) {
    byte[] bytes = original;
    int headerEnd = (int) (8 + ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong());
    for (int changes = 1 + random.nextInt(3); changes > 0; changes--) {
      int at = 8 + random.nextInt(headerEnd - 8);
      switch (random.nextInt(8)) {
        case 0 -> bytes[at] = (byte) random.nextInt();
        case 1 -> bytes[at] = (byte) "{}[]\",:-0123456789".charAt(random.nextInt(18));
        case 2 -> bytes[random.nextInt(8)] = (byte) random.nextInt();
        case 3 -> bytes[0] += (byte) (random.nextInt(3) - 1);
        case 4 -> bytes = Arrays.copyOf(bytes, headerEnd + random.nextInt(200));
        case 5 -> {
          int from = 8 + random.nextInt(headerEnd - 8);
          int length = Math.min(random.nextInt(20), headerEnd - Math.max(at, from));
          System.arraycopy(bytes, from, bytes, at, length);
        }
        default -> {
          // Replacing a digit by another keeps the header valid JSON.
          while (at < headerEnd - 1 && !Character.isDigit(bytes[at])) {
            at++;
          }
          bytes[at] = (byte) ('0' + random.nextInt(10));
        }
      }
      headerEnd = Math.min(headerEnd, bytes.length);
    }
    return bytes;
  }

  /** A small valid file of a few tensors of all types. */
  private Path sample(Random random) throws IOException {
    Map<String, Tensor> tensors = new TreeMap<>();
    try (Arena own = Arena.ofConfined()) {
      for (int i = 1 + random.nextInt(4); i > 0; i--) {
        DType dtype = TYPES.get(random.nextInt(TYPES.size()));
        Tensor tensor =
            Tensor.allocate(own, dtype, random.longs(random.nextInt(3), 0, 4).toArray());
        byte[] content = new byte[(int) tensor.segment().byteSize()];
        random.nextBytes(content);
        tensor.segment().copyFrom(MemorySegment.ofArray(content));
        tensors.put("t" + i, tensor);
      }
      Path path = directory.resolve("sample");
      SafeTensors.write(path, tensors, random.nextBoolean() ? Map.of() : Map.of("k", "text"));
      return path;
    }
  }

  // ---- Writing ----

  @Test
  void shouldWriteTheFormatByteForByte() throws IOException {
    Path path = directory.resolve("exact");
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    tensors.put("mask", Tensor.allocate(arena, BOOL, 3));
    tensors.put("b\"", Tensor.of(arena, new float[] {1, 2}, 2, 1));
    tensors.put("a", Tensor.allocate(arena, F32));
    tensors.put("id", Tensor.allocate(arena, I64, 1));
    Map<String, String> metadata = new LinkedHashMap<>();
    metadata.put("z", "1");
    metadata.put("format", "a4j\n");

    SafeTensors.write(path, tensors, metadata);

    String header =
        "{\"__metadata__\":{\"format\":\"a4j\\n\",\"z\":\"1\"},"
            + "\"id\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
            + "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]},"
            + "\"b\\\"\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[12,20]},"
            + "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[20,23]}}";
    int padded = (header.length() + 7) / 8 * 8;
    ByteBuffer expected = ByteBuffer.allocate(8 + padded + 23).order(ByteOrder.LITTLE_ENDIAN);
    expected.putLong(padded).put(header.getBytes(StandardCharsets.UTF_8));
    while (expected.position() < 8 + padded) {
      expected.put((byte) ' ');
    }
    expected.putLong(0).putFloat(0).putFloat(1).putFloat(2);
    assertArrayEquals(expected.array(), Files.readAllBytes(path));
    assertEquals(Map.of("format", "a4j\n", "z", "1"), SafeTensors.open(path, arena).metadata());
  }

  @Test
  void shouldWriteTheSameBytesForEveryOrderOfTheMaps() throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    Map<String, Tensor> reversed = new LinkedHashMap<>();
    List<DType> types = List.of(BOOL, F16, F32, I64, BF16, I32);
    for (int i = 0; i < types.size(); i++) {
      tensors.put("t" + i, Tensor.allocate(arena, types.get(i), i));
    }
    List.copyOf(tensors.keySet()).reversed().forEach(n -> reversed.put(n, tensors.get(n)));

    SafeTensors.write(directory.resolve("1"), tensors, Map.of("a", "1", "b", "2"));
    SafeTensors.write(directory.resolve("2"), reversed, new TreeMap<>(Map.of("b", "2", "a", "1")));

    assertEquals(-1, Files.mismatch(directory.resolve("1"), directory.resolve("2")));
  }

  @Test
  void shouldReadBackTensorsOfAnyStridesAligned() throws IOException {
    Tensor whole = Tensor.allocate(arena, BF16, 3, 4, 5);
    for (int i = 0; i < 60; i++) {
      whole.setFloat(i, i / 20, i / 5 % 4, i % 5);
    }
    Map<String, Tensor> tensors =
        Map.of(
            "whole", whole,
            "slice", whole.slice(0, 1, 2),
            "turned", whole.transpose(0, 2),
            "column", whole.slice(2, 1, 1),
            "expanded", whole.slice(1, 2, 1).expand(1, 3),
            "scalar", whole.reshape(60).select(0, 7),
            "none", whole.slice(1, 4, 0),
            "odd", Tensor.allocate(arena, BOOL, 7));
    Path path = directory.resolve("strides");

    SafeTensors.write(path, tensors, Map.of());
    SafeTensors file = SafeTensors.open(path, arena);

    assertEquals(tensors.keySet(), file.names());
    tensors.forEach(
        (name, tensor) -> {
          Tensor read = file.get(name);
          assertEquals(tensor.dtype(), read.dtype());
          assertArrayEquals(tensor.shape(), read.shape(), name);
          assertEquals(0, read.segment().address() % read.dtype().bytes(), name);
          if (tensor.dtype().isFloat()) {
            assertArrayEquals(tensor.toFloatArray(), read.toFloatArray(), name);
          }
        });
  }

  @Test
  void shouldReplaceAFileWithoutTouchingThoseWhoHaveItMapped() throws IOException {
    Path path = directory.resolve("x");
    SafeTensors.write(path, Map.of("a", Tensor.allocate(arena, F32, 1000).fill(1)), Map.of());
    Tensor old = SafeTensors.open(path, arena).get("a");

    SafeTensors.write(path, Map.of("a", Tensor.allocate(arena, F32, 1).fill(2)), Map.of());

    assertEquals(1, old.getFloat(999));
    assertEquals(2, SafeTensors.open(path, arena).get("a").getFloat(0));
    assertOnlyFile(path);
  }

  @Test
  void shouldWriteATensorBackToTheFileThatItIsMappedFrom() throws IOException {
    Path path = directory.resolve("x");
    SafeTensors.write(path, Map.of("a", Tensor.allocate(arena, F32, 50).fill(1)), Map.of());
    SafeTensors file = SafeTensors.open(path, arena);

    SafeTensors.write(path, Map.of("a", file.get("a"), "b", file.get("a")), Map.of());

    assertEquals(1, SafeTensors.open(path, arena).get("b").getFloat(49));
  }

  @Test
  void shouldLeaveTheOldFileAndNothingElseWhenWritingFails() throws IOException {
    Path path = directory.resolve("x");
    SafeTensors.write(path, Map.of("a", Tensor.allocate(arena, F32, 1).fill(1)), Map.of());
    byte[] before = Files.readAllBytes(path);
    Tensor closed;
    try (Arena shortLived = Arena.ofConfined()) {
      closed = Tensor.allocate(shortLived, F32, 2, 3);
    }

    for (Tensor tensor : List.of(closed, closed.transpose(0, 1))) {
      Map<String, Tensor> tensors = Map.of("a", Tensor.allocate(arena, I64, 1), "b", tensor);
      assertEquals(
          "Already closed",
          assertThrows(
                  IllegalStateException.class, () -> SafeTensors.write(path, tensors, Map.of()))
              .getMessage());
    }

    assertArrayEquals(before, Files.readAllBytes(path));
    assertOnlyFile(path);
  }

  @Test
  void shouldRefuseToWriteFromAnotherThreadThanTheConfinedArenasOwner() throws Exception {
    Path path = directory.resolve("x");
    Tensor tensor = Tensor.allocate(arena, F32, 2, 3);
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                SafeTensors.write(path, Map.of("a", tensor), Map.of());
              } catch (IOException | WrongThreadException e) {
                thrown.set(e);
              }
            });
    thread.start();
    thread.join();
    assertEquals(WrongThreadException.class, thrown.get().getClass());
    try (Stream<Path> files = Files.list(directory)) {
      assertEquals(0, files.count());
    }
  }

  @Test
  void shouldRefuseNamesThatTheFormatCannotHold() throws IOException {
    Path path = directory.resolve("x");
    Tensor tensor = Tensor.allocate(arena, F32, 1);
    assertEquals(
        "a tensor must not be named __metadata__: the format reserves that name for metadata",
        assertThrows(
                IllegalArgumentException.class,
                () -> SafeTensors.write(path, Map.of("__metadata__", tensor), Map.of()))
            .getMessage());
    String message = "names and metadata must be valid Unicode: one has half of a surrogate pair";
    assertEquals(
        message,
        assertThrows(
                IllegalArgumentException.class,
                () -> SafeTensors.write(path, Map.of("\ud800", tensor), Map.of()))
            .getMessage());
    assertEquals(
        message,
        assertThrows(
                IllegalArgumentException.class,
                () -> SafeTensors.write(path, Map.of(), Map.of("k", "\udc00")))
            .getMessage());
    assertFalse(Files.exists(path));
  }

  @Test
  void shouldKeepUnusualNames() throws IOException {
    Path path = directory.resolve("x");
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (String name : List.of("", "\0", "\"\\", "é\uD83D\uDE00", "a/b.c", "dtype")) {
      tensors.put(name, Tensor.allocate(arena, F32, 1));
    }
    SafeTensors.write(path, tensors, Map.of("", ""));
    SafeTensors file = SafeTensors.open(path, arena);
    assertEquals(tensors.keySet(), file.names());
    assertEquals(Map.of("", ""), file.metadata());
  }

  @Test
  void shouldRefuseToReplaceADirectory() throws IOException {
    Path path = Files.createDirectory(directory.resolve("x"));
    assertEquals(
        path + " must be a file: it is a directory",
        assertThrows(IOException.class, () -> SafeTensors.write(path, Map.of(), Map.of()))
            .getMessage());
    assertThrows(
        NoSuchFileException.class,
        () -> SafeTensors.write(directory.resolve("absent/x"), Map.of(), Map.of()));
    assertOnlyFile(path);
  }

  @Test
  void shouldReadTensorsBeyondTwoToThe32Bytes() throws IOException {
    long count = 1_200_000_000;
    String header =
        "{\"big\":{\"dtype\":\"F32\",\"shape\":["
            + count
            + "],\"data_offsets\":[0,"
            + count * 4
            + "]},\"last\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":["
            + count * 4
            + ","
            + (count * 4 + 4)
            + "]}}";
    Path path = directory.resolve("sparse");
    try (FileChannel channel =
        FileChannel.open(
            path,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.WRITE)) {
      ByteBuffer start = ByteBuffer.allocate(8 + header.length()).order(ByteOrder.LITTLE_ENDIAN);
      start.putLong(header.length()).put(header.getBytes(StandardCharsets.UTF_8)).flip();
      channel.write(start);
      ByteBuffer end = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      end.putFloat(3).putFloat(4).flip();
      channel.write(end, 8 + header.length() + (count - 1) * 4);
    }

    SafeTensors file = SafeTensors.open(path, arena);

    assertEquals(3, file.get("big").getFloat(count - 1));
    assertEquals(4, file.get("last").getFloat());
  }

  // ---- Helpers ----

  private Path file(String header, byte[] data) throws IOException {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    byte[] content = Arrays.copyOf(text, text.length + data.length);
    System.arraycopy(data, 0, content, text.length, data.length);
    return bytes(text.length, content);
  }

  private Path bytes(long headerBytes, byte[] content) throws IOException {
    Path path = Files.createTempFile(directory, "", ".safetensors");
    try (OutputStream out = Files.newOutputStream(path)) {
      out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(headerBytes).array());
      out.write(content);
    }
    return path;
  }

  private void assertMalformed(String message, Path path) {
    SafeTensorsException e =
        assertThrows(SafeTensorsException.class, () -> SafeTensors.open(path, arena));
    assertEquals(path + ": " + message, e.getMessage());
  }

  private void assertOnlyFile(Path path) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      assertEquals(List.of(path), files.toList());
    }
  }

  private static void assertNull(String name, Executable call) {
    assertEquals(name, assertThrows(NullPointerException.class, call).getMessage());
  }
}
