/* What the library reports about itself: names and messages of statuses, and the layout that the bindings are compared with. */
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "a4j.h"
#include "check.h"

/* The name in the header; a new status does not compile until it is added here too. */
#pragma GCC diagnostic error "-Wswitch"
static const char *name_in_header(enum a4j_status status) {
#define NAME(status)                                                                                                           \
  case status: return #status
  switch (status) {
    NAME(A4J_OK);
    NAME(A4J_NULL_POINTER);
    NAME(A4J_BAD_DESCRIPTOR);
    NAME(A4J_BAD_ABI);
    NAME(A4J_BAD_SIZE);
    NAME(A4J_BAD_OPTION);
    NAME(A4J_SIZE_OVERFLOW);
    NAME(A4J_SMALL_WORKSPACE);
    NAME(A4J_MISALIGNED);
    NAME(A4J_BAD_POSITION);
    NAME(A4J_BAD_PROGRAM);
    NAME(A4J_BAD_VALUE);
    NAME(A4J_UNSUPPORTED_DTYPE);
    NAME(A4J_ISA_UNKNOWN);
    NAME(A4J_ISA_UNAVAILABLE);
    NAME(A4J_NO_BLAS);
  }
  return "A4J_UNKNOWN_STATUS";
}

static bool is_sentence(const char *text) {
  size_t length = strlen(text);
  return length > 10 && isupper((unsigned char)text[0]) && text[length - 1] == '.';
}

static void every_status_has_its_name_and_a_sentence(void) {
  for (int32_t status = -100; status <= 300; status++) {
    CHECK_TEXT(a4j_status_name(status), name_in_header((enum a4j_status)status));
    CHECK(is_sentence(a4j_status_message(status)), "status %d: \"%s\"", status, a4j_status_message(status));
  }
}

static void extreme_statuses_are_unknown(void) {
  CHECK_TEXT(a4j_status_name(INT32_MIN), "A4J_UNKNOWN_STATUS");
  CHECK_TEXT(a4j_status_name(INT32_MAX), "A4J_UNKNOWN_STATUS");
  CHECK(is_sentence(a4j_status_message(INT32_MIN)), "\"%s\"", a4j_status_message(INT32_MIN));
}

static void versions_are_told(void) {
  CHECK_INT(a4j_abi_version(), A4J_ABI_VERSION);
  CHECK(strlen(a4j_version()) > 0, "the version is empty");
}

/* The rest of the line that begins with prefix; NULL if there is none, and a failure if there are two. */
static const char *after(const char *prefix) {
  const char *found = NULL;
  size_t length = strlen(prefix);
  for (const char *line = a4j_abi_layout(); *line != '\0'; line = strchr(line, '\n') + 1) {
    if (strncmp(line, prefix, length) != 0) continue;
    CHECK(found == NULL, "\"%s\" begins two lines", prefix);
    found = line + length;
  }
  return found;
}

static int64_t number_after(const char *prefix) {
  const char *text = after(prefix);
  CHECK(text != NULL, "no line begins with \"%s\"", prefix);
  return text == NULL ? -1 : strtoll(text, NULL, 10);
}

static void layout_gives_constants_sizes_and_offsets(void) {
  CHECK_INT(number_after("A4J_WORKSPACE_ALIGNMENT "), A4J_WORKSPACE_ALIGNMENT);
  CHECK_INT(number_after("A4J_NO_BLAS "), A4J_NO_BLAS);
  CHECK_INT(number_after("struct a4j_attention_desc "), sizeof(a4j_attention_desc));
  CHECK_INT(number_after("struct a4j_merge_desc "), sizeof(a4j_merge_desc));
  CHECK_INT(number_after("struct a4j_kv_append_desc "), sizeof(a4j_kv_append_desc));
  CHECK_INT(number_after("struct a4j_linear_desc "), sizeof(a4j_linear_desc));
  CHECK_INT(number_after("struct a4j_rms_norm_desc "), sizeof(a4j_rms_norm_desc));
  CHECK_INT(number_after("struct a4j_rope_desc "), sizeof(a4j_rope_desc));
  CHECK_INT(number_after("a4j_attention_desc.scale "), offsetof(a4j_attention_desc, scale));
}

/* Every line has its form, no name comes twice, and the fields of a struct fill it up to the padding at its end, so none is missing. */
static void layout_has_each_field_once_and_no_gap(void) {
  char owner[64] = "", name[128];
  int filled = 0, size = 0;
  for (const char *line = a4j_abi_layout(); *line != '\0'; line = strchr(line, '\n') + 1) {
    const char *end = strchr(line, '\n');
    CHECK(end != NULL, "the last line has no end: %s", line);
    if (end == NULL) return;
    int offset, bytes, value, read = 0;
    if (sscanf(line, "struct %63s %d\n%n", name, &value, &read) == 2) {
      CHECK(size - filled < 8 && filled <= size, "%s: its fields fill %d of %d bytes", owner, filled, size);
      strcpy(owner, name);
      filled = 0;
      size = value;
    } else if (sscanf(line, "%127s %d %d", name, &offset, &bytes) == 3 && strchr(name, '.') != NULL) {
      CHECK(strncmp(name, owner, strlen(owner)) == 0 && name[strlen(owner)] == '.', "%s stands below %s", name, owner);
      CHECK(offset == filled, "%s has offset %d, the field before it ends at %d", name, offset, filled);
      filled = offset + bytes;
      strcat(name, " ");
      after(name);
    } else {
      CHECK(sscanf(line, "%127s %d", name, &value) == 2 && strncmp(name, "A4J_", 4) == 0 && owner[0] == '\0',
            "not a line of the layout: %.*s", (int)(end - line), line);
      strcat(name, " ");
      after(name);
    }
  }
  CHECK(size - filled < 8 && filled <= size, "%s: its fields fill %d of %d bytes", owner, filled, size);
  CHECK(a4j_abi_layout() == a4j_abi_layout(), "the text moves");
}

int main(void) {
  RUN(every_status_has_its_name_and_a_sentence);
  RUN(extreme_statuses_are_unknown);
  RUN(versions_are_told);
  RUN(layout_gives_constants_sizes_and_offsets);
  RUN(layout_has_each_field_once_and_no_gap);
  return CHECK_RESULT();
}
