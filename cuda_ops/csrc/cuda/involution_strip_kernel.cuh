// Involution with stride and dilation 1, borders of zeros as wide as keep the size, and
// K = 3, 5 or 7: a thread works on a strip of outputs, so that a number of the map
// serves several of them once it is in a register. Sums are taken in float32.
#pragma once

#include "involution_device.cuh"
#include "windows.cuh"

namespace smpconv_mm {

constexpr int kStripOutputs = 4;
constexpr int kStripMembers = 16;  // channels of a group that a block works on
constexpr int kStripThreads = 128;

struct StripTile {
  int rows, strips;  // of a block
  int lanes;         // threads of a row: eight neighbours shall read from one
  int row_tiles, column_tiles, chunks;
  int pitch;       // of a row of the source in shared memory
  Copies copies;   // of the source
  int vector;      // numbers of a row of the weight and of the target that go at once
  int threads, shared;
};

// In shared memory, columns to the left of a block's targets.
template <int K>
constexpr int strip_lead() {
  return round_up(K / 2, kStripOutputs);
}

// Numbers of a row that a strip reads, from strip_lead() to its left on.
template <int K>
constexpr int strip_reach() {
  return round_up(strip_lead<K>() + kStripOutputs + K / 2, 4);
}

__device__ __forceinline__ void load_four(float* to, const float* from) {
  const float4 value = *reinterpret_cast<const float4*>(from);
  to[0] = value.x, to[1] = value.y, to[2] = value.z, to[3] = value.w;
}

// Four neighbours in a row of `width`, `shift` columns behind `column`, a multiple of
// four; 0 outside of the row. `at` is the place of `column`.
template <int Vector, typename T>
__device__ __forceinline__ void load_strip(float (&to)[kStripOutputs], const T* at,
                                           int column, int width, int shift) {
  constexpr int kBefore = 4;  // shifts are larger than -4
#pragma unroll
  for (int p = -kBefore; p < 2 * kStripOutputs; p += Vector) {
    if (p + Vector <= shift || p >= shift + kStripOutputs) continue;
    float number[Vector] = {};
    if (column + p >= 0 && column + p < width)
      unpack<T, Vector>(number, *reinterpret_cast<const Packed<T, Vector>*>(at + p));
#pragma unroll
    for (int e = 0; e < Vector; ++e)
      if (p + e >= shift && p + e < shift + kStripOutputs) to[p + e - shift] = number[e];
  }
}

template <int Vector, typename T>
__device__ __forceinline__ void store_strip(T* at, const float (&from)[kStripOutputs],
                                            int column, int width) {
#pragma unroll
  for (int p = 0; p < kStripOutputs; p += Vector) {
    float number[Vector];
#pragma unroll
    for (int e = 0; e < Vector; ++e) number[e] = from[p + e];
    if (column + p < width)
      *reinterpret_cast<Packed<T, Vector>*>(at + p) = pack<T, Vector>(number);
  }
}

// The row of a block that a thread works on. Where it has four strips, eight neighbours
// take two rows that lie in different banks.
__device__ __forceinline__ int strip_line(const StripTile& t) {
  const int line = threadIdx.x / t.lanes;
  return t.lanes != 4 ? line : (line & ~3) | (line & 1) << 1 | (line >> 1 & 1);
}

struct StripBlock {
  int64_t image;
  int group, member, top, left;  // of targets
};

__device__ __forceinline__ StripBlock strip_block(const InvolutionShape& s,
                                                  const StripTile& t) {
  int64_t block = blockIdx.x;
  StripBlock b;
  b.left = int(block % t.column_tiles) * t.strips * kStripOutputs;
  block /= t.column_tiles;
  b.top = int(block % t.row_tiles) * t.rows;
  block /= t.row_tiles;
  b.member = int(block % t.chunks) * kStripMembers;
  block /= t.chunks;
  b.group = int(block % s.groups);
  b.image = block / s.groups;
  return b;
}

// Copies the windows of a block's targets to [member][row][column], with zeros around
// the map.
template <int K, typename T>
__device__ __forceinline__ void load_sources(float* to, const T* maps, const StripBlock& b,
                                             const InvolutionShape& s, const StripTile& t) {
  const int rows = t.rows + K - 1, top = b.top - K / 2, left = b.left - strip_lead<K>();
  const int count = smaller(kStripMembers, group_width(s) - b.member);
  const Window w{larger(0, top), smaller(s.height, top + rows), larger(0, left),
                 smaller(s.width, left + t.pitch), -top * t.pitch - left, t.pitch, 1,
                 rows * t.pitch};
  if (top < 0 || top + rows > s.height || left < 0 || left + t.pitch > s.width) {
    fill_zero(to, to + kStripMembers * rows * t.pitch);
    __syncthreads();
  }
  const int64_t plane = int64_t(s.height) * s.width;
  load_windows(to, w, t.copies, maps + plane_of(s, b.image, b.group, b.member) * plane,
               count, s.width, unsigned(plane) * (s.interleaved ? s.groups : 1));
  copy_commit();
  copy_wait();
  __syncthreads();
}

// With Transposed, the gradient of the input: the same sum with the taps turned round
// and the weight taken where the source is instead of the target.
template <typename T, int K, bool Transposed>
__global__ void __launch_bounds__(kStripThreads, 4)
    involution_strip_kernel(const T* source, const T* weight, T* target, InvolutionShape s,
                            StripTile t) {
  SMPCONV_MM_SHARED(memory);
  float* maps = reinterpret_cast<float*>(memory);
  const StripBlock b = strip_block(s, t);
  load_sources<K>(maps, source, b, s, t);
  const int line = strip_line(t), strip = threadIdx.x % t.lanes;
  const int row = b.top + line, column = b.left + strip * kStripOutputs;
  if (line >= t.rows || strip >= t.strips || row >= s.height || column >= s.width) return;

  const int64_t plane = int64_t(s.height) * s.width;
  const int next = int(Transposed ? -plane : plane);  // from tap to tap
  const T* kernels = weight + (b.image * s.groups + b.group) * (K * K) * plane + column;
  kernels += Transposed ? (K * K - 1) * plane + int64_t(row - K / 2) * s.width
                        : int64_t(row) * s.width;
  T* to = target + plane_of(s, b.image, b.group, b.member) * plane +
          int64_t(row) * s.width + column;
  const int size = (t.rows + K - 1) * t.pitch;
  const int count = smaller(kStripMembers, group_width(s) - b.member);
  float sum[kStripMembers][kStripOutputs] = {};
  for (int u = 0; u < K; ++u, kernels += int64_t(K) * next + (Transposed ? s.width : 0)) {
    const int i = Transposed ? row - K / 2 + u : row;
    if (i < 0 || i >= s.height) continue;
    float w[K][kStripOutputs];
    with_vector<float>(t.vector, [&](auto vector) {
      const T* tap = kernels;
      const int step = again(next);  // no room for its multiples in registers
#pragma unroll
      for (int v = 0; v < K; ++v, tap += step)
        load_strip<decltype(vector)::value>(w[v], tap, column, s.width,
                                            Transposed ? v - K / 2 : 0);
    });
    const float* lines = maps + (line + u) * t.pitch + strip * kStripOutputs;
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m, lines += size) {
      if (m >= count) break;
      float x[strip_reach<K>()];
#pragma unroll
      for (int e = 0; e < strip_reach<K>(); e += 4) load_four(x + e, lines + e);
#pragma unroll
      for (int v = 0; v < K; ++v)
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e)
          sum[m][e] += w[v][e] * x[strip_lead<K>() - K / 2 + v + e];
    }
  }
  with_vector<float>(t.vector, [&](auto vector) {
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m, to += plane * (s.interleaved ? s.groups : 1)) {
      if (m >= count) break;
      store_strip<decltype(vector)::value>(to, sum[m], column, s.width);
    }
  });
}

// The gradient of the weight; groups have at most kStripMembers channels.
template <typename T, int K>
__global__ void __launch_bounds__(kStripThreads, 4)
    involution_weight_strip_kernel(const T* input, const T* grad, T* target,
                                   InvolutionShape s, StripTile t) {
  SMPCONV_MM_SHARED(memory);
  float* maps = reinterpret_cast<float*>(memory);
  const StripBlock b = strip_block(s, t);
  const int line = strip_line(t), strip = threadIdx.x % t.lanes;
  const int row = b.top + line, column = b.left + strip * kStripOutputs;
  const bool working =
      line < t.rows && strip < t.strips && row < s.height && column < s.width;
  const int64_t plane = int64_t(s.height) * s.width;
  const int64_t place = int64_t(row) * s.width + column;
  const T* slopes = grad + plane_of(s, b.image, b.group, 0) * plane + place;
  float slope[kStripMembers][kStripOutputs] = {};
  with_vector<float>(t.vector, [&](auto vector) {
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m, slopes += plane * (s.interleaved ? s.groups : 1)) {
      if (!working || m >= group_width(s)) break;
      load_strip<decltype(vector)::value>(slope[m], slopes, column, s.width, 0);
    }
  });
  load_sources<K>(maps, input, b, s, t);
  if (!working) return;
  T* to = target + (b.image * s.groups + b.group) * (K * K) * plane + place;
  for (int u = 0; u < K; ++u) {
    const float* lines = maps + (line + u) * t.pitch + strip * kStripOutputs;
    float sum[K][kStripOutputs] = {};
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m, lines += (t.rows + K - 1) * t.pitch) {
      if (m >= group_width(s)) break;
      float x[strip_reach<K>()];
#pragma unroll
      for (int e = 0; e < strip_reach<K>(); e += 4) load_four(x + e, lines + e);
#pragma unroll
      for (int v = 0; v < K; ++v)
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e)
          sum[v][e] += slope[m][e] * x[strip_lead<K>() - K / 2 + v + e];
    }
    with_vector<float>(t.vector, [&](auto vector) {
#pragma unroll
      for (int v = 0; v < K; ++v, to += plane)
        store_strip<decltype(vector)::value>(to, sum[v], column, s.width);
    });
  }
}

}  // namespace smpconv_mm
