// Depthwise convolution of 16-bit maps on the tensor cores (sm_80 and newer).
//
// One row of a kernel, applied to one row of a map, is a product with a banded
// Toeplitz matrix: out[i, :] += x[i + u - p, :] T_u with T_u[q, j] = K[u, q - j + p].
// The images of the batch (or, with few images, several stretches of rows of one
// image) are the 16 rows of a matrix product, the columns of the map its inner and
// outer dimension. Fragments of T_u are never stored: those of all offsets q - j
// together are 2 P + 3 words a lane, read from the row of taps.
#pragma once

#include "depthwise_conv_maps.cuh"

namespace smpconv_mm {

// Words of a row of taps: once as pairs that start at even, once at odd elements,
// 8 banks apart.
__host__ __device__ constexpr int tap_words(int p) {
  return (8 * p + 16) % 32 ? 8 * p + 16 : 8 * p + 24;
}

// How a block of conv_mma_kernel is cut out. A "member" is one of the images, or
// one of the row segments of an image: member = segment * batch + image.
struct ConvTile {
  int segment;          // output rows of a member
  int segments;         // of an image
  int columns;          // output columns of a block
  int column_segments;  // of a map
  int column_blocks;    // of a block: one is the work of a warp
  int members;          // of a block, a multiple of kTile
  int groups;           // of `members` members
  int rows;             // input rows in shared memory
  int pitch;            // elements from one row of shared memory to the next
  int vector;           // elements of a copy to shared memory
  int warps;
  int shared;           // bytes
};

// Input rows, counted from the first that member's segment can use, that any of
// the members [first, last] finds on the map.
struct RowRange {
  int first, last;
};
__host__ __device__ inline RowRange used_rows(const ConvShape& s, const ConvTile& t,
                                              int first, int last) {
  const int padding = s.kernel_height / 2;
  const int most = t.segment + s.kernel_height - 1;
  return {larger(0, padding - last / s.batch * t.segment),
          smaller(most, s.height + padding - first / s.batch * t.segment)};
}

// A warp computes for 16 members `Rows` rows of 8 * Eights columns.
template <typename T, int P, int Eights, int Rows>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize, 2)
    conv_mma_kernel(const T* input, const T* weight, const T* bias, T* output,
                    ConvShape s, ConvTile t) {
#if SMPCONV_MM_HAS_MMA
  constexpr int kWords = 2 * P + 3, kLeft = reach_tiles(P);
  constexpr int kRight = (Eights - 1 + P) / 2;
  constexpr int kTaps = tap_words(P);
  SMPCONV_MM_SHARED(memory);
  unsigned* taps = reinterpret_cast<unsigned*>(memory);
  T* maps = reinterpret_cast<T*>(taps + s.kernel_height * 2 * kTaps);

  int block = blockIdx.x;
  const int first_member = block % t.groups * t.members;
  block /= t.groups;
  const int first_output = block % t.column_segments * t.columns;
  const int channel = block / t.column_segments;
  const int all_members = s.batch * t.segments;
  const int last_member = smaller(first_member + t.members, all_members) - 1;
  const int even_width = round_up(s.width, 16);
  const int first_column = larger(0, first_output - 16 * kLeft);
  // 8 more: a tile of a block may start in the middle of a tile of the map
  const int columns =
      smaller(even_width, first_output + t.columns + 16 * kLeft) + 8 - first_column;
  const RowRange used = used_rows(s, t, first_member, last_member);
  const int padding = s.kernel_height / 2;

  load_rows(t.vector, maps, t.pitch, t.members, t.rows, 0, used.last - used.first,
            first_column, columns, s, [&](int index) {
              const int member = first_member + index;
              const int64_t image = member % s.batch;
              MapRows<T> rows;
              rows.map = member < all_members
                             ? input + (image * s.channels + channel) *
                                           (int64_t(s.height) * s.width)
                             : nullptr;
              rows.row = member / s.batch * t.segment - padding + used.first;
              return rows;
            });
  copy_commit();
  const T* kernel = weight + int64_t(channel) * s.kernel_height * s.kernel_width;
  for (int i = threadIdx.x; i < s.kernel_height * 2 * kTaps; i += blockDim.x) {
    const int u = i / (2 * kTaps), odd = i / kTaps % 2;
    const int v = i % kTaps * 2 + odd - 7 - 8 * (P + 1) + s.kernel_width / 2;
    Pair<T> pair;
    for (int e = 0; e < 2; ++e)
      if (v + e >= 0 && v + e < s.kernel_width)
        pair.value[e] = kernel[u * s.kernel_width + v + e];
    taps[i] = pair.word;
  }
  copy_wait();
  __syncthreads();

  const int lane = threadIdx.x % kWarpSize, g = lane / 4, pair = lane % 4 * 2;
  // pairs (2 t - g + 7, + 1): in the odd copy for even g
  const unsigned* my_taps = taps + (g % 2 ? 0 : kTaps) + (pair + 7 - g) / 2;
  const T* my_maps = maps + lane % 16 * t.pitch + lane / 16 * 8;
  const int row_blocks = ceil_div(t.segment, Rows);
  const int tasks = t.members / kTile * row_blocks * t.column_blocks;
  for (int task = threadIdx.x / kWarpSize; task < tasks; task += t.warps) {
    const int column = first_output + task % t.column_blocks * (8 * Eights);
    const int row = task / t.column_blocks % row_blocks * Rows;
    const int member = task / t.column_blocks / row_blocks * kTile;
    if (first_member + member >= all_members || column >= s.width) continue;

    float sum[Rows][Eights][4] = {};
    unsigned band[Rows][kWords] = {};  // T_u for u = step - i
    const int first = larger(0, used.first - row);
    const int last = smaller(Rows + s.kernel_height - 1, used.last - row);
#pragma unroll
    for (int i = 0; i + 1 < Rows; ++i) {
      const int u = first - 1 - i;
      if (u >= 0 && u < s.kernel_height)
#pragma unroll
        for (int k = 0; k < kWords; ++k) band[i][k] = my_taps[u * 2 * kTaps + 4 * k];
    }
    for (int step = first; step < last; ++step) {
#pragma unroll
      for (int i = Rows - 1; i > 0; --i)
#pragma unroll
        for (int k = 0; k < kWords; ++k) band[i][k] = band[i - 1][k];
      if (step < s.kernel_height)
#pragma unroll
        for (int k = 0; k < kWords; ++k) band[0][k] = my_taps[step * 2 * kTaps + 4 * k];
      const T* line = my_maps + ((row + step - used.first) * t.members + member) * t.pitch;
#pragma unroll
      for (int tile = -kLeft; tile <= kRight; ++tile) {
        const int q = column + 16 * tile - first_column;
        if (q < 0 || q + 16 > columns) continue;
        unsigned a[4];
        load_matrices<false>(a, line + q);
#pragma unroll
        for (int i = 0; i < Rows; ++i) {
          if (step - i < 0 || step - i >= s.kernel_height) continue;
#pragma unroll
          for (int j = 0; j < Eights; ++j) {
            const int k = 2 * tile - j + P + 1;  // offset of the tile, in eighths
            if (k >= 0 && k < 2 * P + 2) mma<T>(sum[i][j], a, band[i][k], band[i][k + 1]);
          }
        }
      }
    }

    const float shift = bias == nullptr ? 0.f : to_float(bias[channel]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int index = first_member + member + g + 8 * half;
      if (index >= all_members) continue;
      const int64_t image = index % s.batch;
      const int top = index / s.batch * t.segment + row;
      T* map = output + (image * s.channels + channel) * (int64_t(s.height) * s.width);
#pragma unroll
      for (int i = 0; i < Rows; ++i) {
        if (row + i >= t.segment || top + i >= s.height) continue;
#pragma unroll
        for (int j = 0; j < Eights; ++j) {
          const int x = column + 8 * j + pair;
          T* target = map + int64_t(top + i) * s.width + x;
          Pair<T> values;
          for (int e = 0; e < 2; ++e)
            values.value[e] = from_float<T>(sum[i][j][2 * half + e] + shift);
          if (s.width % 2 == 0) {
            if (x < s.width) *reinterpret_cast<unsigned*>(target) = values.word;
          } else {
            for (int e = 0; e < 2; ++e)
              if (x + e < s.width) target[e] = values.value[e];
          }
        }
      }
    }
  }
#endif
}

}  // namespace smpconv_mm
