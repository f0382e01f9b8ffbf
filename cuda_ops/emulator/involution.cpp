#include "driver.h"
#include "involution_plan.cuh"

using namespace smpconv_mm;

namespace {

template <InvolutionPass Pass>
int run(const char* pass, const emulator::Machine& m, const InvolutionShape& s, int type,
        const void* first, const void* second, void* target, char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    return involution<Pass>(emulator::launcher(m), emulator::device(m, pass), s,
                            static_cast<const T*>(first), static_cast<const T*>(second),
                            static_cast<T*>(target));
  });
}

}  // namespace

extern "C" int emulated_involution(const emulator::Machine* m, const InvolutionShape* s,
                                   int type, const void* input, const void* weight,
                                   void* output, char* message, int size) {
  return run<InvolutionPass::kOutput>("involution", *m, *s, type, input, weight, output,
                                      message, size);
}

extern "C" int emulated_involution_input(const emulator::Machine* m,
                                         const InvolutionShape* s, int type,
                                         const void* grad, const void* weight,
                                         void* output, char* message, int size) {
  return run<InvolutionPass::kInput>("involution_input", *m, *s, type, grad, weight,
                                     output, message, size);
}

extern "C" int emulated_involution_weight(const emulator::Machine* m,
                                          const InvolutionShape* s, int type,
                                          const void* input, const void* grad,
                                          void* output, char* message, int size) {
  return run<InvolutionPass::kWeight>("involution_weight", *m, *s, type, input, grad,
                                      output, message, size);
}
