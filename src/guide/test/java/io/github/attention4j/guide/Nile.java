package io.github.attention4j.guide;

import io.github.attention4j.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The annual flow of the Nile at Aswan, 1871 to 1970, from the guide's file. */
record Nile(Tensor years, Tensor flows) {
  static Nile read(Arena arena) {
    try {
      List<String> lines = Files.readAllLines(Path.of("src/guide/nile.csv"));
      int n = lines.size() - 1;
      float[] years = new float[n];
      float[] flows = new float[n];
      for (int i = 0; i < n; i++) {
        String[] cells = lines.get(i + 1).split(",");
        years[i] = Integer.parseInt(cells[0]);
        flows[i] = Integer.parseInt(cells[1]);
      }
      return new Nile(Tensor.of(arena, years, n), Tensor.of(arena, flows, n));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
