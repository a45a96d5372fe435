/**
 * Columns of texts become columns of vectors or scores on Spark: {@link
 * io.github.attention4j.spark.TextEmbedding} and {@link io.github.attention4j.spark.TextScoring}.
 *
 * <p>Both are descriptions: immutable, serialisable, and small. They open no model until a task
 * needs it, and then one for each executor JVM, which all tasks with the same path and settings
 * share and which stays open as long as the JVM runs. Each task sets {@link
 * io.github.attention4j.A4j#threads(int) A4j.threads} of its JVM to {@code spark.task.cpus}; in
 * {@code local} mode that JVM is the driver's.
 *
 * <p>A path that is absolute must lead to the model on every machine. A relative one is looked for
 * where Spark puts what it ships with the application, {@code --archives model.zip#name} or {@code
 * spark.archives}, as {@code SparkFiles.get} does.
 *
 * <p>Spark starts executors, and drivers by {@code spark-submit}, with the flags that it and this
 * library need on Java 25; the guide's page about Spark lists them for drivers that are started in
 * another way.
 */
package io.github.attention4j.spark;
