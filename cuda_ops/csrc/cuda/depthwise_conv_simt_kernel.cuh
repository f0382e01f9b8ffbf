// Depthwise convolution without tensor cores: float32 on every GPU, 16-bit maps on
// GPUs before sm_80. Sums are taken in float32.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kStrip = 4;  // a thread computes 4 x 4 outputs, or 2 x 4 taps

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

// A job is a window of the maps of some images; a block does the jobs split,
// split + splits, ...
struct SimtWeightTile {
  int jobs, splits;
  int images, row_size, column_size;   // of a job
  int row_tiles, column_tiles;
  int rows, pitch, grad_pitch;  // of an image in shared memory
  int strips;                   // of 4 taps, in a row of the kernel
  int threads, shared;
};

// A thread sums 4 taps of two rows of the kernel's gradient: an input row meets tap
// row u with one row of the output's gradient, and u + 1 with the row before.
template <typename T>
__global__ void __launch_bounds__(512)
    weight_simt_kernel(const T* input, const T* grad, float* partial, ConvShape s,
                       SimtWeightTile t) {
  SMPCONV_MM_SHARED(memory);
  float* maps = reinterpret_cast<float*>(memory);
  float* grads = maps + t.images * t.rows * t.pitch;
  const int channel = blockIdx.x / t.splits, split = blockIdx.x % t.splits;
  const int u = threadIdx.x / t.strips * 2, v = threadIdx.x % t.strips * kStrip;
  const int padding = s.kernel_height / 2;
  float sum[2][kStrip] = {};
  for (int job = split; job < t.jobs; job += t.splits) {
    const int left = job % t.column_tiles * t.column_size;
    const int top = job / t.column_tiles % t.row_tiles * t.row_size;
    const int first_image = job / t.column_tiles / t.row_tiles * t.images;
    const int images = smaller(t.images, s.batch - first_image);
    const int bottom = smaller(s.height, top + t.row_size);
    const int first = larger(0, top - padding);
    const int rows = smaller(s.height, bottom + s.kernel_height - 1 - padding) - first;
    __syncthreads();  // the job before is done
    for (int i = 0; i < images; ++i) {
      const int64_t plane = (int64_t(first_image + i) * s.channels + channel) *
                            (int64_t(s.height) * s.width);
      load_window(maps + i * t.rows * t.pitch, t.pitch, input + plane, first, rows,
                  left - s.kernel_width / 2, s, threadIdx.x, blockDim.x);
      load_window(grads + i * t.row_size * t.grad_pitch, t.grad_pitch, grad + plane, top,
                  bottom - top, left, s, threadIdx.x, blockDim.x);
    }
    __syncthreads();
    if (u >= s.kernel_height) continue;
    for (int i = 0; i < images; ++i)
      for (int y = top; y <= bottom; ++y) {
        const int row = y + u - padding;
        if (row < 0 || row >= s.height) continue;
        const float* line = maps + (i * t.rows + row - first) * t.pitch + v;
        const float* slope = grads + (i * t.row_size + y - top) * t.grad_pitch;
        float x[2 * kStrip];
        load_strip(reinterpret_cast<float(&)[kStrip]>(x[kStrip]), line);
        for (int j = 0; j < t.grad_pitch; j += kStrip) {
#pragma unroll
          for (int e = 0; e < kStrip; ++e) x[e] = x[e + kStrip];
          load_strip(reinterpret_cast<float(&)[kStrip]>(x[kStrip]), line + j + kStrip);
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            if (y - k < top || y - k >= bottom) continue;
            float g[kStrip];
            load_strip(g, slope - k * t.grad_pitch + j);
#pragma unroll
            for (int e = 0; e < kStrip; ++e)
#pragma unroll
              for (int n = 0; n < kStrip; ++n) sum[k][n] += g[e] * x[e + n];
          }
        }
      }
  }
  for (int k = 0; k < 2; ++k)
    for (int n = 0; n < kStrip; ++n)
      if (u + k < s.kernel_height && v + n < s.kernel_width)
        partial[((int64_t(split) * s.channels + channel) * s.kernel_height + u + k) *
                    s.kernel_width + v + n] = sum[k][n];
}

// Sums what the blocks of a channel found, in an order that never changes.
template <typename T>
__global__ void sum_partials_kernel(const float* partial, T* total, int64_t count,
                                    int splits) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0.f;
  for (int split = 0; split < splits; ++split) sum += partial[split * count + i];
  total[i] = from_float<T>(sum);
}

}  // namespace smpconv_mm
