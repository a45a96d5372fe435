/** Reads checkpoint files: settings, which are checked, and tensors. Not exported. */
package io.github.attention4j.models.files;
