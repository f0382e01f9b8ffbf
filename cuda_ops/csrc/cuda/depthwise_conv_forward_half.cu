#include "depthwise_conv_forward.cuh"

template bool smpconv_mm::launch_conv(const Launcher&, const ConvShape&, const __half*,
                                      const __half*, const __half*, bool, __half*);
