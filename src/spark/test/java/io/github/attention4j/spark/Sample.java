package io.github.attention4j.spark;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/** Models and texts of the tests. */
final class Sample {
  private static final Path MODELS =
      Path.of("src/models/test/resources/golden-models/encoder").toAbsolutePath();

  /** An embedder with prompts. */
  static final Path EMBEDDER = MODELS.resolve("bert_st_dense");

  static final Path RERANKER = MODELS.resolve("bert_cross_encoder");

  private static final List<String> TEXTS =
      List.of(
          "The old sailor counts the water level.",
          "",
          "Bread.",
          "Our neighbour repairs the broken engine before the baker wakes up and sells everything",
          "北京的春天");

  private Sample() {}

  static List<String> texts(int count) {
    return IntStream.range(0, count).mapToObj(i -> TEXTS.get(i % TEXTS.size()) + " " + i).toList();
  }

  /** Rows {@code (id, text)} in several partitions. */
  static Dataset<Row> rows(SparkSession spark, List<String> texts, int partitions) {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < texts.size(); i++) {
      rows.add(RowFactory.create(i, texts.get(i)));
    }
    StructType schema =
        new StructType().add("id", DataTypes.IntegerType).add("text", DataTypes.StringType);
    return spark.createDataFrame(rows, schema).repartition(partitions);
  }

  static float[] vector(Row row, String column) {
    List<Float> list = row.getList(row.fieldIndex(column));
    float[] vector = new float[list.size()];
    for (int i = 0; i < vector.length; i++) {
      vector[i] = list.get(i);
    }
    return vector;
  }
}
