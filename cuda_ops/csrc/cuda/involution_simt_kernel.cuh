// Involution without tensor cores, for every size. Sums are taken in float32.
#pragma once

#include "involution_device.cuh"

namespace smpconv_mm {

constexpr int kSimtThreads = 128;
constexpr int kSimtChannels = 8;  // of a group that a thread works on
constexpr int kSimtTaps = 8;      // of a row of the kernel that a thread sums at once

// A thread computes a place of some channels of a group: of the output, or with
// Transposed, of the gradient of the input from that of the output.
template <typename T, bool Transposed>
__global__ void __launch_bounds__(kSimtThreads)
    involution_simt_kernel(const T* source, const T* weight, T* target,
                           InvolutionShape s, int blocks_of_plane) {
  const int chunks = ceil_div(group_width(s), kSimtChannels);
  int64_t block = blockIdx.x;
  const int place = int(block % blocks_of_plane) * kSimtThreads + int(threadIdx.x);
  block /= blocks_of_plane;
  const int member = int(block % chunks) * kSimtChannels;
  block /= chunks;
  const int group = int(block % s.groups);
  const int64_t image = block / s.groups;

  const int height = Transposed ? s.height : s.out_height;
  const int width = Transposed ? s.width : s.out_width;
  if (place >= height * width) return;
  const int row = place / width, column = place % width;
  const int64_t outputs = int64_t(s.out_height) * s.out_width;
  const int64_t area = int64_t(s.height) * s.width;
  const int64_t source_area = Transposed ? outputs : area;
  const int64_t step = (s.interleaved ? s.groups : 1) * source_area;  // between members
  const int count = smaller(kSimtChannels, group_width(s) - member);
  const T* from = source + plane_of(s, image, group, member) * source_area;
  const T* kernels = weight + (image * s.groups + group) * s.kernel * s.kernel * outputs;

  float sum[kSimtChannels] = {};
  const auto add = [&](int u, int v, int64_t output, int64_t at) {
    const float w = to_float(kernels[(u * s.kernel + v) * outputs + output]);
#pragma unroll
    for (int d = 0; d < kSimtChannels; ++d)
      if (d < count) sum[d] += w * to_float(from[d * step + at]);
  };
  if constexpr (Transposed) {
    const Range rows =
        readers_of(s, {row, row + 1}, 0, s.kernel - 1, s.height, s.out_height);
    const Range columns =
        readers_of(s, {column, column + 1}, 0, s.kernel - 1, s.width, s.out_width);
    for (int i = rows.first; i < rows.last; ++i) {
      const int u = tap_at(s, first_place(s, i, s.height), row);
      if (u < 0) continue;
      for (int j = columns.first; j < columns.last; ++j) {
        const int v = tap_at(s, first_place(s, j, s.width), column);
        const int64_t output = int64_t(i) * s.out_width + j;
        if (v >= 0) add(u, v, output, output);
      }
    }
  } else {
    const int top = first_place(s, row, s.height), left = first_place(s, column, s.width);
    for (int u = 0; u < s.kernel; ++u) {
      const int y = top + u * s.dilation;
      if (y < 0 || y >= s.height) continue;
      for (int v = 0; v < s.kernel; ++v) {
        const int x = left + v * s.dilation;
        if (x >= 0 && x < s.width) add(u, v, place, int64_t(y) * s.width + x);
      }
    }
  }
  const int64_t target_area = Transposed ? area : outputs;
  for (int d = 0; d < count; ++d)
    target[plane_of(s, image, group, member + d) * target_area + place] =
        from_float<T>(sum[d]);
}

// A thread computes a row of taps of the weight's gradient at an output.
template <typename T>
__global__ void __launch_bounds__(kSimtThreads)
    involution_weight_simt_kernel(const T* input, const T* grad, T* target,
                                  InvolutionShape s, int blocks_of_plane) {
  int64_t block = blockIdx.x;
  const int output = int(block % blocks_of_plane) * kSimtThreads + int(threadIdx.x);
  block /= blocks_of_plane;
  const int u = int(block % s.kernel);
  block /= s.kernel;
  const int group = int(block % s.groups);
  const int64_t image = block / s.groups;
  const int outputs = s.out_height * s.out_width;
  if (output >= outputs) return;

  const int y = first_place(s, output / s.out_width, s.height) + u * s.dilation;
  const int left = first_place(s, output % s.out_width, s.width);
  const bool inside = y >= 0 && y < s.height;
  const int64_t area = int64_t(s.height) * s.width;
  T* to = target + ((image * s.groups + group) * s.kernel + u) * s.kernel * outputs + output;
  for (int v = 0; v < s.kernel; v += kSimtTaps) {
    float sum[kSimtTaps] = {};
    for (int member = 0; inside && member < group_width(s); ++member) {
      const int64_t plane = plane_of(s, image, group, member);
      const float slope = to_float(grad[plane * outputs + output]);
      const T* line = input + plane * area + int64_t(y) * s.width;
#pragma unroll
      for (int e = 0; e < kSimtTaps; ++e) {
        const int x = left + (v + e) * s.dilation;
        if (v + e < s.kernel && x >= 0 && x < s.width) sum[e] += slope * to_float(line[x]);
      }
    }
#pragma unroll
    for (int e = 0; e < kSimtTaps; ++e)
      if (v + e < s.kernel) to[int64_t(v + e) * outputs] = from_float<T>(sum[e]);
  }
}

}  // namespace smpconv_mm
