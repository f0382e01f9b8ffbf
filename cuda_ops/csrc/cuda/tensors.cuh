// Checks and makes torch's tensors for the operators on a GPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <limits>
#include <optional>
#include <sstream>

#include "launch.cuh"

namespace smpconv_mm {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Contiguous, or with the strides given.
inline Tensor empty(const Tensor& like, ScalarType type,
                    std::initializer_list<int64_t> sizes,
                    std::initializer_list<int64_t> given = {}) {
  int64_t strides[8], stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes.begin()[d]) strides[d] = stride;
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      int64_t(sizes.size()), sizes.begin(), given.size() ? given.begin() : strides,
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(type)),
      aoti_torch_device_type_cuda(), like.get_device_index(), &made));
  return Tensor(made);
}

inline void fill_zero(const Tensor& tensor) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(tensor.get()));
}

// Calls body(T()) with the type of the elements.
template <typename F>
void dispatch(const char* op, const Tensor& tensor, const F& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body(float());
    case ScalarType::Half: return body(__half());
    case ScalarType::BFloat16: return body(__nv_bfloat16());
    default:
      STD_TORCH_CHECK(false, op, ": on GPUs the dtype must be float32, float16 or bfloat16");
  }
}

template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

template <typename T>
const T* data(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}

inline void check_on_gpu(const char* op, const Tensor& input) {
  STD_TORCH_CHECK(input.is_cuda(), op, ": the input must be on a GPU, as other tensors are");
}

// The first tensor of an operator: its rank, its device, sides that an int holds.
inline void check_input(const char* op, const Tensor& input, int64_t rank) {
  check_on_gpu(op, input);
  STD_TORCH_CHECK(input.dim() == rank && input.is_contiguous(), op,
                  ": the input must be contiguous, of ", rank, " dimensions, got ",
                  input.dim());
  for (int64_t d = 0; d < rank; ++d)
    STD_TORCH_CHECK(input.size(d) <= std::numeric_limits<int>::max() / 2, op,
                    ": a side of ", input.size(d), " is too long");
}

// Any other: of the input's dtype, on its device, contiguous, of a shape.
inline void check_tensor(const char* op, const char* name, const Tensor& tensor,
                         const Tensor& input, std::initializer_list<int64_t> sizes) {
  bool same = tensor.dim() == int64_t(sizes.size());
  for (size_t d = 0; same && d < sizes.size(); ++d)
    same = tensor.size(int64_t(d)) == sizes.begin()[d];
  std::ostringstream wanted, found;
  const auto add = [](std::ostringstream& to, int64_t d, int64_t size) {
    to << (d ? ", " : "") << size;
  };
  if (!same) {
    for (size_t d = 0; d < sizes.size(); ++d) add(wanted, int64_t(d), sizes.begin()[d]);
    for (int64_t d = 0; d < tensor.dim(); ++d) add(found, d, tensor.size(d));
  }
  STD_TORCH_CHECK(same, op, ": the ", name, " must have shape (", wanted.str(), "), got (",
                  found.str(), ")");
  STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == input.get_device_index(),
                  op, ": the ", name, " must be on the input's device");
  STD_TORCH_CHECK(tensor.scalar_type() == input.scalar_type(), op, ": the ", name,
                  " must have the input's dtype");
  STD_TORCH_CHECK(tensor.is_contiguous(), op, ": the ", name, " must be contiguous");
}

inline void check_tensor(const char* op, const char* name,
                         const std::optional<Tensor>& tensor, const Tensor& input,
                         std::initializer_list<int64_t> sizes) {
  if (tensor) check_tensor(op, name, *tensor, input, sizes);
}

// What a planner says, as an error: nothing was launched.
inline void check_planned(const char* op, bool done, const Device& device, int64_t kh,
                          int64_t kw) {
  STD_TORCH_CHECK(done || !device.settings.any(), op,
                  ": the plan of SMPCONV_MM_PLAN does not fit a kernel of ", kh, " x ", kw,
                  " on this map and GPU");
  STD_TORCH_CHECK(done, op, ": a kernel of ", kh, " x ", kw,
                  " does not fit the shared memory of this GPU");
}

}  // namespace smpconv_mm
