// Tensors as the kernels see them, blocks of their channels, threads.
#pragma once

#include <torch/csrc/stable/c/shim.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "isa.h"

// Aligned memory for `size` numbers.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : data_(static_cast<T*>(::operator new(size * sizeof(T) + 64, kAlignment))) {}
  T* get() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<T, Free> data_;
};

// A tensor of (images, channels, rows, columns) with any strides.
template <typename S>
struct Map {
  S* data;
  int64_t images, channels, rows, columns;
  int64_t image_stride, channel_stride, row_stride, column_stride;

  explicit Map(const torch::stable::Tensor& t)
      : data(static_cast<S*>(t.data_ptr())),
        images(t.size(0)), channels(t.size(1)), rows(t.size(2)), columns(t.size(3)),
        image_stride(t.stride(0)), channel_stride(t.stride(1)),
        row_stride(t.stride(2)), column_stride(t.stride(3)) {}

  // Kernels, (channels, 1, rows, columns), as the channels of one image.
  Map as_one_image() const {
    Map map = *this;
    std::swap(map.images, map.channels);
    std::swap(map.image_stride, map.channel_stride);
    return map;
  }

  // The same maps, turned by 180 degrees.
  Map turned() const {
    Map map = *this;
    map.data = at(0, 0, rows - 1, columns - 1);
    map.row_stride = -row_stride;
    map.column_stride = -column_stride;
    return map;
  }

  int64_t blocks(int64_t lanes) const { return (channels + lanes - 1) / lanes; }

  S* at(int64_t image, int64_t channel, int64_t row, int64_t column) const {
    return data + image * image_stride + channel * channel_stride + row * row_stride +
           column * column_stride;
  }
};

// Calls body with the number of lanes as a constant, for quick loops over them.
template <typename F>
void with_lanes(int64_t lanes, const F& body) {
  switch (lanes) {
    case 2: return body(std::integral_constant<int, 2>());
    case 4: return body(std::integral_constant<int, 4>());
    case 8: return body(std::integral_constant<int, 8>());
    case 16: return body(std::integral_constant<int, 16>());
  }
}

// Whether numbers are converted by vectors where they are contiguous.
template <typename S, typename T>
constexpr bool is_converted() {
  return sizeof(S) == 2 && std::is_same<T, float>::value;
}

// to[i * step] = from[i * stride]
template <typename S, typename T>
void read_line(const S* from, int64_t stride, int64_t count, T* to, int64_t step) {
  if constexpr (is_converted<S, T>()) {
    if (stride == 1) {
      constexpr int64_t kMost = 128;
      T values[kMost];
      for (int64_t done = 0; done < count; done += kMost) {
        const int64_t some = std::min(kMost, count - done);
        conversions<S>().widen(from + done, values, some);
        for (int64_t i = 0; i < some; ++i) to[(done + i) * step] = values[i];
      }
      return;
    }
  }
  for (int64_t i = 0; i < count; ++i) to[i * step] = static_cast<T>(from[i * stride]);
}

// to[i * stride] = from[i * step] * scale + shift
template <typename S, typename T>
void write_line(
    const T* from, int64_t step, int64_t count, S* to, int64_t stride, T scale = 1,
    T shift = 0) {
  if constexpr (is_converted<S, T>()) {
    if (stride == 1) {
      constexpr int64_t kMost = 128;
      T values[kMost];
      for (int64_t done = 0; done < count; done += kMost) {
        const int64_t some = std::min(kMost, count - done);
        for (int64_t i = 0; i < some; ++i)
          values[i] = from[(done + i) * step] * scale + shift;
        conversions<S>().narrow(values, to + done, some);
      }
      return;
    }
  }
  for (int64_t i = 0; i < count; ++i)
    to[i * stride] = static_cast<S>(from[i * step] * scale + shift);
}

// Columns [first, last) of a row of a block of channels to out[column][lane],
// columns `step` numbers apart; lanes beyond the last channel become 0.
template <typename S, typename T>
void pack(
    const Map<S>& map, int64_t image, int64_t channel, int64_t row, int64_t first,
    int64_t last, int64_t lanes, T* out, int64_t step) {
  const int64_t filled = std::min(lanes, map.channels - channel);
  const S* in = map.at(image, channel, row, first);
  if (filled == lanes && map.channel_stride == 1) {
    return with_lanes(lanes, [&](auto count) {
      const S* from = in;
      T* to = out;
      for (int64_t j = first; j < last; ++j, from += map.column_stride, to += step) {
        if constexpr (is_converted<S, T>()) {
          conversions<S>().widen(from, to, count);
        } else {
          std::copy_n(from, int(count), to);
        }
      }
    });
  }
  for (int64_t l = 0; l < filled; ++l) {
    read_line(in + l * map.channel_stride, map.column_stride, last - first, out + l, step);
  }
  for (int64_t l = filled; l < lanes; ++l) {
    for (int64_t j = 0; j < last - first; ++j) out[j * step + l] = T(0);
  }
}

// The way back: in[column][lane] * scale + shift[lane] to the tensor.
template <typename S, typename T>
void unpack(
    const Map<S>& map, int64_t image, int64_t channel, int64_t row, int64_t first,
    int64_t last, int64_t lanes, const T* in, int64_t step, T scale, const T* shift) {
  const int64_t filled = std::min(lanes, map.channels - channel);
  S* out = map.at(image, channel, row, first);
  if (filled == lanes && map.channel_stride == 1) {
    return with_lanes(lanes, [&](auto count) {
      const T* from = in;
      S* to = out;
      T shifts[count];
      std::copy_n(shift, int(count), shifts);
      for (int64_t j = first; j < last; ++j, from += step, to += map.column_stride) {
        T values[count];
        for (int l = 0; l < count; ++l) values[l] = from[l] * scale + shifts[l];
        if constexpr (is_converted<S, T>()) {
          conversions<S>().narrow(values, to, count);
        } else {
          std::copy_n(values, int(count), to);
        }
      }
    });
  }
  for (int64_t l = 0; l < filled; ++l) {
    write_line(
        in + l, step, last - first, out + l * map.channel_stride, map.column_stride, scale,
        shift[l]);
  }
}

// Calls body(begin, end) for parts of [0, count), each of about `cycles`, on torch's
// threads; little work stays on this one.
template <typename F>
void parallel_for(int64_t count, double cycles, const F& body) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(
      0, count, 1 + static_cast<int64_t>(50000 / (cycles + 1)),
      [](int64_t begin, int64_t end, void* f) {
        (*static_cast<const F*>(f))(begin, end);
      },
      const_cast<F*>(&body)));
}

inline int64_t num_threads() {
  uint32_t threads;
  TORCH_ERROR_CODE_CHECK(torch_get_num_threads(&threads));
  return threads;
}

// Values of a block of channels of `bias`, a vector of strided numbers, or 0.
template <typename S, typename T>
void pack_bias(
    const S* bias, int64_t stride, int64_t channel, int64_t channels, int64_t lanes,
    T* out) {
  for (int64_t l = 0; l < lanes; ++l) {
    const bool has = bias && channel + l < channels;
    out[l] = has ? static_cast<T>(bias[(channel + l) * stride]) : T(0);
  }
}
