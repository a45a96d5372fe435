/*
 * Invalid descriptors of every kind, passed to every function with NULL for its buffers. The result must be a status of the header,
 * never a crash, a read outside the descriptor or an endless loop.
 *
 * Each trial corrupts a few fields of a valid descriptor, so that it passes most checks and reaches the rest. The descriptor is in a
 * block of exactly size_bytes, so that AddressSanitizer detects any access beyond it. Fields are taken from a4j_abi_layout, so new ones
 * are included automatically. Attention, which has the largest tail, starts from random options with valid arrays, whose entries are
 * corrupted as well.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "descriptor_calls.h"

enum { TRIALS = 200000, MOST_FIELDS = 160, MOST_TAIL = 24, MOST_BYTES = 4096, MOST_SPOILT = 4 };

static uint64_t below(uint64_t bound) { return draw() % bound; }

struct field {
  char name[64];
  int offset, bytes;
};

struct layout {
  int bytes, fields;
  struct field field[MOST_FIELDS];
};

/* Appends the fields of a struct whose own begins at `base` and is called `prefix`; the fields of a nested struct one by one. */
static void add_fields(struct layout *layout, const char *name, const char *prefix, int base) {
  size_t length = strlen(name);
  for (const char *line = a4j_abi_layout(); *line != '\0'; line = strchr(line, '\n') + 1) {
    struct field field = {"", 0, 0};
    char own[40];
    if (strncmp(line, name, length) != 0 || line[length] != '.' || layout->fields == MOST_FIELDS ||
        sscanf(line + length + 1, "%39s %d %d", own, &field.offset, &field.bytes) != 3)
      continue;
    snprintf(field.name, sizeof field.name, "%s%s", prefix, own);
    field.offset += base;
    if (field.bytes > 8) {
      strcat(field.name, ".");
      add_fields(layout, field.bytes == sizeof(a4j_storage) ? "a4j_storage" : "a4j_view", field.name, field.offset);
    } else {
      layout->field[layout->fields++] = field;
    }
  }
}

static struct layout layout_of(const char *name) {
  struct layout layout = {0, 0, {{"", 0, 0}}};
  size_t length = strlen(name);
  for (const char *line = a4j_abi_layout(); *line != '\0'; line = strchr(line, '\n') + 1)
    if (strncmp(line, "struct ", 7) == 0 && strncmp(line + 7, name, length) == 0 && line[7 + length] == ' ')
      layout.bytes = atoi(line + 7 + length);
  add_fields(&layout, name, "", 0);
  return layout;
}

static bool ends(const char *name, const char *end) {
  size_t length = strlen(name), end_length = strlen(end);
  return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

static bool is(const struct field *field, const char *name) { return strcmp(field->name, name) == 0; }

static bool is_float(const struct field *field) {
  return ends(field->name, "scale") || is(field, "softcap") || is(field, "epsilon");
}

static void put(char *desc, const struct field *field, int64_t value) {
  int32_t narrow = (int32_t)value;
  memcpy(desc + field->offset, field->bytes == 8 ? (const void *)&value : &narrow, field->bytes);
}

/* A valid descriptor of size_bytes: every size and stride is 8, and required tails are present. */
static void write_valid(char *desc, const struct layout *layout, int size_bytes) {
  for (int i = 0; i < layout->fields; i++) {
    const struct field *field = &layout->field[i];
    float one = 1.0f;
    if (is_float(field))
      memcpy(desc + field->offset, &one, sizeof one);
    else if (is(field, "size_bytes"))
      put(desc, field, size_bytes);
    else if (is(field, "abi_version"))
      put(desc, field, A4J_ABI_VERSION);
    else if (is(field, "threads") || is(field, "maps") || is(field, "value_parts"))
      put(desc, field, 1);
    else if (is(field, "lengths_offset"))
      put(desc, field, layout->bytes);
    else if (field->bytes == 4 || ends(field->name, "_offset") || strstr(field->name, ".pages") != NULL ||
             ends(field->name, "_words") || is(field, "range_rows") || is(field, "range_lists") ||
             is(field, "key_lengths_stride_row") || is(field, "position_start"))
      put(desc, field, 0);
    else
      put(desc, field, 8);
  }
}

/* Puts an array of n random words in [least, least + span] at the descriptor's end, and gives its offset. */
static int64_t append(a4j_attention_desc *d, int n, int32_t least, int32_t span) {
  const int64_t at = d->size_bytes;
  for (int i = 0; i < n; i++) {
    int32_t entry = least + (int32_t)below((uint64_t)span + 1);
    memcpy((char *)d + at + 4 * i, &entry, sizeof entry);
  }
  d->size_bytes += 4 * n;
  return at;
}

/* The same of these words. */
static int64_t append_words(a4j_attention_desc *d, const int32_t *words, int n) {
  const int64_t at = d->size_bytes;
  for (int i = 0; i < n; i++) append(d, 1, words[i], 0);
  return at;
}

/* The same of n + 1 words that ascend from 0 in steps of up to `step`; the last of them in *end. */
static int64_t append_begins(a4j_attention_desc *d, int n, int step, int32_t *end) {
  const int64_t at = d->size_bytes;
  *end = 0;
  append(d, 1, 0, 0);
  for (int i = 0; i < n; i++) {
    *end += (int32_t)below((uint64_t)step + 1);
    append(d, 1, *end, 0);
  }
  return at;
}

/* A descriptor of attention in which nothing is wrong, with a random few of its options; at most MOST_BYTES. */
static void write_valid_attention(char *desc, const struct layout *layout) {
  enum { BATCH = 3, HEADS_Q = 4, LEN_Q = 5, LEN_K = 7 };
  a4j_attention_desc *d = (a4j_attention_desc *)desc;
  write_valid(desc, layout, layout->bytes);
  d->batch = BATCH;
  d->heads_q = HEADS_Q;
  d->heads_kv = 2;
  d->len_q = LEN_Q;
  d->len_k = d->key_limit = LEN_K;
  d->maps = 1 + (int32_t)below(2);
  d->key_map = (int32_t)below(2);
  d->value_parts = 1 + (int32_t)below(2);
  d->lambda_form = (int32_t)below(2);
  d->scores_stage = (int32_t)below(3);
  d->align = (int32_t)below(3);
  d->window_left = (int64_t)below(10) - 1;
  d->window_right = (int64_t)below(10) - 1;
  d->chunk = (int64_t)below(4);
  if (d->align == A4J_ALIGN_OFFSETS) d->row_offsets_offset = append(d, BATCH, -9, 18);
  const bool packed = below(4) == 0;
  d->beyond = (int32_t)below(2);
  d->relative_rows = d->maps == 1 ? (int64_t)below(4) : 0;
  d->relative_zero = (int64_t)below(6) - 2;
  d->harden = d->maps == 1 && !packed ? (int32_t)below(3) : A4J_HARDEN_NONE;
  d->harden_k = 1 + (int64_t)below(LEN_K + 2);
  d->noisy = d->harden != A4J_HARDEN_NONE ? (int32_t)below(2) : 0;
  d->noise_weight = 0.5f;
  d->dropout = (int32_t)below(2);
  d->dropout_rate = 0.25f;
  d->dropout_shared = (int32_t)below(16);
  if (packed) {
    int32_t end;
    d->q_begins_offset = append_begins(d, BATCH, LEN_Q, &end);
    d->k_begins_offset = append_begins(d, BATCH, LEN_K, &end);
  } else if (below(3) == 0) {
    d->key_lengths_stride_row = (int64_t)below(2);
    d->key_lengths_stride_batch = d->key_lengths_stride_row == 0 ? 1 : below(2) ? LEN_Q : 0;
    d->key_lengths_offset = append(d, BATCH * LEN_Q, 0, LEN_K);
  }
  if (below(3) == 0) {
    const bool each_batch = below(2), each_head = below(2);
    d->range_rows = 1 + (int64_t)below(6);
    const int64_t blocks = (LEN_Q + d->range_rows - 1) / d->range_rows;
    d->range_stride_head = each_head ? blocks : 0;
    d->range_stride_batch = each_batch ? blocks * (each_head ? HEADS_Q : 1) : 0;
    d->range_lists = blocks * (each_head ? HEADS_Q : 1) * (each_batch ? BATCH : 1);
    int32_t count;
    d->range_starts_offset = append_begins(d, (int)d->range_lists, 1, &count);
    d->ranges_offset = d->size_bytes;
    for (int i = 0; i < count; i++) append(d, 1, 0, 3), append(d, 1, 4, 3);
  }
  static const int32_t score[] = {A4J_OP_SCORE,        A4J_OP_KEY, A4J_OP_LOAD_FLOAT | 1 << 8 | 2 << 16,
                                  A4J_OP_FLOAT,        0x3f800000, A4J_OP_MUL | 2 << 8 | 3 << 16,
                                  A4J_OP_ADD | 4 << 16};
  static const int32_t mask[] = {A4J_OP_KEY, A4J_OP_POSITION, A4J_OP_INT_LESS_EQUAL | 1 << 16};
  if (below(3) == 0) {
    d->score_program_offset = append_words(d, score, sizeof score / sizeof *score);
    d->score_program_words = sizeof score / sizeof *score;
  }
  if (below(3) == 0) {
    d->mask_program_offset = append_words(d, mask, sizeof mask / sizeof *mask);
    d->mask_program_words = sizeof mask / sizeof *mask;
  }
  if (below(4) == 0) {
    d->slopes_stride_batch = below(2) == 0 ? HEADS_Q : 0;
    d->slopes_offset = append(d, HEADS_Q * (d->slopes_stride_batch == 0 ? 1 : d->batch), 0, 1000);
  }
  if (below(4) == 0) d->sinks_offset = append(d, HEADS_Q * d->maps, 0, 1000);
}

static int64_t spoilt_value(const struct field *field, int struct_bytes) {
  static const int64_t limits[] = {
      INT64_MIN,  INT64_MIN + 1,    INT64_MAX,        INT64_MAX - 1,    INT32_MIN, INT32_MAX, (int64_t)INT32_MAX + 1,
      UINT32_MAX, (int64_t)1 << 40, (int64_t)1 << 61, (int64_t)1 << 62, -1,        -8};
  if (ends(field->name, "_offset") && draw() % 4 != 0) return struct_bytes - 8 + (int64_t)below(4 * MOST_TAIL + 16);
  switch (below(3)) {
  case 0: return limits[below(sizeof limits / sizeof limits[0])];
  case 1: return (int64_t)below(20);
  default: return (int64_t)(draw() >> below(64));
  }
}

/* Rows that are quantised as blocks of A4J_Q8_0 are. */
static void write_quantized(char *desc) {
  a4j_quantized_desc *d = (a4j_quantized_desc *)desc;
  d->storage = (a4j_storage){A4J_I8, 32, A4J_F16, 0};
  d->first_row = 16;
  d->dim = d->stride_row = 96;
}

/* A valid descriptor in a block of exactly size_bytes; the first one has a tail of zeros, or none. */
static char *make_valid(const char *struct_name, const struct layout *layout, bool first) {
  _Alignas(a4j_attention_desc) char desc[MOST_BYTES];
  if (strcmp(struct_name, "a4j_attention_desc") == 0 && !first) {
    write_valid_attention(desc, layout);
  } else {
    const int words = first ? MOST_TAIL : (int)below(2) * (int)below(MOST_TAIL);
    write_valid(desc, layout, layout->bytes + 4 * words);
    for (int i = 0; i < words; i++) {
      int32_t entry = (int32_t)(first ? 0 : draw() & 1 ? below(4) : draw());
      memcpy(desc + layout->bytes + 4 * i, &entry, sizeof entry);
    }
  }
  if (strcmp(struct_name, "a4j_quantized_desc") == 0) write_quantized(desc);
  int32_t size_bytes;
  memcpy(&size_bytes, desc, sizeof size_bytes);
  char *whole = malloc((size_t)size_bytes);
  if (whole == NULL) abort();
  return memcpy(whole, desc, (size_t)size_bytes);
}

static void spoil(const struct descriptor_call *of) {
  const char *struct_name = of->desc;
  const struct layout layout = layout_of(struct_name);
  CHECK(layout.bytes > 16 && layout.fields > 4 && layout.fields < MOST_FIELDS, "%s: %d bytes, %d fields", struct_name,
        layout.bytes, layout.fields);
  const int failures = check_failures;
  int answers[64] = {0};
  descriptor_draws = check_seed();
  for (int trial = 0; trial < TRIALS && check_failures == failures; trial++) {
    char *whole = make_valid(struct_name, &layout, trial == 0);
    int32_t size_bytes;
    memcpy(&size_bytes, whole, sizeof size_bytes);
    int spoilt = trial == 0 ? 0 : 1 + (int)below(MOST_SPOILT);
    for (int i = 0; i < spoilt; i++) {
      const struct field *field = &layout.field[1 + below((uint64_t)layout.fields - 1)];
      put(whole, field, spoilt_value(field, layout.bytes));
    }
    if (spoilt > 0 && size_bytes > layout.bytes && draw() & 1) {
      int32_t entry = (int32_t)(draw() >> below(64));
      memcpy(whole + layout.bytes + 4 * below((uint64_t)(size_bytes - layout.bytes) / 4), &entry, sizeof entry);
    }

    /* Now and then it says, truly, that it ends early. */
    char *desc = whole;
    if (trial % 16 == 15) {
      int32_t end = (int32_t)below((uint64_t)layout.bytes);
      desc = malloc(end < 4 ? 4 : (size_t)end);
      if (desc == NULL) abort();
      memcpy(desc, whole, end < 4 ? 4 : (size_t)end);
      if (draw() % 8 == 0) end = -end;
      memcpy(desc, &end, sizeof end);
    }

    int64_t status = of->call(desc);
    CHECK(status >= 0 && status < 64 && strcmp(a4j_status_name((int32_t)status), "A4J_UNKNOWN_STATUS") != 0,
          "%s, trial %d: %" PRId64, struct_name, trial, status);
    if (desc != whole) {
      CHECK(status == A4J_BAD_DESCRIPTOR || status == A4J_BAD_ABI, "%s, trial %d: the descriptor ends early, got %s",
            struct_name, trial, a4j_status_name((int32_t)status));
      free(desc);
    } else if (status >= 0 && status < 64) {
      answers[status]++;
    }
    if (trial == 0) CHECK_TEXT(a4j_status_name((int32_t)status), of->answers_bytes ? "A4J_OK" : "A4J_NULL_POINTER");
    free(whole);
  }
  if (check_failures != failures) return;
  CHECK(answers[A4J_BAD_ABI] > 0, "%s: the version is never refused", struct_name);
  CHECK(answers[A4J_UNSUPPORTED_DTYPE] > 0, "%s: the element type is never refused", struct_name);
  CHECK(answers[A4J_BAD_OPTION] > 0, "%s: no option is ever refused", struct_name);
  CHECK(answers[A4J_BAD_SIZE] > 0, "%s: no size is ever refused", struct_name);
  CHECK(answers[A4J_SIZE_OVERFLOW] > 0, "%s: no overflow is ever refused", struct_name);
  if (strcmp(struct_name, "a4j_attention_desc") == 0) CHECK(answers[A4J_BAD_PROGRAM] > 100, "no program is ever refused");
}

/* What a trial of attention starts from is refused for nothing but the NULL pointers, or masks of a packed batch. */
static void attention_takes_every_valid_option(void) {
  const struct layout layout = layout_of("a4j_attention_desc");
  descriptor_draws = check_seed();
  for (int trial = 0; trial < TRIALS / 10; trial++) {
    char *desc = make_valid("a4j_attention_desc", &layout, false);
    const bool packed = ((const a4j_attention_desc *)desc)->q_begins_offset != 0;
    CHECK_TEXT(a4j_status_name((int32_t)descriptor_call("attention_workspace_bytes")->call(desc)), "A4J_OK");
    const int64_t status = descriptor_call("attention")->call(desc);
    CHECK(status == A4J_NULL_POINTER || (packed && status == A4J_BAD_OPTION), "trial %d: %s", trial,
          a4j_status_name((int32_t)status));
    free(desc);
    if (check_failures > 0) return;
  }
}

static void no_descriptor_is_a_null_pointer(void) {
  for (int i = 0; i < descriptor_call_count; i++)
    CHECK(descriptor_calls[i].call(NULL) == A4J_NULL_POINTER, "%s", descriptor_calls[i].name);
}

static void every_descriptor_is_answered(void) {
  for (int i = 0; i < descriptor_call_count; i++) spoil(&descriptor_calls[i]);
}

/* Each size is fine, and so are their products; the scratch of that many threads is not. */
static void a_workspace_beyond_63_bits_is_refused(void) {
  const struct layout layout = layout_of("a4j_attention_desc");
  a4j_attention_desc desc;
  write_valid((char *)&desc, &layout, sizeof desc);
  desc.heads_q = desc.heads_kv = desc.len_q = desc.len_k = desc.key_limit = desc.dim_v = 1;
  desc.batch = (int64_t)1 << 30;
  desc.dim_qk = (int64_t)1 << 30;
  desc.threads = INT32_MAX;
  CHECK_INT(a4j_attention_workspace_bytes(&desc), -A4J_SIZE_OVERFLOW);
  CHECK_INT(descriptor_call("attention")->call(&desc), A4J_SIZE_OVERFLOW);
}

int main(void) {
  RUN(no_descriptor_is_a_null_pointer);
  RUN(attention_takes_every_valid_option);
  RUN(a_workspace_beyond_63_bits_is_refused);
  RUN(every_descriptor_is_answered);
  return CHECK_RESULT();
}
