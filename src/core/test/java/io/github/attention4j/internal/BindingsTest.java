package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.bindings.a4j_h;
import io.github.attention4j.layer.BlockFormat;
import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodType;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Proves, without jextract, that the generated bindings, the header and the compiled library say
 * the same. What the compiler made of the header comes from {@code a4j_abi_layout}.
 */
class BindingsTest {
  private static final Path HEADER = Path.of("native/include/a4j.h");
  private static final Path INCLUDES = Path.of("bindings/includes.txt");

  private static final Pattern CONSTANT_IN_HEADER =
      Pattern.compile("#define (A4J_\\w+) +\\d+|\\b(A4J_\\w+) = -?\\d+");
  private static final Pattern STRUCT_IN_HEADER = Pattern.compile("typedef struct (a4j_\\w+)");
  private static final Pattern FUNCTION_IN_HEADER =
      Pattern.compile("A4J_API ([\\w ]+[ *]+)(a4j_\\w+)\\(([^)]*)\\);");

  private static String header;
  private static String layout;

  @BeforeAll
  static void loadLibrary() throws IOException {
    NativeLibrary.load();
    layout = a4j_h.a4j_abi_layout().getString(0);
    header = Files.readString(HEADER).replaceAll("(?s)/\\*.*?\\*/", "");
  }

  @Test
  void shouldHaveTheVersionOfTheLibrary() {
    assertEquals(a4j_h.A4J_ABI_VERSION(), a4j_h.a4j_abi_version());
  }

  @Test
  void shouldHaveTheConstantsSizesAndOffsetsThatTheCompilerChose() throws Exception {
    Set<String> bindings = linesOfBindings();
    Set<String> library = new TreeSet<>(layout.lines().toList());

    assertEquals(
        Set.of(), difference(library, bindings), "lines of a4j_abi_layout that bindings lack");
    assertEquals(
        Set.of(), difference(bindings, library), "lines of bindings that a4j_abi_layout lacks");
    assertEquals(layout.lines().count(), library.size(), "no line of the layout comes twice");
  }

  @Test
  void shouldAllowWhatTheHeaderDeclaresAndNothingElse() throws IOException {
    assertAll(
        () -> assertEquals(namesInHeader(CONSTANT_IN_HEADER), included("constant"), "constants"),
        () -> assertEquals(namesInHeader(STRUCT_IN_HEADER), included("struct"), "structs"),
        () -> assertEquals(functionsInHeader().keySet(), included("function"), "functions"));
  }

  @TestFactory
  Stream<DynamicTest> shouldResolveAndTypeEachFunctionAsTheHeaderDeclaresIt() throws IOException {
    Map<String, MethodType> functions = functionsInHeader();
    return included("function").stream()
        .map(
            name ->
                DynamicTest.dynamicTest(
                    name,
                    () -> {
                      var address =
                          (MemorySegment) a4j_h.class.getMethod(name + "$address").invoke(null);
                      assertNotEquals(0, address.address(), name + " has an address");
                      var descriptor =
                          (FunctionDescriptor)
                              a4j_h.class.getMethod(name + "$descriptor").invoke(null);
                      assertEquals(functions.get(name), descriptor.toMethodType(), name);
                    }));
  }

  /** Descriptor, Op and BlockFormat repeat the header's numbers, so that they always initialise. */
  @Test
  void shouldRepeatTheConstantsOfTheHeaderRightly() throws Exception {
    for (Field field : Descriptor.class.getFields()) {
      assertEquals(
          ((Number) a4j_h.class.getMethod("A4J_" + field.getName()).invoke(null)).longValue(),
          ((Number) field.get(null)).longValue(),
          field.getName());
    }
    for (Op op : Op.values()) {
      assertEquals(a4j_h.class.getMethod("A4J_OP_" + op.name()).invoke(null), op.code(), op.name());
    }
    for (BlockFormat format : BlockFormat.values()) {
      assertEquals(
          a4j_h.class.getMethod("A4J_" + format.name()).invoke(null),
          format.ordinal(),
          format.name());
    }
    assertEquals(a4j_h.A4J_PROGRAM_MAX(), Op.MOST);
    assertEquals(a4j_h.A4J_PROGRAM_LIVE(), Op.MOST_LIVE);
  }

  /** The generated classes, by reflection, as lines of the form that a4j_abi_layout has. */
  private static Set<String> linesOfBindings() throws Exception {
    Set<String> lines = new TreeSet<>();
    for (Method method : a4j_h.class.getMethods()) {
      if (method.getName().startsWith("A4J_")) {
        lines.add(method.getName() + " " + method.invoke(null));
      }
    }
    for (String name : included("struct")) {
      Class<?> struct = Class.forName(a4j_h.class.getPackageName() + "." + name);
      GroupLayout group = (GroupLayout) struct.getMethod("layout").invoke(null);
      lines.add("struct " + name + " " + group.byteSize());
      for (MemoryLayout member : group.memberLayouts()) {
        if (member.name().isPresent()) {
          String field = member.name().get();
          long offset = group.byteOffset(PathElement.groupElement(field));
          assertEquals(
              offset,
              struct.getMethod(field + "$offset").invoke(null),
              () -> name + "." + field + "$offset");
          lines.add(name + "." + field + " " + offset + " " + member.byteSize());
        }
      }
    }
    return lines;
  }

  private static Set<String> included(String kind) throws IOException {
    String option = "--include-" + kind + " ";
    try (Stream<String> lines = Files.lines(INCLUDES)) {
      Set<String> names =
          lines
              .filter(line -> line.startsWith(option))
              .map(line -> line.substring(option.length()))
              .collect(Collectors.toCollection(TreeSet::new));
      assertTrue(!names.isEmpty(), () -> INCLUDES + " names no " + kind);
      return names;
    }
  }

  private static Set<String> namesInHeader(Pattern pattern) {
    Set<String> names = new TreeSet<>();
    for (MatchResult match : pattern.matcher(header).results().toList()) {
      names.add(match.group(1) != null ? match.group(1) : match.group(2));
    }
    return names;
  }

  /** The functions that the header declares, with the Java types that their C types have. */
  private static Map<String, MethodType> functionsInHeader() {
    Map<String, MethodType> functions = new TreeMap<>();
    Matcher matcher = FUNCTION_IN_HEADER.matcher(header);
    while (matcher.find()) {
      String parameters = matcher.group(3).strip();
      List<Class<?>> types =
          parameters.equals("void")
              ? List.of()
              : Arrays.stream(parameters.split(",")).<Class<?>>map(BindingsTest::javaType).toList();
      functions.put(matcher.group(2), MethodType.methodType(javaType(matcher.group(1)), types));
    }
    return functions;
  }

  /** The Java type of a C declaration such as {@code const float *lse}. */
  private static Class<?> javaType(String declaration) {
    String text = declaration.strip();
    if (text.contains("*")) {
      return MemorySegment.class;
    }
    return switch (text.split(" ")[0]) {
      case "int32_t" -> int.class;
      case "int64_t" -> long.class;
      case "float" -> float.class;
      default -> throw new AssertionError("the header has a type that this test lacks: " + text);
    };
  }

  private static Set<String> difference(Set<String> from, Set<String> without) {
    Set<String> rest = new TreeSet<>(from);
    rest.removeAll(without);
    return rest;
  }
}
