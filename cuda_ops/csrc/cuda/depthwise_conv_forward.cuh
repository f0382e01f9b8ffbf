// Compiled once a dtype: depthwise_conv_forward_DTYPE.cu.
#pragma once

#include "depthwise_conv_launch.cuh"
#include "depthwise_conv_plan.cuh"

namespace smpconv_mm {

template <typename T>
bool launch_conv(const Launcher& launch, const ConvShape& s, const T* input,
                 const T* weight, const T* bias, bool flip, T* output) {
  return depthwise_conv2d(launch, launch.device(), s, input, weight, bias, flip, output);
}

}  // namespace smpconv_mm
