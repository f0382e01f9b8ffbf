// Compiled once a dtype: depthwise_conv_weight_DTYPE.cu.
#pragma once

#include "depthwise_conv_launch.cuh"
#include "depthwise_conv_weight_plan.cuh"

namespace smpconv_mm {

template <typename T>
bool launch_conv_weight(const Launcher& launch,
                        const std::function<float*(int64_t)>& allocate,
                        const ConvShape& s, const T* input, const T* grad, T* output) {
  return depthwise_conv2d_weight(launch, allocate, launch.device(), s, input, grad,
                                 output);
}

}  // namespace smpconv_mm
