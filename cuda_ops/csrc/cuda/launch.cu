#include "launch.cuh"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <mutex>

#include "plan_settings.cuh"

namespace smpconv_mm {
namespace {

// Stands for all kernels of the library, which are compiled for the same GPUs.
__global__ void probe_kernel() {}

// The current device; refuses one that the library was not compiled for.
Device describe(int index) {
  const auto ask = [index](cudaDeviceAttr attribute) {
    int value = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, index));
    return value;
  };
  const int major = ask(cudaDevAttrComputeCapabilityMajor);
  const int minor = ask(cudaDevAttrComputeCapabilityMinor);
  cudaFuncAttributes code = {};
  const cudaError_t error = cudaFuncGetAttributes(&code, probe_kernel);
  if (error != cudaSuccess) cudaGetLastError();  // so that no later call reports it
  const bool missing = error == cudaErrorNoKernelImageForDevice ||
                       error == cudaErrorInvalidDeviceFunction ||
                       error == cudaErrorUnsupportedPtxVersion;
  if (!missing) STD_CUDA_CHECK(error);
  // Code made from PTX of an older generation lacks the bodies of newer kernels.
  STD_TORCH_CHECK(!missing && (major < 8 || code.ptxVersion >= 80),
                  "smpconv_mm: the compiled operations were not built for this GPU of "
                  "compute capability ", major, ".", minor, ": build them with "
                  "TORCH_CUDA_ARCH_LIST=\"", major, ".", minor, "\"");
  Device device;
  device.processors = ask(cudaDevAttrMultiProcessorCount);
  device.shared_of_block = ask(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  device.shared_of_processor = ask(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  device.has_mma = major >= 8;
  return device;
}

const Device& describe_once(int index) {
  constexpr int kMost = 64;
  static std::once_flag asked[kMost];
  static Device devices[kMost];
  STD_TORCH_CHECK(index >= 0 && index < kMost, "smpconv_mm: there is no GPU ", index);
  std::call_once(asked[index], [index] { devices[index] = describe(index); });
  return devices[index];
}

}  // namespace

Launcher::Launcher(int index, const char* pass)
    : guard_(index), device_(describe_once(index)) {
  void* current = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &current));
  stream_ = static_cast<cudaStream_t>(current);
  device_.settings = settings_from_environment(pass);
}

}  // namespace smpconv_mm
