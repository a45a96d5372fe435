package io.github.attention4j.spark;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.models.Pooling;
import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.WeightStorage;
import io.github.attention4j.testing.Snippets;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.lang.management.ManagementFactory;
import java.math.BigDecimal;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.launcher.JavaModuleOptions;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Driver and executor are this JVM: {@code local[2]}, with two CPUs for a task. */
class LocalTest {
  private static final Path PAGE = Path.of("src/guide/spark.md");

  private static SparkSession spark;
  private static int threads;

  @TempDir Path directory;

  @BeforeAll
  static void start() {
    threads = A4j.threads();
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.task.cpus", "2")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "2")
            .config(
                "spark.sql.warehouse.dir", Path.of("src/spark/target/warehouse").toUri().toString())
            .getOrCreate();
  }

  @AfterAll
  static void stop() {
    spark.stop();
    A4j.threads(threads);
  }

  // ---- Embedding ----

  @Test
  void shouldGiveTheVectorsOfTheEmbedder() throws Exception {
    List<String> texts = new ArrayList<>(Sample.texts(300));
    texts.set(7, null);
    texts.set(250, null);
    int before = ExecutorModels.opened();
    // No other test has a model with this limit.
    TextEmbedding embedding =
        TextEmbedding.builder(Sample.EMBEDDER.toString()).maxTokens(13).build();
    List<Row> rows =
        embedding.transform(Sample.rows(spark, texts, 5)).orderBy("id").collectAsList();
    assertEquals(1, ExecutorModels.opened() - before, "models opened for 5 partitions");
    assertEquals(texts.size(), rows.size());
    try (TextEmbedder embedder = TextEmbedder.builder(Sample.EMBEDDER).maxTokens(13).open()) {
      for (int i = 0; i < texts.size(); i++) {
        Row row = rows.get(i);
        assertEquals(i, row.getInt(0));
        assertEquals(texts.get(i), row.getString(1));
        if (texts.get(i) == null) {
          assertTrue(row.isNullAt(2));
        } else {
          assertArrayEquals(embedder.embed(texts.get(i)), Sample.vector(row, "vector"));
        }
      }
    }
  }

  @Test
  void shouldPassTheOptionsOn() throws Exception {
    List<String> texts = Sample.texts(20);
    Dataset<Row> rows = Sample.rows(spark, texts, 2);
    String path = Sample.EMBEDDER.toString();
    try (TextEmbedder embedder = TextEmbedder.open(Sample.EMBEDDER)) {
      String name = embedder.prompts().keySet().iterator().next();
      float[] plain = embedder.embedAll(texts, null).get(3).vector();
      float[] named = embedder.embedAll(texts, name).get(3).vector();
      assertTrue(!Arrays.equals(plain, named), "the prompt changes nothing");
      assertArrayEquals(named, fourth(TextEmbedding.builder(path).prompt(name), rows));
      assertArrayEquals(
          embedder.embedQuery(texts.get(3)), fourth(TextEmbedding.builder(path).queries(), rows));
      assertArrayEquals(
          embedder.embedDocument(texts.get(3)),
          fourth(TextEmbedding.builder(path).documents(), rows));
    }
    try (TextEmbedder embedder =
        TextEmbedder.builder(Sample.EMBEDDER)
            .pooling(Pooling.MAX)
            .normalize(true)
            .dimensions(16)
            .maxTokens(5)
            .storage(WeightStorage.INT8)
            .open()) {
      float[] expected = embedder.embed(texts.get(3));
      assertEquals(16, expected.length);
      assertArrayEquals(
          expected,
          fourth(
              TextEmbedding.builder(path)
                  .pooling(Pooling.MAX)
                  .normalize(true)
                  .dimensions(16)
                  .maxTokens(5)
                  .storage(WeightStorage.INT8),
              rows));
    }
  }

  private static float[] fourth(TextEmbedding.Builder builder, Dataset<Row> rows) {
    return Sample.vector(
        builder.build().transform(rows).where("id = 3").collectAsList().getFirst(), "vector");
  }

  @Test
  void shouldKeepTheOtherColumnsAsTheyAre() {
    StructType inner = new StructType().add("a", DataTypes.LongType).add("b", DataTypes.StringType);
    StructType schema =
        new StructType()
            .add("list", DataTypes.createArrayType(DataTypes.IntegerType))
            .add("inner", inner)
            .add("map", DataTypes.createMapType(DataTypes.StringType, DataTypes.DoubleType))
            .add("body", DataTypes.StringType)
            .add("at", DataTypes.TimestampType)
            .add("price", DataTypes.createDecimalType(12, 2))
            .add("bytes", DataTypes.BinaryType)
            .add("none", DataTypes.IntegerType);
    Row row =
        RowFactory.create(
            List.of(1, 2, 3),
            RowFactory.create(5L, "x"),
            Map.of("k", 0.5),
            "some text",
            Timestamp.valueOf("2024-02-29 12:34:56"),
            new BigDecimal("12.50"),
            new byte[] {1, 2},
            null);
    Dataset<Row> before = spark.createDataFrame(List.of(row), schema);
    Dataset<Row> after =
        TextEmbedding.builder(Sample.EMBEDDER.toString())
            .inputColumn("body")
            .outputColumn("embedding")
            .build()
            .transform(before);
    assertEquals(
        schema.add("embedding", DataTypes.createArrayType(DataTypes.FloatType, false)),
        after.schema());
    assertEquals(before.toJSON().first(), after.drop("embedding").toJSON().first());
    assertTrue(Sample.vector(after.first(), "embedding").length > 0);
  }

  @Test
  void shouldOpenNoModelWithoutRows() {
    int before = ExecutorModels.opened();
    TextEmbedding nowhere = TextEmbedding.builder("/nowhere/at/all").build();
    assertEquals(0, nowhere.transform(Sample.rows(spark, List.of(), 2)).count());
    assertEquals(before, ExecutorModels.opened());
  }

  @Test
  void shouldUseAsManyThreadsAsATaskHasCpus() {
    A4j.threads(1);
    TextEmbedding.builder(Sample.EMBEDDER.toString())
        .build()
        .transform(Sample.rows(spark, Sample.texts(3), 1))
        .collectAsList();
    assertEquals(2, A4j.threads());
  }

  // ---- Scoring ----

  @Test
  void shouldGiveTheScoresOfTheReranker() throws Exception {
    List<String> texts = Sample.texts(150);
    List<Row> pairs = new ArrayList<>();
    for (int i = 0; i < texts.size(); i++) {
      pairs.add(
          RowFactory.create(i, i == 4 ? null : texts.get(i / 10), i == 9 ? null : texts.get(i)));
    }
    StructType schema =
        new StructType()
            .add("id", DataTypes.IntegerType)
            .add("query", DataTypes.StringType)
            .add("passage", DataTypes.StringType);
    TextScoring scoring = TextScoring.builder(Sample.RERANKER.toString()).build();
    List<Row> rows =
        scoring
            .transform(spark.createDataFrame(pairs, schema).repartition(3))
            .orderBy("id")
            .collectAsList();
    assertEquals(texts.size(), rows.size());
    try (Reranker reranker = Reranker.open(Sample.RERANKER)) {
      for (int i = 0; i < rows.size(); i++) {
        if (i == 4 || i == 9) {
          assertTrue(rows.get(i).isNullAt(3));
          continue;
        }
        float[] expected = reranker.score(texts.get(i / 10), List.of(texts.get(i)));
        assertEquals(expected[0], rows.get(i).getFloat(3));
      }
    }
    assertNotEquals(rows.get(0).getFloat(3), rows.get(1).getFloat(3));
  }

  // ---- Refusals ----

  @Test
  void shouldRefuseColumnsThatDoNotFit() {
    Dataset<Row> rows = Sample.rows(spark, Sample.texts(1), 1);
    String path = Sample.EMBEDDER.toString();
    says(
        "inputColumn must be a column: inputColumn=body, columns=[id, text]",
        () -> TextEmbedding.builder(path).inputColumn("body").build().transform(rows));
    says(
        "inputColumn must be a column of strings: id=int, wanted=string",
        () -> TextEmbedding.builder(path).inputColumn("id").build().transform(rows));
    says(
        "outputColumn must be a new column: outputColumn=text, columns=[id, text]",
        () -> TextEmbedding.builder(path).outputColumn("text").build().transform(rows));
    says(
        "passageColumn must be a column: passageColumn=passage, columns=[id, text]",
        () -> TextScoring.builder(path).queryColumn("text").build().transform(rows));
    says("path=hdfs://host/model", () -> TextEmbedding.builder("hdfs://host/model"));
    says("path=", () -> TextScoring.builder(""));
    says("dimensions=0", () -> TextEmbedding.builder(path).dimensions(0));
    says("maxTokens=-1", () -> TextEmbedding.builder(path).maxTokens(-1));
  }

  private static void says(String sentence, Runnable call) {
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(e.getMessage().contains(sentence), e.getMessage());
  }

  @Test
  void shouldEndTheJobWithTheCause() {
    Dataset<Row> rows = Sample.rows(spark, List.of("word ".repeat(200)), 1);
    TextEmbedding strict =
        TextEmbedding.builder(Sample.EMBEDDER.toString()).refuseTruncation().build();
    assertTrue(cause(strict.transform(rows)).contains("truncation is refused: tokens="));
    TextEmbedding nowhere = TextEmbedding.builder("/nowhere/at/all").build();
    assertTrue(
        cause(nowhere.transform(rows))
            .contains("/nowhere/at/all must be a directory or an ONNX file: it is missing"));
    TextEmbedding shipped = TextEmbedding.builder("not-shipped").build();
    assertTrue(cause(shipped.transform(rows)).contains("/not-shipped must be a directory"));
  }

  private static String cause(Dataset<Row> rows) {
    Exception e = assertThrows(Exception.class, rows::collectAsList);
    StringBuilder all = new StringBuilder();
    for (Throwable each = e; each != null; each = each.getCause()) {
      all.append(each.getMessage()).append('\n');
    }
    return all.toString();
  }

  @Test
  void shouldEndBetweenChunksWhenTheJobIsCancelled() throws Exception {
    List<Row> rows = new ArrayList<>();
    IntStream.range(0, 64 * 40).forEach(i -> rows.add(RowFactory.create(i, "x")));
    Dataset<Row> slow =
        spark
            .createDataFrame(rows, Sample.rows(spark, List.of(), 1).schema())
            .coalesce(1)
            .mapPartitions(
                (MapPartitionsFunction<Row, Row>) all -> new ChunkedRows(all, LocalTest::slowly),
                Encoders.row(
                    new StructType()
                        .add("id", DataTypes.IntegerType)
                        .add("text", DataTypes.StringType)
                        .add("chunk", DataTypes.IntegerType)));
    CHUNKS.set(0);
    Thread job =
        Thread.ofPlatform()
            .start(
                () -> {
                  spark.sparkContext().setJobGroup("slow", "cancelled by the test", false);
                  assertThrows(Exception.class, slow::collectAsList);
                });
    while (CHUNKS.get() == 0) {
      Thread.sleep(10);
    }
    spark.sparkContext().cancelJobGroup("slow");
    job.join();
    // The task itself ends a moment after its job.
    int seen = -1;
    while (seen != CHUNKS.get()) {
      seen = CHUNKS.get();
      Thread.sleep(500);
    }
    assertTrue(seen < 40, seen + " of 40 chunks were computed");
  }

  private static final AtomicInteger CHUNKS = new AtomicInteger();

  private static List<Integer> slowly(List<Row> rows) {
    int chunk = CHUNKS.incrementAndGet();
    try {
      Thread.sleep(100);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    return Collections.nCopies(rows.size(), chunk);
  }

  @Test
  void shouldBeSerialisable() throws Exception {
    TextEmbedding embedding = TextEmbedding.builder("/m").dimensions(3).queries().build();
    assertEquals("TextEmbedding[text -> vector, /m]", copy(embedding).toString());
    TextScoring scoring = TextScoring.builder("/m").outputColumn("s").build();
    assertEquals("TextScoring[query, passage -> s, /m]", copy(scoring).toString());
  }

  private static Object copy(Object object) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(object);
    }
    assertTrue(bytes.size() < 2000, bytes.size() + " bytes");
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      return in.readObject();
    }
  }

  // ---- Callers ----

  /** All that Spark's launcher gives to its processes, but for a module that no one here uses. */
  @Test
  void shouldListTheFlagsThatSparkGives() throws Exception {
    Set<String> given =
        Arrays.stream(JavaModuleOptions.defaultModuleOptionArray())
            .filter(flag -> flag.startsWith("--") && !flag.startsWith("--add-modules"))
            .collect(Collectors.toSet());
    Set<String> listed =
        Files.readAllLines(PAGE).stream()
            .map(String::strip)
            .filter(line -> line.startsWith("--") && line.contains("="))
            .collect(Collectors.toSet());
    assertEquals(given, listed);
    List<String> own = ManagementFactory.getRuntimeMXBean().getInputArguments();
    assertTrue(own.containsAll(given), own + " lack one of " + given);
  }

  @Test
  void shouldRunTheGuidesJava() {
    Snippets.requireRunBy(LocalTest.class, PAGE, 1);
    Dataset<Row> articles = Sample.rows(spark, Sample.texts(10), 1);
    String embedder = Sample.EMBEDDER.toString();
    String reranker = Sample.RERANKER.toString();
    TextEmbedding embedding = TextEmbedding.builder(embedder).documents().build();
    Dataset<Row> vectors = articles.transform(embedding::transform); // with array<float> "vector"

    TextScoring scoring =
        TextScoring.builder(reranker).queryColumn("question").passageColumn("text").build();
    Dataset<Row> scores =
        articles
            .withColumn("question", functions.lit("Who repairs the engine?"))
            .transform(scoring::transform); // with float "score"
    assertEquals(10, vectors.where("size(vector) > 1").count());
    assertEquals(10, scores.where("score IS NOT NULL").count());
  }

  @Test
  void shouldServeCallersInScala() throws Exception {
    Path source = Path.of("src/spark/test/scala/ScalaCaller.scala");
    String page = Files.readString(PAGE);
    String snippet = page.substring(page.indexOf("```scala\n") + 9);
    snippet = snippet.substring(0, snippet.indexOf("```"));
    String code = Files.readString(source);
    for (String line : snippet.lines().toList()) {
      assertTrue(code.contains(line.strip()), "not in " + source + ": " + line);
    }
    boolean compiled =
        scala.tools.nsc.Main.process(
            new String[] {
              "-classpath",
              System.getProperty("java.class.path"),
              "-d",
              directory.toString(),
              source.toString()
            });
    assertTrue(compiled, "the compiler's words are above");
    ClassLoader own = LocalTest.class.getClassLoader();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {directory.toUri().toURL()}, own)) {
      Object counted =
          loader
              .loadClass("ScalaCaller")
              .getMethod("count", Dataset.class, String.class, String.class)
              .invoke(
                  null,
                  Sample.rows(spark, Sample.texts(10), 2),
                  Sample.EMBEDDER.toString(),
                  Sample.RERANKER.toString());
      assertEquals(10L, counted);
    }
  }
}
