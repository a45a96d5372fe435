/**
 * LangChain4j's models, computed by attention4j in this process: {@link
 * io.github.attention4j.langchain4j.Attention4jEmbeddingModel}, {@link
 * io.github.attention4j.langchain4j.Attention4jScoringModel}, {@link
 * io.github.attention4j.langchain4j.Attention4jChatModel} and {@link
 * io.github.attention4j.langchain4j.Attention4jStreamingChatModel}.
 *
 * <p>All are safe for any number of threads. What a builder opened, {@code close} closes; what the
 * caller handed in stays the caller's to close. Start Java with {@code
 * --enable-native-access=ALL-UNNAMED}.
 */
package io.github.attention4j.langchain4j;
