// The last step of a gradient that several blocks share.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

// Sums what the blocks of a channel found, in an order that never changes.
template <typename T>
__global__ void sum_partials_kernel(const float* partial, T* total, int64_t count,
                                    int splits) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0.f;
  for (int split = 0; split < splits; ++split) sum += partial[split * count + i];
  total[i] = from_float<T>(sum);
}

}  // namespace smpconv_mm
