package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.net.URISyntaxException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class OnnxTest {
  private static final int[] TEXT = {2, 17, 41, 90, 7, 3};
  private static final int LAYERS = 3;

  @TempDir Path directory;

  /** How the matrices of a file are stored, and what else is in it. */
  private enum Form {
    TRANSPOSED,
    NAMED_BY_BIAS,
    QUANTIZED,
    /** As the quantizer of ONNX Runtime rewrites Gemm: transposed, under the old name. */
    REWRITTEN,
    /** Not transposed, with a scale for each row. */
    ROW_SCALES,
    /** In float16. */
    HALF
  }

  @Test
  void shouldGiveTheSameBitsAsTheCheckpoint() throws Exception {
    write(Form.TRANSPOSED, writer -> {});
    assertArrayEquals(fromCheckpoint(), fromOnnx());
  }

  @Test
  void shouldFindWeightsByTheirBiases() throws Exception {
    write(Form.NAMED_BY_BIAS, writer -> {});
    assertArrayEquals(fromCheckpoint(), fromOnnx());
  }

  /** The constants of the formulas are rounded like the weights. */
  @Test
  void shouldReadHalfPrecision() throws Exception {
    float[] constants = {0.25f, (float) Math.sqrt(2), (float) Math.sqrt(4), 1.2e-7f, -65_504};
    write(
        Form.HALF,
        writer -> {
          for (int i = 0; i < constants.length; i++) {
            writer.halves("c" + i, new float[] {constants[i]});
            writer.node("Mul", "/" + i, List.of("x", "c" + i), List.of("y" + i));
          }
        });
    assertArrayEquals(fromCheckpoint(), fromOnnx(), 0.05f);
    Files.delete(directory.resolve("config.json"));
    write(
        Form.HALF,
        writer -> {
          writer.halves("scale", new float[] {0.26f});
          writer.node("Mul", "/scores/Mul", List.of("x", "scale"), List.of("y"));
        });
    refuses("a number that the family's formulas do not have: Mul /scores/Mul with 0.26");
  }

  @Test
  void shouldSeeByTheProductThatAWeightIsTransposed() throws Exception {
    write(Form.REWRITTEN, writer -> {});
    assertArrayEquals(fromCheckpoint(), fromOnnx());
  }

  /** A bias of one element is not a constant of the formula. */
  @Test
  void shouldScoreByOneLabel() throws Exception {
    float[] weight = new float[64];
    for (int i = 0; i < weight.length; i++) {
      weight[i] = (i % 7 - 3) / 8f;
    }
    Addition head =
        writer -> {
          writer.floats("classifier.weight", weight, 64, 1);
          writer.floats("classifier.bias", new float[] {0.3f}, 1);
          List<String> product = List.of("product");
          writer.node(
              "MatMul", "/classifier/Gemm_MatMul", List.of("x", "classifier.weight"), product);
          writer.node(
              "Add", "/classifier/Gemm_Add", List.of("product", "classifier.bias"), List.of("y"));
          writer.output("logits");
        };
    write(Form.REWRITTEN, head);
    try (TextClassifier classifier = TextClassifier.open(directory);
        Arena arena = Arena.ofConfined()) {
      Tensor hidden = classifier.encoder().encode(arena, TEXT);
      Tensor pooled = classifier.encoder().pool(arena, hidden, Sequences.ofLengths(TEXT.length));
      double expected = 0.3f;
      for (int i = 0; i < weight.length; i++) {
        expected += weight[i] * pooled.getFloat(0, i);
      }
      assertEquals(expected, classifier.logits(List.of(TEXT), null).getFirst()[0], 1e-5);
    }
    Files.delete(directory.resolve("config.json"));
    write(
        Form.TRANSPOSED,
        writer -> {
          writer.floats("other.bias", new float[] {0.3f}, 1);
          writer.node("Add", "/other", List.of("a", "other.bias"), List.of("b"));
        });
    refuses("the graph computes with weights that the family does not have: other.bias");
  }

  @Test
  void shouldReadAGraphThatPoolsIfTheModulesSayHow() throws Exception {
    Files.createDirectories(directory.resolve("1_Pooling"));
    for (String name : List.of("modules.json", "1_Pooling/config.json")) {
      Files.copy(golden("bert_st_mean").resolve(name), directory.resolve(name));
    }
    write(
        Form.TRANSPOSED,
        writer -> {
          writer.node("ReduceSum", "/pool", List.of("a", "b"), List.of("c"));
          writer.node("ReduceL2", "/norm", List.of("c"), List.of("d"));
          writer.output("sentence_embedding");
        });
    Files.writeString(directory.resolve("tokenizer.json"), SMALL_TOKENIZER);
    try (TextEmbedder embedder = TextEmbedder.open(directory)) {
      assertTrue(embedder.describe().contains("MEAN + Normalize (from modules.json)"));
    }
    Files.delete(directory.resolve("modules.json"));
    refuses("the graph pools by itself (sentence_embedding)");
  }

  private static final String SMALL_TOKENIZER =
      "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\","
          + " \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100,"
          + " \"vocab\": {\"[UNK]\": 0, \"a\": 1}}}";

  @ParameterizedTest
  @EnumSource(
      value = Form.class,
      names = {"QUANTIZED", "ROW_SCALES"})
  void shouldReadEightBitWeights(Form form) throws Exception {
    write(form, writer -> {});
    float[] expected = fromCheckpoint();
    float[] got = fromOnnx();
    double dot = 0;
    double squares = 0;
    double expectedSquares = 0;
    for (int i = 0; i < got.length; i++) {
      dot += (double) got[i] * expected[i];
      squares += (double) got[i] * got[i];
      expectedSquares += (double) expected[i] * expected[i];
    }
    double cosine = dot / Math.sqrt(squares * expectedSquares);
    assertTrue(cosine > 0.999, "cosine is " + cosine);
    assertTrue(cosine < 0.9999999, "8 bits cannot be exact: cosine is " + cosine);
  }

  @Test
  void shouldLookForTheConfigurationOneDirectoryHigher() throws Exception {
    write(Form.TRANSPOSED, writer -> {});
    Path below = Files.createDirectory(directory.resolve("onnx"));
    Files.move(directory.resolve("model.onnx"), below.resolve("model.onnx"));
    assertArrayEquals(fromCheckpoint(), encode(below.resolve("model.onnx")));
    assertArrayEquals(fromCheckpoint(), encode(directory));
  }

  @Test
  void shouldReadWeightsFromFilesBesideTheGraph() throws Exception {
    write(Form.TRANSPOSED, "weights/model.onnx_data", OnnxTest::describe);
    assertArrayEquals(fromCheckpoint(), fromOnnx());
    // On the class path it is the same.
    try (URLClassLoader loader = new URLClassLoader(new URL[] {directory.toUri().toURL()}, null);
        TextEncoder encoder = TextEncoder.open(loader, "model.onnx");
        Arena arena = Arena.ofConfined()) {
      assertArrayEquals(fromCheckpoint(), encoder.encode(arena, TEXT).toFloatArray());
    }
    Path data = directory.resolve("weights/model.onnx_data");
    Files.write(data, Arrays.copyOf(Files.readAllBytes(data), 1000));
    fails("must be inside weights/model.onnx_data: offset=");
    Files.delete(data);
    fails("model.onnx has weights in " + data + ", which must be there: it is missing");
  }

  @Test
  void shouldReadNoWeightsOutsideTheFolder() throws Exception {
    for (String location :
        List.of("../data", "/etc/hostname", "weights/../../data", "", ".", "a\0b")) {
      Files.deleteIfExists(directory.resolve("config.json"));
      OnnxWriter writer = new OnnxWriter();
      writer.externally(location);
      writer.floats("embeddings.word_embeddings.weight", new float[6], 2, 3);
      writer.node("Softmax", "/encoder", List.of("scores"), List.of("weights"));
      Files.write(directory.resolve("model.onnx"), writer.toByteArray());
      fails("must be in a file inside the folder of the ONNX file: location=" + location);
    }
  }

  /** An export in a jar, compressed as jars are. */
  @Test
  void shouldReadFromAJar() throws Exception {
    write(Form.TRANSPOSED, "model.onnx_data", OnnxTest::describe);
    Path jar = directory.resolve("model.jar");
    try (OutputStream file = Files.newOutputStream(jar);
        ZipOutputStream out = new ZipOutputStream(file)) {
      for (String name : List.of("model.onnx", "model.onnx_data")) {
        out.putNextEntry(new ZipEntry("models/bert/" + name));
        Files.copy(directory.resolve(name), out);
      }
    }
    try (URLClassLoader loader = new URLClassLoader(new URL[] {jar.toUri().toURL()}, null);
        TextEncoder encoder = TextEncoder.open(loader, "models/bert/model.onnx");
        Arena arena = Arena.ofConfined()) {
      assertArrayEquals(fromCheckpoint(), encoder.encode(arena, TEXT).toFloatArray());
    }
  }

  /** What config.json would say of heads, activation and epsilon. */
  private static void describe(OnnxWriter writer) {
    writer.floats("any", new float[] {0});
    writer.floats("heads", new float[] {4});
    writer.floats("dim", new float[] {16});
    writer.floats("epsilon", new float[] {1e-12f});
    writer.node("Concat", "/shape", List.of("any", "any", "heads", "dim"), List.of("shape"));
    writer.node("Erf", "/gelu", List.of("x"), List.of("y"));
    writer.node("Add", "/variance", List.of("variance", "epsilon"), List.of("square"));
    writer.node("Sqrt", "/root", List.of("square"), List.of("root"));
  }

  private void fails(String sentence) {
    IOException e = assertThrows(IOException.class, () -> encode(directory.resolve("model.onnx")));
    assertTrue(e.getMessage().contains(sentence), e.getMessage());
  }

  @Test
  void shouldRefuseOtherOperators() throws Exception {
    write(Form.TRANSPOSED, writer -> writer.node("LSTM", "/lstm", List.of("x", "x"), List.of("y")));
    refuses("operators that are not of an exported encoder: LSTM");
  }

  @Test
  void shouldRefuseWeightsThatTheFamilyDoesNotHave() throws Exception {
    write(
        Form.TRANSPOSED,
        writer -> {
          writer.floats("adapter.weight", new float[6], 2, 3);
          writer.node("MatMul", "/adapter", List.of("x", "adapter.weight"), List.of("y"));
        });
    refuses("weights that the family does not have: adapter.weight [2, 3]");
  }

  /** ONNX Runtime does not quantize the products of a shared matrix after the first. */
  @Test
  void shouldReadMatricesThatAreQuantizedInOneProductOnly() throws Exception {
    write(Form.QUANTIZED, writer -> {});
    float[] expected = fromOnnx();
    Files.delete(directory.resolve("config.json"));
    write(
        Form.QUANTIZED,
        writer -> {
          writer.floats("onnx::MatMul_0", new float[6], 2, 3);
          writer.node("Identity", "/shared", List.of("onnx::MatMul_0"), List.of("shared"));
          writer.node("MatMul", "/again/MatMul", List.of("x", "shared"), List.of("y"));
        });
    assertArrayEquals(expected, fromOnnx());
  }

  /** DeBERTa's exports compute distances in a branch if queries and keys differ in number. */
  @Test
  void shouldLookIntoBranches() throws Exception {
    OnnxWriter distances = new OnnxWriter();
    distances.node("Sub", "/distances", List.of("queries", "keys"), List.of("distances"));
    distances.output("distances");
    OnnxWriter outer = new OnnxWriter();
    outer.branch("/inner", distances);
    write(Form.TRANSPOSED, writer -> writer.branch("/outer", outer));
    assertArrayEquals(fromCheckpoint(), fromOnnx());
    Files.delete(directory.resolve("config.json"));
    OnnxWriter adapter = new OnnxWriter();
    adapter.floats("adapter.weight", new float[6], 2, 3);
    adapter.node("MatMul", "/adapter", List.of("x", "adapter.weight"), List.of("y"));
    write(Form.TRANSPOSED, writer -> writer.branch("/if", adapter));
    refuses("weights that the family does not have: adapter.weight [2, 3]");
    Files.delete(directory.resolve("config.json"));
    OnnxWriter other = new OnnxWriter();
    other.node("Loop", "/loop", List.of("x"), List.of("y"));
    write(Form.TRANSPOSED, writer -> writer.branch("/if", other));
    refuses("operators that are not of an exported encoder: Loop");
    Files.delete(directory.resolve("config.json"));
    OnnxWriter deep = other;
    for (int i = 0; i < 5; i++) {
      OnnxWriter next = new OnnxWriter();
      next.branch("/" + i, deep);
      deep = next;
    }
    OnnxWriter deepest = deep;
    write(Form.TRANSPOSED, writer -> writer.branch("/if", deepest));
    fails("its branches are nested more than 4 deep");
  }

  /** Quantizers leave behind what they replace, and exporters repeat what layers share. */
  @Test
  void shouldReadAGraphWithUnusedAndRepeatedWeights() throws Exception {
    String module = "encoder.layer.0.output.dense";
    write(
        Form.NAMED_BY_BIAS,
        writer -> {
          writer.floats("left.behind", new float[6], 2, 3);
          try (Arena arena = Arena.ofConfined()) {
            SafeTensors file = SafeTensors.open(golden("bert").resolve("model.safetensors"), arena);
            Tensor weight = file.get(module + ".weight");
            float[] values = weight.transpose(0, 1).toF32(arena).toFloatArray();
            writer.floats("val_7", values, weight.size(1), weight.size(0));
          } catch (IOException | URISyntaxException e) {
            throw new IllegalStateException(e);
          }
          writer.node("MatMul", "", List.of("x", "val_7"), List.of("again"));
          writer.node("Add", "", List.of(module + ".bias", "again"), List.of("y"));
        });
    assertArrayEquals(fromCheckpoint(), fromOnnx());
  }

  @Test
  void shouldRefuseOtherScales() throws Exception {
    write(
        Form.TRANSPOSED,
        writer -> {
          writer.floats("scale", new float[] {0.3f}, 1);
          writer.node("Mul", "/scores/Mul", List.of("x", "scale"), List.of("y"));
        });
    refuses("a number that the family's formulas do not have: Mul /scores/Mul with 0.3");
  }

  @Test
  void shouldRefuseAnotherNumberOfLayers() throws Exception {
    write(
        Form.TRANSPOSED,
        writer -> writer.node("Softmax", "/more/Softmax", List.of("x"), List.of("y")));
    refuses("one Softmax for each layer: Softmax=4, layers=3");
  }

  @Test
  void shouldRefuseAGraphThatPoolsByItself() throws Exception {
    write(Form.TRANSPOSED, writer -> writer.output("sentence_embedding"));
    refuses("the graph pools by itself");
  }

  @Test
  void shouldEndInASentenceWhereverAFileIsCutOrChanged() throws Exception {
    write(Form.TRANSPOSED, writer -> {});
    Path file = directory.resolve("model.onnx");
    byte[] whole = Files.readAllBytes(file);
    for (int length = 0; length < whole.length; length += 1 + whole.length / 97) {
      Files.write(file, Arrays.copyOf(whole, length));
      assertThrows(Exception.class, () -> encode(file), "cut at " + length);
    }
    for (int at = 0; at < 400; at += 3) {
      byte[] changed = whole.clone();
      changed[at] ^= (byte) 0x55;
      Files.write(file, changed);
      try {
        encode(file);
      } catch (IOException | IllegalArgumentException e) {
        assertTrue(e.getMessage().contains("model.onnx"), e.getMessage());
      }
    }
  }

  @Test
  void shouldSayWhatIsMissing() {
    IOException missing =
        assertThrows(IOException.class, () -> TextEncoder.open(directory.resolve("no.onnx")));
    assertTrue(missing.getMessage().contains("it is missing"), missing.getMessage());
    IOException resource =
        assertThrows(
            IOException.class,
            () -> TextEncoder.open(OnnxTest.class.getClassLoader(), "no-such.onnx"));
    assertTrue(resource.getMessage().contains("no-such.onnx"), resource.getMessage());
  }

  private void refuses(String sentence) {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> encode(directory.resolve("model.onnx")));
    assertTrue(e.getMessage().contains(sentence), e.getMessage());
  }

  // ---- Making files ----

  private interface Addition {
    void to(OnnxWriter writer);
  }

  static Path golden(String name) throws URISyntaxException {
    return Path.of(
        Objects.requireNonNull(OnnxTest.class.getResource("/golden-models/encoder/" + name))
            .toURI());
  }

  private float[] fromCheckpoint() throws Exception {
    return encode(golden("bert"));
  }

  private float[] fromOnnx() throws IOException {
    return encode(directory.resolve("model.onnx"));
  }

  private static float[] encode(Path path) throws IOException {
    try (TextEncoder encoder = TextEncoder.open(path);
        Arena arena = Arena.ofConfined()) {
      assertEquals("bert", encoder.family());
      return encoder.encode(arena, TEXT).toFloatArray();
    }
  }

  /** Exports the golden BERT. */
  private void write(Form form, Addition addition) throws Exception {
    write(form, null, addition);
  }

  /** Exports it with the weights in a file of their own, if that is named. */
  private void write(Form form, String location, Addition addition) throws Exception {
    Path checkpoint = golden("bert");
    Files.copy(checkpoint.resolve("config.json"), directory.resolve("config.json"));
    OnnxWriter writer = new OnnxWriter();
    ByteArrayOutputStream data = location == null ? null : writer.externally(location);
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors file = SafeTensors.open(checkpoint.resolve("model.safetensors"), arena);
      int count = 0;
      for (String name : file.names()) {
        if (name.endsWith("position_ids")) {
          continue;
        }
        Tensor tensor = file.get(name).toF32(arena);
        boolean matrix =
            name.endsWith(".weight") && tensor.rank() == 2 && !name.contains("embeddings");
        if (matrix) {
          matrix(writer, form, name, "onnx::MatMul_" + count++, tensor);
        } else {
          writer.floats(name, tensor.toFloatArray(), tensor.shape());
        }
      }
    }
    for (int i = 0; i < LAYERS; i++) {
      writer.node("Softmax", "/encoder/" + i, List.of("scores" + i), List.of("weights" + i));
    }
    writer.output("last_hidden_state");
    addition.to(writer);
    Files.write(directory.resolve("model.onnx"), writer.toByteArray());
    if (location != null) {
      Path file = directory.resolve(location);
      Files.createDirectories(file.getParent());
      Files.write(file, data.toByteArray());
    }
  }

  private static void matrix(
      OnnxWriter writer, Form form, String name, String renamed, Tensor tensor) {
    String module = name.substring(0, name.length() - ".weight".length());
    float[] values = tensor.transpose(0, 1).toF32(Arena.ofAuto()).toFloatArray();
    long in = tensor.size(1);
    long out = tensor.size(0);
    String product = module + "_product";
    String node = form == Form.NAMED_BY_BIAS ? "" : "/" + module.replace('.', '/') + "/MatMul";
    if (form == Form.HALF) {
      writer.halves(renamed, values, in, out);
      writer.node("MatMul", node, List.of("x", renamed), List.of(product));
    } else if (form == Form.REWRITTEN) {
      writer.floats(name, values, in, out);
      String rewritten = node.replace("/MatMul", "/Gemm_MatMul");
      writer.node("MatMul", rewritten, List.of("x", name), List.of(product));
    } else if (form == Form.ROW_SCALES) {
      rowScales(writer, name, tensor);
      writer.node(
          "Gemm",
          node.replace("/MatMul", "/Gemm"),
          List.of("x", name, module + ".bias"),
          List.of(product),
          Map.of("transB", 1));
    } else if (form == Form.QUANTIZED) {
      float most = 0;
      for (float value : values) {
        most = Math.max(most, Math.abs(value));
      }
      float scale = most / 127;
      byte[] bytes = new byte[values.length];
      for (int i = 0; i < bytes.length; i++) {
        bytes[i] = (byte) (Math.round(values[i] / scale) + 128);
      }
      writer.unsigned(renamed + "_quantized", bytes, in, out);
      writer.floats(renamed + "_scale", new float[] {scale});
      writer.unsigned(renamed + "_zero_point", new byte[] {(byte) 128});
      writer.node(
          "MatMulInteger",
          node + "_quant",
          List.of("x", renamed + "_quantized", "zero", renamed + "_zero_point"),
          List.of(product));
    } else {
      writer.floats(renamed, values, in, out);
      writer.node("MatMul", node, List.of("x", renamed), List.of(product));
    }
    writer.node("Add", node + "Add", List.of(module + ".bias", product), List.of(module));
    assertEquals(DType.F32, tensor.dtype());
  }

  /** Writes a matrix {@code [out, in]} in 8 bits, each row with its own scale. */
  private static void rowScales(OnnxWriter writer, String name, Tensor tensor) {
    int out = (int) tensor.size(0);
    int in = (int) tensor.size(1);
    byte[] bytes = new byte[out * in];
    float[] scales = new float[out];
    byte[] zeros = new byte[out];
    Arrays.fill(zeros, (byte) 128);
    for (int o = 0; o < out; o++) {
      float[] row = tensor.select(0, o).toFloatArray();
      for (float value : row) {
        scales[o] = Math.max(scales[o], Math.abs(value) / 127);
      }
      for (int i = 0; i < in; i++) {
        bytes[o * in + i] = (byte) (Math.round(row[i] / scales[o]) + 128);
      }
    }
    writer.unsigned(name + "_quantized", bytes, out, in);
    writer.floats(name + "_scale", scales, out);
    writer.unsigned(name + "_zero_point", zeros, out);
    writer.node(
        "DequantizeLinear",
        name + "_DequantizeLinear",
        List.of(name + "_quantized", name + "_scale", name + "_zero_point"),
        List.of(name),
        Map.of("axis", 0));
  }
}
