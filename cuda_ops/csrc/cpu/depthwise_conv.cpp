// Depthwise convolution with 'same' padding and the gradient of its kernel on
// the CPU. Both are one operation on a block of channels,
//
//   out[a][b] = sum_uv taps[u][v] * map[a + u - Kh / 2][b + v - Kw / 2],
//
// with the map's size as that of `out` and the kernel as taps, or the other way
// round with the output's gradient as taps. A block is as many channels as a
// vector has lanes; it is copied into arrays of its own, (row, column, lane), so
// that tensors of any strides and dtypes are served alike. Sums are float (double
// for double), taps on the padding cost nothing, and no sum depends on the number
// of threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#define ISA base
#define TARGET
#define BYTES 16
#if defined(__aarch64__)
#define TILE 14
#else
#define TILE 6
#endif
#include "correlate_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#if defined(__x86_64__)
#define ISA avx2
#define TARGET __attribute__((target("avx2,fma")))
#define BYTES 32
#define TILE 6
#include "correlate_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#define ISA avx512
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,fma")))
#define BYTES 64
#define TILE 14
#include "correlate_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE
#endif

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
struct Kernel {
  int64_t lanes;
  decltype(&base::correlate_rows<T>) correlate_rows;
};

// The fastest that this processor runs; ATEN_CPU_CAPABILITY bounds it, as it does
// torch's own.
template <typename T>
Kernel<T> choose_kernel() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
  const bool plain = wanted && !std::strcmp(wanted, "default");
  const bool no512 = plain || (wanted && !std::strcmp(wanted, "avx2"));
  __builtin_cpu_init();
  if (!no512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return {64 / sizeof(T), &avx512::correlate_rows<T>};
  }
  if (!plain && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {32 / sizeof(T), &avx2::correlate_rows<T>};
  }
#endif
  return {16 / sizeof(T), &base::correlate_rows<T>};
}

template <typename T>
const Kernel<T>& kernel() {
  static const Kernel<T> chosen = choose_kernel<T>();
  return chosen;
}

// Aligned scratch memory.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : data_(static_cast<T*>(std::aligned_alloc(64, (size * sizeof(T) + 127) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// A tensor of (images, channels, rows, columns) with any strides.
template <typename S>
struct Map {
  S* data;
  int64_t images, channels, rows, columns;
  int64_t image_stride, channel_stride, row_stride, column_stride;

  explicit Map(const Tensor& t)
      : data(static_cast<S*>(t.data_ptr())),
        images(t.size(0)), channels(t.size(1)), rows(t.size(2)), columns(t.size(3)),
        image_stride(t.stride(0)), channel_stride(t.stride(1)),
        row_stride(t.stride(2)), column_stride(t.stride(3)) {}

  S* at(int64_t image, int64_t channel, int64_t row) const {
    return data + image * image_stride + channel * channel_stride + row * row_stride;
  }
};

// Rows [first, last) of a block of channels of an image, as (row, column, lane);
// lanes beyond the last channel are 0.
template <typename S, typename T>
void pack(
    const Map<S>& map, int64_t image, int64_t channel, int64_t first, int64_t last,
    int64_t lanes, T* out) {
  const int64_t filled = std::min(lanes, map.channels - channel);
  if (filled < lanes) std::fill_n(out, (last - first) * map.columns * lanes, T(0));
  for (int64_t i = first; i < last; ++i, out += map.columns * lanes) {
    const S* row = map.at(image, channel, i);
    if (map.channel_stride == 1) {
      for (int64_t j = 0; j < map.columns; ++j) {
        for (int64_t l = 0; l < filled; ++l) {
          out[j * lanes + l] = static_cast<T>(row[j * map.column_stride + l]);
        }
      }
    } else {
      for (int64_t l = 0; l < filled; ++l) {
        for (int64_t j = 0; j < map.columns; ++j) {
          out[j * lanes + l] =
              static_cast<T>(row[l * map.channel_stride + j * map.column_stride]);
        }
      }
    }
  }
}

// One row back into the tensor.
template <typename S, typename T>
void unpack(
    const Map<S>& map, int64_t image, int64_t channel, int64_t row, int64_t lanes,
    const T* in) {
  const int64_t filled = std::min(lanes, map.channels - channel);
  S* out = map.at(image, channel, row);
  for (int64_t j = 0; j < map.columns; ++j) {
    for (int64_t l = 0; l < filled; ++l) {
      out[l * map.channel_stride + j * map.column_stride] =
          static_cast<S>(in[j * lanes + l]);
    }
  }
}

// Row `a` of the operation above, added to `out`: taps and map are those of one
// block, the map from row `first` on.
template <typename T>
void correlate_row(
    T* out, int64_t a, int64_t columns, const T* taps, int64_t tap_rows,
    int64_t tap_columns, const T* map, int64_t first, int64_t rows, int64_t width,
    int64_t kh, int64_t kw) {
  const int64_t lanes = kernel<T>().lanes;
  const int64_t begin = std::max<int64_t>(0, kh / 2 - a);
  const int64_t end = std::min(tap_rows, rows + kh / 2 - a);
  if (begin >= end) return;
  kernel<T>().correlate_rows(
      out, columns, taps + begin * tap_columns * lanes, tap_columns,
      map + (a + begin - kh / 2 - first) * width * lanes, width, kw / 2, end - begin);
}

// Calls body(begin, end) for parts of [0, count) on torch's threads.
template <typename F>
void parallel_for(int64_t count, const F& body) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(
      0, count, 1,
      [](int64_t begin, int64_t end, void* f) {
        (*static_cast<const F*>(f))(begin, end);
      },
      const_cast<F*>(&body)));
}

// Parts of `most` rows, so that all threads have work.
int64_t parts(int64_t tasks, int64_t most) {
  uint32_t threads;
  TORCH_ERROR_CODE_CHECK(torch_get_num_threads(&threads));
  return std::clamp<int64_t>((4 * threads + tasks - 1) / std::max<int64_t>(tasks, 1), 1, most);
}

template <typename S, typename T>
void forward(
    const Map<S>& input, const Map<S>& weight, const S* bias, int64_t bias_stride,
    const Map<S>& output) {
  const int64_t lanes = kernel<T>().lanes, kh = weight.rows, kw = weight.columns;
  const int64_t height = input.rows, width = input.columns;
  const int64_t blocks = (input.channels + lanes - 1) / lanes;
  const int64_t row = width * lanes, taps_size = kh * kw * lanes;
  Map<S> kernels = weight;  // as one image
  std::swap(kernels.image_stride, kernels.channel_stride);
  std::swap(kernels.images, kernels.channels);
  Scratch<T> taps(blocks * taps_size);
  parallel_for(blocks, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      pack(kernels, 0, b * lanes, 0, kh, lanes, taps.get() + b * taps_size);
    }
  });
  const int64_t images = input.images, splits = parts(blocks * images, height);
  parallel_for(blocks * images * splits, [&](int64_t begin, int64_t end) {
    const int64_t tallest = std::min(height, (height + splits - 1) / splits + kh);
    Scratch<T> map(tallest * row), out(row), start(lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / (images * splits), n = task / splits % images;
      const int64_t from = height * (task % splits) / splits;
      const int64_t to = height * (task % splits + 1) / splits;
      const int64_t first = std::max<int64_t>(0, from - kh / 2);
      pack(input, n, b * lanes, first, std::min(height, to + kh / 2), lanes, map.get());
      for (int64_t l = 0; l < lanes; ++l) {
        const bool has = bias && b * lanes + l < input.channels;
        start.get()[l] = has ? static_cast<T>(bias[(b * lanes + l) * bias_stride]) : T(0);
      }
      for (int64_t i = from; i < to; ++i) {
        for (int64_t j = 0; j < row; j += lanes) {
          std::copy_n(start.get(), lanes, out.get() + j);
        }
        correlate_row(
            out.get(), i, width, taps.get() + b * taps_size, kh, kw, map.get(), first,
            height, width, kh, kw);
        unpack(output, n, b * lanes, i, lanes, out.get());
      }
    }
  });
}

template <typename S, typename T>
void weight_gradient(const Map<S>& input, const Map<S>& grad, const Map<S>& output) {
  const int64_t lanes = kernel<T>().lanes, kh = output.rows, kw = output.columns;
  const int64_t height = input.rows, width = input.columns, size = height * width * lanes;
  const int64_t blocks = (input.channels + lanes - 1) / lanes;
  Map<S> kernels = output;  // as one image
  std::swap(kernels.image_stride, kernels.channel_stride);
  std::swap(kernels.images, kernels.channels);
  const int64_t splits = parts(blocks, kh);
  parallel_for(blocks * splits, [&](int64_t begin, int64_t end) {
    const int64_t most = (kh + splits - 1) / splits;
    Scratch<T> map(size), taps(size), out(most * kw * lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / splits;
      const int64_t from = kh * (task % splits) / splits;
      const int64_t to = kh * (task % splits + 1) / splits;
      std::fill_n(out.get(), most * kw * lanes, T(0));
      for (int64_t n = 0; n < input.images; ++n) {
        pack(input, n, b * lanes, 0, height, lanes, map.get());
        pack(grad, n, b * lanes, 0, height, lanes, taps.get());
        for (int64_t u = from; u < to; ++u) {
          correlate_row(
              out.get() + (u - from) * kw * lanes, u, kw, taps.get(), height, width,
              map.get(), 0, height, width, kh, kw);
        }
      }
      for (int64_t u = from; u < to; ++u) {
        unpack(kernels, 0, b * lanes, u, lanes, out.get() + (u - from) * kw * lanes);
      }
    }
  });
}

Tensor empty(const Tensor& like, const int64_t (&sizes)[4], const int64_t (&strides)[4]) {
  int32_t dtype;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      4, sizes, strides, dtype, aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}

// Calls body(S(), T()) with the types of the elements and of the sums.
template <typename F>
void dispatch(const Tensor& tensor, const F& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body(float(), float());
    case ScalarType::Double: return body(double(), double());
    case ScalarType::Half: return body(c10::Half(), float());
    case ScalarType::BFloat16: return body(c10::BFloat16(), float());
    default: STD_TORCH_CHECK(false, "depthwise_conv2d: dtype is not floating point");
  }
}

Tensor depthwise_conv2d(Tensor input, Tensor weight, std::optional<Tensor> bias) {
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  STD_TORCH_CHECK(
      weight.dim() == 4 && weight.size(0) == c && weight.size(1) == 1 &&
          weight.size(2) % 2 == 1 && weight.size(3) % 2 == 1 &&
          weight.scalar_type() == input.scalar_type(),
      "depthwise_conv2d: weight must have shape (C, 1, odd, odd) and the input's dtype");
  STD_TORCH_CHECK(
      !bias || (bias->dim() == 1 && bias->size(0) == c &&
                bias->scalar_type() == input.scalar_type()),
      "depthwise_conv2d: bias must have shape (C,) and the input's dtype");
  Tensor output = empty(input, {n, c, h, w}, {h * w * c, 1, w * c, c});
  dispatch(input, [&](auto s, auto t) {
    using S = decltype(s);
    const S* start = bias ? static_cast<const S*>(bias->data_ptr()) : nullptr;
    forward<S, decltype(t)>(
        Map<S>(input), Map<S>(weight), start, bias ? bias->stride(0) : 0, Map<S>(output));
  });
  return output;
}

Tensor depthwise_conv2d_weight(Tensor input, Tensor grad, int64_t kh, int64_t kw) {
  STD_TORCH_CHECK(kh % 2 == 1 && kw % 2 == 1, "depthwise_conv2d: kernel sides must be odd");
  for (int d = 0; d < 4; ++d) {
    STD_TORCH_CHECK(
        input.size(d) == grad.size(d) && input.scalar_type() == grad.scalar_type(),
        "depthwise_conv2d: input and grad must have one shape and dtype");
  }
  Tensor output = empty(input, {input.size(1), 1, kh, kw}, {kh * kw, kh * kw, kw, 1});
  dispatch(input, [&](auto s, auto t) {
    using S = decltype(s);
    weight_gradient<S, decltype(t)>(Map<S>(input), Map<S>(grad), Map<S>(output));
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CPU, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&depthwise_conv2d));
  m.impl("depthwise_conv2d_weight", TORCH_BOX(&depthwise_conv2d_weight));
}
