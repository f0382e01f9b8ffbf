// The depthwise convolution and the gradient of its kernel by Fourier transforms,
// far fewer operations than by their sums where the kernel is large. With X, G, W
// the spectra of input, output's gradient and kernel (tap d = 0 in the middle):
//
//   output = inverse(X conj(W)),    gradient of the kernel = inverse(sum X conj(G)).
//
// Large maps are cut into tiles, each with the input around it. Transforms are
// longer than a tile and its surroundings, so nothing wraps into the result.
#pragma once

#include <cmath>
#include <limits>

#include "depthwise_kernels.h"
#include "maps.h"

namespace fft {

// Rough cycles for a point: in a stage of each radix, and in the rest of the work.
// They decide well between lengths, and between transforms and sums.
constexpr double kCost[] = {0, 0, 5, 5.5, 5, 6.5, 6.5, 0, 6};
constexpr double kAround = 6;
constexpr int64_t kMost = 4096;

// Radix of the first stage and cost for each length; infinite where there is none.
struct Lengths {
  std::vector<int> radix = std::vector<int>(kMost + 1, 0);
  std::vector<double> cost =
      std::vector<double>(kMost + 1, std::numeric_limits<double>::infinity());

  Lengths() {
    cost[1] = 0;
    for (int64_t n = 2; n <= kMost; ++n) {
      for (int r : {2, 3, 4, 5, 6, 8}) {
        if (n % r) continue;
        const double c = n * kCost[r] + r * cost[n / r];
        if (c < cost[n]) cost[n] = c, radix[n] = r;
      }
    }
  }

  static const Lengths& get() {
    static const Lengths lengths;
    return lengths;
  }
};

// How an axis is cut and transformed.
struct Axis {
  int64_t size;    // of the map
  int64_t reach;   // of the kernel to either side, within the map
  int64_t middle;  // index of the middle tap
  int64_t tiles = 1, length = 0;

  Axis(int64_t size, int64_t kernel)
      : size(size), reach(std::min(kernel / 2, size - 1)), middle(kernel / 2) {
    const auto& cost = Lengths::get().cost;
    // beyond this, tiles are faster: less memory is worked on at a time
    const int64_t most = std::min(kMost, std::max<int64_t>(256, 4 * reach));
    double best = std::numeric_limits<double>::infinity();
    for (int64_t n = 1; n <= size; ++n) {
      const int64_t least = std::min((size + n - 1) / n + reach, size) + reach;
      if (n > 1 && n * least * kAround > best) break;  // only worse from here
      for (int64_t l = std::max<int64_t>(2, least); l <= most && l < 2 * least + 2; ++l) {
        const double c = n * (cost[l] + kAround * l);
        if (c < best) best = c, tiles = n, length = l;
      }
    }
  }

  bool possible() const { return length > 0; }
  int64_t begin(int64_t tile) const { return size * tile / tiles; }
  int64_t end(int64_t tile) const { return size * (tile + 1) / tiles; }
  // the input that a tile needs
  int64_t first(int64_t tile) const { return std::max<int64_t>(0, begin(tile) - reach); }
  int64_t last(int64_t tile) const { return std::min(size, end(tile) + reach); }
  // place of an offset, which may be negative, in a transform
  int64_t place(int64_t offset) const { return offset < 0 ? offset + length : offset; }
  double cost() const { return Lengths::get().cost[length] + kAround * length; }
};

template <typename T>
Plan<T> make_plan(int64_t length) {
  Plan<T> plan{length, {}, {}};
  for (int64_t n = length; n > 1; n /= plan.radices.back()) {
    const int radix = Lengths::get().radix[n];
    plan.radices.push_back(radix);
    for (int64_t p = 1; p < n / radix; ++p) {
      for (int k = 1; k < radix; ++k) {
        const double angle = 2 * M_PI * static_cast<double>(p * k) / n;
        plan.turns.push_back(static_cast<T>(std::cos(angle)));
        plan.turns.push_back(static_cast<T>(std::sin(angle)));
      }
    }
  }
  return plan;
}

// Cycles of any pass for one image and block of channels.
inline double cost(const Axis& rows, const Axis& columns) {
  const double tall = static_cast<double>(rows.size) / rows.tiles;
  const double in = std::min<double>(tall + 2 * rows.reach, rows.size);
  return rows.tiles * columns.tiles *
         ((in + tall) / 2 * columns.cost() + columns.length * rows.cost());
}

// Transforms of one size, and the memory of one thread for them.
template <typename T>
struct Transformer {
  const Axis &rows, &columns;
  const int64_t lanes = kernels<T>().lanes;
  const Plan<T> row_plan, column_plan;
  const int64_t frequencies, apart, size;  // size: numbers in a spectrum
  const int64_t point = 2 * lanes;         // numbers in a complex number

  Transformer(const Axis& rows, const Axis& columns)
      : rows(rows), columns(columns),
        row_plan(make_plan<T>(columns.length)), column_plan(make_plan<T>(rows.length)),
        frequencies(columns.length / 2 + 1),
        // room for a row that nobody reads; odd, so that columns do not meet in
        // the same cache lines
        apart((rows.length + 1) | 1),
        size(frequencies * apart * 2 * kernels<T>().lanes) {}

  Scratch<T> spectrum() const { return Scratch<T>(size); }
  Scratch<T> row() const { return Scratch<T>(columns.length * point); }
  Scratch<T> work() const {
    return Scratch<T>(3 * std::max(rows.length, columns.length) * point);
  }

  // Rows i and columns j of a block, each (first, last, origin), to the places
  // counted from the origin; zeros elsewhere. Transformed along the rows only.
  template <typename S>
  void rows_forward(
      const Map<S>& map, int64_t image, int64_t channel, const int64_t (&i)[3],
      const int64_t (&j)[3], T* z, T* work, T* half) const {
    const auto [i_first, i_last, i_origin] = i;
    const auto [j_first, j_last, j_origin] = j;
    const int64_t turn = std::clamp(j_origin, j_first, j_last);
    std::fill_n(z, columns.length * point, T(0));
    for (int64_t r = i_first; r < i_last; r += 2) {
      for (int part = 0; part < 2; ++part) {
        T* out = z + part * lanes;
        if (r + part == i_last) {
          for (int64_t c = 0; c < columns.length; ++c) {
            std::fill_n(out + c * point, lanes, T(0));
          }
          continue;
        }
        pack(
            map, image, channel, r + part, j_first, turn, lanes,
            out + (columns.length + j_first - j_origin) * point, point);
        pack(
            map, image, channel, r + part, turn, j_last, lanes,
            out + (turn - j_origin) * point, point);
      }
      kernels<T>().rows_forward(
          row_plan, z, work, half, apart, rows.place(r - i_origin),
          r + 1 < i_last ? rows.place(r + 1 - i_origin) : rows.length);
    }
    for (int64_t f = 0; f < frequencies; ++f) {
      T* column = half + f * apart * point;
      for (int64_t r = i_last; r < i_first + rows.length; ++r) {
        std::fill_n(column + (r - i_origin) % rows.length * point, point, T(0));
      }
    }
  }

  // A tile of the map and the input around it.
  template <typename S>
  void tile_forward(
      const Map<S>& map, int64_t image, int64_t channel, int64_t row, int64_t column,
      T* z, T* work, T* half) const {
    rows_forward(
        map, image, channel, {rows.first(row), rows.last(row), rows.begin(row)},
        {columns.first(column), columns.last(column), columns.begin(column)}, z, work,
        half);
  }
};

template <typename S, typename T>
void forward(
    const Map<S>& input, const Map<S>& weight, const S* bias, int64_t bias_stride,
    const Map<S>& output, const Axis& rows, const Axis& columns) {
  const Transformer<T> t(rows, columns);
  const int64_t lanes = t.lanes, point = t.point, images = input.images;
  const int64_t tiles = rows.tiles * columns.tiles, per_block = images * tiles;
  const T scale = T(0.25) / (static_cast<T>(rows.length) * columns.length);
  const double cycles = cost(rows, columns) / tiles;
  parallel_for(input.blocks(lanes) * per_block, cycles, [&](int64_t begin, int64_t end) {
    const auto half = t.spectrum(), kernel = t.spectrum(), z = t.row(), work = t.work();
    Scratch<T> shift(lanes);
    int64_t done = -1;  // block whose kernel is in `kernel`
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task / per_block * lanes, n = task % per_block / tiles;
      const int64_t row = task % tiles / columns.tiles, column = task % columns.tiles;
      if (done != channel) {
        const int64_t i = rows.middle, j = columns.middle;
        t.rows_forward(
            weight, 0, channel, {i - rows.reach, i + rows.reach + 1, i},
            {j - columns.reach, j + columns.reach + 1, j}, z.get(), work.get(),
            kernel.get());
        kernels<T>().columns_forward(
            t.column_plan, kernel.get(), work.get(), t.frequencies, t.apart, scale);
        pack_bias(bias, bias_stride, channel, input.channels, lanes, shift.get());
        done = channel;
      }
      t.tile_forward(input, n, channel, row, column, z.get(), work.get(), half.get());
      kernels<T>().columns_product(
          t.column_plan, half.get(), work.get(), t.frequencies, t.apart, kernel.get());
      const int64_t first = rows.begin(row), last = rows.end(row);
      for (int64_t i = first; i < last; i += 2) {
        const int64_t next = std::min(i + 1, last - 1);
        kernels<T>().rows_inverse(
            t.row_plan, z.get(), work.get(), half.get(), t.apart, i - first,
            next - first);
        for (int64_t k = i; k <= next; ++k) {
          unpack(
              output, n, channel, k, columns.begin(column), columns.end(column), lanes,
              z.get() + (k - i) * lanes, point, T(1), shift.get());
        }
      }
    }
  });
}

template <typename S, typename T>
void weight_gradient(
    const Map<S>& input, const Map<S>& grad, const Map<S>& output, const Axis& rows,
    const Axis& columns) {
  const Transformer<T> t(rows, columns);
  const int64_t lanes = t.lanes, point = t.point, blocks = input.blocks(lanes);
  const int64_t tiles = rows.tiles * columns.tiles, items = input.images * tiles;
  // Each block's sum is made in groups, by the shape alone: the same for any
  // number of threads, and work for many of them.
  const int64_t groups = std::clamp<int64_t>(32 / blocks, 1, std::max<int64_t>(items, 1));
  const double cycles = cost(rows, columns) / tiles;
  Scratch<T> sums(blocks * groups * t.size);
  parallel_for(blocks * groups, cycles * items / groups, [&](int64_t begin, int64_t end) {
    const auto x = t.spectrum(), g = t.spectrum(), z = t.row(), work = t.work();
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task / groups * lanes, group = task % groups;
      T* sum = sums.get() + task * t.size;
      std::fill_n(sum, t.size, T(0));
      for (int64_t k = items * group / groups; k < items * (group + 1) / groups; ++k) {
        const int64_t n = k / tiles, row = k % tiles / columns.tiles;
        const int64_t column = k % columns.tiles;
        t.tile_forward(input, n, channel, row, column, z.get(), work.get(), x.get());
        const int64_t i = rows.begin(row), j = columns.begin(column);
        t.rows_forward(
            grad, n, channel, {i, rows.end(row), i}, {j, columns.end(column), j},
            z.get(), work.get(), g.get());
        kernels<T>().columns_correlate(
            t.column_plan, x.get(), g.get(), work.get(), t.frequencies, t.apart, sum);
      }
    }
  });
  const T scale = T(0.25) / (static_cast<T>(rows.length) * columns.length);
  parallel_for(blocks, cycles, [&](int64_t begin, int64_t end) {
    const auto z = t.row(), work = t.work();
    Scratch<T> zeros(std::max(output.columns, int64_t(1)) * lanes);
    std::fill_n(zeros.get(), output.columns * lanes, T(0));
    for (int64_t b = begin; b < end; ++b) {
      T* sum = sums.get() + b * groups * t.size;
      for (int64_t group = 1; group < groups; ++group) {
        const T* other = sum + group * t.size;
        for (int64_t i = 0; i < t.size; ++i) sum[i] += other[i];
      }
      kernels<T>().columns_inverse(
          t.column_plan, sum, work.get(), t.frequencies, t.apart);
      for (int64_t u = 0; u < output.rows; ++u) {
        const int64_t d = u - rows.middle, reach = columns.reach, j = columns.middle;
        const auto put = [&](int64_t first, int64_t last, const T* in) {
          unpack(
              output, 0, b * lanes, u, first, last, lanes, in, point, scale,
              zeros.get());
        };
        if (std::abs(d) > rows.reach) {  // no such tap meets the map
          unpack(
              output, 0, b * lanes, u, 0, output.columns, lanes, zeros.get(), lanes,
              T(1), zeros.get());
          continue;
        }
        const int64_t r = rows.place(d);
        kernels<T>().rows_inverse(
            t.row_plan, z.get(), work.get(), sum, t.apart, r, r);
        unpack(
            output, 0, b * lanes, u, 0, j - reach, lanes, zeros.get(), lanes, T(1),
            zeros.get());
        put(j - reach, j, z.get() + (columns.length - reach) * point);
        put(j, j + reach + 1, z.get());
        unpack(
            output, 0, b * lanes, u, j + reach + 1, output.columns, lanes, zeros.get(),
            lanes, T(1), zeros.get());
      }
    }
  });
}

}  // namespace fft
