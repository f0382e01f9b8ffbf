// Gradient of the kernel of a depthwise convolution, of 16-bit maps on the tensor
// cores: the products of depthwise_conv_mma_kernel.cuh transposed, summed over the
// diagonals.
#pragma once

#include "depthwise_conv_maps.cuh"

namespace smpconv_mm {

// How a block of weight_mma_kernel is cut out. A job is the batch's share of 16
// images and a segment of columns; a block does the jobs split, split + splits, ...
struct WeightTile {
  int jobs, splits;
  int columns;          // columns of x of a job
  int column_segments;  // of a map
  int chunk;            // rows of the output's gradient between two barriers
  int rows, grad_rows;  // in a buffer
  int buffers;          // 2: the next job is loaded while one is computed
  int pitch, grad_pitch;
  int vector;
  int warps;
  int blocks;  // to cover the rows of the kernel
  int shared;
};

// A warp computes `Rows` rows of the gradient of a channel's kernel, summed over
// the jobs of its block, into partial[split][channel].
template <typename T, int P, int Rows>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize, 1)
    weight_mma_kernel(const T* input, const T* grad, float* partial, ConvShape s,
                      WeightTile t) {
#if SMPCONV_MM_HAS_MMA
  constexpr int kLeft = reach_tiles(P), kOffsets = 2 * P + 2;
  SMPCONV_MM_SHARED(memory);
  T* maps = reinterpret_cast<T*>(memory);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int split = blockIdx.x % t.splits;
  const int channel = blockIdx.x / t.splits % s.channels;
  const int first_u = blockIdx.x / t.splits / s.channels * (t.warps * Rows);
  const int last_u = smaller(first_u + t.warps * Rows, s.kernel_height) - 1;
  const int u = first_u + warp * Rows;
  const int padding = s.kernel_height / 2, even_width = round_up(s.width, 16);
  const int64_t area = int64_t(s.height) * s.width;

  // matrices of 8 images x 8 columns: both products need them transposed
  const int buffer = kTile * (t.rows * t.pitch + t.grad_rows * t.grad_pitch);
  const int map_lane = (lane % 8 + lane / 16 * 8) * t.pitch + lane / 8 % 2 * 8;
  const int grad_lane = lane % 16 * t.grad_pitch + lane / 16 * 8;
  int ready = 0, grad_ready = 0;  // rows of the job that are loaded or under way

  // Loads what the output rows before `end` need and what is not there yet.
  const auto load = [&](int job, int end, T* to) {
    const int first_image = job / t.column_segments * kTile;
    const int left = job % t.column_segments * t.columns;
    const int right = smaller(even_width, left + t.columns);
    const int grad_left = larger(0, left - 16 * kLeft);
    const int grad_right = smaller(even_width, right + 16 * kLeft);
    const auto source = [&](const T* all, int row) {
      return [=](int member) {
        const int64_t image = first_image + member;
        MapRows<T> from;
        from.map =
            image < s.batch ? all + (image * s.channels + channel) * area : nullptr;
        from.row = row;
        return from;
      };
    };
    const int rows = smaller(s.height, larger(ready, end + last_u - padding));
    load_rows(t.vector, to, t.pitch, kTile, t.rows, ready % t.rows, rows - ready, left,
              right - left, s, source(input, ready));
    load_rows(t.vector, to + kTile * t.rows * t.pitch, t.grad_pitch, kTile, t.grad_rows,
              grad_ready % t.grad_rows, end - grad_ready, grad_left,
              grad_right - grad_left, s, source(grad, grad_ready));
    copy_commit();
    ready = rows;
    grad_ready = end;
  };
  const auto load_first = [&](int job, T* to) {
    ready = smaller(s.height, larger(0, first_u - padding));
    grad_ready = 0;
    load(job, smaller(t.chunk, s.height), to);
  };

  float sum[Rows][kOffsets][4] = {};
  T* now = maps;
  if (t.buffers == 2 && split < t.jobs) load_first(split, now);
  for (int job = split; job < t.jobs; job += t.splits) {
    const int left = job % t.column_segments * t.columns;
    const int right = smaller(even_width, left + t.columns);
    const int grad_left = larger(0, left - 16 * kLeft);
    const int grad_right = smaller(even_width, right + 16 * kLeft);
    if (t.buffers == 1) {
      __syncthreads();  // the job before is done with its rows
      load_first(job, now);
    }
    const T* my_maps = now + map_lane;
    const T* my_grads = now + kTile * t.rows * t.pitch + grad_lane;
    for (int top = 0; top < s.height; top += t.chunk) {
      const int bottom = smaller(top + t.chunk, s.height);
      copy_wait();
      __syncthreads();
      if (bottom < s.height) {
        load(job, smaller(bottom + t.chunk, s.height), now);
      } else if (t.buffers == 2 && job + t.splits < t.jobs) {
        now = now == maps ? maps + buffer : maps;
        load_first(job + t.splits, now);
      }
      if (u > last_u) continue;
      const int line = kTile * t.pitch, grad_line = kTile * t.grad_pitch;
      for (int q = left; q < right; q += 16) {
        const int base = q - left;
        unsigned a[Rows][4] = {};
#pragma unroll
        for (int i = 1; i < Rows; ++i) {
          const int row = top - 1 + u + i - padding;
          if (row >= 0 && row < s.height)
            load_matrices<true>(a[i], my_maps + row % t.rows * line + base);
        }
        // where the next row and the next row of the gradient lie in their rings
        int next = larger(0, top + u + Rows - 1 - padding) % t.rows;
        int grad_next = top % t.grad_rows;
        for (int y = top; y < bottom; ++y) {
#pragma unroll
          for (int i = 0; i + 1 < Rows; ++i)
#pragma unroll
            for (int r = 0; r < 4; ++r) a[i][r] = a[i + 1][r];
          const int row = y + u - padding;  // meets tap u; row + i meets u + i
          if (row + Rows - 1 >= 0 && row + Rows - 1 < s.height) {
            load_matrices<true>(a[Rows - 1], my_maps + next * line + base);
            next = next + 1 == t.rows ? 0 : next + 1;
          }
          const T* slope = my_grads + grad_next * grad_line;
          grad_next = grad_next + 1 == t.grad_rows ? 0 : grad_next + 1;
#pragma unroll
          for (int tile = -kLeft; tile <= kLeft; ++tile) {
            const int x = q + 16 * tile;
            if (x < grad_left || x >= grad_right) continue;
            unsigned b[4];
            load_matrices<true>(b, slope + x - grad_left);
#pragma unroll
            for (int i = 0; i < Rows; ++i) {
              if (row + i < 0 || row + i >= s.height || u + i > last_u) continue;
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const int k = -2 * tile - half + P + 1;
                if (k >= 0 && k < kOffsets)
                  mma<T>(sum[i][k], a[i], b[2 * half], b[2 * half + 1]);
              }
            }
          }
        }
      }
    }
  }

  // The sums over the diagonals, in an order that never changes.
  __syncthreads();
  constexpr int kLine = 8 * kOffsets + 16;
  float* square = reinterpret_cast<float*>(memory) + warp * (16 * 8 + kLine);
  float* line = square + 16 * 8;
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
    for (int k = lane; k < kLine; k += kWarpSize) line[k] = 0.f;
#pragma unroll
    for (int k = 0; k < kOffsets; ++k) {
      __syncwarp();
#pragma unroll
      for (int r = 0; r < 4; ++r)
        square[(lane / 4 + r / 2 * 8) * 8 + lane % 4 * 2 + r % 2] = sum[i][k][r];
      __syncwarp();
      if (lane < 23) {  // the diagonal q - j = lane - 7
        float total = 0.f;
        for (int j = larger(0, 7 - lane); j < smaller(8, 23 - lane); ++j)
          total += square[(j + lane - 7) * 8 + j];
        line[8 * k + lane] += total;
      }
    }
    __syncwarp();
    if (u + i <= last_u) {
      float* target =
          partial + ((int64_t(split) * s.channels + channel) * s.kernel_height + u + i) *
                        s.kernel_width;
      for (int v = lane; v < s.kernel_width; v += kWarpSize) {
        const int k = v + 7 + 8 * (P + 1) - s.kernel_width / 2;
        target[v] = k >= 0 && k < kLine ? line[k] : 0.f;
      }
    }
    __syncwarp();
  }
#endif
}

}  // namespace smpconv_mm
