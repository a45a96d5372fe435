package io.github.attention4j.models.chat;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON as values of templates: maps, lists, strings, numbers, booleans and null. */
public final class JsonValues {
  private JsonValues() {}

  /** The elements of an object, in their order. */
  public static Map<String, Object> of(JsonObject object) {
    Map<String, Object> map = new LinkedHashMap<>();
    object.entrySet().forEach(e -> map.put(e.getKey(), of(e.getValue())));
    return map;
  }

  /** Converts JSON; a whole number of up to 18 digits becomes a long, any other a double. */
  public static Object of(JsonElement json) {
    if (json.isJsonObject()) {
      return of(json.getAsJsonObject());
    }
    if (json.isJsonArray()) {
      List<Object> list = new ArrayList<>();
      json.getAsJsonArray().forEach(element -> list.add(of(element)));
      return list;
    }
    if (json.isJsonNull()) {
      return null;
    }
    JsonPrimitive primitive = json.getAsJsonPrimitive();
    if (primitive.isBoolean()) {
      return primitive.getAsBoolean();
    }
    return primitive.isNumber() ? number(primitive.getAsBigDecimal()) : primitive.getAsString();
  }

  private static Object number(BigDecimal number) {
    boolean whole = number.scale() <= 0 && number.precision() - number.scale() <= 18;
    if (whole) {
      return number.longValueExact();
    }
    return number.doubleValue();
  }
}
