// The inner loops of the involution; the fastest that the processor runs are taken when
// the first operation runs.
#pragma once

#include <cstdint>

#define KERNELS_HEADER "involution_kernel.h"
#include "isa.h"

template <typename T>
struct InvolutionKernels {
  int64_t lanes;
  decltype(&base::involution_output<T>) output;
  decltype(&base::involution_input<T>) input;
  decltype(&base::involution_weight<T>) weight;
};

#define INVOLUTION_KERNELS(ISA, BYTES)                                           \
  InvolutionKernels<T> {                                                         \
    BYTES / sizeof(T), &ISA::involution_output<T>, &ISA::involution_input<T>,    \
        &ISA::involution_weight<T>                                               \
  }

template <typename T>
InvolutionKernels<T> choose_involution_kernels() {
  switch (best_isa()) {
#if defined(__x86_64__)
    case Isa::avx512: return INVOLUTION_KERNELS(avx512, 64);
    case Isa::avx2: return INVOLUTION_KERNELS(avx2, 32);
#endif
    default: return INVOLUTION_KERNELS(base, 16);
  }
}

template <typename T>
const InvolutionKernels<T>& involution_kernels() {
  static const InvolutionKernels<T> chosen = choose_involution_kernels<T>();
  return chosen;
}
