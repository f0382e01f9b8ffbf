#include "driver.h"
#include "transpose.cuh"

using namespace smpconv_mm;

extern "C" int emulated_transpose(const emulator::Machine* m, const TransposeShape* s,
                                  int type, const void* input, void* output, char* message,
                                  int size) {
  return emulator::guarded(type, message, size, [&](auto zero) {
    using T = decltype(zero);
    transpose(emulator::launcher(*m), *s, static_cast<const T*>(input),
              static_cast<T*>(output));
    return true;
  });
}
