package io.github.attention4j.spark;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.models.TextEmbedder;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Executors are processes of their own: {@code local-cluster[2,1,1024]}. Spark starts them from
 * {@code SPARK_HOME} with nothing but its {@code jars} folder and the absolute paths of {@code
 * spark.executor.extraClassPath}; both are made of this test's own class path.
 */
class ClusterTest {
  private static final int TEXTS = 1500;
  private static final int PARTITIONS = 6;

  private static SparkSession spark;

  @TempDir Path directory;

  /** The reranker's files as {@code --archives} takes them. */
  private static Path archive(Path zip) throws IOException {
    try (OutputStream file = Files.newOutputStream(zip);
        ZipOutputStream out = new ZipOutputStream(file);
        Stream<Path> files = Files.list(Sample.RERANKER)) {
      for (Path each : files.filter(Files::isRegularFile).toList()) {
        out.putNextEntry(new ZipEntry(each.getFileName().toString()));
        Files.copy(each, out);
      }
    }
    return zip;
  }

  @BeforeAll
  static void start() throws IOException {
    Path jars = Path.of(System.getenv("SPARK_HOME"), "jars");
    Files.createDirectories(jars);
    try (Stream<Path> old = Files.list(jars)) {
      for (Path link : old.toList()) {
        Files.delete(link);
      }
    }
    List<String> own = new ArrayList<>();
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
      Path path = Path.of(entry).toAbsolutePath();
      if (path.startsWith(Path.of("").toAbsolutePath())) {
        own.add(path.toString());
      } else if (Files.exists(path)) {
        Files.createSymbolicLink(jars.resolve(path.getFileName()), path);
      }
    }
    spark =
        SparkSession.builder()
            .master("local-cluster[2,1,1024]")
            .config("spark.executor.extraClassPath", String.join(File.pathSeparator, own))
            .config("spark.archives", archive(jars.resolveSibling("reranker.zip")) + "#shipped")
            .config("spark.ui.enabled", "false")
            // How long to ask an executor that has ended for what it had computed.
            .config("spark.shuffle.io.retryWait", "200ms")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.adaptive.enabled", "false")
            .config("spark.sql.warehouse.dir", jars.resolveSibling("warehouse").toUri().toString())
            .getOrCreate();
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  /** Appends what the executor is, and ends one executor once in the middle of its rows. */
  private record EndsOnce(String marker) implements MapPartitionsFunction<Row, Row> {
    @Override
    public Iterator<Row> call(Iterator<Row> rows) {
      int[] seen = {0};
      return new Iterator<>() {
        @Override
        public boolean hasNext() {
          return rows.hasNext();
        }

        @Override
        public Row next() {
          if (++seen[0] == 100) {
            endOnce();
          }
          Row row = rows.next();
          return RowFactory.create(
              row.get(0),
              row.get(1),
              row.get(2),
              ProcessHandle.current().pid(),
              ExecutorModels.opened(),
              A4j.threads());
        }
      };
    }

    private void endOnce() {
      try {
        Files.writeString(
            Files.createFile(Path.of(marker)), Long.toString(ProcessHandle.current().pid()));
      } catch (FileAlreadyExistsException e) {
        return;
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
      Runtime.getRuntime().halt(137);
    }
  }

  @Test
  void shouldGiveTheSameVectorsWhenAnExecutorEndsInTheMiddle() throws Exception {
    awaitExecutors();
    List<String> texts = Sample.texts(TEXTS);
    Path marker = directory.resolve("ended").toAbsolutePath();
    TextEmbedding embedding = TextEmbedding.builder(Sample.EMBEDDER.toString()).build();
    Dataset<Row> vectors = embedding.transform(Sample.rows(spark, texts, PARTITIONS));
    List<Row> rows =
        vectors
            .mapPartitions(
                new EndsOnce(marker.toString()),
                Encoders.row(
                    vectors
                        .schema()
                        .add("pid", DataTypes.LongType)
                        .add("models", DataTypes.IntegerType)
                        .add("threads", DataTypes.IntegerType)))
            .orderBy("id")
            .collectAsList();

    long ended = Long.parseLong(Files.readString(marker));
    assertFalse(ProcessHandle.of(ended).map(ProcessHandle::isAlive).orElse(false));
    assertEquals(TEXTS, rows.size());
    Set<Long> executors = new HashSet<>();
    try (TextEmbedder embedder = TextEmbedder.open(Sample.EMBEDDER)) {
      List<TextEmbedder.Result> expected = embedder.embedAll(texts);
      for (int i = 0; i < TEXTS; i++) {
        Row row = rows.get(i);
        assertEquals(i, row.getInt(0));
        assertArrayEquals(expected.get(i).vector(), Sample.vector(row, "vector"));
        executors.add(row.getLong(3));
        assertEquals(1, row.getInt(4), "models of an executor");
        assertEquals(1, row.getInt(5), "threads of a task with one CPU");
      }
    }
    assertFalse(executors.contains(ProcessHandle.current().pid()), "the driver computed");
    assertFalse(executors.contains(ended), "rows of the executor that ended were kept");
  }

  /** Both, beside the driver. */
  private static void awaitExecutors() throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.MINUTES.toNanos(2);
    while (spark.sparkContext().statusTracker().getExecutorInfos().length < 3) {
      assertTrue(System.nanoTime() < deadline, "two executors did not start in two minutes");
      Thread.sleep(50);
    }
  }

  @Test
  void shouldFindModelsThatSparkShips() throws Exception {
    Dataset<Row> pairs =
        Sample.rows(spark, Sample.texts(40), 2).selectExpr("text AS query", "text AS passage");
    Dataset<Row> there = TextScoring.builder(Sample.RERANKER.toString()).build().transform(pairs);
    Dataset<Row> shipped = TextScoring.builder("shipped").build().transform(pairs);
    assertEquals(there.orderBy("query").collectAsList(), shipped.orderBy("query").collectAsList());
  }
}
