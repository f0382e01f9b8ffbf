// What the tensor-core kernels of a depthwise convolution share: the tiles of a
// product, and the copy of rows of maps into shared memory.
//
// P stands for the reach of the kernel: a tile of 16 columns meets the tiles of 8
// from 8 P to the left to 8 (P + 1) to the right of it.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kTile = 16;     // images of a matrix product
constexpr int kMaxWarps = 8;  // of a block

// 16-column tiles that a kernel reaches to the left of the one it is centred on.
__host__ __device__ constexpr int reach_tiles(int p) { return (p + 1) / 2; }

// Copies rows of maps into shared memory as [slot][member][column]; what lies
// outside of the map becomes 0. `source(member)` gives the map, or null, and the
// row of it that goes to `slot`.
template <typename T>
struct MapRows {
  const T* map;
  int row;
};

template <int Vector, typename T, typename Source>
__device__ __forceinline__ void load_rows(T* to, int pitch, int members, int ring,
                                          int slot, int rows, int first_column,
                                          int columns, const ConvShape& s,
                                          Source source) {
  const int lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  const int vectors = columns / Vector;
  for (int member = threadIdx.x / kWarpSize; member < members; member += warps) {
    const MapRows<T> from = source(member);
    for (int index = lane; index < rows * vectors; index += kWarpSize) {
      const int r = index / vectors, column = index % vectors * Vector;
      int at = slot + r;
      at = at >= ring ? at - ring : at;
      T* target = to + (int64_t(at) * members + member) * pitch + column;
      const int row = from.row + r, x = first_column + column;
      const bool inside =
          from.map != nullptr && row >= 0 && row < s.height && x < s.width;
      const T* value = from.map + int64_t(row) * s.width + x;
      if constexpr (Vector == 1) {
        *target = inside ? *value : from_float<T>(0.f);
      } else if (inside) {
        copy_async<Vector * int(sizeof(T))>(target, value);
      } else if constexpr (Vector == 8) {
        *reinterpret_cast<uint4*>(target) = uint4{0, 0, 0, 0};
      } else if constexpr (Vector == 4) {
        *reinterpret_cast<uint2*>(target) = uint2{0, 0};
      } else {
        *reinterpret_cast<unsigned*>(target) = 0;
      }
    }
  }
}

template <typename T, typename Source>
__device__ __forceinline__ void load_rows(int vector, T* to, int pitch, int members,
                                          int ring, int slot, int rows,
                                          int first_column, int columns,
                                          const ConvShape& s, Source source) {
  switch (vector) {
    case 8:
      return load_rows<8>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    case 4:
      return load_rows<4>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    case 2:
      return load_rows<2>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    default:
      return load_rows<1>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
  }
}

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
