// The depthwise convolution of csrc/cuda on the CPU, for tests, behind a C interface.
// Arrays are contiguous; those of the 16-bit types hold their bits.
#include <cstdio>

#include "depthwise_conv_plan.cuh"
#include "depthwise_conv_weight_plan.cuh"

using namespace smpconv_mm;

struct Problem {
  int batch, channels, height, width, kernel_height, kernel_width;
  int has_mma, shared_of_block, processors;  // of the device
  unsigned seed;                             // of the order of the threads
};

namespace {

template <typename Run>
int guarded(char* message, int size, Run run) {
  try {
    return run() ? 0 : 1;
  } catch (const emulator::Error& error) {
    snprintf(message, size, "%s", error.what());
    return 2;
  }
}

auto launcher(const Problem& p) {
  return [seed = p.seed](auto kernel, int64_t blocks, int threads, int shared,
                         auto... arguments) {
    emulator::launch(seed, dim3(unsigned(blocks)), dim3(threads), shared, kernel,
                     arguments...);
  };
}

ConvShape shape(const Problem& p) {
  return {p.batch, p.channels, p.height, p.width, p.kernel_height, p.kernel_width};
}

Device device(const Problem& p) {
  return {p.processors, p.shared_of_block, 2 * p.shared_of_block, p.has_mma != 0};
}

template <typename T>
bool conv(const Problem& p, const void* input, const void* weight, const void* bias,
          void* output) {
  auto launch = launcher(p);
  return depthwise_conv2d(launch, device(p), shape(p), static_cast<const T*>(input),
                          static_cast<const T*>(weight), static_cast<const T*>(bias),
                          static_cast<T*>(output));
}

template <typename T>
bool weight_gradient(const Problem& p, const void* input, const void* grad, void* output) {
  auto launch = launcher(p);
  std::vector<float> room;
  auto allocate = [&](int64_t count) {
    room.assign(count, std::nanf(""));
    return room.data();
  };
  return depthwise_conv2d_weight(launch, allocate, device(p), shape(p),
                                 static_cast<const T*>(input),
                                 static_cast<const T*>(grad), static_cast<T*>(output));
}

}  // namespace

// 0: done; 1: no kernel fits; 2: the emulator found an error, see the message.
// type: 0 float32, 1 float16, 2 bfloat16.
extern "C" int emulated_conv(const Problem* p, int type, const void* input,
                             const void* weight, const void* bias, void* output,
                             char* message, int size) {
  return guarded(message, size, [&] {
    switch (type) {
#ifndef SMPCONV_MM_ONLY_BFLOAT16
      case 0: return conv<float>(*p, input, weight, bias, output);
      case 1: return conv<__half>(*p, input, weight, bias, output);
#endif
      default: return conv<__nv_bfloat16>(*p, input, weight, bias, output);
    }
  });
}

extern "C" int emulated_weight(const Problem* p, int type, const void* input,
                               const void* grad, void* output, char* message, int size) {
  return guarded(message, size, [&] {
    switch (type) {
#ifndef SMPCONV_MM_ONLY_BFLOAT16
      case 0: return weight_gradient<float>(*p, input, grad, output);
      case 1: return weight_gradient<__half>(*p, input, grad, output);
#endif
      default: return weight_gradient<__nv_bfloat16>(*p, input, grad, output);
    }
  });
}
