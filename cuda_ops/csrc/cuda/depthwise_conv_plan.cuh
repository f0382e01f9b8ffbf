// Chooses kernels and tiles for a depthwise convolution and launches them, through
// `launch(kernel, blocks, threads, shared bytes, arguments...)`: a function of the
// CUDA runtime, or of the emulator.
#pragma once

#include "depthwise_conv_mma_kernel.cuh"
#include "depthwise_conv_simt_kernel.cuh"

namespace smpconv_mm {

struct Device {
  int processors;
  int shared_of_block, shared_of_processor;  // bytes
  bool has_mma;                              // sm_80 or newer
};

// Bytes that the system keeps of the shared memory of each block.
constexpr int kReserved = 1024;

constexpr int conv_rows(int p, int eights) {
  return eights == 1 ? 8 : eights == 2 || (eights == 4 && p <= 2) ? 4 : 2;
}
constexpr int weight_rows(int p) { return p <= 2 ? 4 : 2; }

// The template argument P for a kernel, as far as the map is wide.
inline int reach(const ConvShape& s) {
  const int tiles = ceil_div(s.width, 16);
  return smaller(2 * (tiles - 1), larger(1, ceil_div(s.kernel_width / 2, 8)));
}

inline int eights(int width) {
  if (width <= 8) return 1;
  if (width <= 16) return 2;
  if (width <= 32) return 4;
  return round_up(width, 56) <= round_up(width, 32) ? 7 : 4;
}

// Elements that one copy may take: rows start where the width lets them.
template <typename T>
int copy_vector(const ConvShape& s, const T* a, const T* b) {
  const auto address = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b);
  for (int vector = 8; vector > 1; vector /= 2)
    if (s.width % vector == 0 && address % (vector * sizeof(T)) == 0) return vector;
  return 1;
}

// Into how many parts of about equal size the jobs of a channel go, so that there
// are about `wanted` blocks.
inline int share_jobs(int jobs, int wanted, int blocks) {
  const int parts = larger(1, smaller(jobs, ceil_div(wanted, blocks)));
  return ceil_div(jobs, jobs / parts);
}

inline int odd_pitch(int columns) { return round_up(columns, 16) + 8; }

inline bool plan_conv(const ConvShape& s, const Device& device, int p, int eights,
                      ConvTile* t) {
  const int rows = conv_rows(p, eights), left = 16 * reach_tiles(p);
  const int even_width = round_up(s.width, 16);
  t->column_blocks = s.width <= 64 ? ceil_div(s.width, 8 * eights) : eights == 7 ? 1 : 2;
  t->columns = 8 * eights * t->column_blocks;
  t->column_segments = ceil_div(s.width, t->columns);
  t->pitch = odd_pitch(t->column_segments == 1
                           ? even_width
                           : smaller(even_width, t->columns + 2 * left));
  // Two blocks on a processor, so that one computes while the other loads; with
  // few images, segments of rows take their place.
  const int halves = device.shared_of_processor / 2 - kReserved;
  for (const int limit : {smaller(halves, device.shared_of_block), device.shared_of_block})
    for (int wanted = 1; wanted <= ceil_div(s.height, rows); ++wanted) {
      t->segment = round_up(ceil_div(s.height, wanted), rows);
      t->segments = ceil_div(s.height, t->segment);
      if (t->segments < wanted) continue;
      const int all = s.batch * t->segments, most = ceil_div(s.height, rows);
      if (all < kTile && t->segments < most) continue;
      const int tasks = t->segment / rows * t->column_blocks;
      for (int tiles = smaller(ceil_div(4, tasks), ceil_div(all, kTile)); tiles > 0; --tiles) {
        t->members = kTile * tiles;
        t->groups = ceil_div(all, t->members);
        t->rows = 1;
        for (int group = 0; group < t->groups; ++group) {
          const int first = group * t->members;
          const RowRange used = used_rows(s, *t, first, smaller(first + t->members, all) - 1);
          t->rows = larger(t->rows, used.last - used.first);
        }
        const int64_t bytes = int64_t(s.kernel_height) * 2 * tap_words(p) * 4 +
                              int64_t(t->rows) * t->members * t->pitch * 2;
        if (bytes > limit) continue;
        t->shared = int(bytes);
        const int all_tasks = tasks * tiles;
        t->warps = ceil_div(all_tasks, ceil_div(all_tasks, kMaxWarps));
        return true;
      }
    }
  return false;
}

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

inline int simt_side(const ConvShape& s) {
  const int side = larger(s.height, s.width);
  return side <= 8 ? 8 : side <= 16 ? 16 : 32;
}

inline bool plan_simt_conv(const ConvShape& s, const Device& device, int side,
                           SimtConvTile* t) {
  const int threads = (side / kStrip) * (side / kStrip);
  t->row_tiles = ceil_div(s.height, side);
  t->column_tiles = ceil_div(s.width, side);
  t->rows = smaller(s.height, side + s.kernel_height - 1);
  t->taps = round_up(s.kernel_width, kStrip);
  t->pitch = side + t->taps;
  for (t->images = smaller(128 / threads, s.batch); t->images > 0; --t->images) {
    t->shared = (s.kernel_height * t->taps + t->images * t->rows * t->pitch) * 4;
    t->threads = threads * t->images;
    t->image_tiles = ceil_div(s.batch, t->images);
    if (t->shared <= smaller(48 << 10, device.shared_of_block) ||
        (t->images == 1 && t->shared <= device.shared_of_block))
      return true;
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

// The largest kernel that fits the tap rows and the threads of the kernels.
constexpr int kMostTaps = 63;

template <typename T>
constexpr bool is_half() {
  return sizeof(T) == 2;
}

template <int P, int Eights, typename T, typename Launch>
bool conv_mma(Launch& launch, const Device& device, const ConvShape& s, const T* input,
              const T* weight, const T* bias, T* output) {
  ConvTile t;
  if (!plan_conv(s, device, P, Eights, &t)) return false;
  t.vector = copy_vector(s, input, input);
  launch(conv_mma_kernel<T, P, Eights, conv_rows(P, Eights)>,
         int64_t(s.channels) * t.column_segments * t.groups, t.warps * kWarpSize, t.shared,
         input, weight, bias, output, s, t);
  return true;
}

template <int P, typename T, typename Launch>
bool conv_mma(Launch& launch, const Device& device, const ConvShape& s, const T* input,
              const T* weight, const T* bias, T* output) {
  const int e = eights(s.width);
  if constexpr (P == 0) {
    if (e == 1) return conv_mma<P, 1>(launch, device, s, input, weight, bias, output);
    return conv_mma<P, 2>(launch, device, s, input, weight, bias, output);
  } else {
    if (e == 4) return conv_mma<P, 4>(launch, device, s, input, weight, bias, output);
    return conv_mma<P, 7>(launch, device, s, input, weight, bias, output);
  }
}

template <int Side, typename T, typename Launch>
bool conv_simt(Launch& launch, const Device& device, const ConvShape& s, const T* input,
               const T* weight, const T* bias, T* output) {
  SimtConvTile t;
  if (!plan_simt_conv(s, device, Side, &t)) return false;
  launch(conv_simt_kernel<T, Side>,
         int64_t(s.channels) * t.image_tiles * t.row_tiles * t.column_tiles, t.threads,
         t.shared, input, weight, bias, output, s, t);
  return true;
}

// Computes a batch of at least one image. False: nothing was launched, as the
// kernel is larger than kMostTaps or does not fit the shared memory.
template <typename T, typename Launch>
bool depthwise_conv2d(Launch& launch, const Device& device, const ConvShape& s,
                      const T* input, const T* weight, const T* bias, T* output) {
  if (s.kernel_height > kMostTaps || s.kernel_width > kMostTaps) return false;
  if constexpr (is_half<T>()) {
    bool done = false;
    if (device.has_mma) {
      switch (reach(s)) {
        case 0: done = conv_mma<0>(launch, device, s, input, weight, bias, output); break;
        case 1: done = conv_mma<1>(launch, device, s, input, weight, bias, output); break;
        case 2: done = conv_mma<2>(launch, device, s, input, weight, bias, output); break;
        case 3: done = conv_mma<3>(launch, device, s, input, weight, bias, output); break;
        default: done = conv_mma<4>(launch, device, s, input, weight, bias, output);
      }
    }
    if (done) return true;
  }
  switch (simt_side(s)) {
    case 8: return conv_simt<8>(launch, device, s, input, weight, bias, output);
    case 16: return conv_simt<16>(launch, device, s, input, weight, bias, output);
    default: return conv_simt<32>(launch, device, s, input, weight, bias, output);
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
