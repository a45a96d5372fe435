/* What this library is, and what the compiler made of its header. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "a4j.h"
#include "os.h"

#ifndef A4J_VERSION
#error "A4J_VERSION is the version of the library as a string; the build defines it."
#endif

int32_t a4j_abi_version(void) { return A4J_ABI_VERSION; }

const char *a4j_version(void) { return A4J_VERSION; }

/* A line of the layout. Names have a fixed room, so that the longest line is known. */
struct line {
  enum { CONSTANT_LINE, STRUCT_LINE, FIELD_LINE } kind;
  char owner[32], name[48];
  int offset, value; /* value: the constant, or the size in bytes */
};

enum { LONGEST_LINE = 128 }; /* "owner.name offset value\n" with two numbers of at most 11 characters */

/* clang-format off */
/* Each name is written once; a field that is missing here leaves a gap in its struct, and test_abi finds it. */
#define TEXT_OF(token) #token
#define TEXT(token) TEXT_OF(token)
#define CONSTANT(constant) {CONSTANT_LINE, "", #constant, 0, constant}
#define STRUCT {STRUCT_LINE, TEXT(OWNER), "", 0, sizeof(OWNER)}
#define FIELD(field) {FIELD_LINE, TEXT(OWNER), #field, offsetof(OWNER, field), sizeof(((OWNER *)0)->field)}

static const struct line lines[] = {
    CONSTANT(A4J_ABI_VERSION), CONSTANT(A4J_WORKSPACE_ALIGNMENT), CONSTANT(A4J_OK), CONSTANT(A4J_NULL_POINTER),
    CONSTANT(A4J_BAD_DESCRIPTOR), CONSTANT(A4J_BAD_ABI), CONSTANT(A4J_BAD_SIZE), CONSTANT(A4J_BAD_OPTION),
    CONSTANT(A4J_SIZE_OVERFLOW), CONSTANT(A4J_SMALL_WORKSPACE), CONSTANT(A4J_MISALIGNED), CONSTANT(A4J_BAD_POSITION), CONSTANT(A4J_BAD_PROGRAM), CONSTANT(A4J_BAD_VALUE),
    CONSTANT(A4J_UNSUPPORTED_DTYPE), CONSTANT(A4J_ISA_UNKNOWN), CONSTANT(A4J_ISA_UNAVAILABLE), CONSTANT(A4J_NO_BLAS),
    CONSTANT(A4J_F32), CONSTANT(A4J_BF16), CONSTANT(A4J_F16), CONSTANT(A4J_I8), CONSTANT(A4J_I4), CONSTANT(A4J_I6), CONSTANT(A4J_QUANTIZED_ROWS),
    CONSTANT(A4J_Q4_0), CONSTANT(A4J_Q4_1), CONSTANT(A4J_Q5_0), CONSTANT(A4J_Q5_1), CONSTANT(A4J_Q8_0), CONSTANT(A4J_Q2_K), CONSTANT(A4J_Q3_K), CONSTANT(A4J_Q4_K), CONSTANT(A4J_Q5_K), CONSTANT(A4J_Q6_K), CONSTANT(A4J_IQ4_NL), CONSTANT(A4J_IQ4_XS), CONSTANT(A4J_MXFP4),
    CONSTANT(A4J_QUANTIZED_SPAN), CONSTANT(A4J_ARITHMETIC_EXACT), CONSTANT(A4J_ARITHMETIC_BF16), CONSTANT(A4J_PAGE_ROWS), CONSTANT(A4J_ALIGN_TOP_LEFT), CONSTANT(A4J_ALIGN_BOTTOM_RIGHT), CONSTANT(A4J_ALIGN_OFFSETS),
    CONSTANT(A4J_UNBOUNDED), CONSTANT(A4J_STAGE_SCALED), CONSTANT(A4J_STAGE_CAPPED), CONSTANT(A4J_STAGE_LOGITS),
    CONSTANT(A4J_BEYOND_CLIP), CONSTANT(A4J_BEYOND_ZERO), CONSTANT(A4J_HARDEN_NONE), CONSTANT(A4J_HARDEN_TOP_K),
    CONSTANT(A4J_HARDEN_SUBTRACT), CONSTANT(A4J_SHARED_BATCH), CONSTANT(A4J_SHARED_HEAD), CONSTANT(A4J_SHARED_ROW),
    CONSTANT(A4J_SHARED_KEY), CONSTANT(A4J_LAMBDA_AS_GIVEN), CONSTANT(A4J_LAMBDA_SIGMOID),
    CONSTANT(A4J_KEY_PAIRS), CONSTANT(A4J_KEY_HEADS), CONSTANT(A4J_ROPE_HALF), CONSTANT(A4J_ROPE_INTERLEAVED),
    CONSTANT(A4J_PRODUCT_OWN), CONSTANT(A4J_PRODUCT_BLAS), CONSTANT(A4J_PRODUCT_PACKED), CONSTANT(A4J_PANEL), CONSTANT(A4J_SHORT_ROW),
    CONSTANT(A4J_PAIR_ADDITIVE), CONSTANT(A4J_PAIR_GAUSSIAN), CONSTANT(A4J_PAIR_BOXCAR), CONSTANT(A4J_PAIR_EPANECHIKOV),
    CONSTANT(A4J_EMPTY_UNSEEN), CONSTANT(A4J_EMPTY_ALIKE), CONSTANT(A4J_IDENTITY), CONSTANT(A4J_RELU),
    CONSTANT(A4J_GELU), CONSTANT(A4J_GELU_TANH), CONSTANT(A4J_SILU), CONSTANT(A4J_SIGMOID), CONSTANT(A4J_TANH), CONSTANT(A4J_SET),
    CONSTANT(A4J_ADD), CONSTANT(A4J_MULTIPLY),
    CONSTANT(A4J_UPDATE_LINEAR), CONSTANT(A4J_UPDATE_GATED), CONSTANT(A4J_UPDATE_DELTA), CONSTANT(A4J_UPDATE_GATED_DELTA),
    CONSTANT(A4J_PROGRAM_MAX), CONSTANT(A4J_PROGRAM_LIVE), CONSTANT(A4J_OP_SCORE), CONSTANT(A4J_OP_BATCH),
    CONSTANT(A4J_OP_HEAD), CONSTANT(A4J_OP_QUERY), CONSTANT(A4J_OP_POSITION), CONSTANT(A4J_OP_KEY), CONSTANT(A4J_OP_FLOAT),
    CONSTANT(A4J_OP_INT), CONSTANT(A4J_OP_LOAD_FLOAT), CONSTANT(A4J_OP_LOAD_INT), CONSTANT(A4J_OP_TO_FLOAT),
    CONSTANT(A4J_OP_TO_INT), CONSTANT(A4J_OP_NEG), CONSTANT(A4J_OP_ABS), CONSTANT(A4J_OP_EXP), CONSTANT(A4J_OP_LOG),
    CONSTANT(A4J_OP_TANH), CONSTANT(A4J_OP_SQRT), CONSTANT(A4J_OP_ADD), CONSTANT(A4J_OP_SUB), CONSTANT(A4J_OP_MUL),
    CONSTANT(A4J_OP_DIV), CONSTANT(A4J_OP_MIN), CONSTANT(A4J_OP_MAX), CONSTANT(A4J_OP_INT_NEG), CONSTANT(A4J_OP_INT_ABS),
    CONSTANT(A4J_OP_INT_ADD), CONSTANT(A4J_OP_INT_SUB), CONSTANT(A4J_OP_INT_MUL), CONSTANT(A4J_OP_INT_DIV),
    CONSTANT(A4J_OP_INT_MOD), CONSTANT(A4J_OP_INT_MIN), CONSTANT(A4J_OP_INT_MAX), CONSTANT(A4J_OP_LESS),
    CONSTANT(A4J_OP_LESS_EQUAL), CONSTANT(A4J_OP_EQUAL), CONSTANT(A4J_OP_INT_LESS), CONSTANT(A4J_OP_INT_LESS_EQUAL),
    CONSTANT(A4J_OP_INT_EQUAL), CONSTANT(A4J_OP_AND), CONSTANT(A4J_OP_OR), CONSTANT(A4J_OP_NOT), CONSTANT(A4J_OP_SELECT),
    CONSTANT(A4J_OP_INT_SELECT),

#define OWNER a4j_view
    STRUCT, FIELD(dtype), FIELD(page_rows), FIELD(stride_batch), FIELD(stride_head), FIELD(stride_map), FIELD(stride_row),
    FIELD(scale_stride_batch), FIELD(scale_stride_head), FIELD(scale_stride_map), FIELD(scale_stride_row), FIELD(pages),
    FIELD(pages_stride_batch),
#undef OWNER

#define OWNER a4j_attention_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(arithmetic), FIELD(threads), FIELD(align), FIELD(maps), FIELD(key_map),
    FIELD(value_parts), FIELD(lambda_form), FIELD(scores_stage), FIELD(beyond), FIELD(harden), FIELD(noisy), FIELD(dropout), FIELD(batch), FIELD(heads_q), FIELD(heads_kv), FIELD(len_q),
    FIELD(len_k), FIELD(dim_qk), FIELD(dim_v), FIELD(window_left), FIELD(window_right), FIELD(chunk), FIELD(key_limit),
    FIELD(q), FIELD(k), FIELD(v), FIELD(out),
    FIELD(mask_stride_batch), FIELD(mask_stride_head), FIELD(mask_stride_row), FIELD(mask_stride_key),
    FIELD(key_mask_stride_batch), FIELD(bias_stride_batch), FIELD(bias_stride_head), FIELD(bias_stride_row),
    FIELD(bias_stride_key), FIELD(keep_stride_batch), FIELD(keep_stride_head), FIELD(keep_stride_row), FIELD(keep_stride_key),
    FIELD(lambda_stride_batch), FIELD(lambda_stride_head), FIELD(lambda_stride_row), FIELD(lse_stride_batch),
    FIELD(lse_stride_head), FIELD(lse_stride_map), FIELD(key_lengths_offset), FIELD(key_lengths_stride_batch),
    FIELD(key_lengths_stride_row), FIELD(row_offsets_offset), FIELD(q_begins_offset), FIELD(k_begins_offset),
    FIELD(relative_rows), FIELD(relative_zero), FIELD(relative_keys_stride_head), FIELD(relative_keys_stride_row),
    FIELD(relative_values_stride_head), FIELD(relative_values_stride_row), FIELD(relative_values_first), FIELD(harden_k),
    FIELD(noise_stride_batch), FIELD(noise_stride_head), FIELD(noise_stride_row), FIELD(noise_stride_key), FIELD(noise_seed),
    FIELD(dropout_seed), FIELD(range_rows), FIELD(range_lists), FIELD(range_starts_offset), FIELD(ranges_offset), FIELD(range_stride_batch),
    FIELD(range_stride_head), FIELD(slopes_offset), FIELD(slopes_stride_batch), FIELD(sinks_offset), FIELD(mask_program_offset),
    FIELD(mask_program_words), FIELD(score_program_offset), FIELD(score_program_words), FIELD(table_0_count),
    FIELD(table_1_count), FIELD(table_2_count), FIELD(table_3_count), FIELD(scale), FIELD(softcap), FIELD(keep_scale),
    FIELD(dropout_rate), FIELD(dropout_shared), FIELD(noise_weight),
#undef OWNER

#define OWNER a4j_merge_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(batch), FIELD(heads), FIELD(len),
    FIELD(dim), FIELD(a_stride_batch), FIELD(a_stride_head), FIELD(a_stride_row), FIELD(b_stride_batch), FIELD(b_stride_head),
    FIELD(b_stride_row), FIELD(out_stride_batch), FIELD(out_stride_head), FIELD(out_stride_row),
#undef OWNER

#define OWNER a4j_kv_append_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(batch), FIELD(heads), FIELD(len_new),
    FIELD(capacity), FIELD(dim), FIELD(rows_stride_batch), FIELD(rows_stride_head), FIELD(rows_stride_row),
    FIELD(cache), FIELD(lengths_offset), FIELD(counts_offset),
#undef OWNER

#define OWNER a4j_storage
    STRUCT, FIELD(dtype), FIELD(group), FIELD(scale_dtype), FIELD(minimums),
#undef OWNER

#define OWNER a4j_quantized_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(storage), FIELD(first_row), FIELD(rows),
    FIELD(dim), FIELD(stride_row),
#undef OWNER

#define OWNER a4j_linear_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(weight), FIELD(product), FIELD(activation), FIELD(combine), FIELD(arithmetic),
    FIELD(rows), FIELD(dim_in), FIELD(dim_out), FIELD(x_stride_row), FIELD(weight_stride_row), FIELD(out_stride_row), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_rms_norm_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(rows), FIELD(dim), FIELD(x_stride_row),
    FIELD(out_stride_row), FIELD(epsilon), FIELD(scale), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_layer_norm_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(rows), FIELD(dim), FIELD(x_stride_row),
    FIELD(out_stride_row), FIELD(epsilon), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_rope_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(batch),
    FIELD(heads), FIELD(len), FIELD(dim), FIELD(rotary_dim), FIELD(table_rows), FIELD(x_stride_batch), FIELD(x_stride_head),
    FIELD(x_stride_row), FIELD(out_stride_batch), FIELD(out_stride_head), FIELD(out_stride_row), FIELD(position_start),
    FIELD(positions_offset), FIELD(positions_stride_batch), FIELD(style), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_pair_scores_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(form), FIELD(empty_rows), FIELD(batch),
    FIELD(len_q), FIELD(len_k), FIELD(dim), FIELD(q_stride_batch), FIELD(q_stride_row), FIELD(k_stride_batch),
    FIELD(k_stride_row), FIELD(key_lengths_offset), FIELD(key_lengths_stride_batch), FIELD(key_lengths_stride_row),
    FIELD(scale),
#undef OWNER

#define OWNER a4j_elementwise_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(activation), FIELD(combine), FIELD(rows),
    FIELD(dim), FIELD(x_stride_row), FIELD(y_stride_row), FIELD(out_stride_row), FIELD(scale), FIELD(y_dtype), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_convert_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(rows), FIELD(dim), FIELD(x_stride_row),
    FIELD(out_stride_row), FIELD(out_dtype),
#undef OWNER

#define OWNER a4j_gru_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(rows), FIELD(dim), FIELD(x_stride_row),
    FIELD(u_stride_row), FIELD(h_stride_row), FIELD(out_stride_row),
#undef OWNER

#define OWNER a4j_area_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(batch),
    FIELD(heads), FIELD(height), FIELD(width), FIELD(dim), FIELD(max_height), FIELD(max_width), FIELD(x_stride_batch),
    FIELD(x_stride_head), FIELD(x_stride_row), FIELD(mean_stride_row), FIELD(sum_stride_row), FIELD(max_stride_row),
    FIELD(deviation_stride_row), FIELD(epsilon),
#undef OWNER

#define OWNER a4j_linear_attention_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(update), FIELD(scale), FIELD(batch),
    FIELD(heads_q), FIELD(heads_kv), FIELD(len), FIELD(dim_qk), FIELD(dim_v), FIELD(decay_dim), FIELD(q_stride_batch),
    FIELD(q_stride_head), FIELD(q_stride_row), FIELD(k_stride_batch), FIELD(k_stride_head), FIELD(k_stride_row),
    FIELD(v_stride_batch), FIELD(v_stride_head), FIELD(v_stride_row), FIELD(decay_stride_batch), FIELD(decay_stride_head),
    FIELD(decay_stride_row), FIELD(beta_stride_batch), FIELD(beta_stride_head), FIELD(beta_stride_row),
    FIELD(state_stride_batch), FIELD(state_stride_head), FIELD(state_stride_row), FIELD(out_stride_batch),
    FIELD(out_stride_head), FIELD(out_stride_row),
#undef OWNER

#define OWNER a4j_dropout_desc
    STRUCT, FIELD(size_bytes), FIELD(abi_version), FIELD(dtype), FIELD(threads), FIELD(shared), FIELD(rate), FIELD(seed),
    FIELD(batch), FIELD(heads), FIELD(len_q), FIELD(len_k),
#undef OWNER
};

/* clang-format on */

enum { LINES = sizeof lines / sizeof lines[0] };

static char layout[LINES * LONGEST_LINE];

static void write_layout(void) {
  char *end = layout;
  for (int i = 0; i < LINES; i++) {
    const struct line *line = &lines[i];
    if (line->kind == CONSTANT_LINE)
      end += snprintf(end, LONGEST_LINE, "%s %d\n", line->name, line->value);
    else if (line->kind == STRUCT_LINE)
      end += snprintf(end, LONGEST_LINE, "struct %s %d\n", line->owner, line->value);
    else
      end += snprintf(end, LONGEST_LINE, "%s.%s %d %d\n", line->owner, line->name, line->offset, line->value);
  }
}

const char *a4j_abi_layout(void) {
  enum { UNWRITTEN, WRITING, WRITTEN };
  static atomic_int state = UNWRITTEN;
  int seen = UNWRITTEN;
  if (atomic_compare_exchange_strong(&state, &seen, WRITING)) {
    write_layout();
    atomic_store(&state, WRITTEN);
  }
  while (atomic_load(&state) != WRITTEN) a4j_os_yield();
  return layout;
}
