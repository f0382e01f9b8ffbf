// Brings torch's tensors to the kernels of involution_plan.cuh.
#include "involution_plan.cuh"

#include <optional>

#include "tensors.cuh"

namespace {

using namespace smpconv_mm;

constexpr const char* kName = "involution";

struct Options {
  int64_t stride, padding, dilation;
  bool interleaved, clamp;
};

int side(int64_t size) {
  STD_TORCH_CHECK(size <= std::numeric_limits<int>::max() / 4, kName, ": a side of ", size,
                  " is too long");
  return int(size);
}

InvolutionShape shape(int64_t batch, int64_t channels, int64_t groups, int64_t height,
                      int64_t width, int64_t kernel, int64_t out_height,
                      int64_t out_width, const Options& o) {
  STD_TORCH_CHECK(groups > 0 && channels % groups == 0 && kernel > 0 && o.stride > 0 &&
                      o.padding >= 0 && o.dilation > 0,
                  kName, ": ", groups, " groups must divide ", channels,
                  " channels; kernel, stride and dilation must be positive");
  STD_TORCH_CHECK(height * width < (int64_t(1) << 30) &&
                      out_height * out_width < (int64_t(1) << 30),
                  kName, ": a map of more than 2^30 places is too large");
  return {side(batch),      side(channels),   side(groups),   side(height),
          side(width),      side(kernel),     side(out_height), side(out_width),
          side(o.stride),   side(o.padding),  side(o.dilation), o.interleaved, o.clamp};
}

void check(const Tensor& tensor, int64_t dims, const char* name, const Tensor& like) {
  STD_TORCH_CHECK(tensor.dim() == dims && tensor.is_contiguous() &&
                      tensor.scalar_type() == like.scalar_type(),
                  kName, ": ", name, " must be contiguous with ", dims,
                  " dimensions, all tensors of one dtype");
}

template <InvolutionPass Pass>
Tensor run(const InvolutionShape& s, const Tensor& first, const Tensor& second,
           std::initializer_list<int64_t> sizes) {
  Tensor target = empty(first, first.scalar_type(), sizes);
  if (target.numel() == 0) return target;
  if (s.out_height * s.out_width == 0) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(target.get()));
    return target;
  }
  Launcher launch(kName, first.get_device_index());
  dispatch(kName, first, [&](auto zero) {
    using T = decltype(zero);
    involution<Pass>(launch, describe(first.get_device_index()), s, data<T>(first),
                     data<T>(second), static_cast<T*>(target.data_ptr()));
  });
  return target;
}

Tensor forward(Tensor input, Tensor weight, int64_t stride, int64_t padding,
               int64_t dilation, bool interleaved, bool clamp) {
  check(input, 4, "input", input);
  check(weight, 6, "weight", input);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t k = weight.size(2), p = weight.size(4), q = weight.size(5);
  STD_TORCH_CHECK(weight.size(0) == n && weight.size(3) == k, kName,
                  ": weight must be (N, G, K, K, P, Q)");
  const InvolutionShape s = shape(n, c, weight.size(1), h, w, k, p, q,
                                  {stride, padding, dilation, interleaved, clamp});
  return run<InvolutionPass::kOutput>(s, input, weight, {n, c, p, q});
}

Tensor input_gradient(Tensor grad, Tensor weight, int64_t h, int64_t w, int64_t stride,
                      int64_t padding, int64_t dilation, bool interleaved, bool clamp) {
  check(grad, 4, "grad", grad);
  check(weight, 6, "weight", grad);
  const int64_t n = grad.size(0), c = grad.size(1), p = grad.size(2), q = grad.size(3);
  STD_TORCH_CHECK(weight.size(0) == n && weight.size(2) == weight.size(3) &&
                      weight.size(4) == p && weight.size(5) == q,
                  kName, ": weight must be (N, G, K, K, P, Q)");
  const InvolutionShape s = shape(n, c, weight.size(1), h, w, weight.size(2), p, q,
                                  {stride, padding, dilation, interleaved, clamp});
  return run<InvolutionPass::kInput>(s, grad, weight, {n, c, h, w});
}

Tensor weight_gradient(Tensor input, Tensor grad, int64_t groups, int64_t kernel,
                       int64_t stride, int64_t padding, int64_t dilation,
                       bool interleaved, bool clamp) {
  check(input, 4, "input", input);
  check(grad, 4, "grad", input);
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  const int64_t p = grad.size(2), q = grad.size(3);
  STD_TORCH_CHECK(grad.size(0) == n && grad.size(1) == c, kName,
                  ": grad must have the images and channels of the input");
  const InvolutionShape s = shape(n, c, groups, h, w, kernel, p, q,
                                  {stride, padding, dilation, interleaved, clamp});
  return run<InvolutionPass::kWeight>(s, input, grad, {n, groups, kernel, kernel, p, q});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CUDA, m) {
  m.impl("involution", TORCH_BOX(&forward));
  m.impl("involution_input", TORCH_BOX(&input_gradient));
  m.impl("involution_weight", TORCH_BOX(&weight_gradient));
}
