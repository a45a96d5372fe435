package io.github.attention4j.models.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import com.google.gson.Strictness;
import com.google.gson.ToNumberPolicy;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import java.io.EOFException;
import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A JSON object whose fields are read by type; fields that were not read are refused by name. */
final class Parameters {
  private static final Pattern PLACE = Pattern.compile("line \\d+ column \\d+");

  private final String path;
  private final JsonObject fields;
  private final Set<String> read = new HashSet<>();

  private Parameters(String path, JsonObject fields) {
    this.path = path;
    this.fields = fields;
  }

  static Parameters parse(String json) {
    JsonReader reader = new JsonReader(new StringReader(json));
    reader.setStrictness(Strictness.STRICT);
    try {
      JsonElement body = element(reader);
      if (reader.peek() != JsonToken.END_DOCUMENT) {
        throw HttpError.invalid(null, "the body is not JSON: it has more than one value");
      }
      return object("", body);
    } catch (EOFException e) {
      throw HttpError.invalid(null, "the body is not JSON: it ends too early");
    } catch (IOException | IllegalStateException | JsonParseException e) {
      Matcher place = PLACE.matcher(String.valueOf(e.getMessage()));
      throw HttpError.invalid(
          null, "the body is not JSON" + (place.find() ? ": error at " + place.group() : ""));
    }
  }

  /** The next value; the reader limits the depth. */
  private static JsonElement element(JsonReader reader) throws IOException {
    switch (reader.peek()) {
      case BEGIN_OBJECT -> {
        JsonObject object = new JsonObject();
        reader.beginObject();
        while (reader.hasNext()) {
          String name = reader.nextName();
          if (object.has(name)) {
            throw HttpError.invalid(
                name, "the body must have a key only once in an object: key=" + name);
          }
          object.add(name, element(reader));
        }
        reader.endObject();
        return object;
      }
      case BEGIN_ARRAY -> {
        JsonArray array = new JsonArray();
        reader.beginArray();
        while (reader.hasNext()) {
          array.add(element(reader));
        }
        reader.endArray();
        return array;
      }
      case STRING -> {
        return new JsonPrimitive(reader.nextString());
      }
      case NUMBER -> {
        return new JsonPrimitive(ToNumberPolicy.LAZILY_PARSED_NUMBER.readNumber(reader));
      }
      case BOOLEAN -> {
        return new JsonPrimitive(reader.nextBoolean());
      }
      default -> {
        reader.nextNull();
        return JsonNull.INSTANCE;
      }
    }
  }

  private static Parameters object(String path, JsonElement element) {
    if (!(element instanceof JsonObject object)) {
      throw HttpError.invalid(
          path.isEmpty() ? null : path,
          (path.isEmpty() ? "the body" : path) + " must be a JSON object");
    }
    return new Parameters(path, object);
  }

  private String name(String field) {
    return path.isEmpty() ? field : path + "." + field;
  }

  /** The names of all fields. */
  Set<String> names() {
    return fields.keySet();
  }

  /** The value of a field; null if it is absent or null. */
  JsonElement any(String field) {
    read.add(field);
    JsonElement value = fields.get(field);
    return value instanceof JsonNull ? null : value;
  }

  /** Ignores fields that do not change results. */
  void ignore(String... names) {
    read.addAll(List.of(names));
  }

  /** Refuses every field that was not read, unless it is null. */
  void refuseOthers() {
    for (String field : fields.keySet()) {
      if (!read.contains(field) && !(fields.get(field) instanceof JsonNull)) {
        throw new HttpError(
            400,
            "invalid_request_error",
            name(field),
            "unsupported_parameter",
            "this server does not support the parameter " + name(field));
      }
    }
  }

  /** Reads a field that must be absent or have its neutral value. */
  void neutral(String field, Object neutral) {
    JsonElement value = any(field);
    if (value != null) {
      boolean same = value instanceof JsonPrimitive primitive && equal(primitive, neutral);
      if (!same) {
        throw new HttpError(
            400,
            "invalid_request_error",
            name(field),
            "unsupported_value",
            "this server supports only %s=%s: %s=%s"
                .formatted(name(field), neutral, name(field), value));
      }
    }
  }

  private static boolean equal(JsonPrimitive value, Object neutral) {
    return neutral instanceof Number number
        ? value.isNumber() && value.getAsDouble() == number.doubleValue()
        : value.getAsString().equals(neutral.toString());
  }

  String string(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return null;
    }
    if (value instanceof JsonPrimitive p && p.isString()) {
      return p.getAsString();
    }
    throw wrong(field, "a string", value);
  }

  Boolean bool(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return null;
    }
    if (value instanceof JsonPrimitive p && p.isBoolean()) {
      return p.getAsBoolean();
    }
    throw wrong(field, "true or false", value);
  }

  Double number(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return null;
    }
    if (value instanceof JsonPrimitive p && p.isNumber() && Double.isFinite(p.getAsDouble())) {
      return p.getAsDouble();
    }
    throw wrong(field, "a number", value);
  }

  /** A number in a closed range. */
  Double number(String field, double least, double most) {
    Double value = number(field);
    if (value != null && !(value >= least && value <= most)) {
      throw wrong(field, "in [%s, %s]".formatted(least, most), value);
    }
    return value;
  }

  Long integer(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return null;
    }
    try {
      if (value instanceof JsonPrimitive p && p.isNumber()) {
        return p.getAsBigDecimal().longValueExact();
      }
    } catch (ArithmeticException | NumberFormatException e) {
      throw wrong(field, "a whole number of at most 64 bits", value);
    }
    throw wrong(field, "a whole number", value);
  }

  /** A string or a list of strings; empty if absent. */
  List<String> strings(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return List.of();
    }
    if (value instanceof JsonPrimitive p && p.isString()) {
      return List.of(p.getAsString());
    }
    if (!(value instanceof JsonArray array)) {
      throw wrong(field, "a string or an array of strings", value);
    }
    List<String> strings = new ArrayList<>();
    for (JsonElement element : array) {
      if (!(element instanceof JsonPrimitive p && p.isString())) {
        throw wrong(field, "a string or an array of strings", value);
      }
      strings.add(element.getAsString());
    }
    return strings;
  }

  /** An object; null if absent. */
  Parameters object(String field) {
    JsonElement value = any(field);
    return value == null ? null : object(name(field), value);
  }

  /** A list of objects; null if absent. */
  List<Parameters> objects(String field) {
    JsonElement value = any(field);
    if (value == null) {
      return null;
    }
    if (!(value instanceof JsonArray array)) {
      throw wrong(field, "an array of objects", value);
    }
    List<Parameters> objects = new ArrayList<>();
    for (int i = 0; i < array.size(); i++) {
      objects.add(object(name(field) + "[" + i + "]", array.get(i)));
    }
    return objects;
  }

  HttpError wrong(String field, String wanted, Object value) {
    String shown = value.toString();
    return HttpError.invalid(
        name(field),
        "%s must be %s: %s=%s"
            .formatted(
                name(field),
                wanted,
                name(field),
                shown.length() > 80 ? shown.substring(0, 80) + "…" : shown));
  }

  HttpError missing(String field) {
    return HttpError.invalid(name(field), name(field) + " is missing");
  }
}
