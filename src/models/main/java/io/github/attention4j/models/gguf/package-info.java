/**
 * Files of llama.cpp: {@link io.github.attention4j.models.gguf.GgufFile} reads the container and
 * decodes its tensors. To run the model in one, open it with {@link
 * io.github.attention4j.models.CausalLm}.
 */
package io.github.attention4j.models.gguf;
