// Depthwise convolution without tensor cores: float32 on every GPU, 16-bit maps on
// GPUs before sm_80. Sums are taken in float32.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kStrip = 4;  // a thread computes 4 x 4 outputs

struct SimtConvTile {
  int images;  // of a block
  int row_tiles, column_tiles, image_tiles;
  int rows;          // input rows of an image in shared memory
  int taps, pitch;   // elements of a row of the kernel, of the input
  int threads, shared;
};

__device__ __forceinline__ void load_strip(float (&to)[kStrip], const float* from) {
  const float4 value = *reinterpret_cast<const float4*>(from);
  to[0] = value.x, to[1] = value.y, to[2] = value.z, to[3] = value.w;
}

// Copies the kernel of a channel into shared memory, its rows padded with zeros.
template <typename T>
__device__ __forceinline__ void load_kernel(float* to, int pitch, const T* kernel,
                                            bool flip, const ConvShape& s) {
  const int taps = s.kernel_height * s.kernel_width;
  for (int i = threadIdx.x; i < s.kernel_height * pitch; i += blockDim.x) {
    const int v = i % pitch, at = i / pitch * s.kernel_width + v;
    to[i] = v < s.kernel_width ? to_float(kernel[flip ? taps - 1 - at : at]) : 0.f;
  }
}

// Copies a window of a map into shared memory; what lies outside becomes 0.
template <typename T>
__device__ __forceinline__ void load_window(float* to, int pitch, const T* map, int top,
                                            int rows, int left, const ConvShape& s,
                                            int thread, int threads) {
  for (int i = thread; i < rows * pitch; i += threads) {
    const int y = top + i / pitch, x = left + i % pitch;
    const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
    to[i] = inside ? to_float(map[int64_t(y) * s.width + x]) : 0.f;
  }
}

// A block computes a square of Side x Side outputs for some images of a channel.
template <typename T, int Side>
__global__ void __launch_bounds__(128)
    conv_simt_kernel(const T* input, const T* weight, const T* bias, T* output, bool flip,
                     ConvShape s, SimtConvTile t) {
  constexpr int kAcross = Side / kStrip, kThreads = kAcross * kAcross;
  SMPCONV_MM_SHARED(memory);
  float* taps = reinterpret_cast<float*>(memory);
  int block = blockIdx.x;
  const int left = block % t.column_tiles * Side;
  block /= t.column_tiles;
  const int top = block % t.row_tiles * Side;
  block /= t.row_tiles;
  const int64_t image = int64_t(block % t.image_tiles) * t.images + threadIdx.x / kThreads;
  const int channel = block / t.image_tiles, thread = threadIdx.x % kThreads;
  const int padding = s.kernel_height / 2;
  const int first = larger(0, top - padding);
  const int rows = smaller(s.height, top + Side + s.kernel_height - 1 - padding) - first;
  const int64_t plane = (image * s.channels + channel) * (int64_t(s.height) * s.width);
  float* map = taps + s.kernel_height * t.taps + threadIdx.x / kThreads * t.rows * t.pitch;

  load_kernel(taps, t.taps, weight + int64_t(channel) * s.kernel_height * s.kernel_width,
              flip, s);
  if (image < s.batch)
    load_window(map, t.pitch, input + plane, first, rows, left - s.kernel_width / 2, s,
                thread, kThreads);
  __syncthreads();
  const int row = top + thread / kAcross * kStrip;
  const int column = thread % kAcross * kStrip;
  if (image >= s.batch) return;

  float sum[kStrip][kStrip] = {};
  for (int step = 0; step < s.kernel_height + kStrip - 1; ++step) {
    const int y = row + step - padding;  // meets output row + i at tap step - i
    if (y < 0 || y >= s.height) continue;
    const float* line = map + (y - first) * t.pitch + column;
    float x[2 * kStrip];
    load_strip(reinterpret_cast<float(&)[kStrip]>(x[kStrip]), line);
    for (int v = 0; v < t.taps; v += kStrip) {
#pragma unroll
      for (int e = 0; e < kStrip; ++e) x[e] = x[e + kStrip];
      load_strip(reinterpret_cast<float(&)[kStrip]>(x[kStrip]), line + v + kStrip);
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        if (step - i < 0 || step - i >= s.kernel_height) continue;
        float w[kStrip];
        load_strip(w, taps + (step - i) * t.taps + v);
#pragma unroll
        for (int e = 0; e < kStrip; ++e)
#pragma unroll
          for (int j = 0; j < kStrip; ++j) sum[i][j] += w[e] * x[e + j];
      }
    }
  }

  const float shift = bias == nullptr ? 0.f : to_float(bias[channel]);
#pragma unroll
  for (int i = 0; i < kStrip; ++i)
#pragma unroll
    for (int j = 0; j < kStrip; ++j)
      if (row + i < s.height && left + column + j < s.width)
        output[plane + int64_t(row + i) * s.width + left + column + j] =
            from_float<T>(sum[i][j] + shift);
}

}  // namespace smpconv_mm
