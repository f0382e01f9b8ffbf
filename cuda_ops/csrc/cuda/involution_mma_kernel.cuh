// Involution of 16-bit maps by tensor cores, sm_80 and newer, where there are no strips
// (involution_strip_kernel.cuh).
//
// A row `y` of the input gives its share of row `i` of the output by a product,
//
//   out[channel, j] += sum_q  x[channel, q] * B[q, j],   B[q, j] = weight[u, v, i, j]
//
// with the taps u and v by which output (i, j) reads place (y, q), and 0 where it does
// not. B is a band; all channels of a group share it, so 16 of them are the rows of a
// matrix product, 16 places its inner dimension and 8 outputs its columns. The weight
// is read from memory once and never unfolded. The gradient of the input is the same
// with the band transposed; that of the weight is a band of x' grad.
#pragma once

#include "involution_device.cuh"

namespace smpconv_mm {

constexpr int kMmaChannels = 16, kMmaPlaces = 16, kMmaOutputs = 8;
constexpr int kMmaRows = 4;  // that a warp computes at once

// What a block computes and how it lies in shared memory. "Target" is what is computed,
// "source" the map that it is computed from.
struct InvolutionTile {
  int rows, columns, row_tiles, column_tiles;  // of targets; columns in eights
  int source_vector, weight_vector;            // elements that one copy takes
  int members;                                 // channels of the group, in sixteens
  int source_rows, source_pitch, member_pitch;
  int weight_rows, weight_columns, tap_pitch;  // one tap has rows x columns numbers
  int grad_pitch;                              // of a channel (weight's gradient only)
  int warps, shared;
};

template <int Vector, typename T>
__device__ __forceinline__ void copy_or_clear(T* to, const T* from, bool inside) {
  if constexpr (Vector == 1) {
    *to = inside ? *from : from_float<T>(0.f);
  } else if (inside) {
    copy_async<Vector * int(sizeof(T))>(to, from);
  } else {
#pragma unroll
    for (int e = 0; e < Vector; e += 2) *reinterpret_cast<unsigned*>(to + e) = 0;
  }
}

// Copies rows and columns of a group's maps to [member][row][column]; places outside of
// the map and members that do not exist become 0.
template <typename T>
__device__ __forceinline__ void load_members(T* to, int member_pitch, int pitch, int members,
                                             Range rows, int left, const T* maps, int height,
                                             int width, int64_t image, int group,
                                             const InvolutionShape& s, int vector) {
  with_vector<T>(vector, [&](auto count) {
    constexpr int kVector = decltype(count)::value;
    const int vectors = pitch / kVector;
    const int lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
    // a warp copies several short lines at once
    const int across = vectors >= kWarpSize ? kWarpSize : vectors > 8 ? 16 : 8;
    const int step = warps * (kWarpSize / across);
    int member = threadIdx.x / across / rows.size();
    int at = threadIdx.x / across % rows.size();
    for (; member < members; at += step) {
      for (; at >= rows.size(); at -= rows.size()) ++member;
      if (member >= members) break;
      const int row = rows.first + at;
      const bool exists = member < group_width(s) && row >= 0 && row < height;
      const T* from =
          maps + plane_of(s, image, group, member) * (int64_t(height) * width) +
          int64_t(row) * width;
      T* target = to + member * member_pitch + at * pitch;
      for (int i = lane % across; i < vectors; i += across) {
        const int x = left + i * kVector;
        copy_or_clear<kVector>(target + i * kVector, from + x,
                               exists && x >= 0 && x < width);
      }
    }
  });
}

// Outputs whose kernels, of tap row u, a block needs.
template <bool Transposed>
__host__ __device__ inline Range weight_rows_of(const InvolutionShape& s, Range targets,
                                                int u) {
  return Transposed ? readers_of(s, targets, u, u, s.height, s.out_height) : targets;
}

// Sources that are needed for targets on an axis.
template <bool Transposed>
__host__ __device__ inline Range sources_of(const InvolutionShape& s, Range targets,
                                            int size, int outputs) {
  return Transposed ? readers_of(s, targets, 0, s.kernel - 1, size, outputs)
                    : places_of(s, targets, size);
}

// The output's row or column that stands at a target and a source, and the place.
template <bool Transposed>
__device__ __forceinline__ int tap_between(const InvolutionShape& s, int target, int source,
                                           int size) {
  return Transposed ? tap_at(s, first_place(s, source, size), target)
                    : tap_at(s, first_place(s, target, size), source);
}

struct InvolutionBlock {
  int64_t image;
  int group;
  Range rows, columns;  // of targets
};

__device__ __forceinline__ InvolutionBlock block_of(const InvolutionShape& s,
                                                    const InvolutionTile& t, int height,
                                                    int width) {
  int64_t block = blockIdx.x;
  const int left = int(block % t.column_tiles) * t.columns;
  block /= t.column_tiles;
  const int top = int(block % t.row_tiles) * t.rows;
  block /= t.row_tiles;
  return {block / s.groups, int(block % s.groups), {top, smaller(height, top + t.rows)},
          {left, smaller(width, left + t.columns)}};
}

template <typename T, bool Transposed>
__global__ void __launch_bounds__(256, 3)
    involution_mma_kernel(const T* source, const T* weight, T* target, InvolutionShape s,
                          InvolutionTile t) {
#if SMPCONV_MM_HAS_MMA
  SMPCONV_MM_SHARED(memory);
  T* maps = reinterpret_cast<T*>(memory);
  T* kernels = maps + t.members * t.member_pitch;
  const int height = Transposed ? s.height : s.out_height;
  const int width = Transposed ? s.width : s.out_width;
  const InvolutionBlock b = block_of(s, t, height, width);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;

  const Range source_rows = sources_of<Transposed>(s, b.rows, s.height, s.out_height);
  const Range source_columns = sources_of<Transposed>(s, b.columns, s.width, s.out_width);
  const int source_left = floor_div(source_columns.first, t.source_vector) * t.source_vector;
  load_members(maps, t.member_pitch, t.source_pitch, t.members, source_rows, source_left,
               source, Transposed ? s.out_height : s.height,
               Transposed ? s.out_width : s.width, b.image, b.group, s, t.source_vector);

  // rows of outputs whose kernels are needed, for each tap row
  int* first_rows = reinterpret_cast<int*>(kernels + s.kernel * s.kernel * t.tap_pitch);
  int* last_rows = first_rows + s.kernel;
  for (int u = threadIdx.x; u < s.kernel; u += blockDim.x) {
    const Range rows = weight_rows_of<Transposed>(s, b.rows, u);
    first_rows[u] = rows.first, last_rows[u] = rows.last;
  }
  __syncthreads();
  // the kernels of tap (u, v), at [u * kernel + v][row][column]
  const int weight_left =
      (Transposed ? source_columns.first : b.columns.first) / t.weight_vector * t.weight_vector;
  const int64_t outputs = int64_t(s.out_height) * s.out_width;
  const T* group_weight =
      weight + (b.image * s.groups + b.group) * s.kernel * s.kernel * outputs;
  with_vector<T>(t.weight_vector, [&](auto count) {
    constexpr int kVector = decltype(count)::value;
    const int vectors = t.weight_columns / kVector;
    for (int i = lane; i < t.weight_rows * vectors; i += kWarpSize) {
      const int r = i / vectors, at = i % vectors * kVector;
      if (weight_left + at >= s.out_width) continue;
      T* to = kernels + r * t.weight_columns + at;
      const T* from = group_weight + weight_left + at;
      for (int u = 0; u < s.kernel; ++u) {
        const int row = first_rows[u] + r;
        if (row >= last_rows[u]) continue;
        for (int v = warp; v < s.kernel; v += t.warps) {
          const int tap = u * s.kernel + v;
          copy_or_clear<kVector>(to + tap * t.tap_pitch,
                                 from + tap * outputs + int64_t(row) * s.out_width, true);
        }
      }
    }
  });
  copy_commit();
  copy_wait();
  __syncthreads();

  const int eights = ceil_div(b.columns.size(), kMmaOutputs);
  const int bands = ceil_div(b.rows.size(), kMmaRows);
  const int tasks = t.members / kMmaChannels * bands * eights;
  for (int task = warp; task < tasks; task += t.warps) {
    const int left = b.columns.first + task % eights * kMmaOutputs;
    const int top = b.rows.first + task / eights % bands * kMmaRows;
    const int member = task / eights / bands * kMmaChannels;
    const Range rows = {top, smaller(b.rows.last, top + kMmaRows)};
    const Range columns = {left, smaller(b.columns.last, left + kMmaOutputs)};
    const Range from = sources_of<Transposed>(s, columns, s.width, s.out_width);
    const Range lines = sources_of<Transposed>(s, rows, s.height, s.out_height);
    const T* mine = maps + (member + lane % 16) * t.member_pitch + lane / 16 * 8;
    float sum[kMmaRows][4] = {};
    for (int at = (from.first - source_left) / 8 * 8; at < from.last - source_left;
         at += kMmaPlaces) {
      int offset[4];  // of the lane's four numbers of B
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int q = source_left + at + lane % 4 * 2 + e % 2 + e / 2 * 8;
        const int j = left + lane / 4;
        const int column = Transposed ? q : j;
        const int v = j < columns.last && q >= from.first && q < from.last
                          ? tap_between<Transposed>(s, j, q, s.width)
                          : -1;
        offset[e] = v < 0 ? -1 : v * t.tap_pitch + column - weight_left;
      }
      for (int line = lines.first; line < lines.last; ++line) {
        unsigned a[4];
        load_matrices<false>(a, mine + (line - source_rows.first) * t.source_pitch + at);
#pragma unroll
        for (int r = 0; r < kMmaRows; ++r) {
          if (top + r >= rows.last) continue;
          const int u = tap_between<Transposed>(s, top + r, line, s.height);
          if (u < 0) continue;
          const int row = Transposed ? line : top + r;
          const T* taps =
              kernels + u * s.kernel * t.tap_pitch +
              (row - first_rows[u]) * t.weight_columns;
          Pair<T> band[2];
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (offset[e] >= 0) band[e / 2].value[e % 2] = taps[offset[e]];
          mma<T>(sum[r], a, band[0].word, band[1].word);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kMmaRows; ++r)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int channel = member + lane / 4 + e / 2 * 8, j = left + lane % 4 * 2 + e % 2;
        if (top + r < rows.last && j < columns.last && channel < group_width(s))
          target[plane_of(s, b.image, b.group, channel) * (int64_t(height) * width) +
                 int64_t(top + r) * width + j] = from_float<T>(sum[r][e]);
      }
  }
#endif
}

// The gradient of the weight. Targets are outputs.
template <typename T>
__global__ void __launch_bounds__(256)
    involution_weight_mma_kernel(const T* input, const T* grad, T* target,
                                 InvolutionShape s, InvolutionTile t) {
#if SMPCONV_MM_HAS_MMA
  SMPCONV_MM_SHARED(memory);
  T* maps = reinterpret_cast<T*>(memory);
  T* slopes = maps + t.members * t.member_pitch;
  T* kernels = slopes + t.members * t.grad_pitch;
  const InvolutionBlock b = block_of(s, t, s.out_height, s.out_width);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const Range source_rows = places_of(s, b.rows, s.height);
  const Range source_columns = places_of(s, b.columns, s.width);
  const int source_left = floor_div(source_columns.first, t.source_vector) * t.source_vector;
  load_members(maps, t.member_pitch, t.source_pitch, t.members, source_rows, source_left,
               input, s.height, s.width, b.image, b.group, s, t.source_vector);
  load_members(slopes, t.grad_pitch, t.columns, t.members, b.rows, b.columns.first, grad,
               s.out_height, s.out_width, b.image, b.group, s, t.weight_vector);
  copy_commit();
  copy_wait();
  __syncthreads();

  const int eights = ceil_div(b.columns.size(), kMmaOutputs);
  for (int task = warp; task < b.rows.size() * eights; task += t.warps) {
    const int left = b.columns.first + task % eights * kMmaOutputs;
    const int row = b.rows.first + task / eights;
    const Range columns = {left, smaller(b.columns.last, left + kMmaOutputs)};
    const Range from = places_of(s, columns, s.width);
    const int top = first_place(s, row, s.height);
    const T* slope = slopes + lane % 16 * t.grad_pitch + (row - b.rows.first) * t.columns +
                     left - b.columns.first;
    const T* mine = maps + (lane / 16 * 8 + lane % 8) * t.member_pitch + lane / 8 % 2 * 8;
    unsigned g[4];
    load_matrices<true>(g, slope);
    for (int at = (from.first - source_left) / 8 * 8; at < from.last - source_left;
         at += kMmaPlaces) {
      int offset[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int q = source_left + at + lane / 4 + e / 2 * 8;
        const int j = left + lane % 4 * 2 + e % 2;
        const int v =
            j < columns.last ? tap_at(s, first_place(s, j, s.width), q) : -1;
        offset[e] = v < 0 ? -1 : v * t.tap_pitch + j - b.columns.first;
      }
      for (int u = 0; u < s.kernel; ++u) {
        const T* line =
            mine + (top + u * s.dilation - source_rows.first) * t.source_pitch + at;
        float sum[4] = {};
        for (int member = 0; member < t.members; member += kMmaChannels) {
          unsigned a[4];
          load_matrices<true>(a, line + member * t.member_pitch);
          if (t.members > kMmaChannels)
            load_matrices<true>(g, slope + member * t.grad_pitch);
          mma<T>(sum, a, g[0], g[1]);
        }
        T* taps = kernels + u * s.kernel * t.tap_pitch +
                  (row - b.rows.first) * t.weight_columns;
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (offset[e] >= 0) taps[offset[e]] = from_float<T>(sum[e]);
      }
    }
  }
  __syncthreads();

  const int64_t outputs = int64_t(s.out_height) * s.out_width;
  T* to = target + (b.image * s.groups + b.group) * s.kernel * s.kernel * outputs;
  with_vector<T>(t.weight_vector, [&](auto count) {
    constexpr int kVector = decltype(count)::value;
    using Vector = Numbers<T, kVector>;
    const int vectors = t.weight_columns / kVector, numbers = b.rows.size() * vectors;
    for (int i = threadIdx.x; i < s.kernel * s.kernel * numbers; i += blockDim.x) {
      const int tap = i / numbers, r = i % numbers / vectors, at = i % vectors * kVector;
      if (b.columns.first + at >= b.columns.last) continue;
      *reinterpret_cast<Vector*>(to + tap * outputs +
                                  int64_t(b.rows.first + r) * s.out_width +
                                  b.columns.first + at) =
          *reinterpret_cast<const Vector*>(kernels + tap * t.tap_pitch +
                                            r * t.weight_columns + at);
    }
  });
#endif
}

}  // namespace smpconv_mm
