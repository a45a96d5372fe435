/**
 * GGUF, the files of llama.cpp: {@link io.github.attention4j.models.gguf.GgufFile} reads metadata
 * and tensors. To run the model in a file, open it with {@link
 * io.github.attention4j.models.CausalLm}.
 */
package io.github.attention4j.models.gguf;
