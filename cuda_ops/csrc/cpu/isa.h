// The inner loops, compiled for several instruction sets; the fastest that the
// processor runs is taken when the first operation runs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

// How a Fourier transform of `length` points is made: radices of the stages, and
// for each the (cosine, sine) of its factors.
template <typename T>
struct Plan {
  int64_t length;
  std::vector<int> radices;
  std::vector<T> turns;
};

#define ISA base
#define TARGET
#define BYTES 16
#if defined(__aarch64__)
#define TILE 14  // 32 registers
#else
#define TILE 6
#endif
#include "correlate_kernel.h"
#include "fft_kernel.h"
#include "involution_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#if defined(__x86_64__)
#define ISA avx2
#define TARGET __attribute__((target("avx2,fma")))
#define BYTES 32
#define TILE 6
#include "correlate_kernel.h"
#include "fft_kernel.h"
#include "involution_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#define ISA avx512
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,fma")))
#define BYTES 64
#define TILE 14
#include "correlate_kernel.h"
#include "fft_kernel.h"
#include "involution_kernel.h"
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE
#endif

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
  decltype(&base::involution_output<T>) involution_output;
  decltype(&base::involution_input<T>) involution_input;
  decltype(&base::involution_weight<T>) involution_weight;
};

#define KERNELS(ISA, BYTES)                                                          \
  Kernels<T> {                                                                       \
    BYTES / sizeof(T), &ISA::correlate_rows<T>, &ISA::rows_forward<T>,               \
        &ISA::rows_inverse<T>, &ISA::columns_forward<T>, &ISA::columns_product<T>,   \
        &ISA::columns_correlate<T>, &ISA::columns_inverse<T>,                        \
        &ISA::involution_output<T>, &ISA::involution_input<T>,                       \
        &ISA::involution_weight<T>                                                   \
  }

// ATEN_CPU_CAPABILITY (default, avx2, avx512) bounds the choice, as it does torch's.
template <typename T>
Kernels<T> choose_kernels() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
  const bool plain = wanted && !std::strcmp(wanted, "default");
  const bool no512 = plain || (wanted && !std::strcmp(wanted, "avx2"));
  __builtin_cpu_init();
  if (!no512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return KERNELS(avx512, 64);
  }
  if (!plain && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return KERNELS(avx2, 32);
  }
#endif
  return KERNELS(base, 16);
}

template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T> chosen = choose_kernels<T>();
  return chosen;
}
