package io.github.attention4j.spark;

import io.github.attention4j.models.Pooling;
import io.github.attention4j.models.TextEmbedder;
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
import scala.collection.mutable.ArraySeq;

/**
 * Turns a column of texts into a column of vectors, with a {@link TextEmbedder} in each executor.
 *
 * <pre>{@code
 * TextEmbedding embedding =
 *     TextEmbedding.builder("/models/all-MiniLM-L6-v2")
 *         .inputColumn("text")
 *         .outputColumn("vector")
 *         .build();
 * Dataset<Row> vectors = rows.transform(embedding::transform);
 * }</pre>
 *
 * <p>The new column is an {@code array<float>}, null if the text is null. A text's vector has the
 * same bits whatever its partition or batch, on any number of threads. Texts that are too long are
 * truncated to the model's limit, unless {@link Builder#refuseTruncation} is set, which makes the
 * job fail.
 *
 * <p>Immutable, serialisable, and safe for any number of threads.
 */
public final class TextEmbedding implements Serializable {
  private static final long serialVersionUID = 1;

  private final Settings settings;
  private final Kind kind;
  private final String prompt;
  private final String inputColumn;
  private final String outputColumn;

  private TextEmbedding(Builder builder) {
    settings =
        new Settings(
            builder.path,
            builder.pooling,
            builder.normalize,
            builder.dimensions,
            builder.maxTokens,
            builder.refuses,
            builder.storage);
    kind = builder.kind;
    prompt = builder.prompt;
    inputColumn = builder.inputColumn;
    outputColumn = builder.outputColumn;
  }

  /** Which of the model's prompts comes before the texts. */
  private enum Kind {
    DEFAULT,
    QUERIES,
    DOCUMENTS,
    NAMED
  }

  /** The settings of the model to open; 0 and null mean those of the files. */
  private record Settings(
      String path,
      Pooling pooling,
      Boolean normalize,
      int dimensions,
      int maxTokens,
      boolean refuses,
      WeightStorage storage)
      implements ModelSettings<TextEmbedder> {
    @Override
    public TextEmbedder open(Path path) throws IOException {
      TextEmbedder.Builder builder = TextEmbedder.builder(path).storage(storage);
      if (pooling != null) {
        builder.pooling(pooling);
      }
      if (normalize != null) {
        builder.normalize(normalize);
      }
      if (dimensions > 0) {
        builder.dimensions(dimensions);
      }
      if (maxTokens > 0) {
        builder.maxTokens(maxTokens);
      }
      if (refuses) {
        builder.refuseTruncation();
      }
      return builder.open();
    }
  }

  /**
   * Starts with the settings of a model's files.
   *
   * @param path a path for {@link TextEmbedder#open}: absolute and the same on every machine, or
   *     relative to the directory where Spark puts the files that it ships, such as {@code model}
   *     for {@code --archives minilm.zip#model}
   * @return a builder
   * @throws IllegalArgumentException if the path is empty or a URL
   */
  public static Builder builder(String path) {
    return new Builder(path);
  }

  /**
   * Adds the column of vectors. The model is only opened on the executors, when the result is
   * computed.
   *
   * @param rows have the input column, of strings
   * @return the same rows with the output column, {@code array<float>}, after the others
   * @throws IllegalArgumentException if the input column is missing or holds no strings, or the
   *     output column already exists
   */
  public Dataset<Row> transform(Dataset<Row> rows) {
    int column = Columns.text(rows.schema(), "inputColumn", inputColumn);
    return rows.mapPartitions(
        new Embed(settings, kind, prompt, column), Encoders.row(transformSchema(rows.schema())));
  }

  /**
   * Returns the schema of what {@link #transform} returns.
   *
   * @param schema has the input column, of strings
   * @return the schema with the output column, {@code array<float>}, after the others
   * @throws IllegalArgumentException as for {@link #transform}
   */
  public StructType transformSchema(StructType schema) {
    Columns.text(schema, "inputColumn", inputColumn);
    return Columns.plus(
        schema, outputColumn, DataTypes.createArrayType(DataTypes.FloatType, false));
  }

  /** The work of a task. */
  private record Embed(Settings settings, Kind kind, String prompt, int column)
      implements MapPartitionsFunction<Row, Row> {
    @Override
    public Iterator<Row> call(Iterator<Row> rows) {
      if (!rows.hasNext()) {
        return rows;
      }
      TextEmbedder embedder = ExecutorModels.forTask(settings);
      return new ChunkedRows(rows, chunk -> vectors(embedder, chunk));
    }

    /** As Scala sequences, because Spark does not accept arrays of primitives in rows. */
    private List<ArraySeq<?>> vectors(TextEmbedder embedder, List<Row> rows) {
      List<String> texts =
          rows.stream().map(row -> row.getString(column)).filter(Objects::nonNull).toList();
      Iterator<TextEmbedder.Result> results = embed(embedder, texts).iterator();
      List<ArraySeq<?>> vectors = new ArrayList<>(rows.size());
      for (Row row : rows) {
        vectors.add(row.isNullAt(column) ? null : ArraySeq.make(results.next().vector()));
      }
      return vectors;
    }

    private List<TextEmbedder.Result> embed(TextEmbedder embedder, List<String> texts) {
      return switch (kind) {
        case DEFAULT -> embedder.embedAll(texts);
        case QUERIES -> embedder.embedQueries(texts);
        case DOCUMENTS -> embedder.embedDocuments(texts);
        case NAMED -> embedder.embedAll(texts, prompt);
      };
    }
  }

  /**
   * Shows columns and path.
   *
   * @return for example {@code TextEmbedding[text -> vector, /models/all-MiniLM-L6-v2]}
   */
  @Override
  public String toString() {
    return "TextEmbedding[" + inputColumn + " -> " + outputColumn + ", " + settings.path() + "]";
  }

  /**
   * Collects settings that override those of the model's files. Not safe for use by several
   * threads.
   */
  public static final class Builder extends ModelBuilder<Builder> {
    private String inputColumn = "text";
    private Kind kind = Kind.DEFAULT;
    private String prompt;
    private Pooling pooling;
    private Boolean normalize;
    private int dimensions;
    private int maxTokens;

    private Builder(String path) {
      super(path, "vector");
    }

    /**
     * Sets the column of texts.
     *
     * @param name a column of strings; {@code text} by default
     * @return this builder
     */
    public Builder inputColumn(String name) {
      inputColumn = Objects.requireNonNull(name, "name");
      return this;
    }

    /**
     * Embeds the texts as queries: see {@link TextEmbedder#embedQueries}.
     *
     * @return this builder
     */
    public Builder queries() {
      kind = Kind.QUERIES;
      return this;
    }

    /**
     * Embeds the texts as documents: see {@link TextEmbedder#embedDocuments}.
     *
     * @return this builder
     */
    public Builder documents() {
      kind = Kind.DOCUMENTS;
      return this;
    }

    /**
     * Puts one of the model's prompts before each text.
     *
     * @param name a key of {@link TextEmbedder#prompts}
     * @return this builder
     */
    public Builder prompt(String name) {
      prompt = Objects.requireNonNull(name, "name");
      kind = Kind.NAMED;
      return this;
    }

    /**
     * Overrides the pooling of the files.
     *
     * @param pooling see {@link TextEmbedder.Builder#pooling}
     * @return this builder
     */
    public Builder pooling(Pooling pooling) {
      this.pooling = Objects.requireNonNull(pooling, "pooling");
      return this;
    }

    /**
     * Sets whether vectors are divided by their Euclidean norm at the end.
     *
     * @param normalize see {@link TextEmbedder.Builder#normalize}
     * @return this builder
     */
    public Builder normalize(boolean normalize) {
      this.normalize = normalize;
      return this;
    }

    /**
     * Keeps only the first elements of each vector.
     *
     * @param dimensions see {@link TextEmbedder.Builder#dimensions}
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder dimensions(int dimensions) {
      this.dimensions = requirePositive("dimensions", dimensions);
      return this;
    }

    /**
     * Sets how many tokens of a text are read, instead of the files.
     *
     * @param maxTokens see {@link TextEmbedder.Builder#maxTokens}
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxTokens(int maxTokens) {
      this.maxTokens = requirePositive("maxTokens", maxTokens);
      return this;
    }

    private static int requirePositive(String name, int value) {
      if (value < 1) {
        throw new IllegalArgumentException(name + " must be at least 1: " + name + "=" + value);
      }
      return value;
    }

    /**
     * Builds the description.
     *
     * @return an immutable description
     */
    public TextEmbedding build() {
      return new TextEmbedding(this);
    }
  }
}
