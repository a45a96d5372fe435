/**
 * Tensors in files. {@link io.github.attention4j.io.SafeTensors} reads and writes the safetensors
 * format, which is what published checkpoints come in.
 *
 * <p>Files are not trusted: everything that a file says about itself is checked when it is opened,
 * before any of its data is mapped, and an error names the file and both numbers. The rules of
 * {@link io.github.attention4j} for memory, exceptions and threads apply.
 */
package io.github.attention4j.io;
