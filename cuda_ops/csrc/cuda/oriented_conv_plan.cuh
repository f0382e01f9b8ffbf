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
};

inline LinePass forward_pass(const OrientedShape& s) {
  return {s.batch, s.channels, s.taps, s.height, s.width, 1,
          ceil_div(s.height, s.stride), ceil_div(s.width, s.stride), s.stride, false};
}

inline LinePass input_pass(const OrientedShape& s) {
  return {s.batch, s.channels, s.taps, ceil_div(s.height, s.stride),
          ceil_div(s.width, s.stride), s.stride, s.height, s.width, 1, true};
}

// Length of a thread's strip: maps of multiples of 7 are frequent.
inline int strip_length(const LinePass& s) {
  return smaller(s.target_height, s.target_width) <= 8 ? 8 : 14;
}

// Floats of the maps in shared memory for whichever direction needs most.
template <int Length>
int most_floats(const LinePass& s, const LineTile& t) {
  const int reach = s.taps / 2;
  int most = 0;
  for (int up = 0, aside = reach; up <= reach; ++up) {
    while (aside * aside + up * up > reach * reach) --aside;
    const int rows = smaller(up, larger(s.source_height, s.target_height) - 1);
    const int columns = smaller(aside, larger(s.source_width, s.target_width) - 1);
    for (int steps = 1; steps < 4; ++steps)
      most = larger(most,
                    lay_out<Length>(s, t, rows, columns, steps & 1, steps >> 1).floats);
  }
  return round_up(most, 4);
}

inline int tile_side(int size, int most, int length) {
  const int side = ceil_div(size, ceil_div(size, most));
  return most < length ? side : smaller(size, round_up(side, length));
}

template <int Length>
bool plan_lines(const LinePass& s, const Device& device, bool gradient, int vector,
                LineTile* t) {
  const int64_t image = int64_t(s.channels) * larger(s.source_height, s.target_height) *
                        larger(s.source_width, s.target_width);
  if (image / s.channels >> 31) return false;  // as indices have 32 bits
  t->copies.vector = s.spread > 1 ? 1 : vector;
  for (int most = larger(1, 64 / s.stride); most > 0; most -= most > 16 ? 8 : (most + 1) / 2) {
    t->rows = tile_side(s.target_height, most, Length);
    t->columns = round_up(tile_side(s.target_width, most, Length), t->copies.vector);
    t->columns = smaller(t->columns, s.target_width);
    t->row_tiles = ceil_div(s.target_height, t->rows);
    t->column_tiles = ceil_div(s.target_width, t->columns);
    t->copies = plan_copies(t->copies.vector, t->columns);
    const int tall = t->columns * ceil_div(t->rows, Length);
    const int slanted = (t->columns + Length - 1) * ceil_div(t->rows, Length);
    const int flat = t->rows * ceil_div(t->columns, Length);
    const int tasks = s.stride > 1 ? tall : larger(slanted, flat);
    if (tasks > kLineThreads) continue;
    // As many images as there are threads for, if there is room.
    for (int images = larger(1, smaller(s.batch, kLineThreads / smaller(tall, flat)));
         images > 0; --images) {
      if (images > 1 && images * image >> 31) continue;
      t->images = images;
      t->threads = round_up(smaller(kLineThreads, tasks * images), kWarpSize);
      t->region = most_floats<Length>(s, *t);
      t->grad_region = gradient ? round_up(images * t->rows * gradient_pitch(*t), 4) : 0;
      const int64_t sums = gradient ? int64_t(s.taps) * t->threads : 0;
      const int64_t bytes =
          sizeof(Line) + 4 * (int64_t(t->region) + t->grad_region + sums);
      const int blocks = images > 1 ? 3 : most > 1 ? 2 : 1;  // that share a processor
      if (bytes > smaller(device.shared_of_block,
                          device.shared_of_processor / blocks - (blocks > 1 ? kReserved : 0)))
        continue;
      t->shared = int(bytes);
      // Three turns of a block, as its beginning takes time, but enough blocks.
      const int64_t tiles = int64_t(s.channels) * t->row_tiles * t->column_tiles;
      const int64_t wanted = (32 * int64_t(device.processors) + tiles - 1) / tiles;
      const int most_parts = ceil_div(ceil_div(s.batch, images), 3);
      const int parts = wanted < most_parts ? larger(1, int(wanted)) : most_parts;
      t->parts = ceil_div(s.batch, ceil_div(s.batch, parts));
      return true;
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
  const int vector = smaller(copy_vector(s.source_width, source),
                             copy_vector(s.target_width, target));
  if (!plan_lines<Length>(s, device, false, vector, &t)) return false;
  launch(oriented_conv_kernel<T, Length>,
         int64_t(s.channels) * t.row_tiles * t.column_tiles * t.parts, t.threads,
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
  const int vector = smaller(copy_vector(s.source_width, input),
                             copy_vector(s.target_width, grad));
  if (!plan_lines<Length>(s, device, true, vector, &t)) return false;
  const int splits = t.parts * t.row_tiles * t.column_tiles;
  const int64_t count = int64_t(s.channels) * s.taps;
  float* partial = allocate(splits * count);
  launch(oriented_weight_kernel<T, Length>, int64_t(s.channels) * splits, t.threads,
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
