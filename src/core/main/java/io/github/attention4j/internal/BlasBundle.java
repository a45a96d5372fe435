package io.github.attention4j.internal;

import java.net.URL;

/**
 * A BLAS that comes in a jar of its own. The artifact {@code attention4j-openblas} provides one as
 * a service; nothing else in the library knows it.
 *
 * <p>The jar has a folder for each platform, named as {@link NativeLibrary} names them, with an
 * index as {@link NativeCache} reads it: libraries in dependency order, the BLAS last.
 */
public interface BlasBundle {
  /**
   * Finds a file of this BLAS.
   *
   * @param file a platform, a slash and the name of a file
   * @return where it is, or null if there is none
   */
  URL find(String file);
}
