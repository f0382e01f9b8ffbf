// Chooses the kernel and the tiles of an involution and launches it, through
// `launch(kernel, blocks, threads, shared bytes, arguments...)`: a function of the
// CUDA runtime, or of the emulator.
#pragma once

#include "device.cuh"
#include "involution_mma_kernel.cuh"
#include "involution_simt_kernel.cuh"
#include "involution_strip_kernel.cuh"

namespace smpconv_mm {

enum class InvolutionPass { kOutput, kInput, kWeight };

constexpr int kInvolutionWarps = 8;  // of a block, at most

// Elements from row to row so that eight rows lie in different banks.
inline int odd_pitch(int columns) { return round_up(columns, 16) + 8; }

// The rest of a tile whose rows and columns are chosen.
template <bool Transposed>
void lay_out(const InvolutionShape& s, InvolutionPass pass, InvolutionTile* t) {
  const int height = Transposed ? s.height : s.out_height;
  const int width = Transposed ? s.width : s.out_width;
  t->row_tiles = ceil_div(height, t->rows);
  t->column_tiles = ceil_div(width, t->columns);
  t->members = round_up(group_width(s), kMmaChannels);
  t->source_rows = t->weight_rows = 1;
  for (int top = 0; top < height; top += t->rows) {
    const Range rows = {top, smaller(height, top + t->rows)};
    t->source_rows = larger(
        t->source_rows, sources_of<Transposed>(s, rows, s.height, s.out_height).size());
    for (int u = 0; u < s.kernel; ++u)
      t->weight_rows =
          larger(t->weight_rows, weight_rows_of<Transposed>(s, rows, u).size());
  }
  int most = 1;
  t->weight_columns = Transposed ? t->weight_vector : smaller(t->columns, width);
  for (int left = 0; left < width; left += t->columns) {
    const Range columns = {left, smaller(width, left + t->columns)};
    const Range from = sources_of<Transposed>(s, columns, s.width, s.out_width);
    most = larger(most, from.last - floor_div(from.first, t->source_vector) *
                                        t->source_vector);
    if (Transposed)
      t->weight_columns = larger(
          t->weight_columns,
          round_up(from.last, t->weight_vector) -
              floor_div(from.first, t->weight_vector) * t->weight_vector);
  }
  t->source_pitch = round_up(most, 8) + 8;  // a product reads 16 from any eighth on
  // rows of 16-byte pieces that lie in different banks
  t->member_pitch = odd_pitch(t->source_rows * t->source_pitch);
  t->grad_pitch = pass == InvolutionPass::kWeight ? odd_pitch(t->rows * t->columns) : 0;
  // 8 more than a multiple of 64: the numbers of a band lie in different banks
  t->tap_pitch = round_up(larger(t->weight_rows * t->weight_columns - 8, 0), 64) + 8;
  const int64_t numbers = int64_t(t->members) * (t->member_pitch + t->grad_pitch) +
                          int64_t(s.kernel) * s.kernel * t->tap_pitch;
  t->shared = numbers > (1 << 28) ? 1 << 29 : int(2 * numbers) + 8 * s.kernel;
}

template <bool Transposed>
bool plan_involution(const InvolutionShape& s, const Device& device, InvolutionPass pass,
                     InvolutionTile* t) {
  const int height = Transposed ? s.height : s.out_height;
  const int width = Transposed ? s.width : s.out_width;
  const int columns = round_up(ceil_div(width, ceil_div(width, 64)), 8);
  const int chunks = ceil_div(group_width(s), kMmaChannels);
  // several blocks on a processor: one computes while another loads
  const PlanSettings& wanted = device.settings;
  const int processor = device.shared_of_processor;
  for (int limit : {processor / 3 - kReserved, processor / 2 - kReserved, processor}) {
    if (wanted.shared) limit = wanted.shared;
    for (t->columns = columns; t->columns >= 8; t->columns = t->columns / 16 * 8) {
      const int bands = ceil_div(kInvolutionWarps, chunks * t->columns / 8);
      t->rows = smaller(round_up(height, kMmaRows), bands * kMmaRows);
      if (wanted.segment) t->rows = wanted.segment;
      for (; t->rows > 0; t->rows = wanted.segment ? 0 : t->rows / 2) {
        lay_out<Transposed>(s, pass, t);
        if (t->shared > smaller(limit, device.shared_of_block)) continue;
        const int tasks = chunks * ceil_div(t->rows, kMmaRows) * (t->columns / 8);
        t->warps = ceil_div(tasks, ceil_div(tasks, kInvolutionWarps));
        return true;
      }
    }
  }
  return false;
}

template <int K, typename T>
bool plan_strips(const InvolutionShape& s, const Device& device, InvolutionPass pass,
                 const T* first, const T* second, const T* target, StripTile* t) {
  t->chunks = ceil_div(group_width(s), kStripMembers);
  if (s.stride != 1 || s.dilation != 1 || s.clamp || s.padding != K / 2 ||
      int64_t(s.height) * s.width * larger(s.channels, K * K) >> 31 ||
      (pass == InvolutionPass::kWeight && t->chunks > 1))
    return false;
  const int all = ceil_div(s.width, kStripOutputs);
  t->column_tiles = ceil_div(all, 16);
  t->strips = ceil_div(all, t->column_tiles);
  t->lanes = t->strips % 8 > 4 ? round_up(t->strips, 8) : t->strips;
  t->row_tiles = ceil_div(s.height, smaller(s.height, kStripThreads / t->lanes));
  t->rows = ceil_div(s.height, t->row_tiles);
  t->threads = round_up(t->rows * t->lanes, kWarpSize);
  t->pitch = (t->strips - 1) * kStripOutputs + strip_reach<K>();
  t->vector = smaller(smaller(4, copy_vector(s.width, first)),
                      smaller(copy_vector(s.width, second), copy_vector(s.width, target)));
  t->copies = plan_copies(t->vector, smaller(t->pitch, s.width));
  t->shared = kStripMembers * (t->rows + K - 1) * t->pitch * 4;
  return t->shared <= device.shared_of_block;
}

template <InvolutionPass Pass, int K, typename T, typename Launch>
bool involution_strips(const Launch& launch, const Device& device, const InvolutionShape& s,
                       const T* first, const T* second, T* target) {
  StripTile t;
  if (!plan_strips<K>(s, device, Pass, first, second, target, &t)) return false;
  const int64_t blocks =
      int64_t(s.batch) * s.groups * t.chunks * t.row_tiles * t.column_tiles;
  if constexpr (Pass == InvolutionPass::kWeight)
    launch(involution_weight_strip_kernel<T, K>, blocks, t.threads, t.shared, first, second,
           target, s, t);
  else
    launch(involution_strip_kernel<T, K, Pass == InvolutionPass::kInput>, blocks, t.threads,
           t.shared, first, second, target, s, t);
  return true;
}

// Computes `target`, a batch of at least one image, from two arrays: the output from
// input and weight, the gradient of the input from those of the output and weight, or
// the gradient of the weight from the input and the gradient of the output. False: the
// plan that the caller wishes for does not fit, nothing was launched.
template <InvolutionPass Pass, typename T, typename Launch>
bool involution(const Launch& launch, const Device& device, const InvolutionShape& s,
                const T* first, const T* second, T* target) {
  constexpr bool kTransposed = Pass == InvolutionPass::kInput;
  const int64_t groups = int64_t(s.batch) * s.groups;
  if (!device.settings.any()) {  // which are of tensor cores
    bool done = false;
    if (s.kernel == 3)
      done = involution_strips<Pass, 3>(launch, device, s, first, second, target);
    if (s.kernel == 5)
      done = involution_strips<Pass, 5>(launch, device, s, first, second, target);
    if (s.kernel == 7)
      done = involution_strips<Pass, 7>(launch, device, s, first, second, target);
    if (done) return true;
  }
  if constexpr (is_half<T>()) {
    InvolutionTile t;
    t.source_vector = copy_vector(kTransposed ? s.out_width : s.width, first);
    t.weight_vector = smaller(copy_vector(s.out_width, second),
                              copy_vector(s.out_width, target));
    if constexpr (Pass != InvolutionPass::kWeight)
      t.weight_vector = copy_vector(s.out_width, second);
    if (device.has_mma && plan_involution<kTransposed>(s, device, Pass, &t)) {
      const int64_t blocks = groups * t.row_tiles * t.column_tiles;
      if constexpr (Pass == InvolutionPass::kWeight)
        launch(involution_weight_mma_kernel<T>, blocks, t.warps * kWarpSize, t.shared,
               first, second, target, s, t);
      else
        launch(involution_mma_kernel<T, kTransposed>, blocks, t.warps * kWarpSize,
               t.shared, first, second, target, s, t);
      return true;
    }
  }
  if (device.settings.any()) return false;
  if constexpr (Pass == InvolutionPass::kWeight) {
    const int blocks = ceil_div(s.out_height * s.out_width, kSimtThreads);
    launch(involution_weight_simt_kernel<T>, groups * s.kernel * blocks, kSimtThreads, 0,
           first, second, target, s, blocks);
  } else {
    const int area = kTransposed ? s.height * s.width : s.out_height * s.out_width;
    const int blocks = ceil_div(area, kSimtThreads);
    const int chunks = ceil_div(group_width(s), kSimtChannels);
    launch(involution_simt_kernel<T, kTransposed>, groups * chunks * blocks, kSimtThreads,
           0, first, second, target, s, blocks);
  }
  return true;
}

}  // namespace smpconv_mm
