#include "driver.h"
#include "oriented_conv_plan.cuh"

using namespace smpconv_mm;

// `angle` holds floats, whatever the type of the other arrays.
extern "C" int emulated_conv(const emulator::Machine* m, const OrientedShape* s, int type,
                             const void* input, const void* weight, const float* angle,
                             const void* bias, void* output, char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = emulator::launcher(*m);
    return oriented_conv2d(launch, emulator::device(*m, "conv"), *s,
                           static_cast<const T*>(input), static_cast<const T*>(weight),
                           angle, static_cast<const T*>(bias), static_cast<T*>(output));
  });
}

extern "C" int emulated_input(const emulator::Machine* m, const OrientedShape* s, int type,
                              const void* grad, const void* weight, const float* angle,
                              void* output, char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = emulator::launcher(*m);
    return oriented_conv2d_input(launch, emulator::device(*m, "conv"), *s,
                                 static_cast<const T*>(grad),
                                 static_cast<const T*>(weight), angle,
                                 static_cast<T*>(output));
  });
}

extern "C" int emulated_weight(const emulator::Machine* m, const OrientedShape* s, int type,
                               const void* input, const void* grad, const float* angle,
                               void* output, char* message, int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = emulator::launcher(*m);
    std::vector<float> room;
    const auto allocate = [&](int64_t count) {
      room.assign(count, std::nanf(""));
      return room.data();
    };
    return oriented_conv2d_weight(launch, allocate, emulator::device(*m, "weight"), *s,
                                  static_cast<const T*>(input),
                                  static_cast<const T*>(grad), angle,
                                  static_cast<T*>(output));
  });
}
