// The inner loops of the depthwise convolution; the fastest that the processor runs are
// taken when the first operation runs.
#pragma once

#include <cstdint>
#include <vector>

// How a Fourier transform of `length` points is made: radices of the stages, and
// for each the (cosine, sine) of its factors.
template <typename T>
struct Plan {
  int64_t length;
  std::vector<int> radices;
  std::vector<T> turns;
};

#define KERNELS_HEADER "depthwise_inner_loops.h"
#include "isa.h"

template <typename T>
struct Kernels {
  int64_t lanes;
  decltype(&base::correlate_rows<T>) correlate_rows;
  decltype(&base::rows_forward<T>) rows_forward;
  decltype(&base::rows_inverse<T>) rows_inverse;
  decltype(&base::columns_forward<T>) columns_forward;
  decltype(&base::columns_product<T>) columns_product;
  decltype(&base::columns_correlate<T>) columns_correlate;
  decltype(&base::columns_inverse<T>) columns_inverse;
};

#define KERNELS(ISA, BYTES)                                                          \
  Kernels<T> {                                                                       \
    BYTES / sizeof(T), &ISA::correlate_rows<T>, &ISA::rows_forward<T>,               \
        &ISA::rows_inverse<T>, &ISA::columns_forward<T>, &ISA::columns_product<T>,   \
        &ISA::columns_correlate<T>, &ISA::columns_inverse<T>                         \
  }

template <typename T>
Kernels<T> choose_kernels() {
  switch (best_isa()) {
#if defined(__x86_64__)
    case Isa::avx512: return KERNELS(avx512, 64);
    case Isa::avx2: return KERNELS(avx2, 32);
#endif
    default: return KERNELS(base, 16);
  }
}

template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T> chosen = choose_kernels<T>();
  return chosen;
}
