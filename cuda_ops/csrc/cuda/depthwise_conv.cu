// Brings torch's tensors to the kernels of depthwise_conv_plan.cuh.
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>
#include <optional>

#include "depthwise_conv_plan.cuh"
#include "depthwise_conv_weight_plan.cuh"

namespace {

using namespace smpconv_mm;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Device describe(int index) {
  const auto ask = [index](cudaDeviceAttr attribute) {
    int value = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, index));
    return value;
  };
  Device device;
  device.processors = ask(cudaDevAttrMultiProcessorCount);
  device.shared_of_block = ask(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  device.shared_of_processor = ask(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  device.has_mma = ask(cudaDevAttrComputeCapabilityMajor) >= 8;
  return device;
}

// The current stream of a device, which is the current device meanwhile.
struct Launcher {
  explicit Launcher(int index) : guard(index) {
    void* current = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &current));
    stream = static_cast<cudaStream_t>(current);
  }

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, int shared,
                  Arguments... arguments) const {
    STD_TORCH_CHECK(blocks <= std::numeric_limits<int>::max(),
                    "depthwise_conv2d: ", blocks, " blocks are more than a grid holds");
    if (shared > 48 << 10)
      STD_CUDA_CHECK(cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    kernel<<<static_cast<unsigned>(blocks), threads, shared, stream>>>(arguments...);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream;
};

Tensor empty(const Tensor& like, ScalarType type, std::initializer_list<int64_t> sizes) {
  int64_t strides[8], stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes.begin()[d]) strides[d] = stride;
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      int64_t(sizes.size()), sizes.begin(), strides,
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)),
      aoti_torch_device_type_cuda(), like.get_device_index(), &made));
  return Tensor(made);
}

// Calls body(T()) with the type of the elements.
template <typename F>
void dispatch(const Tensor& tensor, const F& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body(float());
    case ScalarType::Half: return body(__half());
    case ScalarType::BFloat16: return body(__nv_bfloat16());
    default:
      STD_TORCH_CHECK(false, "depthwise_conv2d: on GPUs the dtype must be float32, "
                             "float16 or bfloat16");
  }
}

ConvShape shape(const Tensor& input, int64_t kh, int64_t kw) {
  STD_TORCH_CHECK(input.dim() == 4 && input.is_contiguous(),
                  "depthwise_conv2d: the input must be a contiguous (N, C, H, W)");
  int64_t sizes[] = {input.size(0), input.size(1), input.size(2), input.size(3), kh, kw};
  for (const int64_t size : sizes)
    STD_TORCH_CHECK(size <= std::numeric_limits<int>::max() / 2,
                    "depthwise_conv2d: a side of ", size, " is too long");
  STD_TORCH_CHECK(kh % 2 == 1 && kw % 2 == 1 && kh <= kMostTaps && kw <= kMostTaps,
                  "depthwise_conv2d: kernel sides must be odd and at most ", kMostTaps,
                  ", got ", kh, " x ", kw);
  return {int(sizes[0]), int(sizes[1]), int(sizes[2]), int(sizes[3]), int(kh), int(kw)};
}

template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

Tensor conv(Tensor input, Tensor weight, std::optional<Tensor> bias) {
  const ConvShape s = shape(input, weight.size(2), weight.size(3));
  STD_TORCH_CHECK(weight.is_contiguous() && weight.size(0) == s.channels &&
                      weight.size(1) == 1 && weight.scalar_type() == input.scalar_type(),
                  "depthwise_conv2d: the weight must be a contiguous (C, 1, Kh, Kw) of "
                  "the input's dtype");
  STD_TORCH_CHECK(!bias || (bias->is_contiguous() && bias->size(0) == s.channels &&
                            bias->scalar_type() == input.scalar_type()),
                  "depthwise_conv2d: the bias must be a contiguous (C,) of the input's "
                  "dtype");
  Tensor output =
      empty(input, input.scalar_type(), {s.batch, s.channels, s.height, s.width});
  if (output.numel() == 0) return output;
  Launcher launch(input.get_device_index());
  dispatch(input, [&](auto zero) {
    using T = decltype(zero);
    const bool done = smpconv_mm::depthwise_conv2d(
        launch, describe(input.get_device_index()), s, data<T>(input), data<T>(weight),
        bias ? data<T>(*bias) : nullptr, static_cast<T*>(output.data_ptr()));
    STD_TORCH_CHECK(done, "depthwise_conv2d: a kernel of ", s.kernel_height, " x ",
                    s.kernel_width, " does not fit the shared memory of this GPU");
  });
  return output;
}

Tensor conv_weight(Tensor input, Tensor grad, int64_t kh, int64_t kw) {
  const ConvShape s = shape(input, kh, kw);
  STD_TORCH_CHECK(grad.is_contiguous() && grad.scalar_type() == input.scalar_type() &&
                      grad.numel() == input.numel(),
                  "depthwise_conv2d: grad must be contiguous, of the input's shape and "
                  "dtype");
  Tensor output = empty(input, input.scalar_type(), {s.channels, 1, kh, kw});
  if (output.numel() == 0) return output;
  if (input.numel() == 0) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(output.get()));
    return output;
  }
  Launcher launch(input.get_device_index());
  std::optional<Tensor> room;
  const auto allocate = [&](int64_t count) {
    room = empty(input, ScalarType::Float, {count});
    return static_cast<float*>(room->data_ptr());
  };
  dispatch(input, [&](auto zero) {
    using T = decltype(zero);
    const bool done = smpconv_mm::depthwise_conv2d_weight(
        launch, allocate, describe(input.get_device_index()), s, data<T>(input),
        data<T>(grad), static_cast<T*>(output.data_ptr()));
    STD_TORCH_CHECK(done, "depthwise_conv2d: the gradient of a kernel of ", kh, " x ", kw,
                    " does not fit the shared memory of this GPU");
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CUDA, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&conv));
  m.impl("depthwise_conv2d_weight", TORCH_BOX(&conv_weight));
}
