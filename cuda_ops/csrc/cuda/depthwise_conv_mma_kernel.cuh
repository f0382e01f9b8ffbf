// Depthwise convolution of 16-bit maps on the tensor cores (sm_80 and newer).
//
// One row of a kernel, applied to one row of a map, is a product with a banded
// Toeplitz matrix: out[i, :] += x[i + u - p, :] T_u with T_u[q, j] = K[u, q - j + p].
// The images of the batch (or, with few images, several stretches of rows of one
// image) are the 16 rows of a matrix product, the columns of the map its inner and
// outer dimension. Fragments of T_u are never stored: those of all offsets q - j
// together are 2 P + 3 words a lane, read from the row of taps.
// The gradient of the kernel is the transposed product, summed over the diagonals.
//
// P stands for the reach of the kernel: a tile of 16 columns meets the tiles of 8
// from 8 P to the left to 8 (P + 1) to the right of it.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kTile = 16;     // images of a matrix product
constexpr int kMaxWarps = 8;  // of a block

// Words of a row of taps: once as pairs that start at even, once at odd elements,
// 8 banks apart.
__host__ __device__ constexpr int tap_words(int p) {
  return (8 * p + 16) % 32 ? 8 * p + 16 : 8 * p + 24;
}

// 16-column tiles that a kernel reaches to the left of the one it is centred on.
__host__ __device__ constexpr int reach_tiles(int p) { return (p + 1) / 2; }

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

// Copies rows of maps into shared memory as [slot][member][column]; what lies
// outside of the map becomes 0. `source(member)` gives the map, or null, and the
// row of it that goes to `slot`.
template <typename T>
struct MapRows {
  const T* map;
  int row;
};

template <int Vector, typename T, typename Source>
__device__ __forceinline__ void load_rows(T* to, int pitch, int members, int ring,
                                          int slot, int rows, int first_column,
                                          int columns, const ConvShape& s,
                                          Source source) {
  const int lane = threadIdx.x % kWarpSize, warps = blockDim.x / kWarpSize;
  const int vectors = columns / Vector;
  for (int member = threadIdx.x / kWarpSize; member < members; member += warps) {
    const MapRows<T> from = source(member);
    for (int index = lane; index < rows * vectors; index += kWarpSize) {
      const int r = index / vectors, column = index % vectors * Vector;
      int at = slot + r;
      at = at >= ring ? at - ring : at;
      T* target = to + (int64_t(at) * members + member) * pitch + column;
      const int row = from.row + r, x = first_column + column;
      const bool inside =
          from.map != nullptr && row >= 0 && row < s.height && x < s.width;
      const T* value = from.map + int64_t(row) * s.width + x;
      if constexpr (Vector == 1) {
        *target = inside ? *value : from_float<T>(0.f);
      } else if (inside) {
        copy_async<Vector * int(sizeof(T))>(target, value);
      } else if constexpr (Vector == 8) {
        *reinterpret_cast<uint4*>(target) = uint4{0, 0, 0, 0};
      } else if constexpr (Vector == 4) {
        *reinterpret_cast<uint2*>(target) = uint2{0, 0};
      } else {
        *reinterpret_cast<unsigned*>(target) = 0;
      }
    }
  }
}

template <typename T, typename Source>
__device__ __forceinline__ void load_rows(int vector, T* to, int pitch, int members,
                                          int ring, int slot, int rows,
                                          int first_column, int columns,
                                          const ConvShape& s, Source source) {
  switch (vector) {
    case 8:
      return load_rows<8>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    case 4:
      return load_rows<4>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    case 2:
      return load_rows<2>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
    default:
      return load_rows<1>(to, pitch, members, ring, slot, rows, first_column, columns,
                          s, source);
  }
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
