#include "depthwise_conv_weight.cuh"

template bool smpconv_mm::launch_conv_weight(const Launcher&,
                                             const std::function<float*(int64_t)>&,
                                             const ConvShape&, const __half*,
                                             const __half*, __half*);
