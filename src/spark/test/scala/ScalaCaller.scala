import io.github.attention4j.spark.{TextEmbedding, TextScoring}
import org.apache.spark.sql.DataFrame
import org.apache.spark.sql.functions.{col, lit, size}

/** The guide's lines in Scala; LocalTest compiles and runs them. */
object ScalaCaller {
  def count(articles: DataFrame, embedder: String, reranker: String): Long = {
    val embedding = TextEmbedding.builder(embedder).documents().build()
    val vectors = articles.transform(embedding.transform)

    val scoring = TextScoring.builder(reranker).queryColumn("question").passageColumn("text").build()
    val scores = articles
      .withColumn("question", lit("Who repairs the engine?"))
      .transform(scoring.transform)

    val whole = vectors.where(size(col("vector")) > 1).count()
    require(scores.where(col("score").isNotNull).count() == whole)
    whole
  }
}
