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
      Reach > 2 ? 2 : Eighths == 1 || (Eighths == 4 && Reach == 1) ? 7 : 4;
  static constexpr int kSteps = Reach > 2 ? 1 : 2;
  static constexpr int kTogether = Beside > 0 ? 2 : 4;
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

// A block sums the taps of `channels` channels over its jobs, into `output` or, where
// blocks share them, into partial[split][channel].
template <typename T, int Eighths, int Reach, int Beside>
__global__ void __launch_bounds__(kWeightWarps* kWarpSize, kWeightBlocks<T, Eighths>)
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
  const int group = warp.group, phase = warp.phase, own_channel = warp.channel;

  const WeightBlock block(blockIdx.x, kLow, s, t);
  const int first_own = group * block.pairs / t.groups, first_u = block.first_u;
  const int pairs = (group + 1) * block.pairs / t.groups - first_own;
  const int lowest = block.lowest, highest = block.highest;
  const int ahead_of_row = block.last_u - s.kernel_height / 2;  // rows of x below one of g
  const int padding = s.kernel_height / 2;

  static_assert(2 * sizeof(WeightColumns<T>) == kWeightHead, "");
  auto* source = reinterpret_cast<WeightColumns<T>*>(memory);  // of x, of g
  Element* zeros = reinterpret_cast<Element*>(source + 2);
  Element* maps = zeros + Form::kZeros;
  const int members = kMembers * t.parts, lines = members * t.channels;
  Element* grads = maps + t.rows * lines * kPitch;
  for (int k = threadIdx.x; k < Form::kZeros; k += blockDim.x)
    zeros[k] = from_float<Element>(0.f);
  {
    const int64_t channel = block.first_channel * (int64_t(s.height) * s.width);
    const int left = block.left, grad_left = larger(0, left - 8 * Beside);
    const int columns = smaller(kLow, s.width - left);
    const int grad_columns = smaller(s.width, left + kLow + 8 * Beside) - grad_left;
    const int lead = grad_left - (left - 8 * Beside);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      zero_columns(maps + part * kLow, t.rows * lines, kPitch, columns, kLow);
      zero_columns(grads + part * kGradLow, t.grad_rows * lines, kGradPitch, 0, lead);
      zero_columns(grads + part * kGradLow, t.grad_rows * lines, kGradPitch,
                   lead + grad_columns, kGradLow);
    }
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
        w.low = which ? kGradLow : kLow;
        w.pitch = which ? kGradPitch : kPitch;
        w.ring = which ? t.grad_rows : t.rows;
        w.slot = which ? load_grad_slot : load_slot;
        w.first = which ? load_top : ready;
        w.rows = which ? bottom - load_top : until - ready;
        if constexpr (sizeof(T) == 2 && Eighths <= 2) {
          if (t.vector == 0) {
            load_pairs<Eighths == 1 ? 16 : 2>(w, copy, load_job * members, s, t);
            continue;
          }
        }
        load_rows<kParts == 2 ? 8 : Eighths == 2 ? 2 : 4>(w, copy, load_job * members, s, t);
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
  const Element* my_maps = maps + (own_channel * members + lane / 16 * 8 + lane % 8) * kPitch;
  const Element* my_grads = grads + (own_channel * members + lane % 16) * kGradPitch;
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
    load();
    if (stage < 0) continue;
    const int bottom = smaller(top + t.chunk, t.segment);
    const int until = smaller(highest, bottom + ahead_of_row);
    const int steps = kSteps == 2 ? ceil_div(bottom - top, 4) * 2 : bottom - top;
    for (int part = 0; part < t.parts; ++part)
      for (int step = phase; step < steps; step += t.phases) {
        const int y = top + (kSteps == 2 ? step / 2 * 4 + step % 2 : step);
        const int first = y + first_u + 2 * first_own - padding;  // row of the first pair
        if (y >= bottom || first + 2 * (pairs + kSteps - 1) <= lowest || first >= until)
          continue;
        const int grad_at = wrapped(grad_slot + y + lane_step - top, t.grad_rows);
        const Element* grad_row = y + lane_step < bottom
                                      ? my_grads + (grad_at * lines + part * kMembers) * kGradPitch
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
            const int row = first + 2 * m;
            if (row + 1 < lowest || row >= until || m >= pairs + kSteps - 1) continue;
            const int own = row + lane_row, at = wrapped(live_slot + own - live, t.rows);
            const Element* map_row = own >= lowest && own < until
                                         ? my_maps + (at * lines + part * kMembers) * kPitch
                                         : zeros;
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
                    mma<Element>(sum[m - i][offset], a[product / 2], words[0], words[1]);
                  }
            }
          }
        }
      }
    grad_slot = wrapped(grad_slot + bottom - top, t.grad_rows);
    const bool last = bottom == t.segment;
    top = last ? 0 : bottom;
    const int next = last ? highest : larger(live, smaller(highest, top + first_u - padding));
    live_slot = wrapped(live_slot + next - live, t.rows);
    live = last ? lowest : next;
    if (last) job += t.splits;
  }

  // The sums over the diagonals: sums of the same columns of g follow each other in a
  // row, each row a place further left than the one before.
  copy_wait();
  __syncthreads();
  constexpr int kLine = Form::kLine, kSkewed = Form::kSkewed;
  const WeightWarp own_warp(again(threadIdx.x), t);
  const int warps = t.channels * t.groups * t.phases;
  float* taps = reinterpret_cast<float*>(memory);
  float* own_taps = taps + ((own_warp.channel * t.phases + own_warp.phase) * t.groups +
                            own_warp.group) * (2 * kPairs * kLine);
  float* skewed = taps + warps * (2 * kPairs * kLine) + own_warp.index * (2 * 8 * kSkewed);
  for (int k = lane; k < 2 * 8 * kSkewed; k += kWarpSize) skewed[k] = 0.f;
#pragma unroll
  for (int m = 0; m < kPairs; ++m) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int j = lane % 4 * 2 + r % 2;
      float* to = skewed + (r / 2 * 8 + j) * kSkewed + lane / 4 + 7 - j;
#pragma unroll
      for (int k = 0; k < kOffsets; ++k) to[8 * k] = sum[m][k][r];
    }
    __syncwarp();
    for (int k = lane; k < kLine; k += kWarpSize)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = 0.f;
#pragma unroll
        for (int j = 0; j < 8; ++j) total += skewed[(half * 8 + j) * kSkewed + k];
        own_taps[(2 * m + half) * kLine + k] = total;
      }
  }
  __syncthreads();
  const WeightBlock own(again(blockIdx.x), kLow, s, t);
  const int rows = own.last_u + 1 - own.first_u;
  if (partial != nullptr)
    partial += int64_t(own.split) * s.channels * s.kernel_height * s.kernel_width;
  for (int row = own_warp.index; row < t.channels * rows; row += warps) {
    const int channel = row / rows, r = row - channel * rows;
    const int of = unsigned((r / 2 + 1) * t.groups - 1) / unsigned(own.pairs);  // its group
    const float* from = taps + (channel * t.phases * t.groups + of) * (2 * kPairs * kLine) +
                        (r - 2 * int(unsigned(of * own.pairs) / unsigned(t.groups))) * kLine;
    const int64_t to = (int64_t(own.first_channel + channel) * s.kernel_height +
                        own.first_u + r) * s.kernel_width;
    for (int v = lane; v < s.kernel_width; v += kWarpSize) {
      const int k = v + 7 + 8 * Reach - s.kernel_width / 2;
      float total = 0.f;
      if (k >= 0 && k < kLine)
        for (int p = 0; p < t.phases; ++p)
          total += from[p * t.groups * (2 * kPairs * kLine) + k];
      if (partial != nullptr)
        partial[to + v] = total;
      else
        output[to + v] = from_float<T>(total);
    }
  }
#endif
}

}  // namespace smpconv_mm
