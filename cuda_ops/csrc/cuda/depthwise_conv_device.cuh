// What the planning of the depthwise kernels needs to know of a shape.
#pragma once

#include "device.cuh"

namespace smpconv_mm {

// Elements that one copy may take: rows start where the width lets them.
template <typename T>
int copy_vector(const ConvShape& s, const T* a, const T* b) {
  const auto address = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b);
  for (int vector = 16 / sizeof(T); vector > 1; vector /= 2)
    if (s.width % vector == 0 && address % (vector * sizeof(T)) == 0) return vector;
  return 1;
}

// Into how many parts of about equal size the jobs of a channel go, so that there
// are about `wanted` blocks.
inline int share_jobs(int jobs, int wanted, int blocks) {
  const int parts = larger(1, smaller(jobs, ceil_div(wanted, blocks)));
  return ceil_div(jobs, jobs / parts);
}

// The largest kernel that fits the tap rows and the threads of the kernels.
constexpr int kMostTaps = 63;

}  // namespace smpconv_mm
