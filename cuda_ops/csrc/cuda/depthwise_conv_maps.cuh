// Copies of maps into shared memory, and of outputs out of it, for the tensor cores.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kTile = 16;     // rows of a matrix product
constexpr int kMaxWarps = 8;  // of a block

// How the tensor cores take numbers: 16-bit numbers as they are, a float32 as the sum of
// two bfloat16, which has 16 of its 24 binary digits.
template <typename T>
struct MmaNumbers {
  using Element = T;
  static constexpr int kParts = 1;
};
template <>
struct MmaNumbers<float> {
  using Element = __nv_bfloat16;
  static constexpr int kParts = 2;
};

// Part `part` of a number.
template <typename T>
__device__ __forceinline__ typename MmaNumbers<T>::Element part_of(T value, int part) {
  if constexpr (MmaNumbers<T>::kParts == 1) {
    return value;
  } else {
    const __nv_bfloat16 high = from_float<__nv_bfloat16>(value);
    return part == 0 ? high : from_float<__nv_bfloat16>(value - to_float(high));
  }
}

// What a block holds of the maps of a channel, as [image][row][eighth][part][column], an
// eighth being 8 columns.
struct MapWindow {
  int images, rows, columns;
  int row_pitch, image_pitch;  // elements in shared memory, multiples of 8
};

template <int Vector, typename T>
struct alignas(Vector * sizeof(T)) VectorOf {
  T value[Vector];
};

// Copies a window of maps into shared memory. `from` is its first element, `stride` the
// elements from an image to the next, `width` those of a row. Columns up to the next
// multiple of 8 become 0. A thread has one column, and steps of one size.
template <int Vector, typename T>
__device__ __forceinline__ void load_window(typename MmaNumbers<T>::Element* to,
                                            const T* from, int64_t stride, int width,
                                            const MapWindow& w) {
  using Element = typename MmaNumbers<T>::Element;
  constexpr int kParts = MmaNumbers<T>::kParts;
  const int across = round_up(w.columns, 8) / Vector;
  const int threads = blockDim.x, lines = larger(1, threads / across);
  const int line = threadIdx.x / across;
  const int teams = larger(1, lines / w.rows);  // each with all rows of an image
  const int team = lines < w.rows ? 0 : line / w.rows;
  if (line >= lines || team >= teams) return;
  for (int x = threadIdx.x % across; x < across; x += threads)
    for (int row = line - team * w.rows; row < w.rows; row += lines) {
      const int column = x * Vector;
      const bool inside = column < w.columns;
      const int64_t step = teams * stride;
      const int to_step = teams * w.image_pitch;
      const T* source = from + team * stride;
      if (inside) source += int64_t(row) * width + column;
      Element* target = to + team * w.image_pitch + row * w.row_pitch +
                        (column / 8 * kParts * 8 + column % 8);
      if constexpr (kParts == 1 && Vector * sizeof(T) >= 4) {
        unsigned address = shared_address(target);
#pragma unroll 4
        for (int image = team; image < w.images; image += teams) {
          copy_async_or_zero<Vector * int(sizeof(T))>(address, source, inside);
          source += step;
          address += to_step * int(sizeof(T));
        }
      } else {  // through registers, many loads before the first store
        constexpr int kBatch = Vector == 1 ? 8 : 4;
        for (int image = team; image < w.images; image += kBatch * teams) {
          VectorOf<Vector, T> numbers[kBatch];
#pragma unroll
          for (int k = 0; k < kBatch; ++k) {
#pragma unroll
            for (int e = 0; e < Vector; ++e) numbers[k].value[e] = from_float<T>(0.f);
            if (inside && image + k * teams < w.images)
              numbers[k] = *reinterpret_cast<const VectorOf<Vector, T>*>(source);
            source += step;
          }
#pragma unroll
          for (int k = 0; k < kBatch; ++k) {
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
              VectorOf<Vector, Element> parts;
#pragma unroll
              for (int e = 0; e < Vector; ++e)
                parts.value[e] = part_of(numbers[k].value[e], part);
              if (image + k * teams < w.images)
                *reinterpret_cast<VectorOf<Vector, Element>*>(target + 8 * part) = parts;
            }
            target += to_step;
          }
        }
      }
    }
}

template <typename T>
__device__ __forceinline__ void load_window(int vector,
                                            typename MmaNumbers<T>::Element* to,
                                            const T* from, int64_t stride, int width,
                                            const MapWindow& w) {
  constexpr int kMost = 16 / sizeof(T);  // elements of the widest load
  if (vector == 4)
    load_window<4>(to, from, stride, width, w);
  else if (vector == 2)
    load_window<2>(to, from, stride, width, w);
  else if (vector == 1)
    load_window<1>(to, from, stride, width, w);
  else
    load_window<kMost>(to, from, stride, width, w);
}

// Copies runs of `count` elements from shared memory, `pitch` apart, to global memory,
// `stride` apart.
template <int Vector, typename T>
__device__ __forceinline__ void store_runs(T* to, int64_t stride, const T* from, int pitch,
                                           int runs, int count) {
  using Group = VectorOf<Vector, T>;
  const int across = count / Vector, threads = blockDim.x;
  const int lines = larger(1, threads / across), line = threadIdx.x / across;
  if (line >= lines) return;
  for (int x = threadIdx.x % across; x < across; x += threads) {
    T* target = to + line * stride + x * Vector;
    const T* source = from + line * pitch + x * Vector;
#pragma unroll 4
    for (int run = line; run < runs; run += lines) {
      *reinterpret_cast<Group*>(target) = *reinterpret_cast<const Group*>(source);
      target += lines * stride;
      source += lines * pitch;
    }
  }
}

template <typename T>
__device__ __forceinline__ void store_runs(int vector, T* to, int64_t stride,
                                           const T* from, int pitch, int runs,
                                           int count) {
  constexpr int kMost = 16 / sizeof(T);
  if (vector == 4)
    store_runs<4>(to, stride, from, pitch, runs, count);
  else if (vector == 2)
    store_runs<2>(to, stride, from, pitch, runs, count);
  else if (vector == 1)
    store_runs<1>(to, stride, from, pitch, runs, count);
  else
    store_runs<kMost>(to, stride, from, pitch, runs, count);
}

}  // namespace smpconv_mm
