// The involution of csrc/cuda on the CPU, for tests, behind a C interface. Arrays are
// contiguous; those of the 16-bit types hold their bits.
#include <cstdio>

#include "involution_plan.cuh"

using namespace smpconv_mm;

struct InvolutionProblem {
  int batch, channels, groups, height, width, kernel, out_height, out_width;
  int stride, padding, dilation, interleaved, clamp;
  int has_mma, shared_of_block, processors;  // of the device
  unsigned seed;                             // of the order of the threads
};

namespace {

template <InvolutionPass Pass, typename T>
void run(const InvolutionProblem& p, const void* first, const void* second, void* target) {
  const InvolutionShape s = {p.batch,       p.channels,       p.groups, p.height,
                             p.width,       p.kernel,         p.out_height,
                             p.out_width,   p.stride,         p.padding,
                             p.dilation,    p.interleaved != 0, p.clamp != 0};
  const Device device = {p.processors, p.shared_of_block, 2 * p.shared_of_block,
                         p.has_mma != 0};
  auto launch = [seed = p.seed](auto kernel, int64_t blocks, int threads, int shared,
                                auto... arguments) {
    emulator::launch(seed, dim3(unsigned(blocks)), dim3(threads), shared, kernel,
                     arguments...);
  };
  involution<Pass>(launch, device, s, static_cast<const T*>(first),
                   static_cast<const T*>(second), static_cast<T*>(target));
}

template <InvolutionPass Pass>
void run(int type, const InvolutionProblem& p, const void* first, const void* second,
         void* target) {
  switch (type) {
#ifndef SMPCONV_MM_ONLY_BFLOAT16
    case 0: return run<Pass, float>(p, first, second, target);
    case 1: return run<Pass, __half>(p, first, second, target);
#endif
    default: return run<Pass, __nv_bfloat16>(p, first, second, target);
  }
}

}  // namespace

// 0: done; 2: the emulator found an error, see the message.
// pass: 0 output, 1 gradient of the input, 2 of the weight.
// type: 0 float32, 1 float16, 2 bfloat16.
extern "C" int emulated_involution(const InvolutionProblem* p, int pass, int type,
                                   const void* first, const void* second, void* target,
                                   char* message, int size) {
  try {
    switch (pass) {
      case 0: run<InvolutionPass::kOutput>(type, *p, first, second, target); break;
      case 1: run<InvolutionPass::kInput>(type, *p, first, second, target); break;
      default: run<InvolutionPass::kWeight>(type, *p, first, second, target);
    }
  } catch (const emulator::Error& error) {
    snprintf(message, size, "%s", error.what());
    return 2;
  }
  return 0;
}
