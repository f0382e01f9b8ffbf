// Oriented kernels on the CPU: pixels of their lines, channels of one direction in the
// lanes of a vector, and the passes of the convolution.
#pragma once

#include <cmath>
#include <map>
#include <memory>
#include <vector>

#define KERNELS_HEADER "line_kernel.h"
#include "isa.h"
#include "maps.h"

namespace lines {

template <typename T>
struct LineKernels {
  int64_t lanes;
  decltype(&base::line_sums<T>) sums;
  decltype(&base::line_products<T>) products;
};

template <typename T>
const LineKernels<T>& line_kernels() {
  static const LineKernels<T> chosen = [] {
    switch (best_isa()) {
#if defined(__x86_64__)
      case Isa::avx512:
        return LineKernels<T>{
            64 / sizeof(T), &avx512::line_sums<T>, &avx512::line_products<T>};
      case Isa::avx2:
        return LineKernels<T>{32 / sizeof(T), &avx2::line_sums<T>, &avx2::line_products<T>};
#endif
      default:
        return LineKernels<T>{16 / sizeof(T), &base::line_sums<T>, &base::line_products<T>};
    }
  }();
  return chosen;
}

struct Pixel {
  int64_t row, column;  // from the centre
};

// A direction's pixels that ever meet the map, in the order of the taps.
struct Direction {
  std::vector<Pixel> pixels;
  std::vector<int> pixel_of_tap;  // -1: it never meets the map
};

// Sine and cosine are rounded to float, the product is a float product, and its
// fraction is dropped: the definition, which decides where taps lie.
inline Direction make_direction(float angle, int64_t taps, int64_t height, int64_t width) {
  const float sine = static_cast<float>(std::sin(static_cast<double>(angle)));
  const float cosine = static_cast<float>(std::cos(static_cast<double>(angle)));
  Direction direction;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const float distance = static_cast<float>(tap - taps / 2);
    const auto row = static_cast<int64_t>(-sine * distance);
    const auto column = static_cast<int64_t>(cosine * distance);
    int pixel = -1;
    if (std::abs(row) < height && std::abs(column) < width) {
      auto& all = direction.pixels;
      if (all.empty() || all.back().row != row || all.back().column != column) {
        all.push_back({row, column});
      }
      pixel = static_cast<int>(all.size()) - 1;
    }
    direction.pixel_of_tap.push_back(pixel);
  }
  return direction;
}

// Channels of one direction. Lane l is channel `first + l`, if lanes are neighbouring
// channels of the maps; then those outside of [begin, end) are others' and are left
// alone. Else it is channels[l].
struct Block {
  const Direction* direction;
  std::vector<int64_t> channels;
  int64_t first, begin, end;  // first < 0: channels are anywhere
};

struct Lines {
  std::map<float, Direction> directions;
  std::vector<Block> blocks;
};

inline Lines make_lines(
    const float* angles, int64_t channels, int64_t taps, int64_t height, int64_t width,
    int64_t lanes) {
  Lines found;
  std::map<float, std::vector<int64_t>> members;
  for (int64_t c = 0; c < channels; ++c) members[angles[c]].push_back(c);
  for (const auto& [angle, all] : members) {
    auto& direction = found.directions[angle];
    direction = make_direction(angle, taps, height, width);
    for (size_t from = 0; from < all.size(); from += lanes) {
      const size_t to = std::min(all.size(), from + lanes);
      Block block{&direction, {all.begin() + from, all.begin() + to}, -1, 0, 0};
      const int64_t count = to - from, start = block.channels.front();
      if (channels >= lanes && block.channels.back() - start + 1 == count) {
        block.first = std::min(start, channels - lanes);
        block.begin = start - block.first;
        block.end = block.begin + count;
      }
      found.blocks.push_back(std::move(block));
    }
  }
  return found;
}

// Calls body with a number of 1 to 16 as a constant.
template <int N = 1, typename F>
void with_count(int64_t count, const F& body) {
  if constexpr (N < 16) {
    if (count != N) return with_count<N + 1>(count, body);
  }
  body(std::integral_constant<int, N>());
}

// A row of the maps of a block to out[column][lane].
template <typename S, typename T>
void pack_row(
    const Map<S>& map, const Block& block, int64_t image, int64_t row, int64_t lanes,
    T* out) {
  if (block.first >= 0 && map.channel_stride == 1) {
    const S* from = map.at(image, block.first, row, 0);
    return with_lanes(lanes, [&](auto count) {
      for (int64_t j = 0; j < map.columns; ++j, out += count, from += map.column_stride) {
        __builtin_prefetch(from + 16 * map.column_stride);
        T values[count];
        read_line(from, 1, count, values, 1);
        std::copy_n(values, int(count), out);
      }
    });
  }
  const int64_t begin = block.first < 0 ? 0 : block.begin;
  for (size_t l = 0; l < block.channels.size(); ++l) {
    const S* from = map.at(image, block.channels[l], row, 0);
    T* to = out + begin + l;
    read_line(from, map.column_stride, map.columns, to, lanes);
  }
}

// The way back, in[column][lane] + shift[lane].
template <typename S, typename T>
void unpack_row(
    const Map<S>& map, const Block& block, int64_t image, int64_t row, int64_t lanes,
    T* in, const T* shift) {
  if (shift) {
    with_lanes(lanes, [&](auto count) {
      T* at = in;
      for (int64_t j = 0; j < map.columns; ++j, at += count) {
        T values[count];
        for (int l = 0; l < count; ++l) values[l] = at[l] + shift[l];
        std::copy_n(values, int(count), at);
      }
    });
  }
  if (block.first >= 0 && map.channel_stride == 1) {
    return with_count(block.end - block.begin, [&](auto count) {
      S* to = map.at(image, block.first + block.begin, row, 0);
      const T* from = in + block.begin;
      for (int64_t j = 0; j < map.columns; ++j, from += lanes, to += map.column_stride) {
        S values[count];
        write_line(from, 1, count, values, 1);
        std::copy_n(values, int(count), to);
      }
    });
  }
  const int64_t begin = block.first < 0 ? 0 : block.begin;
  for (size_t l = 0; l < block.channels.size(); ++l) {
    S* to = map.at(image, block.channels[l], row, 0);
    const T* from = in + begin + l;
    write_line(from, lanes, map.columns, to, map.column_stride);
  }
}

// values[pixel][lane] of the taps of a block's channels.
template <typename S, typename T>
void pack_taps(const Map<S>& weight, const Block& block, int64_t lanes, T* values) {
  const auto& direction = *block.direction;
  std::fill_n(values, direction.pixels.size() * lanes, T(0));
  const int64_t begin = block.first < 0 ? 0 : block.begin;
  for (size_t l = 0; l < block.channels.size(); ++l) {
    for (int64_t tap = 0; tap < weight.columns; ++tap) {
      const int pixel = direction.pixel_of_tap[tap];
      if (pixel < 0) continue;
      values[pixel * lanes + begin + l] +=
          static_cast<T>(*weight.at(block.channels[l], 0, 0, tap));
    }
  }
}

// Memory that grows as it must, and is kept for the next task.
template <typename T>
class Room {
 public:
  T* get(int64_t size) {
    if (size > size_) {
      memory_.reset(new Scratch<T>(size));
      size_ = size;
    }
    return memory_->get();
  }

 private:
  std::unique_ptr<Scratch<T>> memory_;
  int64_t size_ = -1;
};

// Rows of a block's maps, with columns of zeros on both sides.
template <typename T>
struct Window {
  int64_t pitch, margin, lanes;
  T* start;

  template <typename S>
  Window(
      Room<T>& room, const Map<S>& map, const Block& block, int64_t image, int64_t first,
      int64_t last, int64_t margin, int64_t lanes)
      : pitch(map.columns + 2 * margin), margin(margin), lanes(lanes),
        start(room.get(std::max<int64_t>(0, last - first) * pitch * lanes)) {
    const bool partly = block.first < 0 || map.channel_stride != 1;
    for (int64_t i = first; i < last; ++i) {
      T* row = at(i - first) - margin * lanes;
      // lanes without a channel are summed, too
      std::fill_n(row, (partly ? pitch : margin) * lanes, T(0));
      std::fill_n(row + (pitch - margin) * lanes, margin * lanes, T(0));
      pack_row(map, block, image, i, lanes, row + margin * lanes);
    }
  }

  // The place of (row, column 0), rows counted from the first.
  T* at(int64_t row) const { return start + (row * pitch + margin) * lanes; }
};

// Pixels in the order in which their rows ascend or descend, with places in a window.
struct Path {
  std::vector<int64_t> rows, offsets;
  std::vector<int64_t> sources;  // index of the direction's pixel

  // Those that lie in rows [0, height) from row `at` on: a range, as rows are monotone.
  std::pair<int64_t, int64_t> inside(int64_t at, int64_t height) const {
    int64_t begin = 0, end = rows.size();
    const auto out = [&](int64_t s) { return at + rows[s] < 0 || at + rows[s] >= height; };
    while (begin < end && out(begin)) ++begin;
    while (begin < end && out(end - 1)) --end;
    return {begin, end};
  }
};

inline int64_t reach(const Direction& direction, bool columns) {
  int64_t most = 0;
  for (const Pixel& p : direction.pixels) {
    most = std::max(most, std::abs(columns ? p.column : p.row));
  }
  return most;
}

// Parts into which the rows of each task are split, so that all threads have work.
inline int64_t splits(int64_t tasks, int64_t rows) {
  const int64_t wanted = 4 * num_threads();
  return std::clamp<int64_t>((wanted + tasks - 1) / std::max<int64_t>(1, tasks), 1, rows);
}

// Cycles of a row of sums, and of the copies around it.
inline double row_cycles(int64_t columns, int64_t taps) { return columns * (taps + 12.0); }

template <typename S, typename T>
void forward(
    const Map<S>& input, const Map<S>& weight, const float* angles, const S* bias,
    int64_t bias_stride, int64_t stride, const Map<S>& output) {
  const auto& kernels = line_kernels<T>();
  const int64_t lanes = kernels.lanes, height = input.rows;
  const Lines lines =
      make_lines(angles, input.channels, weight.columns, height, input.columns, lanes);
  const int64_t blocks = lines.blocks.size();
  const int64_t parts = splits(blocks * input.images, output.rows);
  const double cycles = output.rows * row_cycles(output.columns, weight.columns) / parts;
  const int64_t tasks = blocks * input.images * parts;
  parallel_for(tasks, cycles, [&](int64_t begin, int64_t end) {
    Room<T> maps;
    for (int64_t task = begin; task < end; ++task) {
      const Block& block = lines.blocks[task % blocks];
      const auto& pixels = block.direction->pixels;
      const int64_t image = task / (blocks * parts), part = task / blocks % parts;
      const int64_t from = output.rows * part / parts;
      const int64_t to = output.rows * (part + 1) / parts;
      const int64_t up = reach(*block.direction, false);
      const int64_t first = std::max<int64_t>(0, from * stride - up);
      const int64_t last = std::min(height, (to - 1) * stride + up + 1);
      const Window<T> window(
          maps, input, block, image, first, last, reach(*block.direction, true), lanes);
      Scratch<T> taps(pixels.size() * lanes), out(output.columns * lanes), shift(lanes);
      pack_taps(weight, block, lanes, taps.get());
      std::fill_n(shift.get(), lanes, T(0));
      for (size_t l = 0; bias && l < block.channels.size(); ++l) {
        shift.get()[(block.first < 0 ? 0 : block.begin) + l] =
            static_cast<T>(bias[block.channels[l] * bias_stride]);
      }
      Path path;
      for (const Pixel& p : pixels) {
        path.rows.push_back(p.row);
        path.offsets.push_back(p.row * window.pitch + p.column);
      }
      for (int64_t i = from; i < to; ++i) {
        const auto [a, b] = path.inside(i * stride, height);
        kernels.sums(
            out.get(), 1, output.columns, taps.get() + a * lanes, path.offsets.data() + a,
            b - a, window.at(i * stride - first), stride);
        unpack_row(output, block, image, i, lanes, out.get(), bias ? shift.get() : nullptr);
      }
    }
  });
}

// Pixels that lead from places (phase_row, phase_column) modulo `stride` of the input to
// outputs: source (i + row, j + column) for the place (phase + stride * (i, j)).
inline Path input_path(
    const Direction& direction, int64_t stride, int64_t phase_row, int64_t phase_column,
    int64_t pitch) {
  Path path;
  for (size_t s = 0; s < direction.pixels.size(); ++s) {
    const int64_t row = phase_row - direction.pixels[s].row;
    const int64_t column = phase_column - direction.pixels[s].column;
    if (row % stride || column % stride) continue;
    path.rows.push_back(row / stride);
    path.offsets.push_back(row / stride * pitch + column / stride);
    path.sources.push_back(s);
  }
  return path;
}

template <typename S, typename T>
void input_gradient(
    const Map<S>& grad, const Map<S>& weight, const float* angles, int64_t stride,
    const Map<S>& output) {
  const auto& kernels = line_kernels<T>();
  const int64_t lanes = kernels.lanes, height = output.rows, width = output.columns;
  const Lines lines =
      make_lines(angles, grad.channels, weight.columns, height, width, lanes);
  const int64_t blocks = lines.blocks.size();
  const int64_t parts = splits(blocks * grad.images, height);
  const double cycles = height * row_cycles(width, weight.columns / stride) / parts;
  const int64_t tasks = blocks * grad.images * parts;
  parallel_for(tasks, cycles, [&](int64_t begin, int64_t end) {
    Room<T> maps;
    for (int64_t task = begin; task < end; ++task) {
      const Block& block = lines.blocks[task % blocks];
      const Direction& direction = *block.direction;
      const int64_t image = task / (blocks * parts), part = task / blocks % parts;
      const int64_t from = height * part / parts, to = height * (part + 1) / parts;
      const int64_t up = reach(direction, false);
      const int64_t first = std::max<int64_t>(0, (from - up) / stride);
      const int64_t last = std::min(grad.rows, (to - 1 + up) / stride + 1);
      const Window<T> window(
          maps, grad, block, image, first, last, reach(direction, true) / stride + 1,
          lanes);
      const int64_t count = direction.pixels.size();
      Scratch<T> taps(count * lanes), chosen(count * lanes), out(width * lanes);
      pack_taps(weight, block, lanes, taps.get());
      for (int64_t phase = 0; phase < std::min(stride, height) && phase < to; ++phase) {
        std::vector<Path> paths;
        for (int64_t c = 0; c < std::min(stride, width); ++c) {
          paths.push_back(input_path(direction, stride, phase, c, window.pitch));
        }
        const int64_t skipped = std::max<int64_t>(0, from - phase + stride - 1) / stride;
        for (int64_t i = phase + skipped * stride; i < to; i += stride) {
          for (size_t c = 0; c < paths.size(); ++c) {
            const Path& path = paths[c];
            const auto [a, b] = path.inside(i / stride, grad.rows);
            for (int64_t s = a; s < b; ++s) {
              std::copy_n(
                  taps.get() + path.sources[s] * lanes, lanes,
                  chosen.get() + (s - a) * lanes);
            }
            kernels.sums(
                out.get() + c * lanes, stride, (width - c + stride - 1) / stride,
                chosen.get(), path.offsets.data() + a, b - a,
                window.at(i / stride - first), 1);
          }
          unpack_row(
              output, block, image, i, lanes, out.get(), static_cast<const T*>(nullptr));
        }
      }
    }
  });
}

// Images are summed in order, and so are stretches of rows, which depend on the shape
// alone: no result depends on the number of threads.
template <typename S, typename T>
void weight_gradient(
    const Map<S>& input, const Map<S>& grad, const float* angles, int64_t stride,
    const Map<S>& output) {
  const auto& kernels = line_kernels<T>();
  const int64_t lanes = kernels.lanes, height = input.rows, taps = output.columns;
  const Lines lines =
      make_lines(angles, input.channels, taps, height, input.columns, lanes);
  const int64_t blocks = lines.blocks.size();
  const int64_t parts =
      std::clamp<int64_t>(grad.rows * grad.columns / 2048, 1, grad.rows);
  const double cycles = grad.rows * row_cycles(grad.columns, taps) / parts;
  const int64_t shares = input.images * parts;
  Scratch<T> sums(blocks * shares * taps * lanes);
  parallel_for(blocks * shares, cycles, [&](int64_t begin, int64_t end) {
    Room<T> maps;
    for (int64_t task = begin; task < end; ++task) {
      const Block& block = lines.blocks[task % blocks];
      const int64_t image = task / (blocks * parts), part = task / blocks % parts;
      const int64_t from = grad.rows * part / parts;
      const int64_t to = grad.rows * (part + 1) / parts;
      const int64_t up = reach(*block.direction, false);
      const int64_t first = std::max<int64_t>(0, from * stride - up);
      const int64_t last = std::min(height, (to - 1) * stride + up + 1);
      const Window<T> window(
          maps, input, block, image, first, last, reach(*block.direction, true), lanes);
      Path path;
      for (const Pixel& p : block.direction->pixels) {
        path.rows.push_back(p.row);
        path.offsets.push_back(p.row * window.pitch + p.column);
      }
      T* mine = sums.get() + task * taps * lanes;
      std::fill_n(mine, taps * lanes, T(0));
      Scratch<T> slope(grad.columns * lanes);
      std::fill_n(slope.get(), grad.columns * lanes, T(0));
      for (int64_t i = from; i < to; ++i) {
        const auto [a, b] = path.inside(i * stride, height);
        if (a >= b) continue;
        pack_row(grad, block, image, i, lanes, slope.get());
        kernels.products(
            mine + a * lanes, slope.get(), grad.columns, path.offsets.data() + a, b - a,
            window.at(i * stride - first), stride);
      }
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    const Block& block = lines.blocks[b];
    T* total = sums.get() + b * taps * lanes;
    for (int64_t share = 1; share < shares; ++share) {
      const T* more = total + share * blocks * taps * lanes;
      for (int64_t i = 0; i < taps * lanes; ++i) total[i] += more[i];
    }
    const int64_t begin = block.first < 0 ? 0 : block.begin;
    for (size_t l = 0; l < block.channels.size(); ++l) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int pixel = block.direction->pixel_of_tap[tap];
        *output.at(block.channels[l], 0, 0, tap) =
            pixel < 0 || shares == 0 ? S(0)
                                     : static_cast<S>(total[pixel * lanes + begin + l]);
      }
    }
  }
}

}  // namespace lines
