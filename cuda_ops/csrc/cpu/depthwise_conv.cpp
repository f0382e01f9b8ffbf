// Depthwise convolution with 'same' padding and the gradient of its kernel on the
// CPU. As many channels as a vector has lanes, a block, are worked on at a time;
// they are copied into arrays of their own, so that tensors of any strides and
// dtypes are served alike. Sums are float (double for double), and no result
// depends on the number of threads.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "depthwise_direct.h"
#include "depthwise_fft.h"
#include "tensors.h"

namespace {

constexpr const char* kOp = "depthwise_conv2d";

bool fft_is_faster(const fft::Axis& rows, const fft::Axis& columns, int64_t kh, int64_t kw) {
  return rows.possible() && columns.possible() &&
         fft::cost(rows, columns) < direct::cost(rows.size, columns.size, kh, kw);
}

Tensor depthwise_conv2d(Tensor input, Tensor weight, std::optional<Tensor> bias,
                        bool flip) {
  STD_TORCH_CHECK(input.dim() == 4, "depthwise_conv2d: input must be (N, C, H, W)");
  const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
  STD_TORCH_CHECK(
      weight.dim() == 4 && weight.size(0) == c && weight.size(1) == 1 &&
          weight.size(2) % 2 == 1 && weight.size(3) % 2 == 1 &&
          weight.scalar_type() == input.scalar_type(),
      "depthwise_conv2d: weight must have shape (C, 1, odd, odd) and the input's dtype");
  STD_TORCH_CHECK(
      !bias || (bias->dim() == 1 && bias->size(0) == c &&
                bias->scalar_type() == input.scalar_type()),
      "depthwise_conv2d: bias must have shape (C,) and the input's dtype");
  Tensor output = empty(input, {n, c, h, w}, {h * w * c, 1, w * c, c});
  if (n == 0 || c == 0) return output;
  const fft::Axis rows(h, weight.size(2)), columns(w, weight.size(3));
  dispatch(kOp, input, [&](auto s, auto t) {
    using S = decltype(s);
    using T = decltype(t);
    const S* start = bias ? static_cast<const S*>(bias->data_ptr()) : nullptr;
    const int64_t stride = bias ? bias->stride(0) : 0;
    const Map<S> in(input), kernels = Map<S>(weight).as_one_image(), out(output);
    const Map<S> taps = flip ? kernels.turned() : kernels;
    if (fft_is_faster(rows, columns, taps.rows, taps.columns)) {
      fft::forward<S, T>(in, taps, start, stride, out, rows, columns);
    } else {
      direct::forward<S, T>(in, taps, start, stride, out);
    }
  });
  return output;
}

Tensor depthwise_conv2d_weight(Tensor input, Tensor grad, int64_t kh, int64_t kw) {
  STD_TORCH_CHECK(kh % 2 == 1 && kw % 2 == 1, "depthwise_conv2d: kernel sides must be odd");
  STD_TORCH_CHECK(
      input.dim() == 4 && grad.dim() == 4 && input.scalar_type() == grad.scalar_type(),
      "depthwise_conv2d: input and grad must be (N, C, H, W) of one dtype");
  for (int d = 0; d < 4; ++d) {
    STD_TORCH_CHECK(
        input.size(d) == grad.size(d),
        "depthwise_conv2d: input and grad must have the same shape");
  }
  const int64_t c = input.size(1);
  Tensor output = empty(input, {c, 1, kh, kw}, {kh * kw, kh * kw, kw, 1});
  if (c == 0) return output;
  const fft::Axis rows(input.size(2), kh), columns(input.size(3), kw);
  dispatch(kOp, input, [&](auto s, auto t) {
    using S = decltype(s);
    using T = decltype(t);
    const Map<S> in(input), taps(grad), out = Map<S>(output).as_one_image();
    if (fft_is_faster(rows, columns, kh, kw)) {
      fft::weight_gradient<S, T>(in, taps, out, rows, columns);
    } else {
      direct::weight_gradient<S, T>(in, taps, out);
    }
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CPU, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&depthwise_conv2d));
  m.impl("depthwise_conv2d_weight", TORCH_BOX(&depthwise_conv2d_weight));
}
