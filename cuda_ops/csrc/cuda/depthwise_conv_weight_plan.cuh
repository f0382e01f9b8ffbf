// Chooses the kernel and the tiles of the gradient of the kernel, as
// depthwise_conv_plan.cuh does for the convolution.
#pragma once

#include "depthwise_conv_device.cuh"
#include "depthwise_conv_simt_kernel.cuh"
#include "depthwise_conv_weight_mma_kernel.cuh"

namespace smpconv_mm {

constexpr int weight_rows(int p) { return p <= 2 ? 4 : 2; }

inline bool plan_weight(const ConvShape& s, const Device& device, int p, WeightTile* t) {
  const int rows = weight_rows(p), left = 16 * reach_tiles(p);
  const int even_width = round_up(s.width, 16);
  const int row_blocks = ceil_div(s.kernel_height, rows);
  t->blocks = ceil_div(row_blocks, kMaxWarps);
  t->warps = ceil_div(row_blocks, t->blocks);
  const int halves = device.shared_of_processor / 2 - kReserved;
  for (const int limit : {smaller(halves, device.shared_of_block), device.shared_of_block})
    for (int columns : {64, 32, 16}) {
      t->columns = smaller(columns, even_width);
      t->column_segments = ceil_div(even_width, t->columns);
      t->pitch = odd_pitch(t->columns);
      t->grad_pitch = odd_pitch(t->column_segments == 1
                                    ? even_width
                                    : smaller(even_width, t->columns + 2 * left));
      for (int chunk : {s.height, 8, 4, 2, 1}) {
        t->chunk = smaller(chunk, s.height);
        t->rows = smaller(s.height, 2 * t->chunk + t->warps * rows - 1);
        t->grad_rows = smaller(s.height, 2 * t->chunk);
        const int64_t bytes = int64_t(kTile) * 2 * (int64_t(t->rows) * t->pitch +
                                                    int64_t(t->grad_rows) * t->grad_pitch);
        if (bytes > limit) continue;
        t->jobs = ceil_div(s.batch, kTile) * t->column_segments;
        t->splits = share_jobs(t->jobs, 4 * device.processors, s.channels * t->blocks);
        t->buffers = t->chunk == s.height && t->jobs > t->splits && 2 * bytes <= limit ? 2 : 1;
        const int diagonals = t->warps * (16 * 8 + 8 * (2 * p + 2) + 16) * 4;
        t->shared = larger(int(bytes) * t->buffers, diagonals);
        return true;
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

template <int P, typename T, typename Launch, typename Allocate>
bool weight_mma(Launch& launch, Allocate& allocate, const Device& device,
                const ConvShape& s, const T* input, const T* grad, float** partial,
                int* splits) {
  WeightTile t;
  if (!plan_weight(s, device, P, &t)) return false;
  t.vector = copy_vector(s, input, grad);
  *splits = t.splits;
  *partial = allocate(int64_t(t.splits) * s.channels * s.kernel_height * s.kernel_width);
  launch(weight_mma_kernel<T, P, weight_rows(P)>,
         int64_t(s.channels) * t.splits * t.blocks, t.warps * kWarpSize, t.shared, input,
         grad, *partial, s, t);
  return true;
}

// As depthwise_conv2d; `allocate(count)` gives room for floats until the end of the
// call.
template <typename T, typename Launch, typename Allocate>
bool depthwise_conv2d_weight(Launch& launch, Allocate& allocate, const Device& device,
                             const ConvShape& s, const T* input, const T* grad,
                             T* output) {
  if (s.kernel_height > kMostTaps || s.kernel_width > kMostTaps) return false;
  float* partial = nullptr;
  int splits = 0;
  bool done = false;
  if constexpr (is_half<T>()) {
    if (device.has_mma) {
      switch (reach(s)) {
        case 0: done = weight_mma<0>(launch, allocate, device, s, input, grad, &partial, &splits); break;
        case 1: done = weight_mma<1>(launch, allocate, device, s, input, grad, &partial, &splits); break;
        case 2: done = weight_mma<2>(launch, allocate, device, s, input, grad, &partial, &splits); break;
        case 3: done = weight_mma<3>(launch, allocate, device, s, input, grad, &partial, &splits); break;
        default: done = weight_mma<4>(launch, allocate, device, s, input, grad, &partial, &splits);
      }
    }
  }
  const int64_t count = int64_t(s.channels) * s.kernel_height * s.kernel_width;
  if (!done) {
    SimtWeightTile t;
    if (!plan_simt_weight(s, device, &t)) return false;
    splits = t.splits;
    partial = allocate(t.splits * count);
    launch(weight_simt_kernel<T>, int64_t(s.channels) * t.splits, t.threads, t.shared,
           input, grad, partial, s, t);
  }
  launch(sum_partials_kernel<T>, (count + 255) / 256, 256, 0, partial, output, count,
         splits);
  return true;
}

}  // namespace smpconv_mm
