#include "descriptor_calls.h"

#include <stddef.h>
#include <string.h>

#include "a4j.h"

uint64_t descriptor_draws;

uint64_t draw(void) {
  uint64_t z = (descriptor_draws += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/* A buffer that is never read or written, because something else that the call needs is NULL. */
static _Alignas(A4J_WORKSPACE_ALIGNMENT) char anything[4096];

static void *maybe(void) { return draw() & 1 ? anything : NULL; }

static int64_t bytes_as_status(int64_t bytes) { return bytes < 0 ? -bytes : A4J_OK; }

static int64_t workspace_bytes(void) { return draw() & 1 ? (int64_t)sizeof anything : (int64_t)draw(); }

static int64_t attention_bytes(const void *desc) { return bytes_as_status(a4j_attention_workspace_bytes(desc)); }
static int64_t attention(const void *desc) {
  const int64_t bytes = workspace_bytes();
  return a4j_attention_full(desc, NULL, NULL, NULL, maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(),
                            maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), NULL, maybe(), maybe(),
                            maybe(), NULL, maybe(), bytes);
}
static int64_t merge(const void *desc) { return a4j_merge(desc, NULL, NULL, NULL, NULL, NULL, maybe()); }
static int64_t kv_append(const void *desc) { return a4j_kv_append(desc, NULL, NULL, NULL, NULL); }
static int64_t linear(const void *desc) { return a4j_linear(desc, NULL, NULL, maybe(), NULL, NULL, 0); }
static int64_t linear_bytes(const void *desc) { return bytes_as_status(a4j_linear_workspace_bytes(desc)); }
static int64_t linear_pack(const void *desc) { return a4j_linear_pack(desc, NULL, NULL); }
static int64_t rms_norm(const void *desc) { return a4j_rms_norm(desc, NULL, maybe(), NULL); }
static int64_t layer_norm(const void *desc) { return a4j_layer_norm(desc, NULL, maybe(), maybe(), NULL, maybe(), maybe()); }
static int64_t rope(const void *desc) { return a4j_rope(desc, NULL, NULL, NULL, NULL); }
static int64_t pair_scores(const void *desc) { return a4j_pair_scores(desc, NULL, NULL, maybe(), NULL); }
static int64_t elementwise(const void *desc) { return a4j_elementwise(desc, NULL, NULL, NULL); }
static int64_t convert(const void *desc) { return a4j_convert(desc, NULL, NULL); }
static int64_t quantized_bytes(const void *desc) { return bytes_as_status(a4j_quantized_bytes(desc)); }
static int64_t quantized_pack(const void *desc) {
  return a4j_quantized_pack(desc, NULL, maybe(), maybe(), maybe(), maybe(), NULL);
}
static int64_t quantize(const void *desc) { return a4j_quantize(desc, NULL, NULL); }
static int64_t dequantize(const void *desc) { return a4j_dequantize(desc, NULL, NULL); }
static int64_t blocks_pack(const void *desc) { return a4j_blocks_pack(desc, A4J_Q8_0, NULL, NULL); }
static int64_t blocks_widen(const void *desc) { return a4j_blocks_widen(desc, A4J_Q8_0, NULL, NULL); }
static int64_t dropout(const void *desc) { return a4j_dropout(desc, NULL); }
static int64_t gru(const void *desc) { return a4j_gru(desc, NULL, NULL, NULL, NULL); }
static int64_t area(const void *desc) { return a4j_area_features(desc, NULL, NULL, NULL, NULL, NULL, NULL); }
static int64_t linear_attention_bytes(const void *desc) { return bytes_as_status(a4j_linear_attention_workspace_bytes(desc)); }
static int64_t linear_attention(const void *desc) {
  const int64_t bytes = workspace_bytes();
  return a4j_linear_attention(desc, NULL, NULL, NULL, maybe(), maybe(), NULL, NULL, maybe(), bytes);
}

const struct descriptor_call descriptor_calls[] = {
    {"attention_workspace_bytes", "a4j_attention_desc", attention_bytes, true},
    {"attention", "a4j_attention_desc", attention, false},
    {"merge", "a4j_merge_desc", merge, false},
    {"kv_append", "a4j_kv_append_desc", kv_append, false},
    {"linear", "a4j_linear_desc", linear, false},
    {"linear_workspace_bytes", "a4j_linear_desc", linear_bytes, true},
    {"linear_pack", "a4j_linear_desc", linear_pack, false},
    {"rms_norm", "a4j_rms_norm_desc", rms_norm, false},
    {"layer_norm", "a4j_layer_norm_desc", layer_norm, false},
    {"rope", "a4j_rope_desc", rope, false},
    {"pair_scores", "a4j_pair_scores_desc", pair_scores, false},
    {"elementwise", "a4j_elementwise_desc", elementwise, false},
    {"convert", "a4j_convert_desc", convert, false},
    {"quantized_bytes", "a4j_quantized_desc", quantized_bytes, true},
    {"quantized_pack", "a4j_quantized_desc", quantized_pack, false},
    {"quantize", "a4j_quantized_desc", quantize, false},
    {"dequantize", "a4j_quantized_desc", dequantize, false},
    {"blocks_pack", "a4j_quantized_desc", blocks_pack, false},
    {"blocks_widen", "a4j_quantized_desc", blocks_widen, false},
    {"dropout", "a4j_dropout_desc", dropout, false},
    {"gru", "a4j_gru_desc", gru, false},
    {"area_features", "a4j_area_desc", area, false},
    {"linear_attention_workspace_bytes", "a4j_linear_attention_desc", linear_attention_bytes, true},
    {"linear_attention", "a4j_linear_attention_desc", linear_attention, false},
};
const int descriptor_call_count = sizeof descriptor_calls / sizeof *descriptor_calls;

const struct descriptor_call *descriptor_call(const char *name) {
  for (int i = 0; i < descriptor_call_count; i++)
    if (strcmp(descriptor_calls[i].name, name) == 0) return &descriptor_calls[i];
  return NULL;
}
