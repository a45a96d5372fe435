package io.github.attention4j.openblas;

import io.github.attention4j.internal.BlasBundle;
import java.net.URL;

/** Finds the files of OpenBLAS in this jar. */
public final class OpenBlas implements BlasBundle {
  /** For {@link java.util.ServiceLoader}. */
  public OpenBlas() {}

  @Override
  public URL find(String file) {
    return OpenBlas.class.getResource("/META-INF/openblas/" + file);
  }
}
