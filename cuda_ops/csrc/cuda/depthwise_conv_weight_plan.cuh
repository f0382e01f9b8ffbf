// Chooses the kernel and the tiles of the gradient of the kernel, as
// depthwise_conv_plan.cuh does for the convolution.
#pragma once

#include "depthwise_conv_device.cuh"
#include "depthwise_conv_weight_mma_kernel.cuh"
#include "depthwise_conv_weight_simt_kernel.cuh"
#include "sum_partials_kernel.cuh"

namespace smpconv_mm {

// What the planning needs to know of a WeightForm.
struct WeightSizes {
  int eighths, beside, pairs, blocks;  // blocks: 8 x 8 columns of x and of g that meet
  int pitch, grad_pitch, zeros;        // elements of 16 bits
  int shared_of_sums;                  // of a warp
  int at_once;                         // blocks on a processor
};

template <typename T, int Eighths, int Reach, int Beside>
WeightSizes weight_sizes() {
  using Form = WeightForm<T, Eighths, Reach, Beside>;
  int blocks = 0;
  for (int e = 0; e < Eighths; ++e)
    for (int f = 0; f < Form::kGradEighths; ++f)
      blocks += e - f + Beside <= Reach && f - Beside - e <= Reach;
  return {Eighths,       Beside,         Form::kPairs,
          blocks,        Form::kPitch,   Form::kGradPitch,
          Form::kZeros,  Form::shared_of_sums(1), kWeightBlocks<T, Eighths>};
}

// Rows of x that the members of segments of `segment` rows have, and pairs of rows of
// the kernel times rows of g that meet any of them.
struct WeightRows {
  int first, last;
  int64_t steps;
};
inline WeightRows weight_rows(const ConvShape& s, int segment) {
  const int padding = s.kernel_height / 2;
  const bool whole = segment >= s.height;
  WeightRows rows = {whole ? 0 : -padding, whole ? s.height : segment + padding, 0};
  for (int u = 0; u < s.kernel_height; u += 2)
    rows.steps += larger(0, smaller(segment, rows.last + padding - u) -
                                larger(0, rows.first + padding - u - 1));
  return rows;
}

// Cycles of a job, roughly: products, and copies.
inline int64_t weight_cycles(const ConvShape& s, const WeightSizes& form, int segment) {
  const WeightRows rows = weight_rows(s, segment);
  return rows.steps * form.blocks * 8 / 5 +
         int64_t(rows.last - rows.first + segment) * smaller(s.width, 8 * form.eighths);
}

// Rows of segments so that all members take the least time.
inline int weight_segment(const ConvShape& s, const WeightSizes& form) {
  int best = s.height;
  int64_t least = 0;
  for (int segments = 1; segments <= s.height; ++segments) {
    const int segment = ceil_div(s.height, segments);
    const int64_t members = int64_t(s.batch) * ceil_div(s.height, segment);
    const int64_t cycles =
        (members + kMembers - 1) / kMembers * weight_cycles(s, form, segment);
    if (least == 0 || cycles < least) least = cycles, best = segment;
    if (members > 4 * s.batch + 64 * kMembers) break;
  }
  return best;
}

// Sizes of the rings: rows from the first that a stage needs to the last that is being
// loaded meanwhile. `stages`: of a block, in all of its jobs.
inline void weight_rings(const ConvShape& s, int stages, WeightTile* t) {
  const int padding = s.kernel_height / 2, a_job = ceil_div(t->segment, t->chunk);
  const WeightRows rows = weight_rows(s, t->segment);
  const int all_pairs = s.kernel_height / 2 + 1;
  t->rows = t->grad_rows = 1;
  for (int block = 0; block < t->row_blocks; ++block) {
    const int first_u = 2 * (block * all_pairs / t->row_blocks);
    const int last_u =
        smaller(2 * ((block + 1) * all_pairs / t->row_blocks), s.kernel_height) - 1;
    const int lowest = larger(rows.first, first_u - padding);
    const int highest = larger(lowest, smaller(rows.last, t->segment + last_u - padding));
    const int all = highest - lowest;
    for (int stage = 0; stage < smaller(stages, 2 * a_job); ++stage) {
      const int top = stage % a_job * t->chunk;
      const int first = larger(lowest, smaller(highest, top + first_u - padding)) - lowest;
      const int end = smaller(stage + t->ahead, stages - 1);
      const int bottom = smaller(t->segment, end % a_job * t->chunk + t->chunk);
      const int last = larger(lowest, smaller(highest, bottom + last_u - padding)) - lowest;
      t->rows = larger(t->rows, (end / a_job - stage / a_job) * all + last - first);
      t->grad_rows = larger(t->grad_rows, (end / a_job - stage / a_job) * t->segment +
                                              bottom - top);
    }
  }
}

// `channels`: of a block.
inline bool plan_weight(const ConvShape& s, const Device& device, const WeightSizes& form,
                        int vector, int channels, WeightTile* t) {
  const PlanSettings& set = device.settings;
  const int warps = set.warps ? set.warps : kWeightWarps;
  t->vector = vector;
  t->channels = channels;
  t->segment = set.segment ? smaller(set.segment, s.height) : weight_segment(s, form);
  t->segments = ceil_div(s.height, t->segment);
  t->column_segments = form.beside == 0 ? 1 : ceil_div(s.width, 8 * form.eighths);
  if (warps > kWeightWarps || s.channels % channels != 0) return false;
  if (vector == 0 && t->segments > 1) return false;

  const int all_pairs = s.kernel_height / 2 + 1;
  t->row_blocks = ceil_div(all_pairs, form.pairs * smaller(warps, kWeightWarps));
  t->groups = ceil_div(ceil_div(all_pairs, t->row_blocks), form.pairs);
  t->phases = warps / (t->groups * channels);
  const int threads = channels * t->groups * t->phases * kWarpSize;
  if (t->phases == 0) return false;
  for (int which = 0; which < 2; ++which) {
    const int columns = smaller(s.width, 8 * (form.eighths + which * 2 * form.beside));
    WeightCopy& copy = which ? t->grad_copy : t->copy;
    copy.vectors = vector == 0 ? channels * s.height * s.width / 2 : columns / vector;
    if (copy.vectors > threads) return false;
  }

  const int64_t members = int64_t(s.batch) * t->segments;
  const int most = int((members + kMembers - 1) / kMembers);  // parts
  const int64_t cycles = weight_cycles(s, form, t->segment) * channels / t->row_blocks;
  const int64_t blocks = int64_t(s.channels / channels) * t->column_segments * t->row_blocks;
  const int line = kMembers * channels * 2;  // bytes of a column of a row of a part
  t->parts = 1;
  if (set.images) {
    if (set.images % kMembers != 0) return false;
    t->parts = smaller(set.images / kMembers, most);
  } else {  // small maps: the work of a stage is to be worth a barrier
    const WeightRows rows = weight_rows(s, t->segment);
    const int64_t part = int64_t(line) * ((rows.last - rows.first) * form.pitch +
                                          t->segment * form.grad_pitch);
    while (t->parts < most && (t->parts + 1) * part <= 32 << 10) ++t->parts;
  }
  t->jobs = ceil_div(most, t->parts);

  // As many blocks as take the least time: of a wave, of the sum of their shares.
  t->splits = set.splits ? smaller(set.splits, t->jobs) : 1;
  const int64_t first = 3000, sum = 4000;  // cycles
  int64_t least = 0;
  for (int splits = 1; splits <= t->jobs && !set.splits; ++splits) {
    const int64_t waves = (blocks * splits + larger(1, device.processors) - 1) /
                          larger(1, device.processors);
    const int64_t time =
        waves * (ceil_div(t->jobs, splits) * t->parts * cycles + first) +
        (splits * t->column_segments > 1 ? sum : 0);
    if (least == 0 || time < least) least = time, t->splits = splits;
    if (waves > 64) break;
  }

  const int a_block = ceil_div(t->jobs, t->splits);  // jobs
  const int share = device.shared_of_processor / form.at_once - kReserved;
  const int all = set.shared ? smaller(set.shared, device.shared_of_block)
                             : device.shared_of_block;
  for (const int limit : {smaller(share, all), all})
    for (const int chunk : {t->segment, 32, 16, 12, 8, 4, 2, 1}) {
      if (set.chunk && chunk != t->segment) continue;
      t->chunk = smaller(set.chunk ? set.chunk : chunk, t->segment);
      if (vector == 0 && t->chunk < t->segment) return false;
      const int stages = a_block * ceil_div(t->segment, t->chunk);
      for (t->ahead = set.stages ? set.stages : t->chunk < t->segment ? 1 : kWeightAhead;
           t->ahead > 0; --t->ahead) {
        if (t->ahead > kWeightAhead) return false;
        if (t->ahead > 1 && t->ahead >= stages && !set.stages) continue;
        weight_rings(s, stages, t);
        const int64_t bytes =
            kWeightHead + 2 * form.zeros + int64_t(line) * t->parts *
                                 (int64_t(t->rows) * form.pitch +
                                  int64_t(t->grad_rows) * form.grad_pitch);
        if (bytes <= limit) {
          for (WeightCopy* copy : {&t->copy, &t->grad_copy}) {
            copy->rows = vector == 0 ? 1 : smaller(t->chunk, threads / copy->vectors);
            copy->members = threads / (copy->vectors * copy->rows);
          }
          t->shared = larger(int(bytes), threads / kWarpSize * form.shared_of_sums);
          if (t->shared <= all) return true;
        }
        if (set.stages) break;
      }
    }
  return false;
}

inline bool plan_simt_weight(const ConvShape& s, const Device& device,
                             SimtWeightTile* t) {
  t->strips = ceil_div(s.kernel_width, kStrip);
  t->threads = round_up(ceil_div(s.kernel_height, 2) * t->strips, kWarpSize);
  if (t->threads > 512) return false;
  t->column_size = smaller(64, round_up(s.width, kStrip));
  t->column_tiles = ceil_div(s.width, t->column_size);
  t->grad_pitch = t->column_size;
  t->pitch = t->column_size + t->strips * kStrip;
  for (t->row_size = s.height;; t->row_size = ceil_div(t->row_size, 2)) {
    t->rows = smaller(s.height, t->row_size + s.kernel_height - 1);
    const int bytes = (t->rows * t->pitch + t->row_size * t->grad_pitch) * 4;
    if (bytes > smaller(48 << 10, device.shared_of_block) && t->row_size > 1) continue;
    if (bytes > device.shared_of_block) return false;
    t->images = larger(1, smaller(s.batch, smaller(8, (24 << 10) / bytes)));
    t->shared = t->images * bytes;
    t->row_tiles = ceil_div(s.height, t->row_size);
    t->jobs = ceil_div(s.batch, t->images) * t->row_tiles * t->column_tiles;
    t->splits = share_jobs(t->jobs, 8 * device.processors, s.channels);
    return true;
  }
}

// Launches the kernel of a form, and the sum of its blocks' shares.
template <int Eighths, int Reach, int Beside, typename T, typename Launch, typename Allocate>
bool weight_mma(Launch& launch, Allocate& allocate, const Device& device,
                const ConvShape& s, const T* input, const T* grad, T* output) {
  const WeightSizes form = weight_sizes<T, Eighths, Reach, Beside>();
  const auto address = reinterpret_cast<uintptr_t>(input) | reinterpret_cast<uintptr_t>(grad);
  int vector = 16 / int(sizeof(T));
  while (vector > 1 && (s.width % vector != 0 || address % (vector * sizeof(T)) != 0))
    vector /= 2;
  WeightTile t;
  const bool pairs = sizeof(T) == 2 && Eighths <= 2 && vector == 1 && address % 4 == 0 && s.width > 1 &&
                     plan_weight(s, device, form, 0, 2, &t);
  if (!pairs && !plan_weight(s, device, form, vector, 1, &t)) return false;
  const int splits = t.splits * t.column_segments;
  const int64_t count = int64_t(s.channels) * s.kernel_height * s.kernel_width;
  float* partial = splits > 1 ? allocate(splits * count) : nullptr;
  launch(weight_mma_kernel<T, Eighths, Reach, Beside>,
         int64_t(s.channels / t.channels) * splits * t.row_blocks,
         t.channels * t.groups * t.phases * kWarpSize, t.shared, input, grad, output,
         partial, s, t);
  if (splits > 1)
    launch(sum_partials_kernel<T>, (count + 255) / 256, 256, 0, partial, output, count,
           splits);
  return true;
}

template <typename T, typename Launch, typename Allocate>
bool weight_mma(Launch& launch, Allocate& allocate, const Device& device,
                const ConvShape& s, const T* input, const T* grad, T* output) {
  const int reach = ceil_div(s.kernel_width / 2, 8);
#define SMPCONV_MM_FORM(eighths, reach, beside) \
  weight_mma<eighths, reach, beside>(launch, allocate, device, s, input, grad, output)
  if (s.width <= 8) return SMPCONV_MM_FORM(1, 0, 0);
  if (s.width <= 16) return SMPCONV_MM_FORM(2, 1, 0);
  if (s.width <= 32 && reach <= 1) return SMPCONV_MM_FORM(4, 1, 0);
  if (s.width <= 32 && reach == 2) return SMPCONV_MM_FORM(4, 2, 0);
  if (s.width <= 56 && reach <= 1) return SMPCONV_MM_FORM(7, 1, 0);
  if (s.width <= 56 && reach == 2) return SMPCONV_MM_FORM(7, 2, 0);
  switch (reach) {
    case 0:
    case 1: return SMPCONV_MM_FORM(4, 1, 1);
    case 2: return SMPCONV_MM_FORM(4, 2, 2);
    case 3: return SMPCONV_MM_FORM(4, 3, 3);
    default: return SMPCONV_MM_FORM(4, 4, 4);
  }
#undef SMPCONV_MM_FORM
}

// As depthwise_conv2d; `allocate(count)` gives room for floats until the end of the
// call.
template <typename T, typename Launch, typename Allocate>
bool depthwise_conv2d_weight(Launch& launch, Allocate& allocate, const Device& device,
                             const ConvShape& s, const T* input, const T* grad,
                             T* output) {
  if (s.kernel_height > kMostTaps || s.kernel_width > kMostTaps) return false;
  if (device.has_mma && weight_mma(launch, allocate, device, s, input, grad, output))
    return true;
  if (device.settings.any()) return false;  // they are of the other kernel
  SimtWeightTile t;
  if (!plan_simt_weight(s, device, &t)) return false;
  const int64_t count = int64_t(s.channels) * s.kernel_height * s.kernel_width;
  float* partial = allocate(t.splits * count);
  launch(weight_simt_kernel<T>, int64_t(s.channels) * t.splits, t.threads, t.shared,
         input, grad, partial, s, t);
  launch(sum_partials_kernel<T>, (count + 255) / 256, 256, 0, partial, output, count,
         t.splits);
  return true;
}

}  // namespace smpconv_mm
