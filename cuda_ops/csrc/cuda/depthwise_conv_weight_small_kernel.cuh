// Gradient of the kernel of a depthwise convolution on the tensor cores, for maps of at
// most 16 x 16: products as in depthwise_conv_weight_mma_kernel.cuh, of every row of g
// with every pair of rows of x, whatever the kernel's size. As all of a map is known
// when the code is compiled, it is nothing but loads of matrices and products.
#pragma once

#include "depthwise_conv_weight_maps.cuh"

namespace smpconv_mm {

struct WeightSmallTile {
  int parts, channels;  // in shared memory at once: 16 images each; of a block
  int jobs, splits;     // job: `parts` parts; a block does split, + splits..
  int ahead, buffers;   // jobs that are loaded while one is computed; in all
  int phases;           // warps that share the parts of a channel
  int vector;           // as in WeightTile
  WeightCopy copy;
  int shared;
};

// Pairs of rows of x are those of rows 2 i and 2 i + 1. With row y of g, a pair yields
// taps of the rows of the kernel that are `distance` = 2 i - y and distance + 1 from its
// middle. A group of warps has `kTiles` distances.
template <typename T, int Rows, int Eighths>
struct WeightSmallForm {
  using Element = typename WeightNumbers<T>::Element;
  static constexpr int kParts = WeightNumbers<T>::kParts;
  static constexpr int kPairs = (Rows + 1) / 2, kOffsets = 2 * Eighths - 1;
  static constexpr int kFirst = 1 - Rows;  // distance
  static constexpr int kDistances = 2 * kPairs - 1 - kFirst;
  static constexpr int kTiles = 7;
  static constexpr int kGroups = (kDistances + kTiles - 1) / kTiles;
  static constexpr int kWarps = Eighths == 1 ? 8 : kGroups;
  // blocks on a processor, at least: as many as there are registers for
  static constexpr int kBlocks = kParts == 2 || kGroups > 4 ? 1 : 3;
  // copies through registers that are under way
  static constexpr int kBatch = Eighths == 1 || kParts == 2 ? 8 : 2;
  static constexpr int kPitch = 8 * ((kParts * Eighths) | 1);
  // of a row of 16 members: copies of several rows are to meet different banks
  static constexpr int kRow = kMembers * kPitch + (Eighths == 1 ? 8 : 16);
  static constexpr int kMap = 2 * kPairs * kRow;  // of 16 members
  static constexpr int kLine = 8 * kOffsets + 7, kSkewed = 8 * kOffsets + 13;
  static constexpr int kSums = kTiles * 2 * kLine;  // floats of a warp

  static constexpr int shared_of_sums(int warps) {
    return warps * (kSums + 2 * 8 * kSkewed) * int(sizeof(float));
  }
};

// Adds to `sum` what 16 members yield, for the distances of `Group`.
template <int Group, typename T, int Rows, int Eighths, typename Form, typename Sums>
__device__ __forceinline__ void add_small(Sums& sum, const typename Form::Element* x,
                                          const typename Form::Element* grad) {
  using Element = typename Form::Element;
  constexpr int kParts = Form::kParts, kLow = 8 * Eighths;
  constexpr int kFirst = Form::kFirst + Group * Form::kTiles;
  constexpr int kAtOnce = Eighths == 1 ? 2 : 1;  // rows of g that one load takes
  constexpr int kLoads = 2 * Form::kPairs / kAtOnce;
  unsigned b[kLoads][kParts][4];
#pragma unroll
  for (int i = 0; i < Form::kPairs; ++i) {
    const int last = 2 * i - kFirst, first = last - Form::kTiles + 1;  // rows of g
    if (last < 0 || first >= Rows) continue;
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int y = k * kAtOnce;
      if (y + kAtOnce <= first || y > last || y >= Rows) continue;
      if (i > 0 && y <= last - 2) continue;  // it is there
#pragma unroll
      for (int half = 0; half < kParts; ++half)
        load_matrices<true>(b[k][half], grad + k * kAtOnce * Form::kRow + half * kLow);
    }
#pragma unroll
    for (int e = 0; e < Eighths; ++e) {
      unsigned a[kParts][4];
#pragma unroll
      for (int half = 0; half < kParts; ++half)
        load_matrices<true>(a[half], x + 2 * i * Form::kRow + half * kLow + 8 * e);
#pragma unroll
      for (int product = 0; product < 2 * kParts - 1; ++product)
#pragma unroll
        for (int y = 0; y < Rows; ++y) {
          if (y < first || y > last) continue;
#pragma unroll
          for (int f = 0; f < Eighths; ++f) {
            const unsigned* words =
                b[y / kAtOnce][product % 2] + (Eighths == 1 ? y % 2 : f) * 2;
            mma<Element>(sum[last - y][e - f + Eighths - 1], a[product / 2], words[0],
                         words[1]);
          }
        }
    }
  }
}

// A block sums the taps of `channels` channels over its jobs, into `output` or, where
// blocks share them, into partial[split][channel].
template <typename T, int Rows, int Eighths>
__global__ void __launch_bounds__(WeightSmallForm<T, Rows, Eighths>::kWarps* kWarpSize,
                                  kNewCompiler ? 1 : WeightSmallForm<T, Rows, Eighths>::kBlocks)
    weight_small_mma_kernel(const T* input, const T* grad, T* output, float* partial,
                            ConvShape s, WeightSmallTile t) {
#if SMPCONV_MM_HAS_MMA
  using Form = WeightSmallForm<T, Rows, Eighths>;
  using Element = typename Form::Element;
  SMPCONV_MM_SHARED(memory);
  Element* maps = reinterpret_cast<Element*>(memory);
  const int lane = threadIdx.x % kWarpSize;
  const unsigned warp = __shfl_sync(~0u, int(threadIdx.x) / kWarpSize, 0);
  const int group = warp % Form::kGroups, phase = warp / Form::kGroups % unsigned(t.phases);
  const int own_channel = warp / Form::kGroups / unsigned(t.phases);
  const unsigned splits = t.splits;
  const int split = blockIdx.x % splits, first_channel = blockIdx.x / splits * t.channels;
  const int64_t area = int64_t(s.height) * s.width;
  const int units = t.parts * t.channels;  // of 16 members of a channel

  uint4* all = reinterpret_cast<uint4*>(memory);
  const int words = t.buffers * units * (2 * Form::kMap * int(sizeof(Element)) / 16);
  for (int i = threadIdx.x; i < words; i += blockDim.x) all[i] = uint4{0, 0, 0, 0};
  __syncthreads();

  // Loads a job: maps of x, then maps of g, each [channel][part].
  int load_job = split, load_buffer = 0;
  const auto load = [&] {
    if (load_job < t.jobs) {
      const auto rows = [&](int which) {
        WeightRowsToLoad<T> w;
        w.from = {(which ? grad : input) + first_channel * area, s.width, 0};
        w.to = maps + (2 * load_buffer + which) * units * Form::kMap;
        w.low = 8 * Eighths;
        w.pitch = Form::kPitch;
        w.row_pitch = Form::kRow;
        w.part_pitch = Form::kMap;
        w.rows = s.height;
        return w;
      };
      bool done = false;
      if constexpr (sizeof(T) == 2 && Eighths == 1) {
        done = t.vector == 0;
        if (done) {
          const WeightRowsToLoad<T> both[2] = {rows(0), rows(1)};
          load_pairs<8>(both, t.copy, load_job * t.parts, t.parts, s);
        }
      }
      if (!done)
#pragma unroll 1
        for (int which = 0; which < 2; ++which)
          load_parts<Form::kBatch>(rows(which), t.copy, load_job * t.parts, t.parts,
                                   t.vector, s);
      load_job += t.splits;
      load_buffer = load_buffer + 1 == t.buffers ? 0 : load_buffer + 1;
    }
    copy_commit();
  };

  const Element* my_x = maps + lane / 8 % 2 * Form::kRow +
                        (lane / 16 * 8 + lane % 8) * Form::kPitch +
                        own_channel * t.parts * Form::kMap;
  const Element* my_grad = maps + units * Form::kMap + lane % 16 * Form::kPitch +
                           lane / 16 * (Eighths == 1 ? Form::kRow : 8) +
                           own_channel * t.parts * Form::kMap;
  float sum[Form::kTiles][Form::kOffsets][4] = {};
  int buffer = 0;
  for (int job = split, stage = -t.ahead; job < t.jobs; ++stage) {
    if (stage >= 0) {
      copy_wait_but(t.ahead - 1);
      __syncthreads();
    }
    load();
    if (stage < 0) continue;
    for (int part = phase; part < t.parts; part += t.phases) {
      const int at = (2 * buffer * units + part) * Form::kMap;
      const Element *x = my_x + at, *g = my_grad + at;
      if constexpr (Form::kGroups == 1) {
        add_small<0, T, Rows, Eighths, Form>(sum, x, g);
      } else {
        switch (group) {
          case 0: add_small<0, T, Rows, Eighths, Form>(sum, x, g); break;
          case 1: add_small<1, T, Rows, Eighths, Form>(sum, x, g); break;
          case 2: add_small<2, T, Rows, Eighths, Form>(sum, x, g); break;
          case 3: add_small<3, T, Rows, Eighths, Form>(sum, x, g); break;
          default: add_small<Form::kGroups - 1, T, Rows, Eighths, Form>(sum, x, g);
        }
      }
    }
    buffer = buffer + 1 == t.buffers ? 0 : buffer + 1;
    job += t.splits;
  }

  copy_wait();
  __syncthreads();
  float* taps = reinterpret_cast<float*>(memory);
  const int warps = t.channels * t.phases * Form::kGroups;
  float* own_taps = taps + warp * Form::kSums;
  float* skewed = taps + warps * Form::kSums + warp * (2 * 8 * Form::kSkewed);
  sum_diagonals<Form::kTiles, Form::kOffsets>(sum, skewed, own_taps);
  __syncthreads();
  if (partial != nullptr)
    partial += int64_t(split) * s.channels * s.kernel_height * s.kernel_width;
  const int phases = t.phases;
  for (int channel = 0; channel < t.channels; ++channel)
    for (int u = warp; u < s.kernel_height; u += warps) {
      const int tile = u - s.kernel_height / 2 - Form::kFirst;  // of its upper halves
      store_taps(output, partial, int64_t(first_channel + channel) * s.kernel_height + u,
                 s.kernel_width, 7 + 8 * (Eighths - 1) - s.kernel_width / 2, Form::kLine,
                 [=](int k) {
                   float total = 0.f;
                   for (int p = 0; p < phases; ++p)
#pragma unroll
                     for (int half = 0; half < 2; ++half) {
                       const int own = tile - half, of = own / Form::kTiles;
                       if (own < 0 || own >= Form::kDistances) continue;
                       total += taps[((channel * phases + p) * Form::kGroups + of) *
                                         Form::kSums +
                                     (own % Form::kTiles * 2 + half) * Form::kLine + k];
                     }
                   return total;
                 });
    }
#endif
}

}  // namespace smpconv_mm
