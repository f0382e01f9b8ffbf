// Chooses the kernel and the tiles of the gradient of the kernel, as
// depthwise_conv_plan.cuh does for the convolution.
#pragma once

#include "depthwise_conv_device.cuh"
#include "depthwise_conv_weight_mma_kernel.cuh"
#include "depthwise_conv_weight_simt_kernel.cuh"
#include "depthwise_conv_weight_small_kernel.cuh"
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
          Form::kZeros,  Form::shared_of_sums(1), Form::kBlocks};
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

// Elements from a row of a ring to the next, for lines of `pitch`: where copies are
// short, those of several rows of `columns` are to meet different banks.
inline int weight_row_pitch(int lines, int pitch, int columns, int vector) {
  const int all = lines * pitch;
  return vector == 8 ? all : all + (round_up(columns, 8) + 64 - all % 64) % 64;
}

// Into how many blocks a channel's jobs go, so that all take the least time: waves of
// blocks, each with `cycles` a job, and the sum of their shares.
inline int weight_splits(const Device& device, int64_t blocks, int jobs, int64_t cycles,
                         bool shared) {
  if (device.settings.splits) return smaller(device.settings.splits, jobs);
  const int64_t first = 3000, sum = 4000;  // cycles of a block's start and end; of the sum
  const int processors = larger(1, device.processors);
  int64_t least = 0;
  int best = 1;
  for (int splits = 1; splits <= jobs; ++splits) {
    const int64_t waves = (blocks * splits + processors - 1) / processors;
    const int64_t time = waves * (ceil_div(jobs, splits) * cycles + first) +
                         (splits > 1 || shared ? sum : 0);
    if (least == 0 || time < least) least = time, best = splits;
    if (waves > 64) break;
  }
  return best;
}

inline bool plan_weight(const ConvShape& s, const Device& device, const WeightSizes& form,
                        int vector, WeightTile* t) {
  const PlanSettings& set = device.settings;
  const int warps = set.warps ? set.warps : kWeightWarps;
  t->vector = vector;
  t->segment = set.segment ? smaller(set.segment, s.height) : weight_segment(s, form);
  t->segments = ceil_div(s.height, t->segment);
  t->column_segments = form.beside == 0 ? 1 : ceil_div(s.width, 8 * form.eighths);
  if (warps > kWeightWarps) return false;

  const int all_pairs = s.kernel_height / 2 + 1;
  t->row_blocks = ceil_div(all_pairs, form.pairs * smaller(warps, kWeightWarps));
  t->groups = ceil_div(ceil_div(all_pairs, t->row_blocks), form.pairs);
  t->phases = warps / t->groups;
  const int threads = t->groups * t->phases * kWarpSize;
  if (t->phases == 0) return false;
  const int columns = smaller(s.width, 8 * form.eighths);
  const int grad_columns = smaller(s.width, 8 * (form.eighths + 2 * form.beside));
  t->copy.vectors = columns / vector;
  t->grad_copy.vectors = grad_columns / vector;
  if (larger(t->copy.vectors, t->grad_copy.vectors) > threads) return false;

  const int64_t members = int64_t(s.batch) * t->segments;
  const int most = int((members + kMembers - 1) / kMembers);  // parts
  const int64_t cycles = weight_cycles(s, form, t->segment) / t->row_blocks;
  const int64_t blocks = int64_t(s.channels) * t->column_segments * t->row_blocks;
  const int line = kMembers * 2;  // bytes of a column of a row of a part
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
  const int lines = kMembers * t->parts;
  t->row_pitch = weight_row_pitch(lines, form.pitch, columns, vector);
  t->grad_row_pitch = weight_row_pitch(lines, form.grad_pitch, grad_columns, vector);

  t->splits = weight_splits(device, blocks, t->jobs, t->parts * cycles,
                            t->column_segments > 1);
  const int a_block = ceil_div(t->jobs, t->splits);  // jobs
  const int share = device.shared_of_processor / form.at_once - kReserved;
  const int all = set.shared ? smaller(set.shared, device.shared_of_block)
                             : device.shared_of_block;
  for (const int limit : {smaller(share, all), all})
    for (const int chunk : {t->segment, 32, 16, 12, 8, 4, 2, 1}) {
      if (set.chunk && chunk != t->segment) continue;
      t->chunk = smaller(set.chunk ? set.chunk : chunk, t->segment);
      const int stages = a_block * ceil_div(t->segment, t->chunk);
      for (t->ahead = set.stages ? set.stages : t->chunk < t->segment ? 1 : kWeightAhead;
           t->ahead > 0; --t->ahead) {
        if (t->ahead > kWeightAhead) return false;
        if (t->ahead > 1 && t->ahead >= stages && !set.stages) continue;
        weight_rings(s, stages, t);
        const int64_t bytes =
            kWeightHead + 8 * threads + 2 * (form.zeros + int64_t(t->rows) * t->row_pitch +
                               int64_t(t->grad_rows) * t->grad_row_pitch);
        if (bytes <= limit) {
          for (WeightCopy* copy : {&t->copy, &t->grad_copy}) {
            copy->rows = smaller(t->chunk, threads / copy->vectors);
            copy->members = threads / (copy->vectors * copy->rows);
            while (kMembers * t->parts % copy->members != 0) --copy->members;
            copy->turns = kMembers * t->parts / copy->members;
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

// Elements of a copy of rows: they start where the width lets them.
template <typename T>
int weight_vector(const ConvShape& s, const T* input, const T* grad) {
  const auto address = reinterpret_cast<uintptr_t>(input) | reinterpret_cast<uintptr_t>(grad);
  int vector = 16 / int(sizeof(T));
  while (vector > 1 && (s.width % vector != 0 || address % (vector * sizeof(T)) != 0))
    vector /= 2;
  return vector;
}

// Launches the kernel that `plan` chose, and the sum of its blocks' shares.
template <typename T, typename Tile, typename Launch, typename Allocate>
bool launch_weight(Launch& launch, Allocate& allocate, const ConvShape& s,
                   void (*kernel)(const T*, const T*, T*, float*, ConvShape, Tile),
                   int64_t blocks, int threads, int splits, const T* input, const T* grad,
                   T* output, const Tile& t) {
  const int64_t count = int64_t(s.channels) * s.kernel_height * s.kernel_width;
  float* partial = splits > 1 ? allocate(splits * count) : nullptr;
  launch(kernel, blocks, threads, t.shared, input, grad, output, partial, s, t);
  if (splits > 1)
    launch(sum_partials_kernel<T>, (count + 255) / 256, 256, 0, partial, output, count,
           splits);
  return true;
}

template <int Eighths, int Reach, int Beside, typename T, typename Launch, typename Allocate>
bool weight_mma(Launch& launch, Allocate& allocate, const Device& device,
                const ConvShape& s, const T* input, const T* grad, T* output) {
  WeightTile t;
  if (!plan_weight(s, device, weight_sizes<T, Eighths, Reach, Beside>(),
                   weight_vector(s, input, grad), &t))
    return false;
  const int splits = t.splits * t.column_segments;
  return launch_weight<T>(launch, allocate, s, weight_mma_kernel<T, Eighths, Reach, Beside>,
                          int64_t(s.channels) * splits * t.row_blocks,
                          t.groups * t.phases * kWarpSize, splits, input, grad, output, t);
}

// As weight_mma, for small maps.
template <int Rows, int Eighths, typename T, typename Launch, typename Allocate>
bool weight_small(Launch& launch, Allocate& allocate, const Device& device,
                  const ConvShape& s, const T* input, const T* grad, T* output) {
  using Form = WeightSmallForm<T, Rows, Eighths>;
  const PlanSettings& set = device.settings;
  if (set.segment || set.chunk || set.images % kMembers != 0) return false;
  const auto address = reinterpret_cast<uintptr_t>(input) | reinterpret_cast<uintptr_t>(grad);
  WeightSmallTile t;
  t.vector = weight_vector(s, input, grad);
  t.channels = 1;
  const bool pairs = sizeof(T) == 2 && Eighths == 1 && t.vector == 1 && s.width > 1 &&
                     address % 4 == 0 && s.channels % 2 == 0;
  if (pairs) t.vector = 0, t.channels = 2;
  const int warps = set.warps ? set.warps : Form::kWarps;
  t.phases = warps / (Form::kGroups * t.channels);
  if (warps > Form::kWarps || t.phases == 0) return false;
  const int threads = Form::kGroups * t.channels * t.phases * kWarpSize;
  t.copy.vectors = pairs ? s.height * s.width : s.width / t.vector;
  if (t.copy.vectors > threads) return false;
  t.copy.rows = pairs ? 1 : smaller(s.height, threads / t.copy.vectors);
  t.copy.members = threads / (t.copy.vectors * t.copy.rows);
  while (!pairs && kMembers % t.copy.members != 0) --t.copy.members;
  t.copy.turns = kMembers / t.copy.members;

  const int most = ceil_div(s.batch, kMembers);  // parts
  const int unit = t.channels * 2 * Form::kMap * 2;  // bytes of a part
  t.parts = set.images ? smaller(set.images / kMembers, most)
                       : larger(1, smaller(most, (Form::kParts == 2 ? 32 << 10 : 20 << 10) / unit));
  t.jobs = ceil_div(most, t.parts);
  const int64_t cycles = t.channels * (Rows * Form::kPairs * Eighths * Eighths * 2 +
                                       int64_t(s.height) * s.width * 2);
  t.splits = weight_splits(device, s.channels / t.channels, t.jobs, t.parts * cycles, false);
  const int share = device.shared_of_processor / Form::kBlocks - kReserved;
  const int all = set.shared ? smaller(set.shared, device.shared_of_block)
                             : device.shared_of_block;
  // One job ahead: more blocks at once are worth more than more loads under way.
  t.ahead = set.stages ? set.stages : 1;
  if (t.ahead > kWeightAhead) return false;
  t.buffers = smaller(t.ahead + 1, ceil_div(t.jobs, t.splits));  // not more than jobs
  t.shared = larger(t.buffers * t.parts * unit, Form::shared_of_sums(threads / kWarpSize));
  if (t.shared > (set.shared ? smaller(set.shared, device.shared_of_block)
                             : device.shared_of_block))
    return false;
  return launch_weight<T>(launch, allocate, s, weight_small_mma_kernel<T, Rows, Eighths>,
                          int64_t(s.channels / t.channels) * t.splits, threads, t.splits,
                          input, grad, output, t);
}

template <typename T, typename Launch, typename Allocate>
bool weight_mma(Launch& launch, Allocate& allocate, const Device& device,
                const ConvShape& s, const T* input, const T* grad, T* output) {
  const int reach = ceil_div(s.kernel_width / 2, 8);
#define SMPCONV_MM_FORM(eighths, reach, beside) \
  weight_mma<eighths, reach, beside>(launch, allocate, device, s, input, grad, output)
  const auto small = [&](auto rows, auto eighths) {
    return weight_small<decltype(rows)::value, decltype(eighths)::value>(
        launch, allocate, device, s, input, grad, output);
  };
  const std::integral_constant<int, 1> one;
  const std::integral_constant<int, 2> two;
  if (s.width <= 8 && s.height <= 8) {
    if (small(std::integral_constant<int, 8>(), one)) return true;
  } else if (s.width <= 16 && s.height <= 14) {
    if (small(std::integral_constant<int, 14>(), two)) return true;
  } else if (s.width <= 16 && s.height <= 16) {
    if (small(std::integral_constant<int, 16>(), two)) return true;
  }
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
