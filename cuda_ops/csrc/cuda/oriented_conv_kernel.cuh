// Depthwise convolution with oriented 1-D kernels and the gradient of their taps. Sums
// are taken in float32, from maps that lie in shared memory with the zeros around them.
#pragma once

#include "oriented_conv_line.cuh"

namespace smpconv_mm {

constexpr int kRowsAtOnce = 8;  // that a warp has under way to shared memory

// The rows and columns of a map that go to or from shared memory.
struct Window {
  int first_row, last_row, first_column, last_column;
  int origin, row_step, column_step, image_step;  // places in shared memory; (0, 0) first
};

// A part of the maps that all windows of a block lie in.
struct Frame {
  int height, width;  // of the maps
  int first_row, last_row, first_column, last_column;
};

// Calls body(whether, index in the maps, a column's index; place in shared memory, a
// column's place), for Rows rows at once, for the windows of some images and channels.
// Neighbouring threads get neighbours in the maps; find(channel) gives a window.
template <int Rows, typename Find, typename Body>
__device__ __forceinline__ void for_rows(const Frame& f, const LinePass& s,
                                         const LineTile& t, int images, int channels,
                                         Find find, Body body) {
  const int lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  const int channel = lane % t.channels, across = kWarpSize / t.channels;
  if (channel >= channels) return;
  const Window w = find(channel);
  const unsigned plane = unsigned(f.height) * f.width;
  const unsigned column_stride = s.channels_last ? s.channels : 1;
  const unsigned row_stride = f.width * column_stride, image_stride = plane * s.channels;
  const unsigned base = channel * (s.channels_last ? 1 : plane);
  const int rows = f.last_row - f.first_row;
  for (int unit = threadIdx.x / kWarpSize; unit < images * rows; unit += Rows * warps) {
    bool inside[Rows];
    unsigned from[Rows];
    int place[Rows];
#pragma unroll
    for (int e = 0; e < Rows; ++e) {
      const int u = unit + e * warps, image = u / rows, row = f.first_row + u % rows;
      inside[e] = image < images && row >= w.first_row && row < w.last_row;
      from[e] = base + image * image_stride + row * row_stride;
      place[e] = w.origin + image * w.image_step + row * w.row_step;
    }
    for (int x = f.first_column + lane / t.channels; x < f.last_column; x += across)
      if (x >= w.first_column && x < w.last_column)
        body(inside, from, x * column_stride, place, x * w.column_step);
  }
}

// Where the maps of a block begin.
__device__ __forceinline__ int64_t find_maps(const Frame& f, const LinePass& s,
                                             int first_image, int first_channel) {
  const int64_t plane = int64_t(f.height) * f.width;
  return first_image * plane * s.channels + first_channel * (s.channels_last ? 1 : plane);
}

// Copies windows of maps to shared memory, at last after copy_wait().
template <typename T, typename Find>
__device__ __forceinline__ void load_maps(float* to, const T* maps, const Frame& f,
                                          const LinePass& s, const LineTile& t, int images,
                                          int channels, Find find) {
  if constexpr (SMPCONV_MM_HAS_MMA && std::is_same<T, float>::value) {
    for_rows<1>(f, s, t, images, channels, find,
                [=](const auto& inside, const auto& from, unsigned column,
                    const auto& place, int x) {
                  if (inside[0]) copy_async<4>(to + place[0] + x, maps + from[0] + column);
                });
  } else {
    for_rows<kRowsAtOnce>(f, s, t, images, channels, find,
                          [=](const auto& inside, const auto& from, unsigned column,
                              const auto& place, int x) {
                            T value[kRowsAtOnce];
#pragma unroll
                            for (int e = 0; e < kRowsAtOnce; ++e)
                              if (inside[e]) value[e] = maps[from[e] + column];
#pragma unroll
                            for (int e = 0; e < kRowsAtOnce; ++e)
                              if (inside[e]) to[place[e] + x] = to_float(value[e]);
                          });
  }
}

__device__ __forceinline__ void fill_zero(float* from, float* to) {
  for (float4* at = reinterpret_cast<float4*>(from) + threadIdx.x;
       at < reinterpret_cast<float4*>(to); at += blockDim.x)
    *at = float4{0.f, 0.f, 0.f, 0.f};
}

// What a block works on.
struct LineJob {
  int first_channel, channels, top, left, rows, columns, tile, part;
};

__device__ __forceinline__ LineJob find_job(const LinePass& s, const LineTile& t) {
  int block = blockIdx.x;
  LineJob job;
  job.first_channel = block % t.channel_groups * t.channels;
  job.channels = smaller(t.channels, s.channels - job.first_channel);
  block /= t.channel_groups;
  job.tile = block % (t.row_tiles * t.column_tiles);
  job.part = block / (t.row_tiles * t.column_tiles);
  job.left = job.tile % t.column_tiles * t.columns;
  job.top = job.tile / t.column_tiles * t.rows;
  job.rows = smaller(t.rows, s.target_height - job.top);
  job.columns = smaller(t.columns, s.target_width - job.left);
  return job;
}

// Loads what the outputs of a job need of the source.
template <typename T>
__device__ __forceinline__ void load_source(float* maps, const T* source, const Line* lines,
                                            const LinePass& s, const LineTile& t,
                                            const LineJob& job, int first_image,
                                            int images) {
  const int top = job.top * s.stride, left = job.left * s.stride, reach = s.taps / 2;
  const int bottom = (job.top + job.rows - 1) * s.stride + 1;
  const int right = (job.left + job.columns - 1) * s.stride + 1;
  const auto first = [&](int place) { return ceil_div(larger(0, place), s.spread); };
  const auto last = [&](int place, int size) {
    return smaller(size, ceil_div(larger(0, place), s.spread));
  };
  const Frame f{s.source_height, s.source_width, first(top - reach),
                last(bottom + reach, s.source_height), first(left - reach),
                last(right + reach, s.source_width)};
  load_maps(maps, source + find_maps(f, s, first_image, job.first_channel), f, s, t, images,
            job.channels, [&](int channel) {
              const Line& line = lines[channel];
              Window w;
              w.first_row = first(top - line.row_reach);
              w.last_row = last(bottom + line.row_reach, s.source_height);
              w.first_column = first(left - line.column_reach);
              w.last_column = last(right + line.column_reach, s.source_width);
              w.origin = channel * t.region + (line.row_reach - top) * line.pitch +
                         line.column_reach - left;
              w.row_step = s.spread * line.pitch;
              w.column_step = s.spread;
              w.image_step = line.plane;
              return w;
            });
}

// The tile of the target of a job.
__device__ __forceinline__ Frame target_frame(const LinePass& s, const LineJob& job) {
  return {s.target_height, s.target_width, job.top, job.top + job.rows,
          job.left, job.left + job.columns};
}

// Sums the outputs of a tile of the target for some images of some channels.
template <typename T, int Length>
__global__ void __launch_bounds__(kLineThreads, 2)
    oriented_conv_kernel(const T* source, const T* weight, const float* angle,
                         const T* bias, T* target, LinePass s, LineTile t) {
  SMPCONV_MM_SHARED(memory);
  Line* lines = reinterpret_cast<Line*>(memory);
  float* maps = reinterpret_cast<float*>(lines + t.channels);
  float* end = reinterpret_cast<float*>(memory + t.shared);
  const LineJob job = find_job(s, t);
  const int warp = threadIdx.x / kWarpSize;
  for (int c = warp; c < job.channels; c += blockDim.x / kWarpSize)
    make_line<Length>(lines[c], angle[job.first_channel + c],
                      weight + int64_t(job.first_channel + c) * s.taps, s, t);
  fill_zero(maps, end);
  maps += 2 * Length;  // strips at the edge read beside the maps

  for (int turn = job.part; turn < t.jobs; turn += t.parts) {
    const int first_image = turn * t.images;
    const int images = smaller(t.images, s.batch - first_image);
    __syncthreads();
    load_source(maps, source, lines, s, t, job, first_image, images);
    copy_commit();
    copy_wait();
    __syncthreads();
    // The outputs take the place of the maps, which are loaded anew for the next images.
    for (int pass = 0; pass < job.channels; pass += t.pass_channels) {
      const int channel = pass + warp / t.channel_warps;
      const int task = warp % t.channel_warps * kWarpSize + threadIdx.x % kWarpSize;
      const Line& line = lines[smaller(channel, job.channels - 1)];
      const Strip strip = find_strip<Length>(line, task);
      const bool working = channel < job.channels && strip.image < images;
      float* map = maps + channel * t.region + strip.image * line.plane +
                   line.row_reach * line.pitch + line.column_reach;
      float sum[Length] = {};
      if (working)
        walk_line<Length>(line, map + (strip.row * line.pitch + strip.column) * s.stride,
                          s.stride, [&](int pixel, auto inputs) {
                            const float value = line.value[pixel];
#pragma unroll
                            for (int i = 0; i < Length; ++i) sum[i] += value * inputs(i);
                          });
      __syncthreads();
      if (!working) continue;
      const float shift =
          bias == nullptr ? 0.f : to_float(bias[job.first_channel + channel]);
#pragma unroll
      for (int i = 0; i < Length; ++i) {
        const int row = strip.row + i * line.row_step;
        const int column = strip.column + i * line.column_step;
        if (row >= 0 && row < job.rows && column >= 0 && column < job.columns)
          map[row * line.pitch + column] = sum[i] + shift;
      }
    }
    __syncthreads();
    const Frame f = target_frame(s, job);
    T* out = target + find_maps(f, s, first_image, job.first_channel);
    for_rows<1>(
        f, s, t, images, job.channels,
        [&](int channel) {
          const Line& line = lines[channel];
          return Window{f.first_row, f.last_row, f.first_column, f.last_column,
                        channel * t.region + (line.row_reach - job.top) * line.pitch +
                            line.column_reach - job.left,
                        line.pitch, 1, line.plane};
        },
        [&](const auto& inside, const auto& to, unsigned column, const auto& place, int x) {
          if (inside[0]) out[to[0] + column] = from_float<T>(maps[place[0] + x]);
        });
    if (s.spread > 1) {  // zeros between the pixels of the source
      __syncthreads();
      fill_zero(maps - 2 * Length, end);
    }
  }
}

// The gradient of the taps from the input (the source) and the output's gradient (of the
// target's shape): every block writes its share to
// partial[block of the channel][channel][tap].
template <typename T, int Length>
__global__ void __launch_bounds__(kLineThreads, 2)
    oriented_weight_kernel(const T* input, const T* grad, const float* angle,
                           float* partial, LinePass s, LineTile t) {
  SMPCONV_MM_SHARED(memory);
  Line* lines = reinterpret_cast<Line*>(memory);
  float* maps = reinterpret_cast<float*>(lines + t.channels);
  float* end = reinterpret_cast<float*>(memory + t.shared);
  const LineJob job = find_job(s, t);
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const int warps = blockDim.x / kWarpSize;
  for (int c = warp; c < job.channels; c += warps)
    make_line<Length>(lines[c], angle[job.first_channel + c], static_cast<const T*>(nullptr),
                      s, t);
  fill_zero(maps, end);
  maps += 2 * Length;
  float* grads = maps + t.channels * t.region + 2 * Length;
  float* sums = grads + t.channels * t.grad_region;  // [pixel][half a warp]
  const int pitch = t.columns | 1, half = kWarpSize / 2;

  for (int turn = job.part; turn < t.jobs; turn += t.parts) {
    const int first_image = turn * t.images;
    const int images = smaller(t.images, s.batch - first_image);
    __syncthreads();
    load_source(maps, input, lines, s, t, job, first_image, images);
    const Frame f = target_frame(s, job);
    load_maps(grads, grad + find_maps(f, s, first_image, job.first_channel), f, s, t, images,
              job.channels, [&](int channel) {
                return Window{f.first_row, f.last_row, f.first_column, f.last_column,
                              channel * t.grad_region - job.top * pitch - job.left,
                              pitch, 1, t.rows * pitch};
              });
    copy_commit();
    copy_wait();
    __syncthreads();
    for (int pass = 0; pass < job.channels; pass += t.pass_channels) {
      const int channel = pass + warp / t.channel_warps;
      const int first_warp = warp / t.channel_warps * t.channel_warps;
      if (channel < job.channels) {
        const Line& line = lines[channel];
        // all threads of a warp go along, as they share their sums
        const int task = (warp - first_warp) * kWarpSize + lane;
        const int tasks = line.lanes * line.strips * images;
        const Strip strip = find_strip<Length>(line, smaller(task, tasks - 1));
        const float* map = maps + channel * t.region + strip.image * line.plane +
                           line.row_reach * line.pitch + line.column_reach;
        const float* slope = grads + channel * t.grad_region + strip.image * t.rows * pitch;
        float g[Length];
#pragma unroll
        for (int i = 0; i < Length; ++i) {
          const int row = strip.row + i * line.row_step;
          const int column = strip.column + i * line.column_step;
          const bool inside = task < tasks && row >= 0 && row < job.rows && column >= 0 &&
                              column < job.columns;
          g[i] = inside ? slope[row * pitch + column] : 0.f;
        }
        float* mine = sums + warp * half + lane;
        walk_line<Length>(
            line, map + (strip.row * line.pitch + strip.column) * s.stride, s.stride,
            [&](int pixel, auto inputs) {
              float sum = 0.f;
#pragma unroll
              for (int i = 0; i < Length; ++i) sum += g[i] * inputs(i);
              sum += __shfl_xor_sync(~0u, sum, half);
              if (lane < half) mine[pixel * warps * half] = sum;
            });
      }
      __syncthreads();
      // A warp adds up the shares of a pixel in an order that never changes.
      const int all = t.channel_warps * half;
      for (int index = warp; index < t.pass_channels * kMostLineTaps; index += warps) {
        const int c = index / kMostLineTaps, pixel = index % kMostLineTaps;
        if (pass + c >= job.channels) break;
        if (pixel >= lines[pass + c].pixels) continue;
        const float* from = sums + pixel * warps * half + c * all;
        float sum = 0.f;
        for (int i = lane; i < all; i += kWarpSize) sum += from[i];
        for (int with = kWarpSize / 2; with > 0; with /= 2)
          sum += __shfl_xor_sync(~0u, sum, with);
        if (lane == 0) lines[pass + c].value[pixel] += sum;
      }
      __syncthreads();
    }
  }
  __syncthreads();
  const int64_t share = int64_t(job.part) * t.row_tiles * t.column_tiles + job.tile;
  for (int i = threadIdx.x; i < job.channels * s.taps; i += blockDim.x) {
    const int c = i / s.taps, tap = i % s.taps, pixel = lines[c].pixel[tap];
    partial[(share * s.channels + job.first_channel) * s.taps + i] =
        pixel < 0 ? 0.f : lines[c].value[pixel];
  }
}

}  // namespace smpconv_mm
