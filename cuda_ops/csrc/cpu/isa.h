// Compiles the inner loops of KERNELS_HEADER for several instruction sets, each in the
// namespace of its name, with
//   ISA      name of the namespace
//   TARGET   attribute that lets the compiler use the instruction set
//   BYTES    size of a vector
//   TILE     sums of a loop that stay in registers, with as many inputs again
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#define ISA base
#define TARGET
#define BYTES 16
#if defined(__aarch64__)
#define TILE 14  // 32 registers
#else
#define TILE 6
#endif
#include "vectors.h"
#include KERNELS_HEADER
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#if defined(__x86_64__)
#define ISA avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define BYTES 32
#define TILE 6
#include "vectors.h"
#include KERNELS_HEADER
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE

#define ISA avx512
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,fma,f16c")))
#define BYTES 64
#define TILE 14
#include "vectors.h"
#include KERNELS_HEADER
#undef ISA
#undef TARGET
#undef BYTES
#undef TILE
#endif

enum class Isa { base, avx2, avx512 };

// The fastest that the processor runs. ATEN_CPU_CAPABILITY (default, avx2, avx512)
// bounds the choice, as it does torch's.
inline Isa best_isa() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
  const bool plain = wanted && !std::strcmp(wanted, "default");
  const bool no512 = plain || (wanted && !std::strcmp(wanted, "avx2"));
  __builtin_cpu_init();
  unsigned a, b, c = 0, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C)) return Isa::base;
  if (!no512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return Isa::avx512;
  }
  if (!plain && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return Isa::avx2;
  }
#endif
  return Isa::base;
}

// Contiguous 16-bit numbers to float and back, with F16C where the processor has it.
template <typename S>
struct Conversions {
  void (*widen)(const S*, float*, int64_t);
  void (*narrow)(const float*, S*, int64_t);
};

template <typename S>
const Conversions<S>& conversions() {
  static const Conversions<S> chosen = [] {
    switch (best_isa()) {
#if defined(__x86_64__)
      case Isa::avx512: return Conversions<S>{&avx512::widen, &avx512::narrow};
      case Isa::avx2: return Conversions<S>{&avx2::widen, &avx2::narrow};
#endif
      default: return Conversions<S>{&base::widen, &base::narrow};
    }
  }();
  return chosen;
}
