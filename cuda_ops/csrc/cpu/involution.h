// Rows of maps as the inner loops of the involution read them, and the three passes.
//
// A task works on some rows of a group's maps in arrays of its own, so that tensors of
// any strides and dtypes are served alike; of the weight it holds one row of outputs.
#pragma once

#include "involution_kernels.h"
#include "maps.h"

namespace involution {

struct Options {
  int64_t stride, padding, dilation;
  bool interleaved, clamp;
};

// Where the window of output `o` begins on an axis of `size` places.
inline int64_t first_place(const Options& a, int64_t o, int64_t size, int64_t k) {
  int64_t first = o * a.stride - a.padding;
  if (a.clamp) {
    if (first < 0) first += (-first + a.dilation - 1) / a.dilation * a.dilation;
    const int64_t over = first + a.dilation * (k - 1) - (size - 1);
    if (over > 0) first -= (over + a.dilation - 1) / a.dilation * a.dilation;
  }
  return first;
}

// A row of the input, laid out so that a tap of neighbouring outputs reads neighbours:
// with zeros around the map, all places, sorted by their remainder modulo the stride;
// with moved windows, the places of each tap.
class RowLayout {
 public:
  RowLayout(const Options& a, int64_t width, int64_t outputs, int64_t k, int64_t lanes)
      : pitch((outputs + lanes - 1) / lanes * lanes), offsets(k) {
    if (a.clamp) {
      place.assign(k * pitch, -1);
      for (int64_t v = 0; v < k; ++v) {
        offsets[v] = v * pitch;
        for (int64_t j = 0; j < outputs; ++j)
          place[v * pitch + j] = first_place(a, j, width, k) + v * a.dilation;
      }
      return;
    }
    const int64_t length = pitch + a.dilation * (k - 1) / a.stride;
    place.assign(a.stride * length, -1);
    for (int64_t i = 0; i < a.stride * length; ++i) {
      const int64_t x = i % length * a.stride + i / length - a.padding;
      if (x >= 0 && x < width) place[i] = x;
    }
    for (int64_t v = 0; v < k; ++v)
      offsets[v] = v * a.dilation % a.stride * length + v * a.dilation / a.stride;
    plain = a.stride == 1;
    first = std::min(a.padding, length);
    count = std::clamp<int64_t>(length - a.padding, 0, width);
  }

  int64_t size() const { return place.size(); }

  template <typename S, typename T>
  void read(const S* from, int64_t stride, T* to) const {
    if (plain && stride == 1) {
      std::fill_n(to, first, T(0));
      read_line(from, 1, count, to + first, 1);
      std::fill(to + first + count, to + size(), T(0));
      return;
    }
    for (int64_t i = 0; i < size(); ++i)
      to[i] = place[i] < 0 ? T(0) : static_cast<T>(from[place[i] * stride]);
  }

  // Adds what stands for the same place; `sum` has room for a row of the map.
  template <typename S, typename T>
  void write(const T* from, T* sum, int64_t width, S* to) const {
    std::fill_n(sum, width, T(0));
    for (int64_t i = 0; i < size(); ++i)
      if (place[i] >= 0) sum[place[i]] += from[i];
    write_line(sum, 1, width, to, 1);
  }

  int64_t pitch;                 // outputs of a row, in whole vectors
  std::vector<int64_t> offsets;  // of the taps

 private:
  std::vector<int64_t> place;  // of the map, or -1
  bool plain = false;
  int64_t first = 0, count = 0;  // of a plain row: zeros, then so many places
};

// The weight or its gradient, (images, groups, K, K, rows, columns) of any strides.
template <typename S>
struct Weight {
  S* data;
  int64_t strides[6];

  explicit Weight(const torch::stable::Tensor& t) : data(static_cast<S*>(t.data_ptr())) {
    for (int d = 0; d < 6; ++d) strides[d] = t.stride(d);
  }

  S* at(int64_t image, int64_t group, int64_t u, int64_t v, int64_t row) const {
    return data + image * strides[0] + group * strides[1] + u * strides[2] +
           v * strides[3] + row * strides[4];
  }
};

struct Sizes {
  int64_t groups, members, k;
  int64_t height, width, rows, columns;  // of the input, of the output

  int64_t channel(const Options& a, int64_t group, int64_t member) const {
    return a.interleaved ? member * groups + group : group * members + member;
  }
};

template <typename S, typename T>
void read_row(const S* from, int64_t stride, int64_t count, int64_t pitch, T* to) {
  read_line(from, stride, count, to, 1);
  std::fill(to + count, to + pitch, T(0));
}

// Rows of a map into which a task divides it, so that all threads have work and the
// rows it reads stay in the second cache.
inline int64_t rows_of_task(
    const Options& a, int64_t tasks, int64_t height, int64_t k, int64_t bytes_of_row) {
  const int64_t parts = (4 * num_threads() + tasks - 1) / std::max<int64_t>(tasks, 1);
  const int64_t fit = (512 << 10) / bytes_of_row - a.dilation * (k - 1);
  const int64_t most = std::max<int64_t>(4, fit / a.stride);
  return std::clamp<int64_t>((height + parts - 1) / parts, 1, most);
}

// Calls body(image, group, first row, last row) for all rows of all groups' maps.
template <typename F>
void by_rows(
    int64_t images, const Sizes& s, int64_t height, int64_t step, double cycles,
    const F& body) {
  const int64_t parts = (height + step - 1) / step;
  parallel_for(images * s.groups * parts, cycles * step, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * step;
      const int64_t group = task / parts % s.groups, image = task / parts / s.groups;
      body(image, group, first, std::min(height, first + step));
    }
  });
}

// Cycles of a row of outputs of a group.
inline double cost(const Sizes& s) {
  return 0.3 * double(s.k) * s.k * s.columns * (s.members + 2);
}

// Calls body(output row, packed rows of its taps), in order, with the rows of the
// input that they read.
template <typename S, typename T, typename F>
void with_inputs(
    const Map<S>& input, const Options& a, const Sizes& s, const RowLayout& layout,
    int64_t image, int64_t group, int64_t begin, int64_t end, const F& body) {
  int64_t low = s.height, high = 0;  // rows of the input
  for (int64_t i = begin; i < end; ++i) {
    const int64_t y = first_place(a, i, s.height, s.k);
    low = std::min(low, y);
    high = std::max(high, y + a.dilation * (s.k - 1) + 1);
  }
  low = std::max<int64_t>(low, 0);
  high = std::max(low, std::min(high, s.height));
  const int64_t step = (high - low) * layout.size();  // between members
  Scratch<T> maps(s.members * step);
  for (int64_t m = 0; m < s.members; ++m)
    for (int64_t y = low; y < high; ++y)
      layout.read(
          input.at(image, s.channel(a, group, m), y, 0), input.column_stride,
          maps.get() + m * step + (y - low) * layout.size());
  std::vector<const T*> taps(s.k);
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t u = 0; u < s.k; ++u) {
      const int64_t y = first_place(a, i, s.height, s.k) + u * a.dilation;
      const bool inside = y >= 0 && y < s.height;
      taps[u] = inside ? maps.get() + (y - low) * layout.size() : nullptr;
    }
    body(i, taps.data(), step);
  }
}

template <typename S, typename T>
void output(
    const Map<S>& input, const Weight<S>& weight, const Map<S>& output, const Options& a,
    const Sizes& s) {
  const RowLayout layout(a, s.width, s.columns, s.k, involution_kernels<T>().lanes);
  const int64_t pitch = layout.pitch, bytes = s.members * layout.size() * sizeof(T);
  const int64_t step =
      rows_of_task(a, input.images * s.groups, s.rows, s.k, bytes);
  by_rows(input.images, s, s.rows, step, cost(s), [&](auto n, auto g, auto begin, auto end) {
    Scratch<T> numbers(s.k * s.k * pitch), out(s.members * pitch);
    with_inputs<S, T>(input, a, s, layout, n, g, begin, end, [&](auto i, auto taps, auto far) {
      for (int64_t tap = 0; tap < s.k * s.k; ++tap)
        read_row(
            weight.at(n, g, tap / s.k, tap % s.k, i), weight.strides[5], s.columns, pitch,
            numbers.get() + tap * pitch);
      involution_kernels<T>().output(
          s.members, out.get(), taps, far, layout.offsets.data(), s.k, numbers.get(),
          pitch);
      for (int64_t m = 0; m < s.members; ++m)
        std::copy_n(
            out.get() + m * pitch, s.columns, output.at(n, s.channel(a, g, m), i, 0));
    });
  });
}

template <typename S, typename T>
void weight_gradient(
    const Map<S>& input, const Map<S>& grad, const Weight<S>& output, const Options& a,
    const Sizes& s) {
  const RowLayout layout(a, s.width, s.columns, s.k, involution_kernels<T>().lanes);
  const int64_t pitch = layout.pitch, bytes = s.members * layout.size() * sizeof(T);
  const int64_t step =
      rows_of_task(a, input.images * s.groups, s.rows, s.k, bytes);
  by_rows(input.images, s, s.rows, step, cost(s), [&](auto n, auto g, auto begin, auto end) {
    Scratch<T> total(s.k * s.k * pitch), slopes(s.members * pitch);
    with_inputs<S, T>(input, a, s, layout, n, g, begin, end, [&](auto i, auto taps, auto far) {
      for (int64_t m = 0; m < s.members; ++m)
        read_row(
            grad.at(n, s.channel(a, g, m), i, 0), grad.column_stride, s.columns, pitch,
            slopes.get() + m * pitch);
      std::fill_n(total.get(), s.k * s.k * pitch, T(0));
      involution_kernels<T>().weight(
          s.members, total.get(), taps, far, layout.offsets.data(), s.k, slopes.get(),
          pitch);
      for (int64_t tap = 0; tap < s.k * s.k; ++tap)
        std::copy_n(
            total.get() + tap * pitch, s.columns,
            output.at(n, g, tap / s.k, tap % s.k, i));
    });
  });
}

template <typename S, typename T>
void input_gradient(
    const Map<S>& grad, const Weight<S>& weight, const Map<S>& output, const Options& a,
    const Sizes& s) {
  const RowLayout layout(a, s.width, s.columns, s.k, involution_kernels<T>().lanes);
  const int64_t pitch = layout.pitch, bytes = s.members * layout.size() * sizeof(T);
  const int64_t step = rows_of_task(a, grad.images * s.groups, s.height, 1, bytes);
  const double cycles = cost(s) * s.rows / s.height;
  by_rows(grad.images, s, s.height, step, cycles, [&](auto n, auto g, auto begin, auto end) {
    const int64_t far = (end - begin) * layout.size();
    Scratch<T> numbers(s.k * s.k * pitch), slopes(s.members * pitch);
    Scratch<T> total(s.members * far), sum(s.width);
    std::vector<T*> taps(s.k);
    std::fill_n(total.get(), s.members * far, T(0));
    for (int64_t i = 0; i < s.rows; ++i) {
      bool any = false;
      for (int64_t u = 0; u < s.k; ++u) {
        const int64_t y = first_place(a, i, s.height, s.k) + u * a.dilation;
        const bool inside = y >= begin && y < end;
        taps[u] = inside ? total.get() + (y - begin) * layout.size() : nullptr;
        any = any || inside;
        for (int64_t v = 0; inside && v < s.k; ++v)
          read_row(
              weight.at(n, g, u, v, i), weight.strides[5], s.columns, pitch,
              numbers.get() + (u * s.k + v) * pitch);
      }
      if (!any) continue;
      for (int64_t m = 0; m < s.members; ++m)
        read_row(
            grad.at(n, s.channel(a, g, m), i, 0), grad.column_stride, s.columns, pitch,
            slopes.get() + m * pitch);
      involution_kernels<T>().input(
          s.members, taps.data(), far, layout.offsets.data(), s.k, numbers.get(),
          slopes.get(), pitch);
    }
    for (int64_t m = 0; m < s.members; ++m)
      for (int64_t y = begin; y < end; ++y)
        layout.write(
            total.get() + m * far + (y - begin) * layout.size(), sum.get(), s.width,
            output.at(n, s.channel(a, g, m), y, 0));
  });
}

}  // namespace involution
