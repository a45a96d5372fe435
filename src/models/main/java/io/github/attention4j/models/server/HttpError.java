package io.github.attention4j.models.server;

import com.google.gson.JsonNull;
import com.google.gson.JsonObject;

/** An error response in the form that OpenAI's clients expect. */
final class HttpError extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final int status;
  private final String type;
  private final String parameter;
  private final String code;

  HttpError(int status, String type, String parameter, String code, String message) {
    super(message, null, false, false);
    this.status = status;
    this.type = type;
    this.parameter = parameter;
    this.code = code;
  }

  static HttpError invalid(String parameter, String message) {
    return new HttpError(400, "invalid_request_error", parameter, "invalid_value", message);
  }

  static HttpError busy(String message) {
    return new HttpError(503, "server_error", null, "overloaded", message);
  }

  static HttpError shuttingDown() {
    return busy("the server is shutting down");
  }

  int status() {
    return status;
  }

  JsonObject json() {
    JsonObject error = new JsonObject();
    error.addProperty("message", getMessage());
    error.addProperty("type", type);
    error.add("param", JsonNull.INSTANCE);
    if (parameter != null) {
      error.addProperty("param", parameter);
    }
    error.addProperty("code", code);
    JsonObject body = new JsonObject();
    body.add("error", error);
    return body;
  }
}
