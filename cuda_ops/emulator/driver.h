// What the drivers of the operators share: a driver calls an operator's planning and
// kernels on the CPU, for tests, behind a C interface. Arrays are contiguous; those of
// the 16-bit types hold their bits.
#pragma once

#include <cstdio>

#include "plan_settings.cuh"

namespace emulator {

// A launch that was planned.
struct Launch {
  const void* kernel;
  int64_t blocks;
  int threads, shared;
};

// The device to stand for, the plan as in SMPCONV_MM_PLAN, the order of the threads.
// With `launches` (room for 8) launches are counted and noted, and nothing runs.
struct Machine {
  int has_mma, shared_of_block, shared_of_processor, processors;
  unsigned seed;
  const char* plan;
  Launch* launches;
  int* count;
};

inline smpconv_mm::Device device(const Machine& m, const char* pass) {
  return {m.processors, m.shared_of_block, m.shared_of_processor, m.has_mma != 0,
          smpconv_mm::parse_settings(m.plan, pass)};
}

inline auto launcher(const Machine& m) {
  return [&m](auto kernel, int64_t blocks, int threads, int shared, auto... arguments) {
    if (m.launches != nullptr) {
      m.launches[(*m.count)++] = {reinterpret_cast<const void*>(kernel), blocks, threads,
                                  shared};
    } else {
      launch(m.seed, dim3(unsigned(blocks)), dim3(threads), shared, kernel, arguments...);
    }
  };
}

// Calls run(T()) for a type: 0 float32, 1 float16, 2 bfloat16. Returns 0: done;
// 1: no plan fits; 2: an error, see the message.
template <typename Run>
int guarded(int type, char* message, int size, Run run) {
  try {
    switch (type) {
#ifndef SMPCONV_MM_ONLY_BFLOAT16
      case 0: return run(float()) ? 0 : 1;
      case 1: return run(__half()) ? 0 : 1;
#endif
      default: return run(__nv_bfloat16()) ? 0 : 1;
    }
  } catch (const std::runtime_error& error) {
    snprintf(message, size, "%s", error.what());
    return 2;
  }
}

}  // namespace emulator
