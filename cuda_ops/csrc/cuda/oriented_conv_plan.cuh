// Chooses the tiles of the kernels of an oriented convolution and launches them, through
// `launch(kernel, blocks, threads, shared bytes, arguments...)`: a function of the CUDA
// runtime, or of the emulator.
#pragma once

#include "device.cuh"
#include "oriented_conv_kernel.cuh"
#include "sum_partials_kernel.cuh"

namespace smpconv_mm {

struct OrientedShape {
  int batch, channels, height, width, taps, stride;
  int channels_last;  // 0 or 1, of input and output
};

inline LinePass forward_pass(const OrientedShape& s) {
  return {s.batch, s.channels, s.taps, s.height, s.width, 1,
          ceil_div(s.height, s.stride), ceil_div(s.width, s.stride), s.stride, false,
          s.channels_last != 0};
}

inline LinePass input_pass(const OrientedShape& s) {
  return {s.batch, s.channels, s.taps, ceil_div(s.height, s.stride),
          ceil_div(s.width, s.stride), s.stride, s.height, s.width, 1, true,
          s.channels_last != 0};
}

// Length of a thread's strip: maps of multiples of 7 are frequent.
inline int strip_length(const LinePass& s) {
  return smaller(s.target_height, s.target_width) <= 8 ? 8 : 14;
}

// Floats of a map in shared memory for whichever direction needs most.
inline int64_t most_floats(const LinePass& s, const LineTile& t, int length) {
  const int reach = s.taps / 2;
  int64_t most = 0;
  for (int up = 0, aside = reach; up <= reach; ++up) {
    while (aside * aside + up * up > reach * reach) --aside;
    const int rows = (round_up(t.rows, length) - 1) * s.stride + 1 +
                     2 * smaller(up, larger(s.source_height, s.target_height) - 1);
    const int columns = (t.columns - 1) * s.stride + 1 +
                        2 * smaller(aside, larger(s.source_width, s.target_width) - 1);
    const int extra = s.stride == 1 && t.rows > length ? 15 : 1;  // see make_line
    const int64_t floats = int64_t(rows) * (columns + extra) + 31;
    most = floats > most ? floats : most;
  }
  return most;
}

inline int tile_side(int size, int most, int length) {
  const int side = ceil_div(size, ceil_div(size, most));
  return most < length ? side : smaller(size, round_up(side, length));
}

template <typename T>
bool plan_lines(const LinePass& s, const Device& device, int length, bool gradient,
                LineTile* t) {
  const int64_t image = int64_t(s.channels) * larger(s.source_height, s.target_height) *
                        larger(s.source_width, s.target_width);
  if (s.channels_last && image >> 31) return false;  // as indices have 32 bits
  for (int most = larger(1, 64 / s.stride); most > 0; most /= 2) {
    t->rows = tile_side(s.target_height, most, length);
    t->columns = tile_side(s.target_width, most, length);
    t->row_tiles = ceil_div(s.target_height, t->rows);
    t->column_tiles = ceil_div(s.target_width, t->columns);
    const int tall = t->columns * ceil_div(t->rows, length);
    const int slanted = (t->columns + length) * ceil_div(t->rows, length);
    const int flat = t->rows * ceil_div(t->columns, length);
    const int tasks = s.stride > 1 ? tall : larger(slanted, flat);
    if (tasks > kLineThreads) continue;
    const int64_t floats = most_floats(s, *t, length);
    const int64_t grads = gradient ? int64_t(t->rows) * (t->columns | 1) : 0;
    const int64_t half = device.shared_of_processor / 2 - kReserved;
    const int most_channels = s.channels_last ? 8 : 1;
    // Enough images and channels for a block of some warps, if there is room.
    for (int channels = most_channels; channels > 0; channels /= 2) {
      if (channels > 1 && channels / 2 >= s.channels) continue;
      if (channels < smaller(4, s.channels) && s.channels_last && most > 16) continue;
      for (int images = larger(1, smaller(s.batch, 288 / tasks)); images > 0; --images) {
        if (images > 1 && images * image >> 31) continue;
        t->channels = channels;
        t->jobs = ceil_div(s.batch, images);
        t->images = ceil_div(s.batch, t->jobs);
        t->channel_warps = ceil_div(tasks * t->images, kWarpSize);
        t->pass_channels = larger(
            1, smaller(channels, kLineThreads / kWarpSize / 2 / t->channel_warps));
        t->threads = t->pass_channels * t->channel_warps * kWarpSize;
        if (t->threads > kLineThreads) continue;
        t->region =
            next_with_rest(int(floats * t->images) + length, 32 / channels % 32, 32);
        t->grad_region = int(grads * t->images);
        const int64_t sums = gradient ? int64_t(s.taps) * t->threads / 2 : 0;
        const auto needed = [&](int buffers) {
          const int64_t maps = buffers * channels * int64_t(t->region + t->grad_region);
          return channels * int64_t(sizeof(Line)) +
                 4 * ((maps + sums + 4 * length + 3) / 4 * 4);
        };
        const bool ahead = copies_alone<T>() && device.has_mma && s.spread == 1;
        const int64_t third = device.shared_of_processor / 3 - kReserved;
        const int64_t bytes = needed(1);
        const bool small = needed(ahead ? 2 : 1) <= smaller(int(third), device.shared_of_block);
        const bool fits =
            bytes <= device.shared_of_block && (bytes <= half || (most == 1 && channels == 1));
        if (!(images > 1 ? small : fits)) continue;
        t->lane_columns = 1;
        while (t->lane_columns < kWarpSize / channels && t->lane_columns < t->columns)
          t->lane_columns *= 2;
        t->channel_groups = ceil_div(s.channels, channels);
        const int64_t blocks =
            int64_t(t->channel_groups) * t->row_tiles * t->column_tiles;
        const int64_t wanted = (32 * int64_t(device.processors) + blocks - 1) / blocks;
        const int parts = larger(1, wanted < t->jobs ? int(wanted) : t->jobs);
        t->parts = ceil_div(t->jobs, ceil_div(t->jobs, parts));
        const bool room = needed(2) <= smaller(int(third), device.shared_of_block);
        t->buffers = ahead && room && t->parts < t->jobs ? 2 : 1;
        t->shared = int(needed(t->buffers));
        return true;
      }
    }
  }
  return false;
}

inline bool lines_fit(const OrientedShape& s) {
  return s.taps <= kMostLineTaps && s.taps % 2 == 1 && s.stride > 0;
}

template <int Length, typename T, typename Launch>
bool launch_lines(Launch& launch, const Device& device, const LinePass& s, const T* source,
                  const T* weight, const float* angle, const T* bias, T* target) {
  LineTile t;
  if (!plan_lines<T>(s, device, Length, false, &t)) return false;
  launch(oriented_conv_kernel<T, Length>,
         int64_t(t.channel_groups) * t.row_tiles * t.column_tiles * t.parts, t.threads,
         t.shared, source, weight, angle, bias, target, s, t);
  return true;
}

// Computes a batch of at least one image. False: nothing was launched, as there are more
// than kMostLineTaps taps or they do not fit the shared memory.
template <typename T, typename Launch>
bool oriented_conv2d(Launch& launch, const Device& device, const OrientedShape& s,
                     const T* input, const T* weight, const float* angle, const T* bias,
                     T* output) {
  if (!lines_fit(s)) return false;
  const LinePass p = forward_pass(s);
  if (strip_length(p) == 8)
    return launch_lines<8>(launch, device, p, input, weight, angle, bias, output);
  return launch_lines<14>(launch, device, p, input, weight, angle, bias, output);
}

// The gradient of the input.
template <typename T, typename Launch>
bool oriented_conv2d_input(Launch& launch, const Device& device, const OrientedShape& s,
                           const T* grad, const T* weight, const float* angle, T* output) {
  if (!lines_fit(s)) return false;
  const LinePass p = input_pass(s);
  const T* none = nullptr;
  if (strip_length(p) == 8)
    return launch_lines<8>(launch, device, p, grad, weight, angle, none, output);
  return launch_lines<14>(launch, device, p, grad, weight, angle, none, output);
}

template <int Length, typename T, typename Launch, typename Allocate>
bool launch_line_gradient(Launch& launch, Allocate& allocate, const Device& device,
                          const LinePass& s, const T* input, const T* grad,
                          const float* angle, T* output) {
  LineTile t;
  if (!plan_lines<T>(s, device, Length, true, &t)) return false;
  const int splits = t.parts * t.row_tiles * t.column_tiles;
  const int64_t count = int64_t(s.channels) * s.taps;
  float* partial = allocate(splits * count);
  launch(oriented_weight_kernel<T, Length>, int64_t(t.channel_groups) * splits, t.threads,
         t.shared, input, grad, angle, partial, s, t);
  launch(sum_partials_kernel<T>, (count + 255) / 256, 256, 0, partial, output, count,
         splits);
  return true;
}

// The gradient of the weight; `allocate(count)` gives room for floats until the end of
// the call.
template <typename T, typename Launch, typename Allocate>
bool oriented_conv2d_weight(Launch& launch, Allocate& allocate, const Device& device,
                            const OrientedShape& s, const T* input, const T* grad,
                            const float* angle, T* output) {
  if (!lines_fit(s)) return false;
  const LinePass p = forward_pass(s);
  if (strip_length(p) == 8)
    return launch_line_gradient<8>(launch, allocate, device, p, input, grad, angle, output);
  return launch_line_gradient<14>(launch, allocate, device, p, input, grad, angle, output);
}

}  // namespace smpconv_mm
