/** Checkpoint files: what they say about a model, checked, and their tensors. Not exported. */
package io.github.attention4j.models.files;
