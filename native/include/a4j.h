/*
 * attention4j: attention and the layers around it, as plain C functions.
 *
 * The contract in one page
 * ------------------------
 * Attention is a function of its arguments. Each operation takes a descriptor (plain data: sizes, strides, options), one
 * pointer per buffer, and a workspace if it needs one. It returns a status; zero is success.
 *
 * - Descriptors begin with their own size in bytes and the ABI version that the caller was compiled for; any other version is
 *   refused. Small arrays that vary from call to call (lengths, positions) follow the struct in the same block of memory, its "tail":
 *   a field `..._offset` is the distance in bytes from the start of the descriptor to the array, a multiple of 4, or 0 if there is no
 *   array; size_bytes includes the tail. Descriptors are never written to.
 * - Sizes are counts of elements, int64_t. Strides are distances in elements and may have any value that keeps each access inside the
 *   caller's buffer (0 repeats, a negative one runs backwards). The last dimension (dim) always has stride 1 unless it has a stride
 *   field. An output must not overlap itself or an input, unless the function allows it.
 * - Pointers need the alignment of their element (4 bytes for float, 1 for masks); a workspace needs A4J_WORKSPACE_ALIGNMENT.
 *   A buffer that is absent is NULL. The library keeps no pointer after a call returns.
 * - Memory belongs to the caller. `..._workspace_bytes` returns how much scratch a call needs for its thread count (or minus a
 *   status); the call is passed the size of the workspace. Kernels allocate nothing.
 * - Threads. Every function may be called from any number of threads at once, with different outputs and workspaces. `threads` is the
 *   most threads that a call may use; small problems use fewer. The process has one team: a call that finds it busy computes on its
 *   own thread. Results have the same bits for every thread count.
 * - Nothing here prints, exits, aborts, raises signals or throws. Arguments are validated cheaply (sizes, versions, NULL). Buffer
 *   lengths are not checked: the caller must size buffers to match the strides.
 *
 * Names: batch; heads_q and heads_kv: query and key/value heads; len_q and len_k: rows and keys; dim_qk and dim_v: widths of a
 * head. Query head h reads key/value head h / (heads_q / heads_kv).
 */
#ifndef A4J_H
#define A4J_H

#include <stdint.h>

#if defined(_WIN32)
#define A4J_API __declspec(dllexport)
#else
#define A4J_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a struct, a constant or a signature of this header changes. */
#define A4J_ABI_VERSION 4

#define A4J_WORKSPACE_ALIGNMENT 64

/* Statuses. 1-19: an argument is wrong. 20-39: not supported. 40-59: this machine or process cannot. 60-: our fault. */
enum a4j_status {
  A4J_OK = 0,
  A4J_NULL_POINTER = 1,    /* a buffer that the descriptor asks for is NULL */
  A4J_BAD_DESCRIPTOR = 2,  /* size_bytes or an offset does not fit the struct */
  A4J_BAD_ABI = 3,         /* abi_version is not A4J_ABI_VERSION */
  A4J_BAD_SIZE = 4,        /* a size is negative, or sizes do not fit one another */
  A4J_BAD_OPTION = 5,      /* an option has a value that this header does not name, or options exclude one another */
  A4J_SIZE_OVERFLOW = 6,   /* a product of sizes does not fit 63 bits */
  A4J_SMALL_WORKSPACE = 7, /* workspace_bytes is less than the call needs */
  A4J_MISALIGNED = 8,      /* the workspace is not aligned to A4J_WORKSPACE_ALIGNMENT */
  A4J_BAD_POSITION = 9,    /* a position lies outside the table or cache, or an entry of a tail outside its bounds */
  A4J_BAD_PROGRAM = 10,    /* a score or mask program is not well formed */
  A4J_BAD_VALUE = 11,      /* a number is NaN, infinite or too large to be quantised */
  A4J_UNSUPPORTED_DTYPE = 20,
  A4J_ISA_UNKNOWN = 40,     /* no tier of this name was compiled */
  A4J_ISA_UNAVAILABLE = 41, /* this CPU or operating system cannot run the tier */
  A4J_NO_BLAS = 42          /* a matrix product was asked for before a4j_use_blas */
};

/*
 * How numbers are stored. A kernel widens them exactly and computes in float32 unless it says otherwise.
 *
 *            bits, highest first                       largest     least normal   least
 *   F32      1 sign, 8 exponent, 23 fraction           3.4e38      2^-126         2^-149
 *   BF16     1 sign, 8 exponent, 7 fraction            3.39e38     2^-126         2^-133
 *   F16      1 sign, 5 exponent, 10 fraction           65504       2^-14          2^-24
 *   I8       two's complement, times a scale           127         1
 *
 * All are little-endian. F32 rounds to BF16 and F16 to nearest, ties to even: what is too large becomes infinite, from
 * 2^128 - 2^119 and 65520 on; denormals are kept; NaN stays NaN, made quiet, with the upper bits of its payload.
 */
enum a4j_dtype {
  A4J_F32 = 0,
  A4J_BF16 = 1,
  A4J_F16 = 2,
  A4J_I8 = 3, /* integers of 8 bits with scales: quantised numbers */
  A4J_I4 = 4, /* integers of 4 bits with scales */
  A4J_I6 = 5  /* integers of 6 bits with scales */
};

/* The precision in which attention and linear layers multiply. Sums are float32. */
enum a4j_arithmetic {
  A4J_ARITHMETIC_EXACT = 0, /* operands are not rounded below the precision in which they are stored */
  A4J_ARITHMETIC_BF16 = 1   /* operands are rounded to bfloat16: in attention always, in linear layers if that is faster */
};

/*
 * The layout of the rows of a tensor with heads: each row is `dim` contiguous elements, and the strides are the distances from
 * one row, map, head and batch to the next, in elements. Fields that do not apply to a tensor (maps, pages, scales) are 0.
 *
 * The keys and values of attention may come in pages of page_rows rows each: row j of batch b is row j % page_rows of page
 * number pages[b * pages_stride_batch + j / page_rows], and stride_batch is the distance from one page to the next. `pages` is
 * the number of pages.
 *
 * Scales are float32, one per row, with strides of their own. The values of a row are its elements times its scale.
 */
typedef struct a4j_view {
  int32_t dtype;     /* enum a4j_dtype */
  int32_t page_rows; /* a multiple of A4J_PAGE_ROWS, or 0: not paged */
  int64_t stride_batch, stride_head, stride_map, stride_row;
  int64_t scale_stride_batch, scale_stride_head, scale_stride_map, scale_stride_row;
  int64_t pages, pages_stride_batch;
} a4j_view;

/* The number of rows in a page is a multiple of this. */
enum { A4J_PAGE_ROWS = 64 };

/* The position of row i among the keys is p = i + offset. n is the number of keys of its batch. */
enum a4j_align {
  A4J_ALIGN_TOP_LEFT = 0,     /* offset 0: the first row is at the first key */
  A4J_ALIGN_BOTTOM_RIGHT = 1, /* offset n - len_q: the last row is at the last key */
  A4J_ALIGN_OFFSETS = 2       /* offset row_offsets[b] */
};

/* The window has no bound on this side. */
enum { A4J_UNBOUNDED = -1 };

/* What `scores` contains: the stages of ONNX's qk_matmul_output_mode, except the fourth, probabilities, which is `weights`. */
enum a4j_stage {
  A4J_STAGE_SCALED = 0, /* scale * q k^T, for every key, seen or not */
  A4J_STAGE_CAPPED = 1, /* after soft-capping, for every key, seen or not */
  A4J_STAGE_LOGITS = 2  /* the input of the softmax: after bias, ALiBi and score program; -infinity for keys not seen */
};

/* The row of a table of relative positions for a distance beyond the ends of the table. */
enum a4j_beyond {
  A4J_BEYOND_CLIP = 0, /* its first or last row (Shaw et al. 2018) */
  A4J_BEYOND_ZERO = 1  /* a row of zeros */
};

/* How the weights of a row change between softmax and values; they are divided by their sum afterwards. */
enum a4j_harden {
  A4J_HARDEN_NONE = 0,
  A4J_HARDEN_TOP_K = 1,   /* weights less than the k-th largest become 0; all that are equal to it stay */
  A4J_HARDEN_SUBTRACT = 2 /* max(w - w_k, 0), w_k being the k-th largest of the distinct weights (tensor2tensor's hard
                             attention): k - 1 of them survive */
};

/* Flags: dimensions along which a drawn dropout mask does not vary. */
enum a4j_shared { A4J_SHARED_BATCH = 1, A4J_SHARED_HEAD = 2, A4J_SHARED_ROW = 4, A4J_SHARED_KEY = 8 };

/* The form in which lambda is given. */
enum a4j_lambda_form {
  A4J_LAMBDA_AS_GIVEN = 0,
  A4J_LAMBDA_SIGMOID = 1 /* the factor is 1 / (1 + exp(-lambda)) (Differential Transformer V2) */
};

/* Which key head map m of pair h reads if keys are grouped; r = heads_q / heads_kv. */
enum a4j_key_map {
  A4J_KEY_PAIRS = 0, /* map m of key pair h / r: heads are grouped as pairs */
  A4J_KEY_HEADS = 1  /* single key heads are repeated: head x = (2 h + m) / r, that is map x % 2 of key pair x / 2 */
};

/* ---- Library, kernels and threads ------------------------------------------------------------------------------------- */

/* The library's A4J_ABI_VERSION; compare it with the header's before any other call. */
A4J_API int32_t a4j_abi_version(void);

/* The version of the library, never NULL, static storage. */
A4J_API const char *a4j_version(void);

/*
 * The layout of this header as compiled: one line per constant (`NAME value`), struct (`struct NAME size`) and field
 * (`NAME.field offset size`), separated by '\n'. Generated bindings are compared with it. Static storage.
 */
A4J_API const char *a4j_abi_layout(void);

/* The name of a status, for example "A4J_BAD_SIZE", and one sentence about it; never NULL, static storage. */
A4J_API const char *a4j_status_name(int32_t status);
A4J_API const char *a4j_status_message(int32_t status);

/* The kernel tiers of this library, best first: how many, the name of each, and whether this machine can run it (1 or 0). */
A4J_API int32_t a4j_isa_count(void);
A4J_API const char *a4j_isa_name(int32_t index);
A4J_API int32_t a4j_isa_available(int32_t index);

/* The tier in use; initially the best that CPU and operating system support. */
A4J_API const char *a4j_isa_active(void);

/*
 * Selects another tier for the whole process; calls in progress finish on the old one. The results of different tiers differ in
 * their last bits.
 * A4J_NULL_POINTER, A4J_ISA_UNKNOWN, A4J_ISA_UNAVAILABLE.
 */
A4J_API int32_t a4j_isa_select(const char *name);

/*
 * Registers another team of threads in place of the library's own, for the whole process: the address of
 *   void run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context)
 * which calls fn(context, thread, n) once for each thread in [0, n), for some n in [1, threads], thread 0 on the calling
 * thread, and returns when all are done. It is called by one thread at a time. a4j_openmp_run of liba4j-openmp.so is such a
 * function. NULL is refused with A4J_NULL_POINTER. Must be called before the first call that computes.
 */
A4J_API int32_t a4j_use_team(const void *run);

/* How many threads the team has so far, including the caller's (0 before its first use), and why it has no more (or NULL). */
A4J_API int32_t a4j_team_threads(void);
A4J_API const char *a4j_team_failure(void);

/* Since the library was loaded: how many calls ran on the team, and how many found it busy and ran on one thread. */
A4J_API int64_t a4j_team_shared_calls(void);
A4J_API int64_t a4j_team_busy_calls(void);

/*
 * Of this thread's calls since it last asked, the last one that wanted more than one thread: how many it got, or -1 if it found
 * the team busy; 0 if there was no such call.
 */
A4J_API int32_t a4j_team_last(void);

/*
 * Registers the address of cblas_sgemm (LP64 interface). It must be callable from several threads at once and should not start
 * threads of its own. NULL is refused with A4J_NULL_POINTER. Must be called before the first a4j_linear.
 */
A4J_API int32_t a4j_use_blas(const void *cblas_sgemm);

/* ---- Attention -------------------------------------------------------------------------------------------------------- */

/*
 * Scaled dot-product attention, plain (maps = 1) or differential (maps = 2), for every batch b, head h and row i:
 *
 *   x_m[j]      = softcap(scale * <q_m[b,h,i], k_m[b,h',j] + E[h,j-p]>)   softcap(x) = c tanh(x / c), or x if c is 0
 *   logits_m[j] = program(x_m[j] + bias[b,h,i,j] - slope[b,h] |p - j|)    over the keys j that the row sees
 *   A_m         = exp(logits_m - lse_m),  lse_m = log(exp(sink_m[h]) + sum(exp(logits_m)))
 *   W           = A_1                      plain (Vaswani et al. 2017)
 *               = A_1 - lambda[b,h,i] A_2  differential (Ye et al. 2024)
 *   W           = harden(A_1 + noise_weight * g)  if requested, over the keys that the row sees
 *   out[b,h,i]  = sum over j of W[j] * keep[b,h,i,j] * keep_scale * (v[b,h',j] + F[h,j-p])
 *
 * Positions. Row i has position p = i + offset among the keys (enum a4j_align). Batch b has n keys: key_lengths[b] if there is
 * one length per batch, else len_k (or, if packed, its own number of keys).
 *
 * A row sees key j iff all of these hold:
 *   - j < n, and j < key_lengths[b,i] if lengths are given per row, and j < key_limit;
 *   - p - window_left <= j <= p + window_right, unless A4J_UNBOUNDED; causal is window_right = 0;
 *   - floor(j / chunk) = floor(p / chunk), if chunk is not 0 (attention chunks);
 *   - one of the key ranges of the row's block contains j, if there are ranges;
 *   - mask[b,h,i,j] and key_mask[b,j] are not 0, the mask program gives true, and bias[b,h,i,j] is not -infinity.
 * A row that sees no key has output 0, weights 0 and logsumexp -infinity (with a sink: the sink); in the differential form this
 * holds for each map. Keys that a row does not see never affect it, even if they are NaN or infinite; those that it
 * sees do, by the rules of IEEE arithmetic. Blocks of keys that no row of a tile sees are skipped.
 *
 * Relative positions. If relative_rows is not 0, E and F are rows of the tables relative_keys and relative_values, one table
 * per head (or one for all, head stride 0): row relative_zero + (j - p), or beyond the table as enum a4j_beyond says. A table
 * that is NULL counts as 0.
 *
 * Random numbers. g = -log(-log u), u in [1e-5, 1 - 1e-5], is Gumbel noise; u is given or drawn. Dropout keeps a weight if its
 * number u in [0, 1) is at least p. Numbers are drawn from the counter-based generator Philox4x32-10 (Salmon et al. 2011): its
 * key is the seed (low word, high word); its counter is (j / 4, i, h, b), 32 bits each; word j % 4 of its result, shifted right
 * by 8 and multiplied by 2^-24, is the number. Each of j, i, h and b counts as 0 if its dimension is shared. Noise maps the
 * number to 1e-5 + u * (1 - 2e-5). The numbers do not depend on threads, tiers or shapes.
 *
 * Key ranges (block-sparse, block-local, dilated, tree-shaped patterns): rows are grouped in blocks of range_rows, and each
 * block has a list of ranges [begin, end) of keys, ascending and disjoint, 0 <= begin < end <= len_k. A row's list is number
 * b * range_stride_batch + h * range_stride_head + i / range_rows of the CSR arrays.
 *
 * Packed batches (cu_seqlens): if q_begins is given, sequence b has rows q_begins[b] to q_begins[b + 1] of one long row
 * dimension (batch strides are then usually 0), at most len_q of them; k_begins does the same for keys and len_k. Then mask,
 * key_mask, bias, keep, noise, weights and scores must be NULL, harden must be A4J_HARDEN_NONE, and key_lengths, if given, has
 * one entry per batch. Rows, positions, ranges, lengths and the counters of dropout count within a sequence.
 *
 * Range. An output is finite if its formula is: if sums of values or products q k^T overflow on the way, the row is computed
 * again with q scaled first and weights normalised before they are multiplied by the values, which takes up to three times as
 * long. This does not help if a logit itself overflows, or in a row with a mask, bias, ranges or program if all of its products
 * are below -FLT_MAX: such a row counts as one that sees no key.
 *
 * Precision. Softmax, sums and accumulation are float32. If k and v are A4J_BF16, a tier with dot products of bfloat16 uses them:
 * weights are rounded to bfloat16, which changes an output by at most 2^-8 of the sum of |W v|, and not at all if all values are
 * the same; q is the sum of two bfloat16 numbers, which keep 16 bits; denormals of bfloat16 count as 0. A4J_ARITHMETIC_BF16, for k
 * and v of A4J_F32, A4J_BF16 and A4J_F16, first rounds q, k and v to bfloat16, on every tier, and then does the same; tables of
 * relative positions and whatever is added to the logits are not rounded. lse and returned weights are computed from weights that
 * are not rounded. If scores are returned or weights hardened, all products are of floats.
 */
typedef struct a4j_attention_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t arithmetic;   /* enum a4j_arithmetic; BF16 excludes k and v of A4J_I8 */
  int32_t threads;      /* >= 1 */
  int32_t align;        /* enum a4j_align */
  int32_t maps;         /* softmax maps that make one output head: 1, or 2 for differential attention */
  int32_t key_map;      /* enum a4j_key_map; used only if maps is 2 */
  int32_t value_parts;  /* 1, or 2 if the two halves of a value row are stored in different places */
  int32_t lambda_form;  /* enum a4j_lambda_form; used only if maps is 2 */
  int32_t scores_stage; /* enum a4j_stage; used only with scores */
  int32_t beyond;       /* enum a4j_beyond; used only with relative_rows */
  int32_t harden;       /* enum a4j_harden; needs maps = 1 */
  int32_t noisy;        /* 1: noise is added to the weights before they are hardened; needs harden */
  int32_t dropout;      /* 1: dropout is drawn, and keep is NULL */
  int64_t batch;
  int64_t heads_q;  /* output heads: heads if maps is 1, pairs if maps is 2 */
  int64_t heads_kv; /* the same for keys and values; divides heads_q */
  int64_t len_q;
  int64_t len_k;
  int64_t dim_qk;
  int64_t dim_v;                     /* even if value_parts is 2 */
  int64_t window_left, window_right; /* >= 0, or A4J_UNBOUNDED */
  int64_t chunk;                     /* keys of an attention chunk, or 0 */
  int64_t key_limit;                 /* no row sees a key from here on; len_k for no limit */
  a4j_view q, k, v, out;
  int64_t mask_stride_batch, mask_stride_head, mask_stride_row, mask_stride_key;
  int64_t key_mask_stride_batch; /* its keys are contiguous */
  int64_t bias_stride_batch, bias_stride_head, bias_stride_row, bias_stride_key;
  int64_t keep_stride_batch, keep_stride_head, keep_stride_row, keep_stride_key;
  int64_t lambda_stride_batch, lambda_stride_head, lambda_stride_row;
  int64_t lse_stride_batch, lse_stride_head, lse_stride_map; /* its rows are contiguous */
  /* int32_t in the tail, each in [0, len_k], that of row i of batch b at [b * stride_batch + i * stride_row]; 0: none */
  int64_t key_lengths_offset;
  int64_t key_lengths_stride_batch;
  int64_t key_lengths_stride_row; /* 0: one per batch; 1: one per row, and then n is len_k */
  int64_t row_offsets_offset;     /* int32_t[batch] in the tail, any sign; with A4J_ALIGN_OFFSETS */
  int64_t q_begins_offset;        /* int32_t[batch + 1] in the tail, ascending from 0; 0: not packed */
  int64_t k_begins_offset;
  int64_t relative_rows; /* rows of the tables of relative positions, or 0: none; needs maps = 1 */
  int64_t relative_zero; /* the row for distance j - p = 0; any number, even outside the table */
  int64_t relative_keys_stride_head, relative_keys_stride_row;
  int64_t relative_values_stride_head, relative_values_stride_row;
  int64_t relative_values_first; /* rows i before this one do not use relative_values */
  int64_t harden_k;              /* k of enum a4j_harden, at least 1 */
  int64_t noise_stride_batch, noise_stride_head, noise_stride_row, noise_stride_key;
  int64_t noise_seed;          /* used if noise is NULL */
  int64_t dropout_seed;        /* see "Random numbers" */
  int64_t range_rows;          /* rows of a block of the ranges, or 0: no ranges */
  int64_t range_lists;         /* number of lists */
  int64_t range_starts_offset; /* int32_t[range_lists + 1] in the tail: list x has ranges starts[x] to starts[x + 1] */
  int64_t ranges_offset;       /* int32_t[starts[range_lists]][2] in the tail: begin and end */
  int64_t range_stride_batch, range_stride_head; /* in lists; 0 if all share them */
  int64_t slopes_offset;                         /* float[heads_q] in the tail, finite; 0: no ALiBi (Press et al. 2022) */
  int64_t slopes_stride_batch;                   /* heads_q for slopes [batch][heads_q], 0 if batches share them */
  int64_t sinks_offset;                          /* float[heads_q][maps] in the tail: logits without a value; 0: none */
  int64_t mask_program_offset;                   /* int32_t[mask_program_words] in the tail; 0: none. See "Programs" below */
  int64_t mask_program_words;
  int64_t score_program_offset; /* int32_t[score_program_words] in the tail; 0: none */
  int64_t score_program_words;
  int64_t table_0_count, table_1_count, table_2_count, table_3_count; /* elements of the programs' tables, 4 bytes each */
  float scale;            /* finite; there is no default, the usual scale is 1 / sqrt(dim_qk) */
  float softcap;          /* c > 0, or 0 for none */
  float keep_scale;       /* > 0: 1 / (1 - p) of the dropout; not read without dropout or keep */
  float dropout_rate;     /* p in [0, 1), used if dropout is 1 */
  int32_t dropout_shared; /* flags of enum a4j_shared */
  float noise_weight;     /* finite, used if noisy is 1 */
} a4j_attention_desc;

/*
 * Scratch for a4j_attention and a4j_attention_full with this descriptor, or minus a status. It grows with threads, not with
 * len_q * len_k. If weights are hardened it also grows with len_k, because each thread holds up to 48 rows of them.
 */
A4J_API int64_t a4j_attention_workspace_bytes(const a4j_attention_desc *desc);

/*
 * Attention without further inputs and outputs.
 *
 * q   [batch, heads_q, maps, len_q, dim_qk]  q.dtype
 * k   [batch, heads_kv, maps, len_k, dim_qk] k.dtype
 * v   [batch, heads_kv, value_parts, len_k, dim_v / value_parts] v.dtype; its stride_map is the stride between parts
 * out [batch, heads_q, len_q, dim_v] out.dtype, written completely; it has no maps
 *
 * Returns A4J_OK, A4J_NULL_POINTER, A4J_BAD_DESCRIPTOR, A4J_BAD_ABI, A4J_BAD_SIZE (also for more than INT32_MAX keys that take
 * no memory because their width or row stride is 0, if an output has elements), A4J_BAD_OPTION, A4J_BAD_POSITION (an entry of
 * the tail is out of its bounds), A4J_BAD_PROGRAM, A4J_SIZE_OVERFLOW, A4J_SMALL_WORKSPACE, A4J_MISALIGNED,
 * A4J_UNSUPPORTED_DTYPE.
 */
A4J_API int32_t a4j_attention(const a4j_attention_desc *desc, const void *q, const void *k, const void *v, void *out,
                              void *workspace, int64_t workspace_bytes);

/*
 * Attention with everything that the descriptor can ask for. In addition to the tensors of a4j_attention:
 *
 * k_scales, v_scales: float, with the scale strides of k and v; NULL if their type has no scales
 * k_pages, v_pages: page numbers, int32_t, with pages_stride_batch; NULL if k and v are not paged
 * mask     [batch, heads_q, len_q, len_k] bytes, 0 hides the key; or NULL. Keys from key_limit on are not read
 * key_mask [batch, len_k] bytes, 0 hides the key; or NULL. Keys from key_limit on are not read
 * bias     [batch, heads_q, len_q, len_k] float, added to the scaled, capped logits, -infinity hides the key; or NULL. Keys from
 *          key_limit on are not read
 * keep     [batch, heads_q, len_q, len_k] bytes, 0 drops the weight; or NULL
 * relative_keys   [heads_q, relative_rows, dim_qk] float; or NULL
 * relative_values [heads_q, relative_rows, dim_v] float; or NULL
 * noise    [batch, heads_q, len_q, len_k] float, u of the noise; or NULL: drawn if noisy is 1
 * lambda   [batch, heads_q, len_q] float; NULL if maps is 1
 * table_0 to table_3: the programs' tables, float or int32_t; NULL if not used
 * lse      [batch, heads_q, maps, len_q] float, natural logarithm; or NULL
 * weights  [batch, heads_q, len_q, len_k] float, contiguous: W before dropout, written completely; or NULL. Costs a second pass
 *          over q k^T
 * scores   [batch, heads_q, maps, len_q, len_k] float, contiguous: the logits at scores_stage, written completely; or NULL. Costs
 *          a second pass over q k^T
 * work     how many scores this call computed for `out`, including vector lanes without a row; or NULL
 *
 * A stride of 0 broadcasts a tensor along that dimension. Returns what a4j_attention returns.
 */
A4J_API int32_t a4j_attention_full(const a4j_attention_desc *desc, const void *q, const void *k, const void *v,
                                   const float *k_scales, const float *v_scales, const int32_t *k_pages, const int32_t *v_pages,
                                   const uint8_t *mask, const uint8_t *key_mask, const float *bias, const uint8_t *keep,
                                   const float *relative_keys, const float *relative_values, const float *noise,
                                   const float *lambda, const void *table_0, const void *table_1, const void *table_2,
                                   const void *table_3, void *out, float *lse, float *weights, float *scores, int64_t *work,
                                   void *workspace, int64_t workspace_bytes);

/* The dropout mask that a4j_attention draws for the same sizes, seed, rate and shared dimensions. */
typedef struct a4j_dropout_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* A4J_F32 */
  int32_t threads;
  int32_t shared; /* flags of enum a4j_shared */
  float rate;     /* p in [0, 1) */
  int64_t seed;
  int64_t batch, heads, len_q, len_k;
} a4j_dropout_desc;

/* keep [batch, heads, len_q, len_k] bytes, contiguous: 1 if the weight is kept, 0 if it is dropped. */
A4J_API int32_t a4j_dropout(const a4j_dropout_desc *desc, uint8_t *keep);

/* ---- Programs --------------------------------------------------------------------------------------------------------- */

/*
 * The caller's own masks and scores, evaluated for every row and key inside a4j_attention: straight-line code of at most
 * A4J_PROGRAM_MAX instructions, with at most A4J_PROGRAM_LIVE values live at a time. Instruction number n (from 0) computes
 * value n; its operands are the numbers of earlier values; the last value is the result. A mask program's result is a bool,
 * true if the row sees the key; it cannot read the score. A score program's result is a float, the new score; it reads the
 * scaled, capped, biased one, and -infinity hides the key.
 *
 * An instruction is a word: op | a << 8 | b << 16 | c << 24; unused operands are 0. A4J_OP_FLOAT and A4J_OP_INT have a second
 * word, the bits of the constant. Values are float (F), int32_t (I) or bool (B). Integers wrap around.
 *
 * Blocks of keys for which a mask program is false in every row are skipped. Values that depend only on the row, or only on the
 * key, are computed once per block of rows and keys, not for each pair.
 */
enum { A4J_PROGRAM_MAX = 64, A4J_PROGRAM_LIVE = 32 };

enum a4j_op {
  A4J_OP_SCORE = 1,           /* F: the score */
  A4J_OP_BATCH = 2,           /* I: b */
  A4J_OP_HEAD = 3,            /* I: output head h */
  A4J_OP_QUERY = 4,           /* I: row i */
  A4J_OP_POSITION = 5,        /* I: position p of the row (enum a4j_align) */
  A4J_OP_KEY = 6,             /* I: j */
  A4J_OP_FLOAT = 7,           /* F: the next word's bits */
  A4J_OP_INT = 8,             /* I: the next word */
  A4J_OP_LOAD_FLOAT = 9,      /* F: element max(0, min(a, count - 1)) of table number b (the field itself), I a */
  A4J_OP_LOAD_INT = 10,       /* I: the same */
  A4J_OP_TO_FLOAT = 11,       /* F of I */
  A4J_OP_TO_INT = 12,         /* I of F: towards zero, saturating; 0 for NaN */
  A4J_OP_NEG = 13,            /* F: -a */
  A4J_OP_ABS = 14,            /* F: |a| */
  A4J_OP_EXP = 15,            /* F: e^a, relative error at most 3e-7; results below 1.2e-38 may be 0 */
  A4J_OP_LOG = 16,            /* F: natural logarithm */
  A4J_OP_TANH = 17,           /* F */
  A4J_OP_SQRT = 18,           /* F */
  A4J_OP_ADD = 19,            /* F: a + b */
  A4J_OP_SUB = 20,            /* F: a - b */
  A4J_OP_MUL = 21,            /* F: a b */
  A4J_OP_DIV = 22,            /* F: a / b */
  A4J_OP_MIN = 23,            /* F: NaN if either is */
  A4J_OP_MAX = 24,            /* F: NaN if either is */
  A4J_OP_INT_NEG = 25,        /* I */
  A4J_OP_INT_ABS = 26,        /* I */
  A4J_OP_INT_ADD = 27,        /* I */
  A4J_OP_INT_SUB = 28,        /* I */
  A4J_OP_INT_MUL = 29,        /* I */
  A4J_OP_INT_DIV = 30,        /* I: floor(a / b), 0 if b is 0 */
  A4J_OP_INT_MOD = 31,        /* I: a - b floor(a / b), 0 if b is 0 */
  A4J_OP_INT_MIN = 32,        /* I */
  A4J_OP_INT_MAX = 33,        /* I */
  A4J_OP_LESS = 34,           /* B of F: a < b */
  A4J_OP_LESS_EQUAL = 35,     /* B of F: a <= b */
  A4J_OP_EQUAL = 36,          /* B of F: a == b */
  A4J_OP_INT_LESS = 37,       /* B of I */
  A4J_OP_INT_LESS_EQUAL = 38, /* B of I */
  A4J_OP_INT_EQUAL = 39,      /* B of I */
  A4J_OP_AND = 40,            /* B of B */
  A4J_OP_OR = 41,             /* B of B */
  A4J_OP_NOT = 42,            /* B of B */
  A4J_OP_SELECT = 43,         /* F: b if a, else c; a is B */
  A4J_OP_INT_SELECT = 44      /* I: the same */
};

/* ---- Merging ---------------------------------------------------------------------------------------------------------- */

/*
 * Merges two attention results over disjoint sets of keys into the result over their union:
 *   lse = log(exp(lse_a) + exp(lse_b)),  out = out_a * exp(lse_a - lse) + out_b * exp(lse_b - lse)
 * If one lse is -infinity, the result is the other side; if both are, it is 0 and -infinity.
 */
typedef struct a4j_merge_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* A4J_F32 */
  int32_t threads;
  int64_t batch, heads, len, dim;
  int64_t a_stride_batch, a_stride_head, a_stride_row;
  int64_t b_stride_batch, b_stride_head, b_stride_row;
  int64_t out_stride_batch, out_stride_head, out_stride_row;
} a4j_merge_desc;

/*
 * a, b, out [batch, heads, len, dim]; lse_a, lse_b, lse [batch, heads, len], contiguous, lse may be NULL.
 * out may be a (with a's strides) and lse may be lse_a.
 */
A4J_API int32_t a4j_merge(const a4j_merge_desc *desc, const void *a, const float *lse_a, const void *b, const float *lse_b,
                          void *out, float *lse);

/* ---- Key/value cache -------------------------------------------------------------------------------------------------- */

/*
 * Appends rows of keys (or of values) to a cache, in each batch after the rows that it holds. A row is rounded to the cache's
 * type; A4J_I8 stores x / scale rounded to the nearest integer, ties to even, with scale = max|x| / 127 over the row.
 */
typedef struct a4j_kv_append_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of the rows: A4J_F32, A4J_BF16 or A4J_F16; A4J_F32 for a cache of A4J_I8 */
  int32_t threads;
  int64_t batch, heads, len_new;
  int64_t capacity; /* rows that a batch has room for; if paged, in the pages that its page numbers name */
  int64_t dim;
  int64_t rows_stride_batch, rows_stride_head, rows_stride_row;
  a4j_view cache;         /* without maps */
  int64_t lengths_offset; /* int32_t[batch] in the tail: rows that the cache holds, each >= 0 */
  int64_t counts_offset;  /* int32_t[batch] in the tail: how many of the new rows belong to the batch; 0: len_new for all */
} a4j_kv_append_desc;

/*
 * rows [batch, heads, len_new, dim], cache [batch, heads, capacity, dim]; row i of batch b goes to cache row lengths[b] + i.
 * scales [batch, heads, capacity] float for a cache of A4J_I8, otherwise NULL; pages: page numbers for a paged cache, otherwise
 * NULL. Everything is checked before anything is written: A4J_BAD_POSITION if lengths[b] + counts[b] > capacity, counts[b] >
 * len_new or a page does not exist; A4J_BAD_VALUE if a number to be quantised is not finite.
 */
A4J_API int32_t a4j_kv_append(const a4j_kv_append_desc *desc, const void *rows, void *cache, float *scales,
                              const int32_t *pages);

/* ---- Layers ----------------------------------------------------------------------------------------------------------- */

/* How a linear projection of many rows is computed. */
enum a4j_product {
  A4J_PRODUCT_OWN = 0,   /* by our own kernel, which packs the weights during the call */
  A4J_PRODUCT_BLAS = 1,  /* by sgemm */
  A4J_PRODUCT_PACKED = 2 /* by our own kernel, with weights packed in advance by a4j_linear_pack */
};

/* Columns of out in a panel of packed weights. */
enum { A4J_PANEL = 48 };

/*
 * How weights are stored. For A4J_F32, A4J_BF16 and A4J_F16 the other fields are 0. A4J_I8, A4J_I6 and A4J_I4 are quantised:
 * `group` columns of a row share a scale, and codes are integers of 8, 6 or 4 bits:
 *
 *   weight = scale * code             code in [-128, 127], [-32, 31] or [-8, 7], if minimums is 0
 *   weight = scale * code + minimum   code in [0, 255], [0, 63] or [0, 15], if minimums is 1
 *
 * Scales and minimums are A4J_F32 or A4J_F16, or nested (A4J_I8): a signed byte per group times an A4J_F16 number per span of
 * A4J_QUANTIZED_SPAN columns; their product is exact in float32.
 *
 * Packed, A4J_QUANTIZED_ROWS rows form a block; rows beyond the last are 0. A block is one stream, group after group, of
 * little-endian numbers, 16 of each kind, one per row:
 *
 *   at the start of each span, if scales are nested:  16 F16 scales of scales | 16 F16 scales of minimums, if any
 *   each group:                                       codes | 16 scales | 16 minimums, if any
 *
 *   codes of A4J_I8: 64 bytes per 4 columns; byte 4 * row + column is the code, + 128 if signed
 *   codes of A4J_I4: 64 bytes per 8 columns; byte 4 * row + column % 4 has two codes, + 8 if signed: in the low four bits that of
 *                    columns 0 to 3, in the high four bits that of columns 4 to 7
 *   codes of A4J_I6: 192 bytes per 16 columns; byte column / 4 * 64 + 4 * row + column % 4 has in its low six bits the code, + 32 if
 *                    signed, of columns 0 to 11; the high two bits of bytes 4 * row + i, 64 + 4 * row + i and 128 + 4 * row + i are
 *                    bits 0 and 1, 2 and 3, and 4 and 5 of that of column 12 + i
 *
 * Bytes per weight in groups of 32 with F16 scales: 1.0625 (I8), 0.8125 (I6) and 0.5625 (I4).
 */
typedef struct a4j_storage {
  int32_t dtype;       /* enum a4j_dtype */
  int32_t group;       /* 16, 32, 64 or 128; divides the columns */
  int32_t scale_dtype; /* A4J_F32, A4J_F16, or A4J_I8: nested, and then A4J_QUANTIZED_SPAN divides the columns */
  int32_t minimums;    /* 0 or 1 */
} a4j_storage;

enum { A4J_QUANTIZED_ROWS = 16, A4J_QUANTIZED_SPAN = 256 };

/* Functions that layers apply to each element. */
enum a4j_activation {
  A4J_IDENTITY = 0,  /* x */
  A4J_RELU = 1,      /* max(x, 0); NaN if x is NaN */
  A4J_GELU = 2,      /* x (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel 2016) */
  A4J_GELU_TANH = 3, /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, their approximation of it */
  A4J_SILU = 4,      /* x sigmoid(x) */
  A4J_SIGMOID = 5,   /* 1 / (1 + exp(-x)) */
  A4J_TANH = 6
};

/* How a result is combined with the other operand. */
enum a4j_combine {
  A4J_SET = 0,     /* replaces it */
  A4J_ADD = 1,     /* is added to it, as in a residual connection */
  A4J_MULTIPLY = 2 /* is multiplied by it, as in a gated unit */
};

/*
 * Linear projection: out[r] = combine(out[r], activation(weight x[r] + bias)), with the weight as in PyTorch, [dim_out,
 * dim_in]. Activation and combination are applied while the sums are in the cache, with the same bits as a4j_elementwise. A
 * 16-bit x is widened first; a 16-bit out is the float32 result rounded once, and as an operand it is widened exactly.
 */
typedef struct a4j_linear_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  a4j_storage weight; /* quantised weights must be packed, with product A4J_PRODUCT_OWN */
  int32_t product;    /* enum a4j_product */
  int32_t activation; /* enum a4j_activation */
  int32_t combine;    /* enum a4j_combine */
  int32_t arithmetic; /* enum a4j_arithmetic */
  int64_t rows, dim_in, dim_out;
  int64_t x_stride_row, weight_stride_row, out_stride_row; /* each at least its row's width; packed weights have no stride */
  int32_t out_dtype;                                       /* like dtype */
} a4j_linear_desc;

/* Scratch for a4j_linear with this descriptor, or minus a status. */
A4J_API int64_t a4j_linear_workspace_bytes(const a4j_linear_desc *desc);

/*
 * x [rows, dim_in], weight [dim_out, dim_in] or packed, bias [dim_out] or NULL, out [rows, dim_out]; workspace may be NULL if
 * its size is 0. With few rows and weights that are not packed, memory bandwidth is the limit, and a kernel reads the weights
 * in place whatever desc.product says. A4J_NO_BLAS if sgemm is needed and none is registered.
 *
 * Quantised weights multiply rows of x rounded to 16-bit integers, with a scale for each 16 columns; the root mean square error is at
 * most 5e-5 of the product. A row has the same bits whatever the number of rows.
 */
A4J_API int32_t a4j_linear(const a4j_linear_desc *desc, const void *x, const void *weight, const float *bias, void *out,
                           void *workspace, int64_t workspace_bytes);

/*
 * Packs weight [dim_out, dim_in] into panels of A4J_PANEL outputs, with 0 for those beyond the last. The layout is the same for
 * every tier:
 *
 *   F32, F16  [ceil(dim_out / A4J_PANEL)][dim_in][A4J_PANEL]: element [p][d][c] is the weight of output p * A4J_PANEL + c, input d
 *   BF16      [ceil(dim_out / A4J_PANEL)][ceil(dim_in / 2)][A4J_PANEL][2]: element [p][d][c][i] is the weight of input 2 d + i
 *
 * BF16 if weight is A4J_BF16 or arithmetic is A4J_ARITHMETIC_BF16, which rounds other weights; else its type. The calls of
 * a4j_linear must have the same weight.dtype and arithmetic. desc.rows and the strides of x and out are not used.
 */
A4J_API int32_t a4j_linear_pack(const a4j_linear_desc *desc, const void *weight, void *packed);

/* The rows of quantised weights to read or write: [rows, dim], from row first_row on. */
typedef struct a4j_quantized_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x and out: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  a4j_storage storage;
  int64_t first_row; /* to write, a multiple of A4J_QUANTIZED_ROWS */
  int64_t rows, dim;
  int64_t stride_row; /* of x and out */
} a4j_quantized_desc;

/* The size of first_row + rows packed rows in bytes, or minus a status. A multiple of 32, which is also the alignment. */
A4J_API int64_t a4j_quantized_bytes(const a4j_quantized_desc *desc);

/*
 * Packs rows that are already quantised. codes [rows, dim] are bytes, signed or, with minimums, unsigned; scales and minimums
 * [rows, dim / group] are of type scale_dtype; outer_scales and outer_minimums [rows, dim / A4J_QUANTIZED_SPAN] are F16, NULL
 * unless scales are nested; all are contiguous. `packed` points to row 0; blocks are written from that of first_row on, the
 * last one completely. A4J_BAD_VALUE if a code does not fit.
 */
A4J_API int32_t a4j_quantized_pack(const a4j_quantized_desc *desc, const void *codes, const void *scales, const void *minimums,
                                   const void *outer_scales, const void *outer_minimums, void *packed);

/*
 * Quantises x [rows, dim] into `packed`, as above; scales must not be nested. A scale is the largest |x| of its group divided
 * by 127, 31 or 7, or with minimums (largest - minimum) by 255, 63 or 15, rounded to its type; minimums are rounded down, codes to
 * nearest, ties to even. Errors are at most half a step, apart from the rounding of the scale. A4J_BAD_VALUE if an x is infinite
 * or NaN, or a scale, a minimum or the difference is too large for its type; some blocks may have been written by then.
 */
A4J_API int32_t a4j_quantize(const a4j_quantized_desc *desc, const void *x, void *packed);

/* out [rows, dim] = the weights of the rows from first_row on: scale * code rounded to float32, + minimum rounded again. Nested
   minimums are negated and subtracted, which gives zeros the sign that file formats define. */
A4J_API int32_t a4j_dequantize(const a4j_quantized_desc *desc, const void *packed, void *out);

/*
 * Layers also take and return 16-bit rows: they widen x, compute in float32, and round the result once. Norms keep a 16-bit row
 * on the stack, four bytes a number, and refuse wider ones than this.
 */
enum { A4J_SHORT_ROW = 16384 };

/*
 * The blocks in which GGUF files store weights, row after row: 32 columns of a row, or 256 for formats that end in K and for
 * IQ4_XS. d and m are F16; ggml's source defines the order of the bits. Packing keeps the file's codes and numbers, in this
 * storage:
 *
 *   format      bytes of a block   weight                          storage: dtype, group, scale_dtype, minimums
 *   Q4_0        18                 d * (q - 8)                     I4, 32, F16
 *   Q4_1        20                 d * q + m                       I4, 32, F16, minimums
 *   Q5_0        22                 d * (q - 16)                    I6, 32, F16
 *   Q5_1        24                 d * q + m                       I6, 32, F16, minimums
 *   Q8_0        34                 d * q                           I8, 32, F16
 *   Q2_K        84                 d * s * q - m * t               I4, 16, I8, minimums
 *   Q3_K        110                d * (s - 32) * (q - 4)          I4, 16, I8
 *   Q4_K        144                d * s * q - m * t               I4, 32, I8, minimums
 *   Q5_K        176                d * s * q - m * t               I6, 32, I8, minimums
 *   Q6_K        210                d * s * (q - 32)                I6, 16, I8
 *   IQ4_NL      18                 d * table[q]                    I8, 32, F16
 *   IQ4_XS      136                d * (s - 32) * table[q]         I8, 32, I8
 *   MXFP4       17                 2^(e - 128) * table[q]          I8, 32, F32
 */
enum a4j_block_format {
  A4J_Q4_0 = 0,
  A4J_Q4_1 = 1,
  A4J_Q5_0 = 2,
  A4J_Q5_1 = 3,
  A4J_Q8_0 = 4,
  A4J_Q2_K = 5,
  A4J_Q3_K = 6,
  A4J_Q4_K = 7,
  A4J_Q5_K = 8,
  A4J_Q6_K = 9,
  A4J_IQ4_NL = 10,
  A4J_IQ4_XS = 11,
  A4J_MXFP4 = 12
};

/*
 * Packs blocks as rows first_row to first_row + rows, like a4j_quantized_pack; blocks need no alignment. A4J_BAD_OPTION unless
 * desc.storage is the format's, A4J_BAD_SIZE unless dim is whole blocks. Each thread reads its blocks and writes its rows once.
 */
A4J_API int32_t a4j_blocks_pack(const a4j_quantized_desc *desc, int32_t format, const void *blocks, void *packed);

/* out [rows, dim] = the weights of the blocks, each rounded at most once. first_row is not used. */
A4J_API int32_t a4j_blocks_widen(const a4j_quantized_desc *desc, int32_t format, const void *blocks, void *out);

/* RMS normalisation (Zhang and Sennrich 2019): out[r] = x[r] / sqrt(mean(x[r]^2) + epsilon) * weight * scale. */
typedef struct a4j_rms_norm_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  int64_t rows, dim;
  int64_t x_stride_row, out_stride_row;
  float epsilon;
  float scale;       /* usually 1; 1 - lambda_init after differential attention */
  int32_t out_dtype; /* like dtype */
} a4j_rms_norm_desc;

/* x, out [rows, dim], weight [dim] or NULL for ones. out may be x (with its stride and type). */
A4J_API int32_t a4j_rms_norm(const a4j_rms_norm_desc *desc, const void *x, const float *weight, void *out);

/*
 * Layer normalisation (Ba et al. 2016): out[r] = (x[r] - mean) / sqrt(variance + epsilon) * weight + bias. The variance is
 * biased and computed from the deviations in a second pass, so a large mean costs no accuracy.
 */
typedef struct a4j_layer_norm_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  int64_t rows, dim;
  int64_t x_stride_row, out_stride_row;
  float epsilon;
  int32_t out_dtype; /* like dtype */
} a4j_layer_norm_desc;

/*
 * x, out [rows, dim], weight [dim] or NULL for ones, bias [dim] or NULL for zeros. out may be x (with its stride and type).
 * mean, inv_std [rows], contiguous: each row's mean and 1 / sqrt(variance + epsilon); each may be NULL.
 */
A4J_API int32_t a4j_layer_norm(const a4j_layer_norm_desc *desc, const void *x, const float *weight, const float *bias,
                               void *out, float *mean, float *inv_std);

/* Which channels of the rotated part form a pair. */
enum a4j_rope_style {
  A4J_ROPE_HALF = 0,       /* (i, i + rotary_dim / 2), GPT-NeoX and Hugging Face Llama */
  A4J_ROPE_INTERLEAVED = 1 /* (2 i, 2 i + 1), the paper */
};

/*
 * Rotary position embedding (Su et al. 2021): pair i of the row at position p is rotated by the angle whose cosine and sine are
 * element i of row p of the tables; channels from rotary_dim on are copied.
 */
typedef struct a4j_rope_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  int64_t batch, heads, len, dim;
  int64_t rotary_dim; /* even, <= dim */
  int64_t table_rows;
  int64_t x_stride_batch, x_stride_head, x_stride_row;
  int64_t out_stride_batch, out_stride_head, out_stride_row;
  int64_t position_start;         /* row i has position position_start + i, unless positions are given */
  int64_t positions_offset;       /* int32_t in the tail, position of row i of batch b at [b * positions_stride_batch + i] */
  int64_t positions_stride_batch; /* len, or 0 if all batches share one list */
  int32_t style;                  /* enum a4j_rope_style */
  int32_t out_dtype;              /* like dtype */
} a4j_rope_desc;

/*
 * x, out [batch, heads, len, dim]; cos, sin [table_rows, rotary_dim / 2], contiguous. out may be x (with its strides and type).
 * All positions are checked before anything is written: A4J_BAD_POSITION.
 */
A4J_API int32_t a4j_rope(const a4j_rope_desc *desc, const void *x, const float *cos, const float *sin, void *out);

/* ---- Recurrent and additive attention --------------------------------------------------------------------------------- */

/* Scores of a query and a key other than their product; x = scale * (q - k). */
enum a4j_pair_form {
  A4J_PAIR_ADDITIVE = 0,   /* <v, tanh(q + k)> (Bahdanau et al. 2015), of projected q and k */
  A4J_PAIR_GAUSSIAN = 1,   /* -|x|^2 / 2: the logarithm of a Nadaraya-Watson kernel, like the next two */
  A4J_PAIR_BOXCAR = 2,     /* 0 if |x| < 1, else -infinity */
  A4J_PAIR_EPANECHIKOV = 3 /* log(max(1 - |x|, 0)) */
};

/* The scores of a query that has no valid key. */
enum a4j_empty_rows {
  A4J_EMPTY_UNSEEN = 0, /* -infinity: the query sees no key */
  A4J_EMPTY_ALIKE = 1   /* 0: attention averages all keys, as if every score had been replaced by the same number */
};

/* The scores of all queries and keys, for use as the bias of a4j_attention_full with queries of 0. */
typedef struct a4j_pair_scores_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of q, k: A4J_F32 */
  int32_t threads;
  int32_t form;       /* enum a4j_pair_form */
  int32_t empty_rows; /* enum a4j_empty_rows */
  int64_t batch, len_q, len_k, dim;
  int64_t q_stride_batch, q_stride_row;
  int64_t k_stride_batch, k_stride_row;
  int64_t key_lengths_offset; /* int32_t in the tail, each in [0, len_k]: keys from there on get -infinity; 0: all are valid */
  int64_t key_lengths_stride_batch, key_lengths_stride_row; /* (1, 0): one per batch; (len_q, 1): one per row */
  float scale;                                              /* finite; not read by A4J_PAIR_ADDITIVE */
} a4j_pair_scores_desc;

/*
 * q [batch, len_q, dim], k [batch, len_k, dim], v [dim] or NULL if the form has none, scores [batch, len_q, len_k] float,
 * contiguous, written completely. Keys beyond the length are not read.
 */
A4J_API int32_t a4j_pair_scores(const a4j_pair_scores_desc *desc, const void *q, const void *k, const float *v, float *scores);

/*
 * Elementwise operations: out = combine(y, activation(x)); A4J_ADD gives y + scale * activation(x). SwiGLU and its relatives
 * (Shazeer 2020) are A4J_MULTIPLY, with the gate as x and the gated values as y.
 */
typedef struct a4j_elementwise_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  int32_t activation; /* enum a4j_activation */
  int32_t combine;    /* enum a4j_combine */
  int64_t rows, dim;
  int64_t x_stride_row, y_stride_row, out_stride_row;
  float scale;                /* finite; only read by A4J_ADD */
  int32_t y_dtype, out_dtype; /* like dtype */
} a4j_elementwise_desc;

/* x, y, out [rows, dim]; y may be NULL with A4J_SET. out may be x or y (with its stride and type). */
A4J_API int32_t a4j_elementwise(const a4j_elementwise_desc *desc, const void *x, const void *y, void *out);

/* Conversion between types; enum a4j_dtype gives the rounding. */
typedef struct a4j_convert_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32, A4J_BF16 or A4J_F16 */
  int32_t threads;
  int64_t rows, dim;
  int64_t x_stride_row, out_stride_row;
  int32_t out_dtype; /* like dtype */
} a4j_convert_desc;

/* x, out [rows, dim]. */
A4J_API int32_t a4j_convert(const a4j_convert_desc *desc, const void *x, void *out);

/*
 * The gates of a gated recurrent unit (Cho et al. 2014, in the form of cuDNN and PyTorch). x = W input + b and u = U h + c each
 * have three parts, in the order reset, update, new:
 *   r = sigmoid(x_r + u_r),  z = sigmoid(x_z + u_z),  n = tanh(x_n + r * u_n),  out = (1 - z) n + z h
 */
typedef struct a4j_gru_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* A4J_F32 */
  int32_t threads;
  int64_t rows, dim;
  int64_t x_stride_row, u_stride_row, h_stride_row, out_stride_row;
} a4j_gru_desc;

/* x, u [rows, 3 dim], h, out [rows, dim]. out may be h (with its stride). */
A4J_API int32_t a4j_gru(const a4j_gru_desc *desc, const void *x, const void *u, const void *h, void *out);

/* ---- Areas ------------------------------------------------------------------------------------------------------------ */

/*
 * Features of areas (Li et al., "Area Attention", 2019; tensor2tensor's compute_area_features and basic_pool). The rows of x of
 * a head are a memory of `height` lines of `width` rows, line after line. An area is a rectangle in it, 1 to max_height lines
 * high and 1 to max_width rows wide, and never larger than the memory. The features of the n = h w rows x[r] of an area are,
 * channel by channel:
 *
 *   mean = sum(x[r]) / n            sum = sum(x[r])            max = max(x[r])
 *   deviation = sqrt(|variance| + epsilon), variance = sum((x[r] - mean)^2) / n
 *
 * Areas are ordered by height, then by width, then by their top left corner, line after line. A head has
 *   areas = sum over h <= min(max_height, height) of (height - h + 1) * sum over w <= min(max_width, width) of (width - w + 1)
 * of them, and the area of size h x w at line y and column x has the number
 *   (lines of corners of areas less high) * (columns of corners of all widths)
 *     + (height - h + 1) * (columns of corners of narrower areas) + y * (width - w + 1) + x.
 *
 * A sum adds each line from the left, then the lines. It is never a difference of larger sums, so accuracy does not suffer, and
 * a NaN or infinity only affects the areas that contain it. The variance is computed from the deviations from the mean. The
 * maximum is NaN if an x[r] of the area is NaN.
 */
typedef struct a4j_area_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* of x: A4J_F32 */
  int32_t threads;
  int64_t batch, heads;
  int64_t height, width; /* of the memory; a head has height * width rows */
  int64_t dim;
  int64_t max_height, max_width; /* >= 1; may be larger than the memory */
  int64_t x_stride_batch, x_stride_head, x_stride_row;
  int64_t mean_stride_row, sum_stride_row, max_stride_row, deviation_stride_row; /* each at least dim if it is wanted */
  float epsilon;                                                                 /* finite, >= 0; tensor2tensor uses 1e-6 */
} a4j_area_desc;

/*
 * x         [batch, heads, height * width, dim]
 * noise     [batch, heads, areas, dim] float, contiguous: mean becomes mean + deviation * noise; or NULL
 * mean, sum, max, deviation: [batch, heads, areas, dim] float, each with its own row stride; NULL if not wanted
 *
 * Returns A4J_OK, A4J_NULL_POINTER, A4J_BAD_DESCRIPTOR, A4J_BAD_ABI, A4J_BAD_SIZE, A4J_BAD_OPTION, A4J_SIZE_OVERFLOW,
 * A4J_UNSUPPORTED_DTYPE.
 */
A4J_API int32_t a4j_area_features(const a4j_area_desc *desc, const void *x, const float *noise, float *mean, float *sum,
                                  float *max, float *deviation);

/* ---- Linear attention -------------------------------------------------------------------------------------------------- */

/* How a token with key k and value v updates the state S of its head; D is the diagonal matrix of exp(decay). */
enum a4j_update {
  A4J_UPDATE_LINEAR = 0,     /* S = S + k v^T */
  A4J_UPDATE_GATED = 1,      /* S = D S + k v^T */
  A4J_UPDATE_DELTA = 2,      /* S = S + beta k (v - S^T k)^T */
  A4J_UPDATE_GATED_DELTA = 3 /* S = D S, then as A4J_UPDATE_DELTA */
};

/*
 * Linear attention as defined by ONNX LinearAttention (opset 27). Each key/value head has a state S [dim_qk, dim_v]. Every
 * token updates it in turn, and after each update the query heads of the group read it for that token: out = scale * S^T q. A
 * sequence may be split into any number of calls; the state carries over, and the results have the same bits as those of one
 * call.
 */
typedef struct a4j_linear_attention_desc {
  int32_t size_bytes;
  int32_t abi_version;
  int32_t dtype; /* A4J_F32 */
  int32_t threads;
  int32_t update; /* enum a4j_update */
  float scale;    /* finite; ONNX's default is 1 / sqrt(dim_qk) */
  int64_t batch;
  int64_t heads_q, heads_kv; /* heads_q is a multiple of heads_kv */
  int64_t len;               /* tokens */
  int64_t dim_qk, dim_v;
  int64_t decay_dim; /* 1: a decay per head; dim_qk: one per channel of the key; not used by rules without decay */
  int64_t q_stride_batch, q_stride_head, q_stride_row;
  int64_t k_stride_batch, k_stride_head, k_stride_row;
  int64_t v_stride_batch, v_stride_head, v_stride_row;
  int64_t decay_stride_batch, decay_stride_head, decay_stride_row;
  int64_t beta_stride_batch, beta_stride_head, beta_stride_row;
  int64_t state_stride_batch, state_stride_head, state_stride_row;
  int64_t out_stride_batch, out_stride_head, out_stride_row;
} a4j_linear_attention_desc;

/* Scratch for a4j_linear_attention with this descriptor, or minus a status. */
A4J_API int64_t a4j_linear_attention_workspace_bytes(const a4j_linear_attention_desc *desc);

/*
 * q      [batch, heads_q, len, dim_qk]
 * k      [batch, heads_kv, len, dim_qk]
 * v      [batch, heads_kv, len, dim_v]
 * decay  [batch, heads_kv, len, decay_dim], logarithms, usually not above 0; NULL if the rule has none
 * beta   [batch, heads_kv, len], how strongly a token is written, usually in [0, 1]; NULL if the rule has none
 * state  [batch, heads_kv, dim_qk, dim_v]: zeros for a new sequence. Read, and overwritten with the state after the last token.
 * out    [batch, heads_q, len, dim_v]
 *
 * Returns A4J_OK, A4J_NULL_POINTER, A4J_BAD_DESCRIPTOR, A4J_BAD_ABI, A4J_BAD_SIZE, A4J_BAD_OPTION, A4J_SIZE_OVERFLOW,
 * A4J_SMALL_WORKSPACE, A4J_MISALIGNED, A4J_UNSUPPORTED_DTYPE.
 */
A4J_API int32_t a4j_linear_attention(const a4j_linear_attention_desc *desc, const void *q, const void *k, const void *v,
                                     const float *decay, const float *beta, float *state, void *out, void *workspace,
                                     int64_t workspace_bytes);

#ifdef __cplusplus
}
#endif

#endif
