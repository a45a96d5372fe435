package io.github.attention4j.spark;

import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.WeightStorage;
import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * Turns a column of queries and one of passages into a column of scores, with a {@link Reranker} in
 * each executor.
 *
 * <pre>{@code
 * TextScoring scoring = TextScoring.builder("/models/ms-marco-MiniLM-L6-v2").build();
 * Dataset<Row> scores = candidates.transform(scoring::transform);
 * }</pre>
 *
 * <p>The new column is a {@code float}, higher for passages that answer the query better, and null
 * if either text is null. A pair's score has the same bits whatever its partition or batch, on any
 * number of threads.
 *
 * <p>Immutable, serialisable, and safe for any number of threads.
 */
public final class TextScoring implements Serializable {
  private static final long serialVersionUID = 1;

  private final Settings settings;
  private final String queryColumn;
  private final String passageColumn;
  private final String outputColumn;

  private TextScoring(Builder builder) {
    settings = new Settings(builder.path, builder.refuses, builder.storage);
    queryColumn = builder.queryColumn;
    passageColumn = builder.passageColumn;
    outputColumn = builder.outputColumn;
  }

  /** The settings of the model to open. */
  private record Settings(String path, boolean refuses, WeightStorage storage)
      implements ModelSettings<Reranker> {
    @Override
    public Reranker open(Path path) throws IOException {
      Reranker.Builder builder = Reranker.builder(path).storage(storage);
      if (refuses) {
        builder.refuseTruncation();
      }
      return builder.open();
    }
  }

  /**
   * Starts with the settings of a model's files.
   *
   * @param path a path for {@link Reranker#open}: absolute and the same on every machine, or
   *     relative to the directory where Spark puts the files that it ships, such as {@code model}
   *     for {@code --archives reranker.zip#model}
   * @return a builder
   * @throws IllegalArgumentException if the path is empty or a URL
   */
  public static Builder builder(String path) {
    return new Builder(path);
  }

  /**
   * Adds the column of scores. The model is only opened on the executors, when the result is
   * computed.
   *
   * @param rows have the columns of queries and passages, of strings
   * @return the same rows with the output column, {@code float}, after the others
   * @throws IllegalArgumentException if a column of texts is missing or holds no strings, or the
   *     output column already exists
   */
  public Dataset<Row> transform(Dataset<Row> rows) {
    StructType schema = rows.schema();
    return rows.mapPartitions(
        new Score(
            settings,
            Columns.text(schema, "queryColumn", queryColumn),
            Columns.text(schema, "passageColumn", passageColumn)),
        Encoders.row(transformSchema(schema)));
  }

  /**
   * Returns the schema of what {@link #transform} returns.
   *
   * @param schema has the columns of queries and passages, of strings
   * @return the schema with the output column, {@code float}, after the others
   * @throws IllegalArgumentException as for {@link #transform}
   */
  public StructType transformSchema(StructType schema) {
    Columns.text(schema, "queryColumn", queryColumn);
    Columns.text(schema, "passageColumn", passageColumn);
    return Columns.plus(schema, outputColumn, DataTypes.FloatType);
  }

  /** The work of a task. */
  private record Score(Settings settings, int query, int passage)
      implements MapPartitionsFunction<Row, Row> {
    @Override
    public Iterator<Row> call(Iterator<Row> rows) {
      if (!rows.hasNext()) {
        return rows;
      }
      Reranker reranker = ExecutorModels.forTask(settings);
      return new ChunkedRows(rows, chunk -> scores(reranker, chunk));
    }

    private List<Float> scores(Reranker reranker, List<Row> rows) {
      List<Row> whole = rows.stream().filter(this::isWhole).toList();
      float[] computed =
          reranker.score(
              whole.stream().map(row -> row.getString(query)).toList(),
              whole.stream().map(row -> row.getString(passage)).toList());
      List<Float> scores = new ArrayList<>(rows.size());
      int next = 0;
      for (Row row : rows) {
        scores.add(isWhole(row) ? computed[next++] : null);
      }
      return scores;
    }

    private boolean isWhole(Row row) {
      return !row.isNullAt(query) && !row.isNullAt(passage);
    }
  }

  /**
   * Shows columns and path.
   *
   * @return for example {@code TextScoring[query, passage -> score, /models/reranker]}
   */
  @Override
  public String toString() {
    return "TextScoring["
        + queryColumn
        + ", "
        + passageColumn
        + " -> "
        + outputColumn
        + ", "
        + settings.path()
        + "]";
  }

  /**
   * Collects settings that override those of the model's files. Not safe for use by several
   * threads.
   */
  public static final class Builder extends ModelBuilder<Builder> {
    private String queryColumn = "query";
    private String passageColumn = "passage";

    private Builder(String path) {
      super(path, "score");
    }

    /**
     * Sets the column of queries.
     *
     * @param name a column of strings; {@code query} by default
     * @return this builder
     */
    public Builder queryColumn(String name) {
      queryColumn = Objects.requireNonNull(name, "name");
      return this;
    }

    /**
     * Sets the column of passages.
     *
     * @param name a column of strings; {@code passage} by default
     * @return this builder
     */
    public Builder passageColumn(String name) {
      passageColumn = Objects.requireNonNull(name, "name");
      return this;
    }

    /**
     * Builds the description.
     *
     * @return an immutable description
     */
    public TextScoring build() {
      return new TextScoring(this);
    }
  }
}
