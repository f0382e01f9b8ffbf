// The passes of the depthwise convolution, each compiled in files of its own.
#pragma once

#include <functional>

#include "depthwise_conv_device.cuh"
#include "launch.cuh"

namespace smpconv_mm {

// As depthwise_conv2d of depthwise_conv_plan.cuh.
template <typename T>
bool launch_conv(const Launcher& launch, const ConvShape& s, const T* input,
                 const T* weight, const T* bias, bool flip, T* output);

// As depthwise_conv2d_weight of depthwise_conv_weight_plan.cuh.
template <typename T>
bool launch_conv_weight(const Launcher& launch,
                        const std::function<float*(int64_t)>& allocate,
                        const ConvShape& s, const T* input, const T* grad, T* output);

}  // namespace smpconv_mm
