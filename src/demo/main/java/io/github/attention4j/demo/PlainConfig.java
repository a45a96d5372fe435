package io.github.attention4j.demo;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The sizes of a Llama or DiffLlama model from its {@code config.json}.
 *
 * @param differential whether pairs of heads subtract their attention maps ({@code diffllama})
 * @param vocabulary number of tokens
 * @param width length of the vector that represents a token
 * @param hidden width of the feed-forward network
 * @param layers number of layers
 * @param heads number of query heads
 * @param headsKv number of key and value heads; {@code heads} is a multiple of it
 * @param context largest number of tokens
 * @param normEpsilon added to the mean square by every RMSNorm
 * @param ropeTheta base of the rotary wavelengths
 */
public record PlainConfig(
    boolean differential,
    int vocabulary,
    int width,
    int hidden,
    int layers,
    int heads,
    int headsKv,
    int context,
    double normEpsilon,
    double ropeTheta) {

  /** Length of one head's query, key and value vectors. */
  public int headDim() {
    return width / heads;
  }

  /**
   * Reads the configuration of a checkpoint.
   *
   * @param file a {@code config.json} with one flat object, as written by Hugging Face
   * @throws IOException if the file cannot be read
   * @throws IllegalArgumentException if a key is missing or the architecture is another
   */
  public static PlainConfig read(Path file) throws IOException {
    String json = Files.readString(file);
    String type = value(json, "model_type", file);
    if (!type.equals("llama") && !type.equals("diffllama")) {
      throw new IllegalArgumentException(
          "model_type must be llama or diffllama: model_type=" + type + " in " + file);
    }
    return new PlainConfig(
        type.equals("diffllama"),
        integer(json, "vocab_size", file),
        integer(json, "hidden_size", file),
        integer(json, "intermediate_size", file),
        integer(json, "num_hidden_layers", file),
        integer(json, "num_attention_heads", file),
        integer(json, "num_key_value_heads", file),
        integer(json, "max_position_embeddings", file),
        Double.parseDouble(value(json, "rms_norm_eps", file)),
        Double.parseDouble(value(json, "rope_theta", file)));
  }

  private static int integer(String json, String key, Path file) {
    return Integer.parseInt(value(json, key, file));
  }

  private static String value(String json, String key, Path file) {
    Matcher matcher = Pattern.compile("\"" + key + "\"\\s*:\\s*\"?([^\",}\\s]+)").matcher(json);
    if (!matcher.find()) {
      throw new IllegalArgumentException("no " + key + " in " + file);
    }
    return matcher.group(1);
  }
}
