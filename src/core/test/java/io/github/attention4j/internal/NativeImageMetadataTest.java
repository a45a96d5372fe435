package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.bindings.a4j_h;
import java.lang.foreign.FunctionDescriptor;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/**
 * GraalVM's native-image must know every kind of downcall beforehand. The jar's metadata is made
 * from the descriptors of the bindings; {@code -Dmetadata=write} writes it again.
 */
class NativeImageMetadataTest {
  private static final Path FILE =
      Path.of(
          "src/core/main/resources/META-INF/native-image/io.github.attention4j/attention4j/"
              + "reachability-metadata.json");

  /** As GraalVM writes the layouts that we use. */
  private static final Map<Class<?>, String> TYPES =
      Map.of(
          void.class, "void",
          int.class, "jint",
          long.class, "jlong",
          float.class, "jfloat",
          java.lang.foreign.MemorySegment.class, "void*");

  @Test
  void shouldListEveryKindOfDowncall() throws Exception {
    String wanted = metadata();
    if ("write".equals(System.getProperty("metadata"))) {
      Files.writeString(FILE, wanted);
    }
    assertEquals(wanted, Files.readString(FILE), "write it again with -Dmetadata=write");
  }

  private static String metadata() throws Exception {
    NativeLibrary.load();
    TreeSet<String> downcalls = new TreeSet<>();
    for (Method method : a4j_h.class.getMethods()) {
      if (method.getName().endsWith("$descriptor")) {
        downcalls.add(line((FunctionDescriptor) method.invoke(null)));
      }
    }
    // DynamicLinker: dlopen, dlsym, dlerror, getenv, setenv, unsetenv, and what a BLAS offers.
    downcalls.add("{\"returnType\": \"void*\", \"parameterTypes\": [\"void*\", \"jint\"]}");
    downcalls.add("{\"returnType\": \"void*\", \"parameterTypes\": [\"void*\", \"void*\"]}");
    downcalls.add("{\"returnType\": \"void*\", \"parameterTypes\": []}");
    downcalls.add("{\"returnType\": \"void*\", \"parameterTypes\": [\"void*\"]}");
    downcalls.add(
        "{\"returnType\": \"jint\", \"parameterTypes\": [\"void*\", \"void*\", \"jint\"]}");
    downcalls.add("{\"returnType\": \"jint\", \"parameterTypes\": [\"void*\"]}");
    downcalls.add("{\"returnType\": \"void\", \"parameterTypes\": [\"jint\"]}");
    return """
    {
      "resources": [
        {"glob": "META-INF/native/**"}
      ],
      "foreign": {
        "downcalls": [
          %s
        ]
      }
    }
    """
        .formatted(String.join(",\n      ", downcalls));
  }

  private static String line(FunctionDescriptor descriptor) {
    MethodType type = descriptor.toMethodType();
    return "{\"returnType\": \"%s\", \"parameterTypes\": [%s]}"
        .formatted(
            TYPES.get(type.returnType()),
            type.parameterList().stream()
                .map(parameter -> "\"" + TYPES.get(parameter) + "\"")
                .collect(Collectors.joining(", ")));
  }
}
