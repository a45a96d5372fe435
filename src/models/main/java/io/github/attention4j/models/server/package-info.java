/**
 * A small HTTP server that speaks OpenAI's API, for local use and for tests; see {@link
 * io.github.attention4j.models.server.OpenAiServer}.
 */
package io.github.attention4j.models.server;
