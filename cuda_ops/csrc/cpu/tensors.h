// Makes torch's tensors and finds their types, for the operators on the CPU.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <vector>

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Uninitialised, of the dtype of `like`.
inline Tensor empty(
    const Tensor& like, const std::vector<int64_t>& sizes,
    const std::vector<int64_t>& strides) {
  int32_t dtype;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      int64_t(sizes.size()), sizes.data(), strides.data(), dtype,
      aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}

// The same, contiguous.
inline Tensor empty(const Tensor& like, const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes[d]) strides[d] = stride;
  return empty(like, sizes, strides);
}

// Calls body(S(), T()) with the types of the elements and of the sums.
template <typename F>
void dispatch(const char* op, const Tensor& tensor, const F& body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return body(float(), float());
    case ScalarType::Double: return body(double(), double());
    case ScalarType::Half: return body(c10::Half(), float());
    case ScalarType::BFloat16: return body(c10::BFloat16(), float());
    default: STD_TORCH_CHECK(false, op, ": dtype is not floating point");
  }
}
