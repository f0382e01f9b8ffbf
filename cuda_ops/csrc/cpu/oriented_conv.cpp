// Depthwise convolution with oriented 1-D kernels and its gradients on the CPU. As many
// channels of one direction as a vector has lanes, a block, are worked on at a time;
// they are copied into arrays of their own, so that tensors of any strides and dtypes
// are served alike. Sums are float (double for double), and no result depends on the
// number of threads.
#include <optional>

#include "oriented_lines.h"
#include "tensors.h"

namespace {

constexpr const char* kOp = "oriented_conv2d";

// Channels-last.
Tensor empty_map(const Tensor& like, int64_t height, int64_t width) {
  const int64_t n = like.size(0), c = like.size(1);
  return empty(like, {n, c, height, width}, {height * width * c, 1, width * c, c});
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Checks what all passes share; returns the angles.
const float* check(
    const Tensor& map, const Tensor& angle, int64_t taps, int64_t stride) {
  STD_TORCH_CHECK(map.dim() == 4, "oriented_conv2d: maps must be (N, C, H, W)");
  STD_TORCH_CHECK(
      taps % 2 == 1 && stride > 0,
      "oriented_conv2d: the number of taps must be odd and the stride positive, got ",
      taps, " and ", stride);
  STD_TORCH_CHECK(
      angle.dim() == 1 && angle.size(0) == map.size(1) &&
          angle.scalar_type() == ScalarType::Float && angle.is_contiguous(),
      "oriented_conv2d: angle must be a contiguous float32 of shape (C,)");
  const float* angles = static_cast<const float*>(angle.data_ptr());
  for (int64_t c = 0; c < map.size(1); ++c) {
    STD_TORCH_CHECK(
        std::isfinite(angles[c]), "oriented_conv2d: angles must be finite, got ",
        angles[c], " for channel ", c);
  }
  return angles;
}

void check_weight(const Tensor& weight, const Tensor& map) {
  STD_TORCH_CHECK(
      weight.dim() == 4 && weight.size(0) == map.size(1) && weight.size(1) == 1 &&
          weight.size(2) == 1 && weight.scalar_type() == map.scalar_type(),
      "oriented_conv2d: weight must have shape (C, 1, 1, K) and the maps' dtype");
}

void check_grad(
    const Tensor& grad, const Tensor& like, int64_t height, int64_t width,
    int64_t stride) {
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(0) == like.size(0) && grad.size(1) == like.size(1) &&
          grad.size(2) == ceil_div(height, stride) &&
          grad.size(3) == ceil_div(width, stride) &&
          grad.scalar_type() == like.scalar_type(),
      "oriented_conv2d: grad must have the shape and dtype of the output");
}

Tensor conv(
    Tensor input, Tensor weight, Tensor angle, std::optional<Tensor> bias,
    int64_t stride) {
  check_weight(weight, input);
  const float* angles = check(input, angle, weight.size(3), stride);
  STD_TORCH_CHECK(
      !bias || (bias->dim() == 1 && bias->size(0) == input.size(1) &&
                bias->scalar_type() == input.scalar_type()),
      "oriented_conv2d: bias must have shape (C,) and the input's dtype");
  Tensor output = empty_map(
      input, ceil_div(input.size(2), stride), ceil_div(input.size(3), stride));
  if (output.numel() == 0) return output;
  dispatch(kOp, input, [&](auto s, auto t) {
    using S = decltype(s);
    using T = decltype(t);
    lines::forward<S, T>(
        Map<S>(input), Map<S>(weight), angles,
        bias ? static_cast<const S*>(bias->data_ptr()) : nullptr,
        bias ? bias->stride(0) : 0, stride, Map<S>(output));
  });
  return output;
}

Tensor conv_input(
    Tensor grad, Tensor weight, Tensor angle, int64_t stride, int64_t height,
    int64_t width) {
  check_weight(weight, grad);
  const float* angles = check(grad, angle, weight.size(3), stride);
  check_grad(grad, grad, height, width, stride);
  Tensor output = empty_map(grad, height, width);
  if (output.numel() == 0) return output;
  dispatch(kOp, grad, [&](auto s, auto t) {
    using S = decltype(s);
    using T = decltype(t);
    lines::input_gradient<S, T>(
        Map<S>(grad), Map<S>(weight), angles, stride, Map<S>(output));
  });
  return output;
}

Tensor conv_weight(
    Tensor input, Tensor grad, Tensor angle, int64_t taps, int64_t stride) {
  const float* angles = check(input, angle, taps, stride);
  check_grad(grad, input, input.size(2), input.size(3), stride);
  Tensor output = empty(input, {input.size(1), 1, 1, taps});
  if (output.numel() == 0) return output;
  dispatch(kOp, input, [&](auto s, auto t) {
    using S = decltype(s);
    using T = decltype(t);
    lines::weight_gradient<S, T>(
        Map<S>(input), Map<S>(grad), angles, stride, Map<S>(output));
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CPU, m) {
  m.impl("oriented_conv2d", TORCH_BOX(&conv));
  m.impl("oriented_conv2d_input", TORCH_BOX(&conv_input));
  m.impl("oriented_conv2d_weight", TORCH_BOX(&conv_weight));
}
