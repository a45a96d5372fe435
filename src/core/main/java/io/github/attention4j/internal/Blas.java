package io.github.attention4j.internal;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * A CBLAS with 32-bit integers that computes on the calling thread only.
 *
 * @param sgemm the address of {@code cblas_sgemm}
 * @param name what the library calls itself, with its version, or its path if it does not say
 * @param core the kernels that it chose for this CPU, or null if it does not say
 * @param path where it was found
 */
public record Blas(MemorySegment sgemm, String name, String core, String path) {
  /**
   * OpenBLAS starts its workers when it is loaded, and raises SIGINT if the system has no threads
   * left. With this variable it starts none.
   */
  private static final String THREADS_VARIABLE = "OPENBLAS_NUM_THREADS";

  /** The functions by which OpenBLAS, MKL and BLIS (AOCL) are told to use one thread. */
  private static final List<String> THREADS_FUNCTIONS =
      List.of("openblas_set_num_threads", "MKL_Set_Num_Threads", "bli_thread_set_num_threads");

  /**
   * Opens a library; it stays open for the life of the process.
   *
   * @param path a path, or a name that the system's linker finds
   * @param companions paths of libraries to open before it, so that it finds them loaded
   * @throws IOException if the system's linker refuses one, or if it is no such CBLAS
   */
  static Blas open(String path, List<String> companions) throws IOException {
    return DynamicLinker.withVariable(
        THREADS_VARIABLE,
        "1",
        () -> {
          for (String companion : companions) {
            DynamicLinker.open(companion);
          }
          return describe(DynamicLinker.open(path), path);
        });
  }

  private static Blas describe(MemorySegment library, String path) throws IOException {
    MemorySegment sgemm = DynamicLinker.symbol(library, "cblas_sgemm");
    if (sgemm.address() == 0) {
      throw new IOException(path + " is not a CBLAS: it has no cblas_sgemm");
    }
    for (String function : THREADS_FUNCTIONS) {
      DynamicLinker.callWithInt(DynamicLinker.symbol(library, function), 1);
    }
    String configuration = string(library, "openblas_get_config");
    if (configuration == null) {
      String version = string(library, "bli_info_get_version_str");
      return new Blas(sgemm, version == null ? path : "BLIS " + version, null, path);
    }
    if (configuration.contains("USE64BITINT")) {
      throw new IOException(path + " must be built for 32-bit integers: " + configuration);
    }
    String[] words = configuration.split(" ");
    String name = words.length < 2 ? configuration : words[0] + " " + words[1];
    return new Blas(sgemm, name, string(library, "openblas_get_corename"), path);
  }

  private static String string(MemorySegment library, String function) {
    return DynamicLinker.callForString(DynamicLinker.symbol(library, function));
  }
}
