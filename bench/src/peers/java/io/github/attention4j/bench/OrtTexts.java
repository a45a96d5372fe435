package io.github.attention4j.bench;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/**
 * Texts through all-MiniLM-L6-v2 in ONNX Runtime, used at its best: batches of 16 texts of similar
 * length, which need the least padding.
 */
final class OrtTexts implements Way {
  private static final int BATCH = 16;

  private final List<String> texts;
  private final OrtSession session;
  private final HuggingFaceTokenizer tokenizer;
  private float[][] vectors;

  OrtTexts(TextShape shape, int threads) throws OrtException, IOException {
    texts = shape.texts();
    OrtSession.SessionOptions options = new OrtSession.SessionOptions();
    options.setIntraOpNumThreads(threads);
    options.setInterOpNumThreads(1);
    options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
    session = environment().createSession(resource(FusedModels.ONNX), options);
    tokenizer =
        HuggingFaceTokenizer.newInstance(
            new java.io.ByteArrayInputStream(resource(FusedModels.TOKENIZER)),
            Map.of(
                "padding", "true",
                "truncation", "true",
                "maxLength", Integer.toString(TextShape.MOST_TOKENS)));
  }

  private static OrtEnvironment environment() {
    return OrtWay.environment();
  }

  private static byte[] resource(String name) throws IOException {
    try (InputStream stream = OrtTexts.class.getClassLoader().getResourceAsStream(name)) {
      if (stream == null) {
        throw new IOException("no jar on the class path has " + name);
      }
      return stream.readAllBytes();
    }
  }

  @Override
  public String name() {
    return "batches of " + BATCH;
  }

  @Override
  public void run() {
    int[] order =
        IntStream.range(0, texts.size())
            .boxed()
            .sorted(Comparator.comparingInt(i -> texts.get(i).length()))
            .mapToInt(i -> i)
            .toArray();
    vectors = new float[texts.size()][];
    try {
      for (int from = 0; from < order.length; from += BATCH) {
        batch(Arrays.copyOfRange(order, from, Math.min(from + BATCH, order.length)));
      }
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
  }

  private void batch(int[] chosen) throws OrtException {
    Encoding[] encodings =
        tokenizer.batchEncode(Arrays.stream(chosen).mapToObj(texts::get).toList());
    int length = encodings[0].getIds().length;
    long[] shape = {chosen.length, length};
    try (OnnxTensor ids = tensor(encodings, Encoding::getIds, shape);
        OnnxTensor mask = tensor(encodings, Encoding::getAttentionMask, shape);
        OnnxTensor types = tensor(encodings, Encoding::getTypeIds, shape);
        OrtSession.Result result =
            session.run(
                Map.of("input_ids", ids, "attention_mask", mask, "token_type_ids", types))) {
      FloatBuffer hidden = ((OnnxTensor) result.get(0)).getFloatBuffer();
      int width = hidden.remaining() / (chosen.length * length);
      float[] rows = new float[length * width];
      for (int i = 0; i < chosen.length; i++) {
        hidden.get(i * rows.length, rows);
        vectors[chosen[i]] = pooled(rows, width, encodings[i].getAttentionMask());
      }
    }
  }

  /** The longs of an encoding. */
  private interface Numbers {
    long[] of(Encoding encoding);
  }

  private static OnnxTensor tensor(Encoding[] encodings, Numbers numbers, long[] shape)
      throws OrtException {
    int count = (int) (shape[0] * shape[1]);
    LongBuffer buffer =
        ByteBuffer.allocateDirect(count * Long.BYTES).order(ByteOrder.nativeOrder()).asLongBuffer();
    for (Encoding encoding : encodings) {
      buffer.put(numbers.of(encoding));
    }
    return OnnxTensor.createTensor(environment(), buffer.flip(), shape);
  }

  /** The average of the rows that count, divided by its length. */
  private static float[] pooled(float[] rows, int width, long[] mask) {
    float[] vector = new float[width];
    for (int row = 0; row < mask.length; row++) {
      if (mask[row] != 0) {
        for (int i = 0; i < width; i++) {
          vector[i] += rows[row * width + i];
        }
      }
    }
    double squares = 0;
    for (float each : vector) {
      squares += (double) each * each;
    }
    float factor = (float) (1 / Math.sqrt(squares));
    for (int i = 0; i < width; i++) {
      vector[i] *= factor;
    }
    return vector;
  }

  @Override
  public float[] result() {
    return FusedBlock.joined(vectors);
  }

  @Override
  public void close() {
    try {
      session.close();
    } catch (OrtException e) {
      throw new IllegalStateException(e);
    }
    tokenizer.close();
  }
}
