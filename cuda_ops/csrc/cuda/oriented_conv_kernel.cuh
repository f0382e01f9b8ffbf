// Depthwise convolution with oriented 1-D kernels and the gradient of their taps. Sums
// are taken in float32, from maps that lie in shared memory with the zeros around them.
#pragma once

#include "oriented_conv_line.cuh"

namespace smpconv_mm {

// What a block works on: a tile of a channel of some images.
struct LineJob {
  int channel, top, left, rows, columns, first_image, last_image;
};

__device__ __forceinline__ LineJob find_job(const LinePass& s, const LineTile& t) {
  int block = blockIdx.x;
  LineJob job;
  job.channel = block % s.channels;
  block /= s.channels;
  job.left = block % t.column_tiles * t.columns;
  block /= t.column_tiles;
  job.top = block % t.row_tiles * t.rows;
  block /= t.row_tiles;
  job.rows = smaller(t.rows, s.target_height - job.top);
  job.columns = smaller(t.columns, s.target_width - job.left);
  const int share = ceil_div(s.batch, t.parts);
  job.first_image = block * share;
  job.last_image = smaller(s.batch, job.first_image + share);
  return job;
}

// What the outputs of a job need of the source.
__device__ __forceinline__ Window source_window(const Line& line, const LinePass& s,
                                                const LineTile& t, const LineJob& job) {
  const int top = job.top * s.stride, left = job.left * s.stride;
  const int bottom = (job.top + job.rows - 1) * s.stride + 1;
  const int right = (job.left + job.columns - 1) * s.stride + 1;
  const auto first = [&](int place) { return ceil_div(larger(0, place), s.spread); };
  const auto last = [&](int place, int size) {
    return smaller(size, ceil_div(larger(0, place), s.spread));
  };
  Window w;
  w.first_row = first(top - line.row_reach);
  w.last_row = last(bottom + line.row_reach, s.source_height);
  w.first_column = first(left - line.column_reach) & -t.copies.vector;
  w.last_column = last(right + line.column_reach, s.source_width);
  w.origin = line.at.lead - top * line.at.pitch - left;
  w.row_step = s.spread * line.at.pitch, w.column_step = s.spread;
  w.map_step = line.at.plane;
  return w;
}

// Notes what a block copies in a turn, where the targets lie at `to` in shared memory;
// all turns have nearly as many images.
__device__ __forceinline__ void plan_turns(Line& line, const LinePass& s, const LineTile& t,
                                           const LineJob& job, const Places& to) {
  const int images = job.last_image - job.first_image;
  line.images = ceil_div(images, ceil_div(images, line.at.images));
  line.source = source_window(line, s, t, job);
  line.target = {job.top, job.top + job.rows, job.left, job.left + job.columns,
                 to.first - job.top * to.pitch - job.left, to.pitch, 1, to.plane};
}

// Sums the outputs of a tile of the target for some images of a channel.
template <typename T, int Length>
__global__ void __launch_bounds__(kLineThreads, 3)
    oriented_conv_kernel(const T* source, const T* weight, const float* angle,
                         const T* bias, T* target, LinePass s, LineTile t) {
  SMPCONV_MM_SHARED(memory);
  Line& line = *reinterpret_cast<Line*>(memory);
  float* const maps = reinterpret_cast<float*>(&line + 1);
  float* const end = reinterpret_cast<float*>(memory + t.shared);
  const LineJob job = find_job(s, t);
  if (threadIdx.x < kWarpSize)
    make_line<Length>(line, angle[job.channel], weight + int64_t(job.channel) * s.taps, s,
                      t);
  if (threadIdx.x == 0)  // the outputs take the place of the maps
    plan_turns(line, s, t, job, {line.at.lead, line.at.plane, line.at.pitch});
  fill_zero(maps, end);
  __syncthreads();

  const Strip strip =
      find_strip<Length>(line, threadIdx.x, job.rows, job.columns, s.stride,
                         {line.at.lead, line.at.plane, line.at.pitch});
  const int source_plane = s.source_height * s.source_width;
  const int target_plane = s.target_height * s.target_width;
  for (int image = job.first_image; image < job.last_image; image += line.images) {
    const int images = smaller(line.images, job.last_image - image);
    const int64_t first_map = int64_t(image) * s.channels + job.channel;
    load_windows(maps, line.source, t.copies, source + first_map * source_plane, images,
                 s.source_width, unsigned(s.channels) * source_plane);
    const int more = smaller(images, job.last_image - image - images);
    prefetch_maps(source + (first_map + int64_t(images) * s.channels) * source_plane, more,
                  source_plane, unsigned(s.channels) * source_plane);
    copy_commit();
    copy_wait();
    __syncthreads();
    const bool working = strip.image < images;
    const float shift = bias == nullptr ? 0.f : to_float(bias[job.channel]);
    float sum[Length];
#pragma unroll
    for (int i = 0; i < Length; ++i) sum[i] = shift;
    if (working)
      walk_line<Length>(line, maps, strip.from, s.stride,
                        [&](int pixel, auto inputs) {
                          const float value = line.value[pixel];
#pragma unroll
                          for (int i = 0; i < Length; ++i) sum[i] += value * inputs(i);
                        });
    __syncthreads();
    if (working) {
      const int step = line.row_step * line.at.pitch + line.column_step;
#pragma unroll
      for (int i = 0; i < Length; ++i)
        if (strip.inside >> i & 1) maps[strip.to + i * step] = sum[i];
    }
    __syncthreads();
    store_windows(target + first_map * target_plane, line.target, t.copies, maps, images,
                  s.target_width, unsigned(s.channels) * target_plane);
    __syncthreads();
    if (s.spread > 1) {  // zeros between the pixels of the source
      fill_zero(maps, end);
      __syncthreads();
    }
  }
}

// The gradient of the taps from the input (the source) and the output's gradient (of the
// target's shape): every block writes its share to
// partial[block of the channel][channel][tap].
template <typename T, int Length>
__global__ void __launch_bounds__(kLineThreads, 3)
    oriented_weight_kernel(const T* input, const T* grad, const float* angle,
                           float* partial, LinePass s, LineTile t) {
  SMPCONV_MM_SHARED(memory);
  Line& line = *reinterpret_cast<Line*>(memory);
  float* const maps = reinterpret_cast<float*>(&line + 1);
  float* const grads = maps + t.region;
  float* const sums = grads + t.grad_region;  // [pixel][thread], of all jobs
  const LineJob job = find_job(s, t);
  if (threadIdx.x < kWarpSize)
    make_line<Length>(line, angle[job.channel], static_cast<const T*>(nullptr), s, t);
  const Places to{0, t.rows * gradient_pitch(t), gradient_pitch(t)};
  if (threadIdx.x == 0) plan_turns(line, s, t, job, to);
  fill_zero(maps, reinterpret_cast<float*>(memory + t.shared));
  __syncthreads();

  const Strip strip =
      find_strip<Length>(line, threadIdx.x, job.rows, job.columns, s.stride, to);
  const int source_plane = s.source_height * s.source_width;
  const int target_plane = s.target_height * s.target_width;
  for (int image = job.first_image; image < job.last_image; image += line.images) {
    const int images = smaller(line.images, job.last_image - image);
    const int64_t first_map = int64_t(image) * s.channels + job.channel;
    load_windows(maps, line.source, t.copies, input + first_map * source_plane, images,
                 s.source_width, unsigned(s.channels) * source_plane);
    load_windows(grads, line.target, t.copies, grad + first_map * target_plane, images,
                 s.target_width, unsigned(s.channels) * target_plane);
    const int more = smaller(images, job.last_image - image - images);
    const int64_t next_map = first_map + int64_t(images) * s.channels;
    prefetch_maps(input + next_map * source_plane, more, source_plane,
                  unsigned(s.channels) * source_plane);
    prefetch_maps(grad + next_map * target_plane, more, target_plane,
                  unsigned(s.channels) * target_plane);
    copy_commit();
    copy_wait();
    __syncthreads();
    if (strip.image < images) {
      const int step = line.row_step * to.pitch + line.column_step;
      float g[Length];
#pragma unroll
      for (int i = 0; i < Length; ++i)
        g[i] = strip.inside >> i & 1 ? grads[strip.to + i * step] : 0.f;
      float* const mine = sums + threadIdx.x;
      const int threads = blockDim.x;
      walk_line<Length>(line, maps, strip.from, s.stride,
                        [&](int pixel, auto inputs) {
                          float even = mine[pixel * threads], odd = 0.f;
#pragma unroll
                          for (int i = 0; i < Length; i += 2) {
                            even += g[i] * inputs(i);
                            odd += g[i + 1] * inputs(i + 1);
                          }
                          mine[pixel * threads] = even + odd;
                        });
    }
    __syncthreads();
  }
  // A warp adds up the shares of a pixel in an order that never changes.
  const int lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  for (int pixel = threadIdx.x / kWarpSize; pixel < line.pixels; pixel += warps) {
    float sum = 0.f;
    for (int w = 0; w < warps; ++w) sum += sums[(pixel * warps + w) * kWarpSize + lane];
    for (int with = kWarpSize / 2; with > 0; with /= 2)
      sum += __shfl_xor_sync(~0u, sum, with);
    if (lane == 0) line.value[pixel] = sum;
  }
  __syncthreads();
  for (int tap = threadIdx.x; tap < s.taps; tap += blockDim.x) {
    const int pixel = line.pixel[tap];
    partial[int64_t(blockIdx.x) * s.taps + tap] = pixel < 0 ? 0.f : line.value[pixel];
  }
}

}  // namespace smpconv_mm
