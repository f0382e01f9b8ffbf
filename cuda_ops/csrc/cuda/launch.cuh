// Launches kernels on torch's current stream.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>

#include <limits>

#include "device.cuh"

namespace smpconv_mm {

// The current stream of a GPU, which is the current device meanwhile. `pass` is the
// name of the pass in SMPCONV_MM_PLAN.
class Launcher {
 public:
  Launcher(int index, const char* pass);

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, int shared,
                  Arguments... arguments) const {
    STD_TORCH_CHECK(blocks <= std::numeric_limits<int>::max(),
                    "smpconv_mm: ", blocks, " blocks are more than a grid holds");
    if (shared > 48 << 10)
      STD_CUDA_CHECK(cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    kernel<<<static_cast<unsigned>(blocks), threads, shared, stream_>>>(arguments...);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  const Device& device() const { return device_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
  Device device_;
};

}  // namespace smpconv_mm
