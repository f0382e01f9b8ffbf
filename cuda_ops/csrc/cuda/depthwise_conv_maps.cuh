// Copies of maps into shared memory, and of outputs out of it, for the tensor cores.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kTile = 16;     // rows of a matrix product
constexpr int kMaxWarps = 8;  // of a block

// What a block holds of the maps of a channel, as [image][row][column].
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
__device__ __forceinline__ void load_window(T* to, const T* from, int64_t stride,
                                            int width, const MapWindow& w) {
  const int across = round_up(w.columns, 8) / Vector;
  const int threads = blockDim.x, lines = larger(1, threads / across);
  const int line = threadIdx.x / across;
  const int teams = larger(1, lines / w.rows);  // each with all rows of an image
  const int team = lines < w.rows ? 0 : line / w.rows;
  if (line >= lines || team >= teams) return;
  for (int x = threadIdx.x % across; x < across; x += threads)
    for (int row = line - team * w.rows; row < w.rows; row += lines) {
      const bool inside = x * Vector < w.columns;
      const T* source = from + team * stride;
      if (inside) source += int64_t(row) * width + x * Vector;
      T* target = to + team * w.image_pitch + row * w.row_pitch + x * Vector;
      if constexpr (Vector * sizeof(T) >= 4) {
        unsigned address = shared_address(target);
#pragma unroll 4
        for (int image = team; image < w.images; image += teams) {
          copy_async_or_zero<Vector * int(sizeof(T))>(address, source, inside);
          source += teams * stride;
          address += teams * w.image_pitch * int(sizeof(T));
        }
      } else {  // too short for asynchronous copies: many loads before the first store
        constexpr int kBatch = 8;
        for (int image = team; image < w.images; image += kBatch * teams) {
          T value[kBatch];
#pragma unroll
          for (int k = 0; k < kBatch; ++k) {
            value[k] = from_float<T>(0.f);
            if (inside && image + k * teams < w.images) value[k] = source[k * teams * stride];
          }
#pragma unroll
          for (int k = 0; k < kBatch; ++k)
            if (image + k * teams < w.images) target[k * teams * w.image_pitch] = value[k];
          source += kBatch * teams * stride;
          target += kBatch * teams * w.image_pitch;
        }
      }
    }
}

template <typename T>
__device__ __forceinline__ void load_window(int vector, T* to, const T* from,
                                            int64_t stride, int width,
                                            const MapWindow& w) {
  switch (vector) {
    case 8: return load_window<8>(to, from, stride, width, w);
    case 4: return load_window<4>(to, from, stride, width, w);
    case 2: return load_window<2>(to, from, stride, width, w);
    default: return load_window<1>(to, from, stride, width, w);
  }
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
  for (int x = threadIdx.x % across; x < across; x += threads)
#pragma unroll 4
    for (int run = line; run < runs; run += lines)
      *reinterpret_cast<Group*>(to + run * stride + x * Vector) =
          *reinterpret_cast<const Group*>(from + run * pitch + x * Vector);
}

template <typename T>
__device__ __forceinline__ void store_runs(int vector, T* to, int64_t stride,
                                           const T* from, int pitch, int runs,
                                           int count) {
  switch (vector) {
    case 8: return store_runs<8>(to, stride, from, pitch, runs, count);
    case 4: return store_runs<4>(to, stride, from, pitch, runs, count);
    case 2: return store_runs<2>(to, stride, from, pitch, runs, count);
    default: return store_runs<1>(to, stride, from, pitch, runs, count);
  }
}

}  // namespace smpconv_mm
