/**
 * Text generation and chat with language models.
 *
 * <p>{@link io.github.attention4j.models.text.TextGenerator} continues a text: tokens become text
 * piece by piece, stop texts end it, and a constraint limits which tokens may come next. {@link
 * io.github.attention4j.models.text.Chat} answers a conversation: messages become a prompt, and the
 * model's output becomes text and tool calls.
 */
package io.github.attention4j.models.text;
