/**
 * Text in and text out of a language model.
 *
 * <p>{@link io.github.attention4j.models.text.TextGenerator} continues a text: tokens become text
 * piece by piece, stop texts end it, and a constraint decides which tokens may come next. {@link
 * io.github.attention4j.models.text.Chat} answers a conversation: messages become a prompt, and
 * what the model writes becomes text and calls of tools.
 */
package io.github.attention4j.models.text;
