package io.github.attention4j.spark;

import java.util.Arrays;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.StringType;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** Finds columns in a schema and refuses unsuitable ones. */
final class Columns {
  private Columns() {}

  /**
   * The index of a column of strings.
   *
   * @param role its name in messages
   * @throws IllegalArgumentException if there is no such column, or it holds something else
   */
  static int text(StructType schema, String role, String name) {
    int column = Arrays.asList(schema.fieldNames()).indexOf(name);
    if (column < 0) {
      throw new IllegalArgumentException(
          role + " must be a column: " + role + "=" + name + ", columns=" + names(schema));
    }
    StructField field = schema.fields()[column];
    if (!(field.dataType() instanceof StringType)) {
      throw new IllegalArgumentException(
          role
              + " must be a column of strings: "
              + name
              + "="
              + field.dataType().simpleString()
              + ", wanted=string");
    }
    return column;
  }

  /**
   * A schema with a column added at the end.
   *
   * @throws IllegalArgumentException if a column with that name exists
   */
  static StructType plus(StructType schema, String name, DataType type) {
    if (Arrays.asList(schema.fieldNames()).contains(name)) {
      throw new IllegalArgumentException(
          "outputColumn must be a new column: outputColumn=" + name + ", columns=" + names(schema));
    }
    return schema.add(name, type, true);
  }

  private static String names(StructType schema) {
    return Arrays.toString(schema.fieldNames());
  }
}
