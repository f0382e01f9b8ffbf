// Involution and its gradients on the CPU. Sums are float (double for double), and no
// result depends on the number of threads. Nothing as large as the unfolded input is held.
#include "involution.h"

#include "tensors.h"

namespace {

using involution::Options;
using involution::Sizes;

constexpr const char* kOp = "involution";

Sizes check(
    const Tensor& maps, int64_t groups, int64_t k, int64_t height, int64_t width,
    int64_t rows, int64_t columns, const Options& a) {
  STD_TORCH_CHECK(maps.dim() == 4, kOp, ": maps must be (N, C, H, W)");
  STD_TORCH_CHECK(
      groups > 0 && maps.size(1) % groups == 0, kOp, ": ", groups, " groups must divide ",
      maps.size(1), " channels");
  STD_TORCH_CHECK(
      k > 0 && a.stride > 0 && a.padding >= 0 && a.dilation > 0, kOp,
      ": kernel, stride and dilation must be positive, padding not negative");
  STD_TORCH_CHECK(
      !a.clamp || k * a.dilation <= std::min(height, width), kOp,
      ": windows of ", k * a.dilation, " places cannot be moved inside of the map");
  return {groups, maps.size(1) / groups, k, height, width, rows, columns};
}

void check_weight(const Tensor& weight, const Tensor& maps) {
  STD_TORCH_CHECK(
      weight.dim() == 6 && weight.size(0) == maps.size(0) &&
          weight.size(2) == weight.size(3) && weight.scalar_type() == maps.scalar_type(),
      kOp, ": weight must be (N, G, K, K, P, Q) of the dtype of the maps");
}

Tensor forward(
    Tensor input, Tensor weight, int64_t stride, int64_t padding, int64_t dilation,
    bool interleaved, bool clamp) {
  check_weight(weight, input);
  const Options a = {stride, padding, dilation, interleaved, clamp};
  const Sizes s = check(
      input, weight.size(1), weight.size(2), input.size(2), input.size(3), weight.size(4),
      weight.size(5), a);
  Tensor output = empty(input, {input.size(0), input.size(1), s.rows, s.columns});
  if (output.numel() == 0) return output;
  dispatch(kOp, input, [&](auto zero, auto sum) {
    using S = decltype(zero);
    involution::output<S, decltype(sum)>(
        Map<S>(input), involution::Weight<S>(weight), Map<S>(output), a, s);
  });
  return output;
}

Tensor input_gradient(
    Tensor grad, Tensor weight, int64_t height, int64_t width, int64_t stride,
    int64_t padding, int64_t dilation, bool interleaved, bool clamp) {
  check_weight(weight, grad);
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(2) == weight.size(4) && grad.size(3) == weight.size(5),
      kOp, ": grad must have the places of the weight");
  const Options a = {stride, padding, dilation, interleaved, clamp};
  const Sizes s = check(
      grad, weight.size(1), weight.size(2), height, width, weight.size(4), weight.size(5),
      a);
  Tensor output = empty(grad, {grad.size(0), grad.size(1), height, width});
  if (output.numel() == 0) return output;
  dispatch(kOp, grad, [&](auto zero, auto sum) {
    using S = decltype(zero);
    involution::input_gradient<S, decltype(sum)>(
        Map<S>(grad), involution::Weight<S>(weight), Map<S>(output), a, s);
  });
  return output;
}

Tensor weight_gradient(
    Tensor input, Tensor grad, int64_t groups, int64_t k, int64_t stride, int64_t padding,
    int64_t dilation, bool interleaved, bool clamp) {
  STD_TORCH_CHECK(
      grad.dim() == 4 && input.dim() == 4 && grad.size(0) == input.size(0) &&
          grad.size(1) == input.size(1) && grad.scalar_type() == input.scalar_type(),
      kOp, ": grad must have the images, the channels and the dtype of the input");
  const Options a = {stride, padding, dilation, interleaved, clamp};
  const Sizes s = check(
      input, groups, k, input.size(2), input.size(3), grad.size(2), grad.size(3), a);
  Tensor output = empty(input, {input.size(0), groups, k, k, s.rows, s.columns});
  if (output.numel() == 0) return output;
  dispatch(kOp, input, [&](auto zero, auto sum) {
    using S = decltype(zero);
    involution::weight_gradient<S, decltype(sum)>(
        Map<S>(input), Map<S>(grad), involution::Weight<S>(output), a, s);
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CPU, m) {
  m.impl("involution", TORCH_BOX(&forward));
  m.impl("involution_input", TORCH_BOX(&input_gradient));
  m.impl("involution_weight", TORCH_BOX(&weight_gradient));
}
