#include "depthwise_conv_plan.cuh"
#include "depthwise_conv_weight_plan.cuh"
#include "driver.h"

using namespace smpconv_mm;

// A shape, and whether the kernel is turned.
struct Conv {
  ConvShape shape;
  int flip;
};

extern "C" int emulated_conv(const emulator::Machine* m, const Conv* c, int type,
                             const void* input, const void* weight, const void* bias,
                             void* output, char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = emulator::launcher(*m);
    return depthwise_conv2d(launch, emulator::device(*m, "conv"), c->shape,
                            static_cast<const T*>(input), static_cast<const T*>(weight),
                            static_cast<const T*>(bias), c->flip != 0, static_cast<T*>(output));
  });
}

extern "C" int emulated_weight(const emulator::Machine* m, const ConvShape* s, int type,
                               const void* input, const void* grad, void* output,
                               char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = emulator::launcher(*m);
    std::vector<float> room;
    const auto allocate = [&](int64_t count) {
      room.assign(count, std::nanf(""));
      return room.data();
    };
    return depthwise_conv2d_weight(launch, allocate, emulator::device(*m, "weight"), *s,
                                   static_cast<const T*>(input),
                                   static_cast<const T*>(grad), static_cast<T*>(output));
  });
}
