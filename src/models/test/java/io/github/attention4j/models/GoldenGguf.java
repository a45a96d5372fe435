package io.github.attention4j.models;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.models.gguf.GgufFile;
import io.github.attention4j.models.gguf.GgufTensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Runs cases of the kinds {@code gguf.*}. */
final class GoldenGguf {
  private GoldenGguf() {}

  static final Map<String, GoldenModel.Run> KINDS =
      Map.of(
          "gguf.type", GoldenGguf::type,
          "gguf.model", GoldenGguf::model,
          "gguf.split", GoldenGguf::split,
          "gguf.malformed", GoldenGguf::malformed,
          "gguf.tokenizer", GoldenGguf::tokenizer);

  /** Every value, bit for bit; NaN does not occur. */
  private static void type(GoldenModel golden) throws Exception {
    golden.open(golden.pathOf("expected"));
    GgufFile file = GgufFile.open(golden.pathOf("file"), golden.arena());
    for (Map.Entry<String, GgufTensor> entry : file.tensors().entrySet()) {
      Tensor wanted = golden.get(entry.getKey());
      Tensor got = entry.getValue().floats(golden.arena());
      golden.require(
          Arrays.equals(wanted.shape(), got.shape()),
          entry.getKey() + " has the shape " + Arrays.toString(got.shape()));
      float[] wantedValues = wanted.toFloatArray();
      float[] values = got.toFloatArray();
      for (int i = 0; i < values.length; i++) {
        golden.require(
            Float.floatToRawIntBits(values[i]) == Float.floatToRawIntBits(wantedValues[i]),
            entry + "[" + i + "] is " + values[i] + ", expected " + wantedValues[i]);
      }
      packed(golden, entry.getValue(), wantedValues);
    }
  }

  /** Packed for products, a matrix keeps every number. */
  private static void packed(GoldenModel golden, GgufTensor tensor, float[] wanted) {
    QuantizedWeights packed = tensor.quantized(golden.arena());
    golden.require(
        (packed != null) == (tensor.type().blockValues() > 1 && tensor.shape().length == 2),
        tensor + " packed: " + packed);
    if (packed == null) {
      return;
    }
    Tensor out = Tensor.allocate(golden.arena(), DType.F32, tensor.shape());
    packed.dequantize(0, out);
    float[] values = out.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      golden.require(
          values[i] == wanted[i],
          tensor + "[" + i + "] packed is " + values[i] + ", expected " + wanted[i]);
    }
  }

  /**
   * Logits within what float arithmetic may differ from double by, and the greedy next tokens. What
   * llama.cpp computes is there to be compared with arithmetic that rounds activations.
   */
  private static void model(GoldenModel golden) throws Exception {
    String format = golden.text("format");
    Map<?, ?> expected = (Map<?, ?>) GoldenModel.json(golden.pathOf("expected"));
    Map<?, ?> answer = (Map<?, ?>) ((Map<?, ?>) expected.get("formats")).get(format);
    golden.open(golden.pathOf("logits"));
    for (Object other : ((Map<?, ?>) expected.get("formats")).keySet()) {
      golden.get((String) other);
      golden.get(other + ".llama_cpp");
    }
    float[] wanted = golden.get(format).toFloatArray();
    int[] tokens = integers(expected.get("tokens"));
    double deviation = ((Number) answer.get("logits_standard_deviation")).doubleValue();
    Path file = golden.pathOf("file");
    golden.require(
        file.getFileName().toString().equals(answer.get("file")), "file is " + answer.get("file"));
    compareTypes(golden, file, (Map<?, ?>) answer.get("tensor_types"));
    encodings(golden, GgufTokenizer.open(file), (List<?>) expected.get("tokenization"));
    LoadOptions widened = LoadOptions.builder().weights(LoadOptions.Weights.FLOAT32).build();
    try (CausalLm model = CausalLm.open(file, widened)) {
      expectWithin(
          golden, wanted, model.logits(golden.arena(), tokens).toFloatArray(), 2e-5 * deviation);
    }
    try (CausalLm model = CausalLm.open(file)) {
      // Products of packed weights round their inputs to 16 bits.
      expectWithin(
          golden, wanted, model.logits(golden.arena(), tokens).toFloatArray(), 2e-3 * deviation);
      int[] greedy = integers(answer.get("greedy"));
      int[] got = new int[greedy.length];
      CausalLm.Session session = model.newSession(golden.arena());
      Tensor logits = session.prefill(tokens);
      for (int i = 0; i < greedy.length; i++) {
        got[i] = Sampler.greedy().next(logits, i);
        logits = session.step(got[i]);
      }
      golden.require(
          Arrays.equals(got, greedy),
          "greedy " + Arrays.toString(got) + ", expected " + Arrays.toString(greedy));
    }
  }

  private static void compareTypes(GoldenModel golden, Path file, Map<?, ?> wanted)
      throws IOException {
    Map<String, Long> types = new TreeMap<>();
    for (GgufTensor tensor : GgufFile.open(file, golden.arena()).tensors().values()) {
      types.merge(tensor.type().name(), 1L, Long::sum);
    }
    golden.require(types.equals(new TreeMap<>(wanted)), "types " + types + ", expected " + wanted);
  }

  /** The parts together are the whole; a part that is missing or not the first is named. */
  private static void split(GoldenModel golden) throws Exception {
    Map<?, ?> split = (Map<?, ?>) GoldenModel.json(golden.pathOf("expected"));
    Path first = golden.path((String) split.get("first"));
    Path whole = golden.path("..").resolve((String) split.get("whole"));
    GgufFile wanted = GgufFile.open(whole, golden.arena());
    GgufFile got = GgufFile.open(first, golden.arena());
    golden.require(
        got.tensors().keySet().containsAll(wanted.tensors().keySet())
            && got.tensors().size() == wanted.tensors().size(),
        "tensors " + got.tensors().keySet());
    int[] text = {1, 5, 9, 12, 7};
    try (CausalLm one = CausalLm.open(whole);
        CausalLm other = CausalLm.open(first)) {
      golden.require(
          Arrays.equals(
              one.logits(golden.arena(), text).toFloatArray(),
              other.logits(golden.arena(), text).toFloatArray()),
          "logits differ from those of the whole file");
    }
    List<?> parts = (List<?>) split.get("parts");
    Path alone = Files.createTempDirectory("split");
    try {
      Path copy = Files.copy(first, alone.resolve((String) parts.getFirst()));
      String missing =
          assertThrows(NoSuchFileException.class, () -> CausalLm.open(copy)).getMessage();
      golden.require(missing.contains((String) parts.getLast()), missing);
      Files.delete(copy);
    } finally {
      Files.delete(alone);
    }
    String later =
        assertThrows(IOException.class, () -> CausalLm.open(golden.path((String) parts.getLast())))
            .getMessage();
    golden.require(later.contains((String) split.get("first")), later);
  }

  /** Containers are judged by opening them, models by loading them. */
  private static void malformed(GoldenModel golden) throws Exception {
    String expect = golden.text("expect");
    Path file = golden.pathOf("file");
    String message = null;
    try {
      if (golden.text("file").startsWith("model/")) {
        CausalLm.open(file).close();
      } else {
        try (Arena arena = Arena.ofConfined()) {
          for (GgufTensor tensor : GgufFile.open(file, arena).tensors().values()) {
            tensor.floats(arena);
          }
        }
      }
    } catch (IOException | IllegalArgumentException e) {
      message = e.getMessage();
      golden.require(
          message.contains(file.getFileName().toString()), "refused without its name: " + message);
    }
    switch (expect) {
      case "accept" -> golden.require(message == null, "refused: " + message);
      case "reject" -> golden.require(message != null, "accepted");
      default -> golden.require(expect.equals("either"), "expect=" + expect);
    }
  }

  /** Four ways of encoding each text, and the bytes of each token. */
  private static void tokenizer(GoldenModel golden) throws Exception {
    Map<?, ?> expected = (Map<?, ?>) GoldenModel.json(golden.pathOf("expected"));
    GgufTokenizer tokenizer = GgufTokenizer.open(golden.pathOf("file"));
    encodings(golden, tokenizer, (List<?>) expected.get("cases"));
    List<?> pieces = (List<?>) expected.get("pieces");
    golden.require(pieces.size() == tokenizer.vocabulary(), "vocabulary " + tokenizer.vocabulary());
    for (int i = 0; i < pieces.size(); i++) {
      String wanted = (String) pieces.get(i);
      byte[] bytes =
          wanted.startsWith("hex:")
              ? HexFormat.of().parseHex(wanted.substring(4))
              : wanted.getBytes(UTF_8);
      byte[] got = tokenizer.piece(i);
      golden.require(Arrays.equals(bytes, got), "piece " + i + " is " + new String(got, UTF_8));
    }
  }

  private static void encodings(GoldenModel golden, GgufTokenizer tokenizer, List<?> cases) {
    for (Object each : cases) {
      Map<?, ?> text = (Map<?, ?>) each;
      for (String mode : List.of("plain", "special", "parsed", "both")) {
        boolean add = mode.equals("special") || mode.equals("both");
        boolean parse = mode.equals("parsed") || mode.equals("both");
        int[] got = tokenizer.encode((String) text.get("text"), add, parse);
        golden.require(
            Arrays.equals(integers(text.get(mode)), got),
            mode + " of " + text.get("text") + " is " + Arrays.toString(got));
      }
    }
  }

  private static int[] integers(Object list) {
    return ((List<?>) list).stream().mapToInt(value -> ((Number) value).intValue()).toArray();
  }

  private static void expectWithin(
      GoldenModel golden, float[] wanted, float[] got, double tolerance) {
    golden.require(wanted.length == got.length, "logits have " + got.length + " elements");
    for (int i = 0; i < wanted.length; i++) {
      // Written so that NaN fails.
      golden.require(
          Math.abs((double) got[i] - wanted[i]) <= tolerance,
          "logits[" + i + "] is " + got[i] + ", expected " + wanted[i] + " within " + tolerance);
    }
  }
}
