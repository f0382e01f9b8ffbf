#include "depthwise_conv_forward.cuh"

template bool smpconv_mm::launch_conv(const Launcher&, const ConvShape&, const float*,
                                      const float*, const float*, bool, float*);
