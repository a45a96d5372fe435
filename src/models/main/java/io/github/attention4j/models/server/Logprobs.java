package io.github.attention4j.models.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import io.github.attention4j.models.GeneratedToken;
import io.github.attention4j.models.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * The log-probabilities of a text's tokens, in the two forms of OpenAI's API: one for chats, one
 * for completions. For a single text.
 */
final class Logprobs {
  /** Represents minus infinity, which JSON cannot express. */
  private static final double LEAST = -9999;

  private final boolean chat;
  private final int likeliest;
  private final Tokenizer tokenizer;
  private final Set<Integer> ends;
  private final List<GeneratedToken> tokens = new ArrayList<>();

  /** The length of the text of the tokens so far. */
  private int offset;

  /**
   * @param chat whether to use the form for chats
   * @param likeliest how many alternatives are listed for each token
   * @param ends tokens that end a text, which are not listed
   */
  Logprobs(boolean chat, int likeliest, Tokenizer tokenizer, Set<Integer> ends) {
    this.chat = chat;
    this.likeliest = likeliest;
    this.tokenizer = tokenizer;
    this.ends = ends;
  }

  int likeliest() {
    return likeliest;
  }

  void add(GeneratedToken token) {
    if (!ends.contains(token.token())) {
      tokens.add(token);
    }
  }

  /** The tokens since the last call; JSON's null if none are wanted. */
  static JsonElement take(Logprobs logprobs) {
    return logprobs == null ? JsonNull.INSTANCE : logprobs.take();
  }

  private JsonObject take() {
    JsonObject json = chat ? chat() : completion();
    tokens.clear();
    return json;
  }

  private JsonObject chat() {
    JsonArray content = new JsonArray();
    for (GeneratedToken token : tokens) {
      JsonObject one = described(token.token(), token.logProbability());
      JsonArray others = new JsonArray();
      token
          .likeliest()
          .forEach(other -> others.add(described(other.token(), other.logProbability())));
      one.add("top_logprobs", others);
      content.add(one);
    }
    JsonObject json = new JsonObject();
    json.add("content", content);
    json.add("refusal", JsonNull.INSTANCE);
    return json;
  }

  private JsonObject described(int token, double logProbability) {
    String text = text(token);
    JsonObject json = new JsonObject();
    json.addProperty("token", text);
    json.addProperty("logprob", Math.max(LEAST, logProbability));
    if (text.contains("\uFFFD")) {
      // Part of a character; the tokenizer does not tell its bytes.
      json.add("bytes", JsonNull.INSTANCE);
    } else {
      JsonArray bytes = new JsonArray();
      for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
        bytes.add(b & 0xff);
      }
      json.add("bytes", bytes);
    }
    return json;
  }

  private JsonObject completion() {
    JsonArray texts = new JsonArray();
    JsonArray values = new JsonArray();
    JsonArray others = new JsonArray();
    JsonArray offsets = new JsonArray();
    for (GeneratedToken token : tokens) {
      String text = text(token.token());
      texts.add(text);
      values.add(Math.max(LEAST, token.logProbability()));
      offsets.add(offset);
      offset += text.length();
      JsonObject listed = new JsonObject();
      token
          .likeliest()
          .forEach(
              other ->
                  listed.addProperty(text(other.token()), Math.max(LEAST, other.logProbability())));
      others.add(listed);
    }
    JsonObject json = new JsonObject();
    json.add("tokens", texts);
    json.add("token_logprobs", values);
    json.add("top_logprobs", likeliest == 0 ? JsonNull.INSTANCE : others);
    json.add("text_offset", offsets);
    return json;
  }

  private String text(int token) {
    return tokenizer.decode(new int[] {token}, false);
  }
}
