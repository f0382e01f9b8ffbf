// Chooses the kernel and the tiles of a depthwise convolution and launches it, through
// `launch(kernel, blocks, threads, shared bytes, arguments...)`: a function of the
// CUDA runtime, or of the emulator.
#pragma once

#include "depthwise_conv_device.cuh"
#include "depthwise_conv_mma_kernel.cuh"
#include "depthwise_conv_simt_kernel.cuh"

namespace smpconv_mm {

constexpr int conv_rows(int p, int eights) {
  return eights == 1 ? 8 : eights == 2 || (eights == 4 && p <= 2) ? 4 : 2;
}

inline int eights(int width) {
  if (width <= 8) return 1;
  if (width <= 16) return 2;
  if (width <= 32) return 4;
  return round_up(width, 56) <= round_up(width, 32) ? 7 : 4;
}

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

}  // namespace smpconv_mm
