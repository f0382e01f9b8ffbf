// Depthwise convolution of 16-bit maps on the tensor cores (sm_80 and newer).
//
// One row of a kernel, applied to one row of a map, is a product with a banded
// Toeplitz matrix: out[i, :] += x[i + u - p, :] T_u with T_u[q, j] = K[u, q - j + p].
// Sixteen "members" (images, or pairs of rows of images) are the rows of a matrix
// product, 8 columns of the output its columns; its inner dimension are 8 columns of two
// rows of the input, so that no product is spent beyond the edge of the band. Fragments of
// T_u are never stored: those of all offsets q - j are 2 D + 1 words a lane, read from
// the row of taps.
#pragma once

#include "depthwise_conv_maps.cuh"

namespace smpconv_mm {

constexpr int kRows = 2;  // of the output that a warp computes for a member

// D: the kernel reaches 8 D columns to each side. Words of a row of taps: pairs of
// neighbours, first those that start at even, then those that start at odd elements, in
// other banks of shared memory.
__host__ __device__ constexpr int tap_words(int d, int parts) {
  return 8 * d + (parts == 2 ? 13 : d % 2 ? 14 : 8);
}

// Bytes of the taps in shared memory: rows u and u + 1 side by side, from u = -1 on.
__host__ __device__ constexpr int tap_bytes(int d, int parts, int kernel_height) {
  return (kernel_height + 2) * 2 * tap_words(d, parts) * 8 * parts;
}

// How a block of conv_mma_kernel is cut out. A warp does a task after the other: kRows
// rows of 8 * E columns for 16 * Tiles members.
struct ConvTile {
  int images;           // of a block
  int groups;           // of `images` images
  int image_bits;       // a task has 2^image_bits images: member = pair * images + image
  int segment;          // output rows of a block
  int segments;         // of a map
  int columns;          // output columns of a block
  int column_segments;  // of a map
  int row_pitch, image_pitch;  // elements in shared memory, multiples of 8
  int stage_pitch;      // elements of an image's outputs in shared memory; 0: not there
  int load, store;      // elements of a copy of the input, of the output
  int warps;
  int shared;           // bytes
};

// Rows or columns of a map that `count` outputs from `first` on meet.
struct Span {
  int first, last;
};
__host__ __device__ inline Span met(int first, int count, int reach, int size) {
  return {larger(0, first - reach), smaller(size, first + count + reach)};
}

// words[u + 1][parity][word][part] = pairs of taps of rows (u, u + 1); zeros around the
// kernel.
template <int D, typename T>
__device__ __forceinline__ void load_taps(unsigned* words, const T* kernel, bool flip,
                                          const ConvShape& s) {
  using Element = typename MmaNumbers<T>::Element;
  constexpr int kParts = MmaNumbers<T>::kParts;
  constexpr int kWords = tap_words(D, kParts), kLine = 2 * kWords;
  const int taps = s.kernel_height * s.kernel_width;
  const T* first = flip ? kernel + taps - 1 : kernel;  // flipped: the taps backwards
  const int step = flip ? -1 : 1;
  const int count = (s.kernel_height + 3) * kLine;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    const int u = i / kLine - 1, word = i % kLine;
    const int v = word % kWords * 2 + word / kWords - 8 * (D + 1) + s.kernel_width / 2;
    const T* tap = first + step * (u * s.kernel_width + v);
    const bool row = u >= 0 && u < s.kernel_height;
    T two[2] = {from_float<T>(0.f), from_float<T>(0.f)};
    if (row && v >= 0 && v < s.kernel_width) two[0] = *tap;
    if (row && v >= -1 && v + 1 < s.kernel_width) two[1] = tap[step];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      Pair<Element> pair;
      pair.value[0] = part_of(two[0], part);
      pair.value[1] = part_of(two[1], part);
      if (u <= s.kernel_height)
        words[(((u + 1) * kLine + word) * kParts + part) * 2] = pair.word;
      if (u >= 0) words[((u * kLine + word) * kParts + part) * 2 + 1] = pair.word;
    }
  }
}

// The words of a lane of an eighth of T_u and T_(u + 1), of each part.
template <int Parts>
struct alignas(8 * Parts) TapWords {
  unsigned word[Parts][2];
};

// Where a lane writes first in a row of 8 columns, Vector elements at a time.
template <int Vector>
__device__ __forceinline__ int lane_column() {
  const int lane = threadIdx.x % kWarpSize, pair = lane % 4 * 2;
  return Vector == 4 && lane % 2 ? 8 + pair - 2 : pair;
}

// Writes a lane's sums of a row, Vector elements at a time, to `row` and every 8 elements
// from there, as long as these are fewer than `count`.
template <int Vector, int E, typename T>
__device__ __forceinline__ void store_row(T* row, const float (&sum)[E][4], int half,
                                          int count) {
#pragma unroll
  for (int j = 0; j < E; ++j) {
    T* to = row + 8 * j;
    const float* two = sum[j] + 2 * half;
    if constexpr (Vector == 4) {
      // neighbouring lanes exchange words: each gets 4 columns of one eighth of two
      if (j % 2) continue;
      const bool odd = threadIdx.x % 2;
      const unsigned word = round_pair<T>(two[0], two[1]);
      unsigned next = 0;
      if (j + 1 < E) next = round_pair<T>(sum[j + 1 < E ? j + 1 : j][2 * half],
                                          sum[j + 1 < E ? j + 1 : j][2 * half + 1]);
      const unsigned other = __shfl_xor_sync(~0u, odd ? word : next, 1);
      if (8 * j < count && (j + 1 < E || !odd))
        *reinterpret_cast<uint2*>(to) = odd ? uint2{other, next} : uint2{word, other};
    } else if constexpr (Vector == 2 && sizeof(T) == 2) {
      if (8 * j < count) *reinterpret_cast<unsigned*>(to) = round_pair<T>(two[0], two[1]);
    } else if constexpr (Vector == 2) {
      if (8 * j < count) *reinterpret_cast<float2*>(to) = float2{two[0], two[1]};
    } else {
      if (8 * j < count) to[0] = from_float<T>(two[0]);
      if (8 * j + 1 < count) to[1] = from_float<T>(two[1]);
    }
  }
}

// Products of parts: 0 first and first, 1 first and second, 2 second and first, 3 both
// second. The last counts in sums of few taps, which do not average their errors.
__host__ __device__ constexpr int products(int d, int parts) {
  return parts == 1 ? 1 : d < 2 ? 4 : 3;
}

// Blocks that the registers of a processor hold, of kMaxWarps warps.
__host__ __device__ constexpr int blocks_of_processor(int e, int parts) {
  return parts == 1 ? (e < 4 ? 3 : 2) : e < 2 ? 2 : 1;
}

// What the compiler is told; from sm_100 on it needs a few more registers.
__host__ __device__ constexpr int least_blocks(int e, int tiles, int parts) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  if (e == 4 && tiles == 2) return 1;
#endif
  return blocks_of_processor(e, parts);
}

// Narrow rows are no whole sectors of memory: the outputs of a block pass through shared
// memory.
__host__ __device__ constexpr bool staged(int e) { return e <= 2; }

// E: eighths, of 8 columns, that a warp computes. Whole: they are all of the map.
template <typename T, int D, int E, int Tiles, bool Whole>
__global__ void __launch_bounds__(kMaxWarps* kWarpSize,
                                  least_blocks(E, Tiles, MmaNumbers<T>::kParts))
    conv_mma_kernel(const T* input, const T* weight, const T* bias, T* output, bool flip,
                    ConvShape s, ConvTile t) {
#if SMPCONV_MM_HAS_MMA
  using Element = typename MmaNumbers<T>::Element;
  constexpr int kParts = MmaNumbers<T>::kParts;
  constexpr int kWords = tap_words(D, kParts);
  constexpr int kLine = 2 * kWords;               // of a row of taps
  constexpr int kInputs = Whole ? E : E + 2 * D;  // eighths of the input
  constexpr int kShift = Whole ? 0 : D;
  constexpr int kMembers = kTile * Tiles;
  constexpr bool kStaged = staged(E);
  using Band = TapWords<kParts>;
  SMPCONV_MM_SHARED(memory);
  Band* taps = reinterpret_cast<Band*>(memory);
  uint4* zeros = reinterpret_cast<uint4*>(memory + tap_bytes(D, kParts, s.kernel_height));
  int* queue = reinterpret_cast<int*>(zeros + kInputs * kParts);
  Element* maps = reinterpret_cast<Element*>(zeros + kInputs * kParts + 1);
  T* stage = reinterpret_cast<T*>(maps + t.images * t.image_pitch);

  int block = blockIdx.x;
  const int first_image = block % t.groups * t.images;
  block /= t.groups;
  const int left = block % t.column_segments * t.columns;
  block /= t.column_segments;
  const int top = block % t.segments * t.segment;
  const int channel = block / t.segments;
  const int images = smaller(t.images, s.batch - first_image);
  const int height = smaller(t.segment, s.height - top);
  const int width = smaller(t.columns, s.width - left);
  const int padding = s.kernel_height / 2;
  const Span rows = met(top, height, padding, s.height);
  const Span columns = met(left, t.columns, 8 * D, s.width);
  const int64_t area = int64_t(s.height) * s.width, stride = s.channels * area;
  const int64_t map = first_image * stride + channel * area;

  T* results = output + map + int64_t(top) * s.width;

  const MapWindow window = {images, rows.last - rows.first, columns.last - columns.first,
                            t.row_pitch, t.image_pitch};
  load_window(t.load, maps, input + map + int64_t(rows.first) * s.width + columns.first,
              stride, s.width, window);
  copy_commit();
  load_taps<D>(reinterpret_cast<unsigned*>(taps),
               weight + int64_t(channel) * s.kernel_height * s.kernel_width, flip, s);
  if (threadIdx.x < kInputs * kParts) zeros[threadIdx.x] = uint4{0, 0, 0, 0};
  if (threadIdx.x == 0) *queue = 0;
  copy_wait();
  __syncthreads();

  const int lane = threadIdx.x % kWarpSize, g = lane / 4, pair = lane % 4 * 2;
  // pairs from 2 t - g + 8 on: even ones for even g
  const Band* my_taps = taps + g % 2 * kWords + (pair + 8 - g) / 2;
  const unsigned no_row = shared_address(zeros);
  const int task_images = 1 << t.image_bits;
  const int task_rows = kRows * (kMembers >> t.image_bits);
  const int image_groups = ceil_div(images, task_images);
  const int column_blocks = Whole ? 1 : ceil_div(width, 8 * E);
  const int row_blocks = ceil_div(height, task_rows);
  const int tasks = image_groups * column_blocks * row_blocks;
  for (;;) {
    int task = 0;
    if (lane == 0) task = atomicAdd(queue, 1);
    task = __shfl_sync(~0u, task, 0);
    if (task >= tasks) break;
    const int image = task % image_groups * task_images;
    task /= image_groups;
    const int column = left + (Whole ? 0 : task % column_blocks * (8 * E));
    // the middle rows meet most taps: they come first, so that all warps end together
    const int rank = Whole ? task : task / column_blocks;
    const int way = row_blocks / 2 + (rank % 2 ? -(rank + 1) / 2 : rank / 2);
    const int row = top + way * task_rows;

    // tap rows that some member meets on the map
    const int first = larger(0, padding - row - (task_rows - kRows));
    const int last = smaller(s.kernel_height, s.height - 1 + padding - row);
    unsigned line[Tiles];
    int input_row[Tiles];
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
      const int member = tile * kTile + lane % kTile;
      input_row[tile] = row + kRows * (member >> t.image_bits) + lane / kTile + first -
                        padding - rows.first;
      line[tile] = shared_address(
          maps + (image + (member & (task_images - 1))) * t.image_pitch +
          input_row[tile] * t.row_pitch + (column - 8 * kShift - columns.first) * kParts);
    }
    const float shift = bias == nullptr ? 0.f : to_float(bias[channel]);
    float sum[Tiles][kRows][E][4];
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < E; ++j)
#pragma unroll
          for (int r = 0; r < 4; ++r) sum[tile][i][j][r] = shift;

    const Band* band_line = my_taps + (first + 1) * kLine;
    for (int u = first; u <= last; u += 2) {
      Band band[kRows][2 * D + 1];  // taps (u - i, u - i + 1)
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int k = 0; k < 2 * D + 1; ++k) band[i][k] = band_line[4 * k - i * kLine];
      band_line += 2 * kLine;
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        const bool there = unsigned(input_row[tile]) < unsigned(window.rows);
        const unsigned from = there ? line[tile] : no_row;
        input_row[tile] += 2;
        line[tile] += 2 * int(sizeof(Element)) * t.row_pitch;
        unsigned a[kInputs][kParts][4];
        const auto load = [&](int e) {
#pragma unroll
          for (int part = 0; part < kParts; ++part)
            load_matrices_at(a[e][part], from + 16 * (e * kParts + part));
        };
        if constexpr (Whole) {
#pragma unroll
          for (int e = 0; e < kInputs; ++e) load(e);
        }
        // tensor cores cut digits off their sums: those of float32 are kept short
        float part[kRows][E][4];
        auto& total = kParts == 1 ? sum[tile] : part;
        if constexpr (kParts > 1) {
#pragma unroll
          for (int i = 0; i < kRows * E * 4; ++i) part[i / (E * 4)][i / 4 % E][i % 4] = 0.f;
        }
#pragma unroll
        for (int e = 0; e < kInputs; ++e) {
          if constexpr (!Whole) {
            const int x = column + 8 * (e - kShift);
            if (x < 0 || x >= s.width) continue;
            load(e);
          }
#pragma unroll
          for (int product = 0; product < products(D, kParts); ++product)
#pragma unroll
            for (int i = 0; i < kRows; ++i)
#pragma unroll
              for (int j = 0; j < E; ++j) {
                const int k = e - kShift - j + D;
                if (k < 0 || k > 2 * D) continue;
                const unsigned(&b)[2] = band[i][k].word[product % 2];
                mma<Element>(total[i][j], a[e][product / 2], b[0], b[1]);
              }
        }
        if constexpr (kParts > 1) {
#pragma unroll
          for (int i = 0; i < kRows; ++i)
#pragma unroll
            for (int j = 0; j < E; ++j)
#pragma unroll
              for (int r = 0; r < 4; ++r) sum[tile][i][j][r] += part[i][j][r];
        }
      }
    }

    const auto store = [&](auto vector) {
      const int x = column + lane_column<vector.value>();
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int member = tile * kTile + g + 8 * half;
          const int slot = image + (member & (task_images - 1));
          const int y = row + kRows * (member >> t.image_bits) - top;
          T* target = (kStaged ? stage + slot * t.stage_pitch : results + slot * stride) +
                      (y * s.width + x);
          const int lines = slot < images ? height - y : 0;
#pragma unroll
          for (int i = 0; i < kRows; ++i)
            store_row<vector.value>(target + i * s.width, sum[tile][i], half,
                                    i < lines ? s.width - x : 0);
        }
    };
    constexpr bool kExchange = !kStaged && kParts == 1;
    if (kExchange && t.store >= 4)
      store(std::integral_constant<int, kExchange ? 4 : 2>());
    else if (s.width % 2 == 0 && t.store >= 2)
      store(std::integral_constant<int, 2>());
    else
      store(std::integral_constant<int, 1>());
  }
  if (kStaged) {
    __syncthreads();
    store_runs(t.store, results, stride, stage, t.stage_pitch, images, height * s.width);
  }
#endif
}

}  // namespace smpconv_mm
