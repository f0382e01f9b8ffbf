// The depthwise convolution and the gradient of its kernel by their sums. Both are
// one operation on a block of channels,
//
//   out[a][b] = sum_uv taps[u][v] * map[a + u - Kh / 2][b + v - Kw / 2],
//
// with the map's size as that of `out` and the kernel as taps, or the other way
// round with the output's gradient as taps. Taps on the padding cost nothing.
#pragma once

#include "depthwise_kernels.h"
#include "maps.h"

namespace direct {

// Cycles of a multiply-add of vectors, and of work around a place of the map.
constexpr double kCost = 1.4, kAround = 6;

// Taps on the map, of all places of an axis together.
inline double taps_on_map(int64_t size, int64_t kernel) {
  double sum = 0;
  const int64_t reach = kernel / 2;
  for (int64_t i = 0; i < size; ++i) {
    sum += std::min(size, i + reach + 1) - std::max<int64_t>(0, i - reach);
  }
  return sum;
}

// Cycles of any pass for one image and block of channels.
inline double cost(int64_t height, int64_t width, int64_t kh, int64_t kw) {
  return kCost * taps_on_map(height, kh) * taps_on_map(width, kw) +
         kAround * height * width;
}

// Row `a` of the operation above, added to `out`; the map is given from its row
// `first` on.
template <typename T>
void correlate_row(
    T* out, int64_t a, int64_t columns, const T* taps, int64_t tap_rows,
    int64_t tap_columns, const T* map, int64_t first, int64_t rows, int64_t width,
    int64_t kh, int64_t kw) {
  const int64_t lanes = kernels<T>().lanes;
  const int64_t begin = std::max<int64_t>(0, kh / 2 - a);
  const int64_t end = std::min(tap_rows, rows + kh / 2 - a);
  if (begin >= end) return;
  kernels<T>().correlate_rows(
      out, columns, taps + begin * tap_columns * lanes, tap_columns,
      map + (a + begin - kh / 2 - first) * width * lanes, width, kw / 2, end - begin);
}

template <typename S, typename T>
void pack_rows(
    const Map<S>& map, int64_t image, int64_t channel, int64_t first, int64_t last,
    int64_t lanes, T* out) {
  for (int64_t i = first; i < last; ++i, out += map.columns * lanes) {
    pack(map, image, channel, i, 0, map.columns, lanes, out, lanes);
  }
}

// Parts into which the rows of each task are split, so that all threads have work.
inline int64_t splits(int64_t tasks, int64_t rows) {
  const int64_t wanted = 4 * num_threads();
  return std::clamp<int64_t>((wanted + tasks - 1) / tasks, 1, rows);
}

template <typename S, typename T>
void forward(
    const Map<S>& input, const Map<S>& weight, const S* bias, int64_t bias_stride,
    const Map<S>& output) {
  const double cycles = cost(input.rows, input.columns, weight.rows, weight.columns);
  const int64_t lanes = kernels<T>().lanes, kh = weight.rows, kw = weight.columns;
  const int64_t height = input.rows, width = input.columns;
  const int64_t blocks = input.blocks(lanes), images = input.images;
  const int64_t row = width * lanes, taps_size = kh * kw * lanes;
  const int64_t parts = splits(blocks * images, height);
  Scratch<T> taps(blocks * taps_size);
  parallel_for(blocks, 2.0 * kh * kw, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      T* out = taps.get() + b * taps_size;
      pack_rows(weight, 0, b * lanes, 0, kh, lanes, out);
    }
  });
  parallel_for(blocks * images * parts, cycles / parts, [&](int64_t begin, int64_t end) {
    const int64_t tallest = std::min(height, (height + parts - 1) / parts + kh);
    Scratch<T> map(tallest * row), out(row), shift(lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / (images * parts), n = task / parts % images;
      const int64_t from = height * (task % parts) / parts;
      const int64_t to = height * (task % parts + 1) / parts;
      const int64_t first = std::max<int64_t>(0, from - kh / 2);
      const int64_t last = std::min(height, to + kh / 2);
      pack_rows(input, n, b * lanes, first, last, lanes, map.get());
      pack_bias(bias, bias_stride, b * lanes, input.channels, lanes, shift.get());
      for (int64_t i = from; i < to; ++i) {
        std::fill_n(out.get(), row, T(0));
        correlate_row(
            out.get(), i, width, taps.get() + b * taps_size, kh, kw, map.get(), first,
            height, width, kh, kw);
        unpack(
            output, n, b * lanes, i, 0, width, lanes, out.get(), lanes, T(1),
            shift.get());
      }
    }
  });
}

template <typename S, typename T>
void weight_gradient(const Map<S>& input, const Map<S>& grad, const Map<S>& output) {
  const double cycles =
      input.images * cost(input.rows, input.columns, output.rows, output.columns);
  const int64_t lanes = kernels<T>().lanes, kh = output.rows, kw = output.columns;
  const int64_t height = input.rows, width = input.columns;
  const int64_t size = height * width * lanes, row = kw * lanes;
  const int64_t blocks = input.blocks(lanes), parts = splits(blocks, kh);
  parallel_for(blocks * parts, cycles / parts, [&](int64_t begin, int64_t end) {
    const int64_t most = (kh + parts - 1) / parts;
    Scratch<T> map(size), taps(size), out(most * row), shift(lanes);
    std::fill_n(shift.get(), lanes, T(0));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / parts;
      const int64_t from = kh * (task % parts) / parts;
      const int64_t to = kh * (task % parts + 1) / parts;
      std::fill_n(out.get(), most * row, T(0));
      for (int64_t n = 0; n < input.images; ++n) {
        pack_rows(input, n, b * lanes, 0, height, lanes, map.get());
        pack_rows(grad, n, b * lanes, 0, height, lanes, taps.get());
        for (int64_t u = from; u < to; ++u) {
          correlate_row(
              out.get() + (u - from) * row, u, kw, taps.get(), height, width, map.get(),
              0, height, width, kh, kw);
        }
      }
      for (int64_t u = from; u < to; ++u) {
        unpack(
            output, 0, b * lanes, u, 0, kw, lanes, out.get() + (u - from) * row, lanes,
            T(1), shift.get());
      }
    }
  });
}

}  // namespace direct
