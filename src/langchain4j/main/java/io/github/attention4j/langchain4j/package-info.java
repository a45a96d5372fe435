/**
 * Implementations of LangChain4j's models that run in this process: {@link
 * io.github.attention4j.langchain4j.Attention4jEmbeddingModel}, {@link
 * io.github.attention4j.langchain4j.Attention4jScoringModel}, {@link
 * io.github.attention4j.langchain4j.Attention4jChatModel} and {@link
 * io.github.attention4j.langchain4j.Attention4jStreamingChatModel}.
 *
 * <p>All are safe for any number of threads. {@code close} closes what the builder opened, but not
 * what the caller passed in. Start Java with {@code --enable-native-access=ALL-UNNAMED}.
 */
package io.github.attention4j.langchain4j;
