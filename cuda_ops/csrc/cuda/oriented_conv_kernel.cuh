// Depthwise convolution with oriented 1-D kernels and the gradient of their taps. Sums
// are taken in float32, from maps that lie in shared memory with the zeros around them.
#pragma once

#include "oriented_conv_line.cuh"

namespace smpconv_mm {

constexpr int kAtOnce = 8;  // that a thread has under way to or from shared memory

// The rows and columns of a map that go to or from shared memory.
struct Window {
  int first_row, last_row, first_column, last_column;
  int origin, row_step, column_step, image_step;  // places in shared memory; (0, 0) first
};

// A part of the maps that all windows of a block begin in.
struct Frame {
  int height, width;  // of the maps
  int first_row, first_column;
};

// Calls value = first(index in the maps, place in shared memory) and then second(index,
// place, value) for the windows of some images and channels, several at once.
// Neighbouring threads get neighbours in the maps; find(channel) gives a window.
template <typename Find, typename First, typename Second>
__device__ __forceinline__ void for_pixels(const Frame& f, const LinePass& s,
                                           const LineTile& t, int images, int channels,
                                           Find find, First first, Second second) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int channel = lane % t.channels, beside = lane / t.channels;
  const int across = t.lane_columns, down = kWarpSize / t.channels / across;
  if (channel >= channels) return;
  const Window w = find(channel);
  const unsigned plane = unsigned(f.height) * f.width;
  const unsigned column_stride = s.channels_last ? s.channels : 1;
  const unsigned row_stride = f.width * column_stride, image_stride = plane * s.channels;
  const int step = blockDim.x / kWarpSize * down;  // from row to row of a thread
  int row = f.first_row + warp * down + beside / across;
  if (row < w.first_row) row += round_up(w.first_row - row, step);
  const unsigned base = channel * (s.channels_last ? 1 : plane) + row * row_stride;
  const int origin = w.origin + row * w.row_step;
  const int rows = w.last_row > row ? (w.last_row - row - 1) / step + 1 : 0;
  // Many at once: those of an image, or the images of small maps.
  const bool many = images > 1;
  const int inner = many ? images : rows, outer = many ? rows : images;
  const unsigned from_step = many ? image_stride : step * row_stride;
  const unsigned from_skip = many ? step * row_stride : image_stride;
  const int place_step = many ? w.image_step : step * w.row_step;
  const int place_skip = many ? step * w.row_step : w.image_step;
  for (int x = f.first_column + beside % across; x < w.last_column; x += across) {
    if (x < w.first_column) continue;
    for (int i = 0; i < outer; ++i) {
      unsigned from = base + x * column_stride + i * from_skip;
      int place = origin + x * w.column_step + i * place_skip;
      for (int left = inner; left > 0; left -= kAtOnce) {
        decltype(first(from, place)) value[kAtOnce];
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e)
          if (e < left) value[e] = first(from + e * from_step, place + e * place_step);
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e)
          if (e < left) second(from + e * from_step, place + e * place_step, value[e]);
        from += kAtOnce * from_step, place += kAtOnce * place_step;
      }
    }
  }
}

// Where the maps of a block begin.
__device__ __forceinline__ int64_t find_maps(const Frame& f, const LinePass& s,
                                             int first_image, int first_channel) {
  const int64_t plane = int64_t(f.height) * f.width;
  return first_image * plane * s.channels + first_channel * (s.channels_last ? 1 : plane);
}

// Whether maps are copied while the threads go on.
template <typename T>
__host__ __device__ constexpr bool copies_alone() {
  return SMPCONV_MM_HAS_MMA && std::is_same<T, float>::value;
}

// Copies windows of maps to shared memory, at last after copy_wait().
template <typename T, typename Find>
__device__ __forceinline__ void load_maps(float* to, const T* maps, const Frame& f,
                                          const LinePass& s, const LineTile& t, int images,
                                          int channels, Find find) {
  if constexpr (copies_alone<T>()) {
    for_pixels(f, s, t, images, channels, find,
               [=](unsigned from, int place) {
                 copy_async<4>(to + place, maps + from);
                 return 0;
               },
               [](unsigned, int, int) {});
  } else {
    for_pixels(f, s, t, images, channels, find,
               [=](unsigned from, int) { return maps[from]; },
               [=](unsigned, int place, T value) { to[place] = to_float(value); });
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
  const Frame f{s.source_height, s.source_width, first(top - reach), first(left - reach)};
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

// The tile of the target of a job, in shared memory from `origin` on.
__device__ __forceinline__ Frame target_frame(const LinePass& s, const LineJob& job) {
  return {s.target_height, s.target_width, job.top, job.left};
}

__device__ __forceinline__ Window target_window(const LineJob& job, int origin, int pitch,
                                                int plane) {
  return {job.top, job.top + job.rows, job.left, job.left + job.columns,
          origin - job.top * pitch - job.left, pitch, 1, plane};
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
  __syncthreads();

  const auto load = [&](int turn, float* to) {
    load_source(to, source, lines, s, t, job, turn * t.images,
                smaller(t.images, s.batch - turn * t.images));
    copy_commit();
  };
  const int task = warp % t.channel_warps * kWarpSize + threadIdx.x % kWarpSize;
  int channel = warp / t.channel_warps;
  Strip strip = find_strip<Length>(lines[smaller(channel, job.channels - 1)], task);
  float* other = maps + (t.buffers - 1) * t.channels * t.region;
  if (t.buffers == 2) load(job.part, maps);
  for (int turn = job.part; turn < t.jobs; turn += t.parts) {
    const int first_image = turn * t.images;
    const int images = smaller(t.images, s.batch - first_image);
    if (t.buffers == 1) load(turn, maps);
    copy_wait();
    __syncthreads();
    if (t.buffers == 2 && turn + t.parts < t.jobs) load(turn + t.parts, other);
    // The outputs take the place of the maps.
    for (int pass = 0; pass < job.channels; pass += t.pass_channels) {
      if (t.pass_channels < job.channels) {
        channel = pass + warp / t.channel_warps;
        strip = find_strip<Length>(lines[smaller(channel, job.channels - 1)], task);
      }
      const Line& line = lines[smaller(channel, job.channels - 1)];
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
    for_pixels(f, s, t, images, job.channels,
               [&](int c) {
                 const Line& line = lines[c];
                 return target_window(
                     job, c * t.region + line.row_reach * line.pitch + line.column_reach,
                     line.pitch, line.plane);
               },
               [=](unsigned, int place) { return maps[place]; },
               [=](unsigned to, int, float value) { out[to] = from_float<T>(value); });
    if (t.buffers == 2) {
      float* const done = maps;
      maps = other, other = done;
      continue;
    }
    __syncthreads();
    if (s.spread > 1) {  // zeros between the pixels of the source
      fill_zero(maps - 2 * Length, end);
      __syncthreads();
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
  float* grads = maps + t.buffers * t.channels * t.region + 2 * Length;
  float* sums = grads + t.buffers * t.channels * t.grad_region;  // [pixel][half a warp]
  const int pitch = t.columns | 1, half = kWarpSize / 2;
  __syncthreads();

  const auto load = [&](int turn, int buffer) {
    const int first_image = turn * t.images;
    const int images = smaller(t.images, s.batch - first_image);
    load_source(maps + buffer * t.channels * t.region, input, lines, s, t, job, first_image,
                images);
    const Frame f = target_frame(s, job);
    load_maps(grads + buffer * t.channels * t.grad_region,
              grad + find_maps(f, s, first_image, job.first_channel), f, s, t, images,
              job.channels, [&](int c) {
                return target_window(job, c * t.grad_region, pitch, t.rows * pitch);
              });
    copy_commit();
  };
  int buffer = 0;
  if (t.buffers == 2) load(job.part, 0);
  for (int turn = job.part; turn < t.jobs; turn += t.parts, buffer = t.buffers - 1 - buffer) {
    const int images = smaller(t.images, s.batch - turn * t.images);
    if (t.buffers == 1) load(turn, 0);
    copy_wait();
    __syncthreads();
    if (t.buffers == 2 && turn + t.parts < t.jobs) load(turn + t.parts, 1 - buffer);
    for (int pass = 0; pass < job.channels; pass += t.pass_channels) {
      const int channel = pass + warp / t.channel_warps;
      const int first_warp = warp / t.channel_warps * t.channel_warps;
      if (channel < job.channels) {
        const Line& line = lines[channel];
        // all threads of a warp go along, as they share their sums
        const int task = (warp - first_warp) * kWarpSize + lane;
        const int tasks = line.lanes * line.strips * images;
        const Strip strip = find_strip<Length>(line, smaller(task, tasks - 1));
        const float* map = maps + (buffer * t.channels + channel) * t.region +
                           strip.image * line.plane + line.row_reach * line.pitch +
                           line.column_reach;
        const float* slope = grads + (buffer * t.channels + channel) * t.grad_region +
                             strip.image * t.rows * pitch;
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
