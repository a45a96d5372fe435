/**
 * Turns columns of texts into columns of vectors or scores on Spark: {@link
 * io.github.attention4j.spark.TextEmbedding} and {@link io.github.attention4j.spark.TextScoring}.
 *
 * <p>Both are descriptions: immutable, serialisable and small. A model is opened when the first
 * task in an executor JVM needs it; all tasks with the same path and settings share it, and it
 * stays open as long as the JVM runs. Each task sets {@link io.github.attention4j.A4j#threads(int)
 * A4j.threads} of its JVM to {@code spark.task.cpus}; in {@code local} mode that JVM is the
 * driver's.
 *
 * <p>An absolute path must lead to the model on every machine. A relative one is resolved like by
 * {@code SparkFiles.get}, in the directory of files that Spark ships with the application ({@code
 * --archives model.zip#name} or {@code spark.archives}).
 *
 * <p>Spark starts executors, and drivers under {@code spark-submit}, with the flags that it and
 * this library need on Java 25; the guide's page about Spark lists them for drivers that are
 * started differently.
 */
package io.github.attention4j.spark;
