// Parts of maps that go to shared memory as float32, and from it.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kAtOnce = 2;  // vectors that a thread has under way to or from memory

// Rows and columns of maps, and where they lie in shared memory.
struct Window {
  int first_row, last_row, first_column, last_column;
  int origin, row_step, column_step, map_step;  // places of floats; (0, 0) first
};

// How the threads of a block copy a window.
struct Copies {
  int vector;  // numbers that are copied at once
  int across;  // logarithm of the threads along a row
};

// The numbers of a copy are known; as many threads as a row has such vectors.
inline Copies plan_copies(int vector, int columns) {
  Copies copies{vector, 0};
  while (copies.across < 5 && vector << copies.across < columns) ++copies.across;
  return copies;
}

// Calls value = first(address in the maps, place in shared memory) and then
// second(address, place, value) for the vectors of the windows of some maps, several at
// once. Neighbouring threads get neighbours in the maps.
template <int Vector, typename T, typename First, typename Second>
__device__ __forceinline__ void for_vectors(const Window& w, int across, T* maps, int count,
                                            int width, unsigned map_stride, First first,
                                            Second second) {
  const int rows = w.last_row - w.first_row;
  const int slots = blockDim.x >> across;  // rows of the block's threads
  const int thread = again(threadIdx.x);
  int map = 0, row = thread >> across, outer = count;
  int left = rows - row, unit = slots;
  unsigned step = slots * width, skip = map_stride;
  int place_step = slots * w.row_step, place_skip = w.map_step;
  if (rows <= 0) return;
  if (rows <= slots) {  // whole maps at once, instead of rows of one map
    map = row / rows, row -= map * rows, unit = slots / rows, outer = 1;
    left = map < unit ? count - map : 0;
    step = unit * map_stride, place_step = unit * w.map_step;
  }
  const int lane = thread & ((1 << across) - 1);
  for (int x = w.first_column + lane * Vector; x < w.last_column; x += Vector << across) {
    T* from = maps + (map * map_stride + (w.first_row + row) * width + x);
    int place = w.origin + map * w.map_step + (w.first_row + row) * w.row_step +
                x * w.column_step;
    for (int i = 0; i < outer; ++i, from += skip, place += place_skip) {
      T* at = from;
      int to = place;
      for (int more = left; more > 0; more -= kAtOnce * unit) {
        decltype(first(at, to)) value[kAtOnce];
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e)
          if (more > e * unit) value[e] = first(at + e * step, to + e * place_step);
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e)
          if (more > e * unit) second(at + e * step, to + e * place_step, value[e]);
        at += kAtOnce * step, to += kAtOnce * place_step;
      }
    }
  }
}

// Copies windows of maps to shared memory, at last after copy_commit() and copy_wait().
template <typename T>
__device__ __forceinline__ void load_windows(float* to, const Window& w, Copies copies,
                                             const T* maps, int count, int width,
                                             unsigned map_stride) {
  with_vector<T>(copies.vector, [&](auto vector) {
    constexpr int kVector = decltype(vector)::value, kFloats = smaller(kVector, 4);
    if constexpr (SMPCONV_MM_HAS_MMA && std::is_same<T, float>::value) {
      for_vectors<kVector>(w, copies.across, maps, count, width, map_stride,
                           [=](const T* from, int place) {
                             copy_async<kVector * 4>(to + place, from);
                             return 0;
                           },
                           [](const T*, int, int) {});
    } else {
      using Vector = Packed<T, kVector>;
      for_vectors<kVector>(
          w, copies.across, maps, count, width, map_stride,
          [=](const T* from, int) { return *reinterpret_cast<const Vector*>(from); },
          [=](const T*, int place, const Vector& vector) {
            float number[kVector];
            unpack<T, kVector>(number, vector);
#pragma unroll
            for (int e = 0; e < kVector; e += kFloats) {
              Numbers<float, kFloats> floats;
#pragma unroll
              for (int i = 0; i < kFloats; ++i) floats.value[i] = number[e + i];
              *reinterpret_cast<Numbers<float, kFloats>*>(to + place + e) = floats;
            }
          });
    }
  });
}

// Copies windows of maps from shared memory.
template <typename T>
__device__ __forceinline__ void store_windows(T* maps, const Window& w, Copies copies,
                                              const float* from, int count, int width,
                                              unsigned map_stride) {
  with_vector<T>(copies.vector, [&](auto vector) {
    constexpr int kVector = decltype(vector)::value, kFloats = smaller(kVector, 4);
    using Vector = Packed<T, kVector>;
    for_vectors<kVector>(
        w, copies.across, maps, count, width, map_stride,
        [=](T*, int place) {
          float number[kVector];
#pragma unroll
          for (int e = 0; e < kVector; e += kFloats) {
            const auto floats =
                *reinterpret_cast<const Numbers<float, kFloats>*>(from + place + e);
#pragma unroll
            for (int i = 0; i < kFloats; ++i) number[e + i] = floats.value[i];
          }
          return pack<T, kVector>(number);
        },
        [=](T* to, int, const Vector& vector) { *reinterpret_cast<Vector*>(to) = vector; });
  });
}

// Brings whole maps to the second cache, while there is other work.
template <typename T>
__device__ __forceinline__ void prefetch_maps(const T* maps, int count, int plane,
                                              unsigned map_stride) {
  constexpr int kLine = 128 / sizeof(T);
  const int lines = ceil_div(plane, kLine);
  for (int i = again(threadIdx.x); i < count * lines; i += blockDim.x) {
    const int map = i / lines;
    prefetch(maps + (map * map_stride + (i - map * lines) * kLine));
  }
}

__device__ __forceinline__ void fill_zero(float* from, float* to) {
  for (float4* at = reinterpret_cast<float4*>(from) + threadIdx.x;
       at < reinterpret_cast<float4*>(to); at += blockDim.x)
    *at = float4{0.f, 0.f, 0.f, 0.f};
}

}  // namespace smpconv_mm
