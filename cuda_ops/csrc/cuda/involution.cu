// Brings torch's tensors to the kernels of involution_plan.cuh.
#include "involution_plan.cuh"
#include "tensors.cuh"

namespace {

using namespace smpconv_mm;

constexpr const char* kOp = "involution";

template <InvolutionPass Pass>
Tensor run(const char* pass, const InvolutionShape& s, const Tensor& first,
           const Tensor& second, std::initializer_list<int64_t> sizes) {
  Tensor target = empty(first, first.scalar_type(), sizes);
  if (target.numel() == 0) return target;
  if (first.numel() == 0 || second.numel() == 0) {
    fill_zero(target);
    return target;
  }
  const Launcher launch(first.get_device_index(), pass);
  dispatch(kOp, first, [&](auto zero) {
    using T = decltype(zero);
    const bool done = involution<Pass>(launch, launch.device(), s, data<T>(first),
                                       data<T>(second), static_cast<T*>(target.data_ptr()));
    check_planned(kOp, done, launch.device(), s.kernel, s.kernel);
  });
  return target;
}

// Checks what does not depend on the pass; `maps` is the input or a gradient of its size.
InvolutionShape shape(const Tensor& maps, int64_t groups, int64_t height, int64_t width,
                      int64_t kernel, int64_t out_height, int64_t out_width,
                      int64_t stride, int64_t padding, int64_t dilation, bool interleaved,
                      bool clamp) {
  check_input(kOp, maps, 4);
  const int64_t most = int64_t(1) << 30;
  STD_TORCH_CHECK(groups > 0 && maps.size(1) % groups == 0, kOp, ": ", groups,
                  " groups must divide ", maps.size(1), " channels");
  STD_TORCH_CHECK(kernel > 0 && stride > 0 && padding >= 0 && dilation > 0 &&
                      kernel * dilation + padding + stride < most / 4,
                  kOp, ": kernel, stride and dilation must be positive, padding not "
                       "negative, got ", kernel, ", ", stride, ", ", dilation, ", ", padding);
  STD_TORCH_CHECK(height * width < most && out_height * out_width < most, kOp,
                  ": maps may have 2^30 places");
  return {int(maps.size(0)), int(maps.size(1)), int(groups),  int(height),
          int(width),        int(kernel),       int(out_height), int(out_width),
          int(stride),       int(padding),      int(dilation),   interleaved,
          clamp};
}

Tensor forward(Tensor input, Tensor weight, int64_t stride, int64_t padding,
               int64_t dilation, bool interleaved, bool clamp) {
  STD_TORCH_CHECK(weight.dim() == 6, kOp, ": the weight must be (N, G, K, K, P, Q)");
  const int64_t g = weight.size(1), k = weight.size(2), p = weight.size(4), q = weight.size(5);
  const InvolutionShape s =
      shape(input, g, input.size(2), input.size(3), k, p, q, stride, padding, dilation,
            interleaved, clamp);
  check_tensor(kOp, "weight", weight, input, {s.batch, g, k, k, p, q});
  return run<InvolutionPass::kOutput>("involution", s, input, weight,
                                      {s.batch, s.channels, p, q});
}

Tensor input_gradient(Tensor grad, Tensor weight, int64_t h, int64_t w, int64_t stride,
                      int64_t padding, int64_t dilation, bool interleaved, bool clamp) {
  STD_TORCH_CHECK(weight.dim() == 6, kOp, ": the weight must be (N, G, K, K, P, Q)");
  const int64_t g = weight.size(1), k = weight.size(2), p = grad.size(2), q = grad.size(3);
  const InvolutionShape s =
      shape(grad, g, h, w, k, p, q, stride, padding, dilation, interleaved, clamp);
  check_tensor(kOp, "weight", weight, grad, {s.batch, g, k, k, p, q});
  return run<InvolutionPass::kInput>("involution_input", s, grad, weight,
                                     {s.batch, s.channels, h, w});
}

Tensor weight_gradient(Tensor input, Tensor grad, int64_t groups, int64_t kernel,
                       int64_t stride, int64_t padding, int64_t dilation,
                       bool interleaved, bool clamp) {
  STD_TORCH_CHECK(grad.dim() == 4, kOp, ": the gradient must be (N, C, P, Q)");
  const int64_t p = grad.size(2), q = grad.size(3);
  const InvolutionShape s =
      shape(input, groups, input.size(2), input.size(3), kernel, p, q, stride, padding,
            dilation, interleaved, clamp);
  check_tensor(kOp, "gradient", grad, input, {s.batch, s.channels, p, q});
  return run<InvolutionPass::kWeight>("involution_weight", s, input, grad,
                                      {s.batch, groups, kernel, kernel, p, q});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CUDA, m) {
  m.impl("involution", TORCH_BOX(&forward));
  m.impl("involution_input", TORCH_BOX(&input_gradient));
  m.impl("involution_weight", TORCH_BOX(&weight_gradient));
}
