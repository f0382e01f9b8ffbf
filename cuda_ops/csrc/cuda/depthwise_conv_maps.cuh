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

}  // namespace smpconv_mm
