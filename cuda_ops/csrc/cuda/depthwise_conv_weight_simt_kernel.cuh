// Gradient of the kernel of a depthwise convolution without tensor cores, and the sum
// of what several blocks found.
#pragma once

#include "depthwise_conv_simt_kernel.cuh"

namespace smpconv_mm {

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

// A thread sums kStrip taps of two rows of the kernel's gradient: an input row meets tap
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

}  // namespace smpconv_mm
