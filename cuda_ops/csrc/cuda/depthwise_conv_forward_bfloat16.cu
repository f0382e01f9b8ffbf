#include "depthwise_conv_forward.cuh"

template bool smpconv_mm::launch_conv(const Launcher&, const ConvShape&, const __nv_bfloat16*,
                                      const __nv_bfloat16*, const __nv_bfloat16*, bool, __nv_bfloat16*);
