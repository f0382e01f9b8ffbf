// Involution in float32 with stride and dilation 1, zeros around the map and K = 3, 5
// or 7: a thread works on a strip of outputs, so that a number of the map serves
// several of them once it is in a register.
#pragma once

#include "involution_device.cuh"

namespace smpconv_mm {

constexpr int kStripOutputs = 4;
constexpr int kStripMembers = 16;  // channels of a group that a block works on
constexpr int kStripThreads = 128;

struct StripTile {
  int rows, strips;  // of a block
  int row_tiles, column_tiles, chunks;
  int padding;  // of the windows of targets in the source
  int pitch;    // of a row of the source in shared memory
  int vector;   // whether a strip of the weight is one aligned load
  int threads, shared;
};

// Numbers of a row that a strip reads, in whole loads of four.
template <int K>
constexpr int strip_reach() {
  return (kStripOutputs + K - 1 + 3) / 4 * 4;
}

__device__ __forceinline__ void load_four(float* to, const float* from) {
  const float4 value = *reinterpret_cast<const float4*>(from);
  to[0] = value.x, to[1] = value.y, to[2] = value.z, to[3] = value.w;
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

// Copies the windows of a block's targets to [member][row][column].
template <int K>
__device__ __forceinline__ void load_windows(float* to, const float* maps, int height,
                                             int width, const StripBlock& b,
                                             const InvolutionShape& s, const StripTile& t) {
  const int rows = t.rows + K - 1, warps = t.threads / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  int member = 0, at = threadIdx.x / kWarpSize;  // a warp copies a row
  for (;; at += warps) {
    for (; at >= rows; at -= rows) ++member;
    if (member >= kStripMembers) return;
    const int y = b.top - t.padding + at;
    const bool exists =
        b.member + member < group_width(s) && y >= 0 && y < height;
    const float* from =
        maps + plane_of(s, b.image, b.group, b.member + member) *
                   (int64_t(height) * width) + int64_t(y) * width;
    float* line = to + (member * rows + at) * t.pitch;
    for (int i = lane; i < t.pitch; i += kWarpSize) {
      const int x = b.left - t.padding + i;
      line[i] = exists && x >= 0 && x < width ? from[x] : 0.f;
    }
  }
}

// With Transposed, the gradient of the input: the same sum with the taps turned round
// and the weight taken where the source is instead of the target.
// Without a number of blocks nvcc 13 spills for K 3.
template <int K, bool Transposed>
__global__ void __launch_bounds__(kStripThreads, K < 7 ? 4 : 3)
    involution_strip_kernel(const float* source, const float* weight, float* target,
                            InvolutionShape s, StripTile t) {
  SMPCONV_MM_SHARED(memory);
  float* maps = reinterpret_cast<float*>(memory);
  const StripBlock b = strip_block(s, t);
  load_windows<K>(maps, source, Transposed ? s.out_height : s.height,
                  Transposed ? s.out_width : s.width, b, s, t);
  __syncthreads();
  const int height = Transposed ? s.height : s.out_height;
  const int width = Transposed ? s.width : s.out_width;
  const int line = threadIdx.x / t.strips, strip = threadIdx.x % t.strips;
  const int row = b.top + line, column = b.left + strip * kStripOutputs;
  if (line >= t.rows || row >= height || column >= width) return;

  const int64_t outputs = int64_t(s.out_height) * s.out_width;
  const float* kernels = weight + (b.image * s.groups + b.group) * (K * K) * outputs;
  const int count = smaller(kStripMembers, group_width(s) - b.member);
  float sum[kStripMembers][kStripOutputs] = {};
  for (int u = 0; u < K; ++u) {
    const int i = Transposed ? row - t.padding + u : row;
    if (i < 0 || i >= s.out_height) continue;
    float w[K][kStripOutputs];
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const int tap = Transposed ? (K - 1 - u) * K + K - 1 - v : u * K + v;
      const int j = Transposed ? column - t.padding + v : column;
      const float* from = kernels + tap * outputs + int64_t(i) * s.out_width + j;
      if (!Transposed && t.vector) {
        load_four(w[v], from);
      } else {
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e)
          w[v][e] = j + e >= 0 && j + e < s.out_width ? from[e] : 0.f;
      }
    }
    const float* lines = maps + (line + u) * t.pitch + strip * kStripOutputs;
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m) {
      if (m >= count) break;
      float x[strip_reach<K>()];
#pragma unroll
      for (int e = 0; e < strip_reach<K>(); e += 4)
        load_four(x + e, lines + m * (t.rows + K - 1) * t.pitch + e);
#pragma unroll
      for (int v = 0; v < K; ++v)
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e) sum[m][e] += w[v][e] * x[v + e];
    }
  }
#pragma unroll
  for (int m = 0; m < kStripMembers; ++m) {
    if (m >= count) break;
    float* to = target +
                plane_of(s, b.image, b.group, b.member + m) * (int64_t(height) * width) +
                int64_t(row) * width + column;
#pragma unroll
    for (int e = 0; e < kStripOutputs; ++e)
      if (column + e < width) to[e] = sum[m][e];
  }
}

// The gradient of the weight; groups have at most kStripMembers channels.
template <int K>
__global__ void __launch_bounds__(kStripThreads)
    involution_weight_strip_kernel(const float* input, const float* grad, float* target,
                                   InvolutionShape s, StripTile t) {
  SMPCONV_MM_SHARED(memory);
  float* maps = reinterpret_cast<float*>(memory);
  const StripBlock b = strip_block(s, t);
  load_windows<K>(maps, input, s.height, s.width, b, s, t);
  __syncthreads();
  const int line = threadIdx.x / t.strips, strip = threadIdx.x % t.strips;
  const int row = b.top + line, column = b.left + strip * kStripOutputs;
  if (line >= t.rows || row >= s.out_height || column >= s.out_width) return;

  const int64_t outputs = int64_t(s.out_height) * s.out_width;
  const int64_t place = int64_t(row) * s.out_width + column;
  float slope[kStripMembers][kStripOutputs] = {};
#pragma unroll
  for (int m = 0; m < kStripMembers; ++m) {
    if (m >= group_width(s)) break;
    const float* from = grad + plane_of(s, b.image, b.group, m) * outputs + place;
#pragma unroll
    for (int e = 0; e < kStripOutputs; ++e)
      if (column + e < s.out_width) slope[m][e] = from[e];
  }
  float* to = target + (b.image * s.groups + b.group) * (K * K) * outputs + place;
  for (int u = 0; u < K; ++u) {
    const float* lines = maps + (line + u) * t.pitch + strip * kStripOutputs;
    float sum[K][kStripOutputs] = {};
#pragma unroll
    for (int m = 0; m < kStripMembers; ++m) {
      if (m >= group_width(s)) break;
      float x[strip_reach<K>()];
#pragma unroll
      for (int e = 0; e < strip_reach<K>(); e += 4)
        load_four(x + e, lines + m * (t.rows + K - 1) * t.pitch + e);
#pragma unroll
      for (int v = 0; v < K; ++v)
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e) sum[v][e] += slope[m][e] * x[v + e];
    }
#pragma unroll
    for (int v = 0; v < K; ++v) {
      float* taps = to + (u * K + v) * outputs;
      if (t.vector) {
        *reinterpret_cast<float4*>(taps) =
            float4{sum[v][0], sum[v][1], sum[v][2], sum[v][3]};
      } else {
#pragma unroll
        for (int e = 0; e < kStripOutputs; ++e)
          if (column + e < s.out_width) taps[e] = sum[v][e];
      }
    }
  }
}

}  // namespace smpconv_mm
