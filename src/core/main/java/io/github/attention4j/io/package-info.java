/**
 * Tensors in files. {@link io.github.attention4j.io.SafeTensors} reads and writes the safetensors
 * format, which is what published checkpoints come in.
 *
 * <p>Files are hostile until proven otherwise: everything that a file says about itself is checked
 * when it is opened, before any of its data is mapped, and what does not hold is refused in a
 * sentence that names the file and both numbers.
 */
package io.github.attention4j.io;
