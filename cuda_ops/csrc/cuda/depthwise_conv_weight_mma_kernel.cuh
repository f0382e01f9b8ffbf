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
  // pairs of rows of the kernel, and rows of g (two apart), that a warp has at once
  static constexpr int kPairs = Reach > 2 ? 2 : Reach < 2 && Eighths < 7 ? 7 : 4;
  static constexpr int kSteps = Reach > 2 ? 1 : 2;
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
__global__ void __launch_bounds__(kWeightWarps* kWarpSize, std::is_same<T, float>::value ? 1 : 2)
    weight_mma_kernel(const T* input, const T* grad, T* output, float* partial,
                      ConvShape s, WeightTile t) {
#if SMPCONV_MM_HAS_MMA
  using Form = WeightForm<T, Eighths, Reach, Beside>;
  using Element = typename Form::Element;
  constexpr int kPairs = Form::kPairs, kSteps = Form::kSteps, kParts = Form::kParts;
  constexpr int kGradEighths = Form::kGradEighths, kOffsets = Form::kOffsets;
  constexpr int kPitch = Form::kPitch, kGradPitch = Form::kGradPitch;
  SMPCONV_MM_SHARED(memory);
  const int lane = threadIdx.x % kWarpSize;
  const int warp = __shfl_sync(~0u, int(threadIdx.x) / kWarpSize, 0);
  const int slot = warp % t.groups, phase = warp / t.groups % t.phases;
  const int own_channel = warp / t.groups / t.phases;
  // neighbouring warps, on different quarters of a processor, have different rows
  const int group = (slot + phase * larger(1, t.groups / t.phases)) % t.groups;

  int block = blockIdx.x;
  const int split = block % (t.splits * t.column_segments);
  const int first_job = split % t.splits, left = split / t.splits * (8 * Eighths);
  block /= t.splits * t.column_segments;
  const int row_block = block % t.row_blocks;
  const int first_channel = block / t.row_blocks * t.channels;

  const int all_pairs = s.kernel_height / 2 + 1;
  const int first_pair = row_block * all_pairs / t.row_blocks;
  const int block_pairs = (row_block + 1) * all_pairs / t.row_blocks - first_pair;
  const int first_own = group * block_pairs / t.groups;
  const int pairs = (group + 1) * block_pairs / t.groups - first_own;
  const int first_u = 2 * first_pair;
  const int last_u = smaller(first_u + 2 * block_pairs, s.kernel_height) - 1;

  // rows of x, counted from a segment's first row, that the block needs
  const int padding = s.kernel_height / 2;
  const bool whole = t.segments == 1;
  const int lowest = larger(whole ? 0 : -padding, first_u - padding);
  const int highest = larger(lowest, smaller(whole ? s.height : t.segment + padding,
                                             t.segment + last_u - padding));

  Element* zeros = reinterpret_cast<Element*>(memory);
  Element* maps = zeros + Form::kZeros;
  const int members = kMembers * t.parts, lines = members * t.channels;
  const int line = lines * kPitch, grad_line = lines * kGradPitch;
  Element* grads = maps + t.rows * line;
  constexpr int kLow = 8 * Eighths, kGradLow = 8 * kGradEighths;
  const int64_t area = int64_t(s.height) * s.width;
  const int columns = smaller(kLow, s.width - left);
  const int grad_left = larger(0, left - 8 * Beside);
  const int grad_columns = smaller(s.width, left + kLow + 8 * Beside) - grad_left;
  const int lead = grad_left - (left - 8 * Beside);
  const WeightWindow<T> x_window(input + first_channel * area + left, maps, t.rows, kPitch,
                                 columns, t.chunk, t.vector);
  const WeightWindow<T> grad_window(grad + first_channel * area + grad_left, grads + lead,
                                    t.grad_rows, kGradPitch, grad_columns, t.chunk,
                                    t.vector);
  for (int k = threadIdx.x; k < Form::kZeros; k += blockDim.x)
    zeros[k] = from_float<Element>(0.f);
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    zero_columns(maps + part * kLow, t.rows * lines, kPitch, columns, kLow);
    zero_columns(grads + part * kGradLow, t.grad_rows * lines, kGradPitch, 0, lead);
    zero_columns(grads + part * kGradLow, t.grad_rows * lines, kGradPitch,
                 lead + grad_columns, kGradLow);
  }

  // Loads a stage's rows of g, and the rows of x that it needs and the stages before
  // did not.
  int load_job = first_job, load_top = 0, ready = lowest, load_slot = 0, load_grad_slot = 0;
  const auto load = [&] {
    if (load_job < t.jobs) {
      const int bottom = smaller(load_top + t.chunk, t.segment);
      const int until = larger(ready, smaller(highest, bottom + last_u - padding));
      const int member = load_job * members;
      bool pairs_of_maps = false;
      if constexpr (sizeof(T) == 2) {
        pairs_of_maps = t.vector == 0;
        if (pairs_of_maps)
          load_pairs(x_window, grad_window, load_slot, load_grad_slot, member, s, t);
      }
      if (!pairs_of_maps) {
        load_rows(x_window, kLow, load_slot, ready, until - ready, member, s, t);
        load_rows(grad_window, kGradLow, load_grad_slot, load_top, bottom - load_top,
                  member, s, t);
      }
      load_slot = (load_slot + until - ready) % t.rows;
      load_grad_slot = (load_grad_slot + bottom - load_top) % t.grad_rows;
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

  float sum[kPairs][kOffsets][4] = {};
  for (int stage = 0; stage < t.ahead; ++stage) load();
  int live_slot = 0, grad_slot = 0;  // of the first row of x, of g, of a stage
  for (int job = first_job; job < t.jobs; job += t.splits) {
    int live = lowest;
    for (int top = 0; top < t.segment; top += t.chunk) {
      const int bottom = smaller(top + t.chunk, t.segment);
      const int until = smaller(highest, bottom + last_u - padding);
      const int first_live = larger(live, smaller(highest, top + first_u - padding));
      live_slot = (live_slot + first_live - live) % t.rows;
      live = first_live;
      copy_wait_but(t.ahead - 1);
      __syncthreads();
      load();

      const int steps = kSteps == 2 ? ceil_div(bottom - top, 4) * 2 : bottom - top;
      for (int step = phase; step < steps * t.parts; step += t.phases) {
        const int part = step / steps, n = step - part * steps;
        const int y = top + (kSteps == 2 ? n / 2 * 4 + n % 2 : n);
        const int first = y + first_u + 2 * first_own - padding;  // row of the first pair
        if (y >= bottom || first + 2 * (pairs + kSteps - 1) <= lowest || first >= until)
          continue;

        constexpr int kLoads = kSteps == 2 ? kGradEighths : (kGradEighths + 1) / 2;
        unsigned b[kParts][kLoads][4];
        {
          const int own = y + lane_step;
          int at = grad_slot + own - top;
          at = at >= t.grad_rows ? at - t.grad_rows : at;
          const Element* from =
              own < bottom ? my_grads + at * grad_line + part * (kMembers * kGradPitch)
                           : zeros;
          from += lane_column;
#pragma unroll
          for (int half = 0; half < kParts; ++half)
#pragma unroll
            for (int f = 0; f < kLoads; ++f)
              load_matrices<true>(b[half][f],
                                  from + half * kGradLow + f * (kSteps == 2 ? 8 : 16));
        }
#pragma unroll
        for (int m = 0; m < kPairs + kSteps - 1; ++m) {
          const int row = first + 2 * m;
          if (row + 1 < lowest || row >= until || m >= pairs + kSteps - 1) continue;
          const int own = row + lane_row;
          int at = live_slot + own - live;
          at = at >= t.rows ? at - t.rows : at;
          const Element* from = own >= lowest && own < until
                                    ? my_maps + at * line + part * (kMembers * kPitch)
                                    : zeros;
#pragma unroll
          for (int e = 0; e < Eighths; ++e) {
            unsigned a[kParts][4];
#pragma unroll
            for (int half = 0; half < kParts; ++half)
              load_matrices<true>(a[half], from + half * kLow + 8 * e);
#pragma unroll
            for (int product = 0; product < 2 * kParts - 1; ++product)
#pragma unroll
              for (int i = 0; i < kSteps; ++i)
#pragma unroll
                for (int f = 0; f < kGradEighths; ++f) {
                  const int offset = e - (f - Beside) + Reach;
                  if (m - i < 0 || m - i >= kPairs || offset < 0 || offset >= kOffsets)
                    continue;
                  const unsigned* words = kSteps == 2 ? b[product % 2][f] + 2 * i
                                                      : b[product % 2][f / 2] + f % 2 * 2;
                  mma<Element>(sum[m - i][offset], a[product / 2], words[0], words[1]);
                }
          }
        }
      }
      grad_slot = (grad_slot + bottom - top) % t.grad_rows;
    }
    live_slot = (live_slot + highest - live) % t.rows;
  }

  // The sums over the diagonals: sums of the same columns of g follow each other in a
  // row, each row a place further left than the one before.
  copy_wait();
  __syncthreads();
  constexpr int kLine = Form::kLine, kSkewed = Form::kSkewed;
  const int warps = t.channels * t.groups * t.phases;
  float* taps = reinterpret_cast<float*>(memory);
  float* own_taps = taps + ((own_channel * t.phases + phase) * t.groups + group) *
                               (2 * kPairs * kLine);
  float* skewed = taps + warps * (2 * kPairs * kLine) + warp * (2 * 8 * kSkewed);
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
  const int rows = last_u + 1 - first_u;
  for (int i = threadIdx.x; i < t.channels * rows * s.kernel_width; i += blockDim.x) {
    const int v = i % s.kernel_width, r = i / s.kernel_width % rows;
    const int channel = i / s.kernel_width / rows, pair = r / 2;
    const int of = ((pair + 1) * t.groups - 1) / block_pairs;  // its group
    const int k = v + 7 + 8 * Reach - s.kernel_width / 2;
    float total = 0.f;
    if (k >= 0 && k < kLine)
      for (int p = 0; p < t.phases; ++p)
        total += taps[((channel * t.phases + p) * t.groups + of) * (2 * kPairs * kLine) +
                      (r - 2 * (of * block_pairs / t.groups)) * kLine + k];
    const int64_t at =
        (int64_t(first_channel + channel) * s.kernel_height + first_u + r) * s.kernel_width + v;
    if (partial == nullptr)
      output[at] = from_float<T>(total);
    else
      partial[int64_t(split) * s.channels * s.kernel_height * s.kernel_width + at] = total;
  }
#endif
}

}  // namespace smpconv_mm
