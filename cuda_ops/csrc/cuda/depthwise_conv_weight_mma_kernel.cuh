// Gradient of the kernel of a depthwise convolution on the tensor cores (sm_80 and
// newer): dW[u, v] = sum of x[i + u - p, j + v - p] g[i, j] over images, i and j.
//
// A product of the tensor cores (16 x 16 by 16 x 8) sums over 16 images, or row
// segments of images. Its rows are 8 columns of x in two rows of the map that follow
// each other, its columns are 8 columns of a row of g: what it yields belongs to two
// rows of the kernel, a pair. Products of the same pair whose columns are equally far
// apart share a sum, so that a pair has 2 Reach + 1 sums of 4 registers, one for each
// distance in eighths (of 8 columns). At the end the diagonals of the sums are summed:
// they are the taps.
//
// float32 maps are sums of two bfloat16 maps; of the four products that of the two
// lesser ones is left out.
#pragma once

#include "depthwise_conv_weight_maps.cuh"

namespace smpconv_mm {

// Tiles of the kernel below. The columns of x of a block are `Eighths` eighths, those
// of g `Beside` more on both sides: 0 where they are the whole map. The kernel reaches
// `Reach` eighths.
template <typename T, int Eighths, int Reach, int Beside>
struct WeightForm {
  using Element = typename WeightNumbers<T>::Element;
  static constexpr int kParts = WeightNumbers<T>::kParts;
  static constexpr int kGradEighths = Eighths + 2 * Beside;
  static constexpr int kOffsets = 2 * Reach + 1;
  // pairs of rows of the kernel, rows of g (two apart) and eighths of x that a warp
  // has at once
  static constexpr int kPairs =
      Reach > 2 ? 2 : Eighths == 1 ? 7 : Eighths == 4 && Reach == 1 ? 6 : 4;
  static constexpr int kSteps = Reach > 2 ? 1 : 2;
  // blocks on a processor, at least: 128 registers a thread for two
  static constexpr int kBlocks = kParts == 2 ? 1 : 2;
  static constexpr int kTogether = Beside > 0 ? 2 : 4;
  // copies through registers that are under way; as many as there are registers for
  static constexpr int kBatch = kParts == 2 ? 8 : Reach == 2 ? 4 : 2;
  // elements of a member's row; ldmatrix has no conflicts where it is odd in eighths
  static constexpr int kPitch = 8 * ((kParts * Eighths) | 1);
  static constexpr int kGradPitch = 8 * ((kParts * kGradEighths) | 1);
  static constexpr int kZeros = 8 * (kParts * kGradEighths + 1);
  // floats of a row of the kernel, and of the square that its diagonals are summed in
  static constexpr int kLine = 8 * kOffsets + 7, kSkewed = 8 * kOffsets + 13;

  static constexpr int shared_of_sums(int warps) {
    return warps * (2 * kPairs * kLine + 2 * 8 * kSkewed) * int(sizeof(float));
  }
};

// A block sums the taps of a channel over its jobs, into `output` or, where
// blocks share them, into partial[split][channel].
template <typename T, int Eighths, int Reach, int Beside>
__global__ void __launch_bounds__(kWeightWarps* kWarpSize,
                                  kNewCompiler ? 1 : WeightForm<T, Eighths, Reach, Beside>::kBlocks)
    weight_mma_kernel(const T* input, const T* grad, T* output, float* partial,
                      ConvShape s, WeightTile t) {
#if SMPCONV_MM_HAS_MMA
  using Form = WeightForm<T, Eighths, Reach, Beside>;
  using Element = typename Form::Element;
  constexpr int kPairs = Form::kPairs, kSteps = Form::kSteps, kParts = Form::kParts;
  constexpr int kGradEighths = Form::kGradEighths, kOffsets = Form::kOffsets;
  constexpr int kPitch = Form::kPitch, kGradPitch = Form::kGradPitch;
  constexpr int kLow = 8 * Eighths, kGradLow = 8 * kGradEighths;
  SMPCONV_MM_SHARED(memory);
  const int lane = threadIdx.x % kWarpSize;
  const WeightWarp warp(threadIdx.x, t);
  const int group = warp.group, phase = warp.phase;

  const WeightBlock block(blockIdx.x, kLow, s, t);
  const int first_own = group * block.pairs / t.groups, first_u = block.first_u;
  const int pairs = (group + 1) * block.pairs / t.groups - first_own;
  const int lowest = block.lowest, highest = block.highest;
  const int ahead_of_row = block.last_u - s.kernel_height / 2;  // rows of x below one of g
  const int padding = s.kernel_height / 2;

  static_assert(2 * sizeof(WeightColumns<T>) == kWeightHead, "");
  auto* source = reinterpret_cast<WeightColumns<T>*>(memory);  // of x, of g
  int* places = reinterpret_cast<int*>(source + 2);  // of the threads, for x, for g
  Element* zeros = reinterpret_cast<Element*>(places + 2 * blockDim.x);
  Element* maps = zeros + Form::kZeros;
  const int members = kMembers * t.parts;
  Element* grads = maps + t.rows * t.row_pitch;
  for (int k = threadIdx.x; k < Form::kZeros; k += blockDim.x)
    zeros[k] = from_float<Element>(0.f);
  {
    const int64_t channel = block.channel * (int64_t(s.height) * s.width);
    const int left = block.left, grad_left = larger(0, left - 8 * Beside);
    const int columns = smaller(kLow, s.width - left);
    const int grad_columns = smaller(s.width, left + kLow + 8 * Beside) - grad_left;
    const int lead = grad_left - (left - 8 * Beside);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      zero_columns(maps + part * kLow, t.rows, t.row_pitch, members, kPitch, columns, kLow);
      const auto zero_grads = [&](int from, int until) {
        zero_columns(grads + part * kGradLow, t.grad_rows, t.grad_row_pitch, members,
                     kGradPitch, from, until);
      };
      zero_grads(0, lead);
      zero_grads(lead + grad_columns, kGradLow);
    }
    places[threadIdx.x] = WeightPlace(t.copy, t.vector, columns).packed();
    places[blockDim.x + threadIdx.x] =
        WeightPlace(t.grad_copy, t.vector, grad_columns).packed();
    if (threadIdx.x == 0) {
      source[0] = {input + channel + left, columns, 0};
      source[1] = {grad + channel + grad_left, grad_columns, lead};
    }
    __syncthreads();
  }

  // Loads a stage's rows of g, and the rows of x that it needs and the stages before
  // did not.
  int load_job = block.first_job, load_top = 0, ready = lowest;
  int load_slot = 0, load_grad_slot = 0;
  const auto load = [&] {
    if (load_job < t.jobs) {
      const int bottom = smaller(load_top + t.chunk, t.segment);
      const int until = larger(ready, smaller(highest, bottom + ahead_of_row));
#pragma unroll 1
      for (int which = 0; which < 2; ++which) {
        const WeightCopy copy = which ? t.grad_copy : t.copy;
        WeightRowsToLoad<T> w;
        w.from = source[which];
        w.to = (which ? grads : maps) + w.from.lead;
        w.place = places[which * blockDim.x + threadIdx.x];
        w.low = which ? kGradLow : kLow;
        w.pitch = which ? kGradPitch : kPitch;
        w.row_pitch = which ? t.grad_row_pitch : t.row_pitch;
        w.ring = which ? t.grad_rows : t.rows;
        w.slot = which ? load_grad_slot : load_slot;
        w.first = which ? load_top : ready;
        w.rows = which ? bottom - load_top : until - ready;
        load_rows<Form::kBatch>(w, copy, load_job * members, s, t);
      }
      load_slot = wrapped(load_slot + until - ready, t.rows);
      load_grad_slot = wrapped(load_grad_slot + bottom - load_top, t.grad_rows);
      ready = until;
      load_top = bottom;
      if (bottom == t.segment) load_top = 0, ready = lowest, load_job += t.splits;
    }
    copy_commit();
  };

  // matrices of 8 members x 8 columns; the product needs them transposed
  const int lane_row = lane / 8 % 2;
  const Element* my_maps = maps + (lane / 16 * 8 + lane % 8) * kPitch;
  const Element* my_grads = grads + lane % 16 * kGradPitch;
  const int lane_step = kSteps == 2 ? lane / 16 * 2 : 0;
  const int lane_column = kSteps == 2 ? 0 : lane / 16 * 8;

  constexpr int kLoads = kSteps == 2 ? kGradEighths : (kGradEighths + 1) / 2;
  constexpr int kTogether = Form::kTogether;
  float sum[kPairs][kOffsets][4] = {};
  int live = lowest, live_slot = 0, top = 0, grad_slot = 0;  // first rows of a stage, in x, in g
  for (int job = block.first_job, stage = -t.ahead; job < t.jobs; ++stage) {
    if (stage >= 0) {
      copy_wait_but(t.ahead - 1);
      __syncthreads();
    }
    const int bottom = smaller(top + t.chunk, t.segment);
    const int until = smaller(highest, bottom + ahead_of_row);

    const int steps = kSteps == 2 ? ceil_div(bottom - top, 4) * 2 : bottom - top;
    const int all_steps = stage < 0 ? 0 : steps * t.parts;
    // some warps load before their first step, some behind it: meanwhile the others
    // compute
    const int load_at = stage < 0 ? 0 : phase % 2;
    for (int turn = 0, all = phase; turn <= load_at || all < all_steps;
         ++turn, all += t.phases) {
        if (turn == load_at) load();
        if (all >= all_steps) continue;
        const int part = t.parts == 1 ? 0 : all / steps, step = all - part * steps;
        const int y = top + (kSteps == 2 ? step / 2 * 4 + step % 2 : step);
        const int first = y + first_u + 2 * first_own - padding;  // row of the first pair
        // pairs of rows of x that are on the map, if only by one row
        const int first_m = larger(0, (lowest - first) >> 1);
        const int last_m = smaller(pairs + kSteps - 2, (until - 1 - first) >> 1);
        if (y >= bottom || first_m > last_m) continue;
        const int first_own_row = first + lane_row;
        const int grad_at = wrapped(grad_slot + y + lane_step - top, t.grad_rows);
        const Element* grad_row = y + lane_step < bottom
                                      ? my_grads + grad_at * t.grad_row_pitch +
                                            part * (kMembers * kGradPitch)
                                      : zeros;
#pragma unroll
        for (int chunk = 0; chunk < Eighths; chunk += kTogether) {
          unsigned b[kParts][kLoads][4];
#pragma unroll
          for (int half = 0; half < kParts; ++half)
#pragma unroll
            for (int k = 0; k < kLoads; ++k) {
              const int f = k * (kSteps == 2 ? 1 : 2) - Beside;
              if (f + 1 >= chunk - Reach && f < chunk + kTogether + Reach)
                load_matrices<true>(
                    b[half][k], grad_row + lane_column + half * kGradLow + 8 * (f + Beside));
            }
#pragma unroll
          for (int m = 0; m < kPairs + kSteps - 1; ++m) {
            if (m < first_m || m > last_m) continue;
            const int own = first_own_row + 2 * m;
            const int at = wrapped(live_slot + own - live, t.rows);
            const Element* map_row =
                unsigned(own - lowest) < unsigned(until - lowest)
                    ? my_maps + at * t.row_pitch + part * (kMembers * kPitch)
                    : zeros;
            // The tensor cores cut off where they add, so that long sums of float32
            // become too small: sums of a few products, and then their sum.
            float few[kSteps][kOffsets][4] = {};
#pragma unroll
            for (int e = chunk; e < smaller(chunk + kTogether, Eighths); ++e) {
              unsigned a[kParts][4];
#pragma unroll
              for (int half = 0; half < kParts; ++half)
                load_matrices<true>(a[half], map_row + half * kLow + 8 * e);
#pragma unroll
              for (int product = 0; product < 2 * kParts - 1; ++product)
#pragma unroll
                for (int i = 0; i < kSteps; ++i)
#pragma unroll
                  for (int f = 0; f < kGradEighths; ++f) {
                    const int offset = e - (f - Beside) + Reach;
                    if (m < i || m - i >= kPairs || offset < 0 || offset >= kOffsets)
                      continue;
                    const unsigned* words = kSteps == 2
                                                ? b[product % 2][f] + 2 * i
                                                : b[product % 2][f / 2] + f % 2 * 2;
                    mma<Element>(kParts == 2 ? few[i][offset] : sum[m - i][offset],
                                 a[product / 2], words[0], words[1]);
                  }
            }
            if constexpr (kParts == 2) {
#pragma unroll
              for (int i = 0; i < kSteps; ++i)
#pragma unroll
                for (int k = 0; k < kOffsets; ++k)
#pragma unroll
                  for (int r = 0; r < 4; ++r)
                    if (m >= i && m - i < kPairs) sum[m - i][k][r] += few[i][k][r];
            }
          }
        }
      }
    if (stage < 0) continue;
    grad_slot = wrapped(grad_slot + bottom - top, t.grad_rows);
    const bool last = bottom == t.segment;
    top = last ? 0 : bottom;
    const int next = last ? highest : larger(live, smaller(highest, top + first_u - padding));
    live_slot = wrapped(live_slot + next - live, t.rows);
    live = last ? lowest : next;
    if (last) job += t.splits;
  }

  copy_wait();
  __syncthreads();
  constexpr int kLine = Form::kLine, kSums = 2 * kPairs * kLine;
  const WeightWarp own_warp(again(threadIdx.x), t);
  const int warps = t.groups * t.phases;
  float* taps = reinterpret_cast<float*>(memory);
  sum_diagonals<kPairs, kOffsets>(
      sum, taps + warps * kSums + own_warp.index * (2 * 8 * Form::kSkewed),
      taps + (own_warp.phase * t.groups + own_warp.group) * kSums);
  __syncthreads();
  const WeightBlock own(again(blockIdx.x), kLow, s, t);
  const int rows = own.last_u + 1 - own.first_u;
  if (partial != nullptr)
    partial += int64_t(own.split) * s.channels * s.kernel_height * s.kernel_width;
  const int phases = t.phases, groups = t.groups;
  for (int r = own_warp.index; r < rows; r += warps) {
    const int of = unsigned((r / 2 + 1) * t.groups - 1) / unsigned(own.pairs);  // its group
    const float* from =
        taps + of * kSums + (r - 2 * int(unsigned(of * own.pairs) / unsigned(t.groups))) * kLine;
    store_taps(output, partial, int64_t(own.channel) * s.kernel_height + own.first_u + r,
               s.kernel_width, 7 + 8 * Reach - s.kernel_width / 2, kLine, [=](int k) {
                 float total = 0.f;
                 for (int p = 0; p < phases; ++p) total += from[p * groups * kSums + k];
                 return total;
               });
  }
#endif
}

}  // namespace smpconv_mm
