// Brings torch's tensors to the kernels of the depthwise convolution.
#include "depthwise_conv_launch.cuh"
#include "tensors.cuh"

namespace {

using namespace smpconv_mm;

constexpr const char* kOp = "depthwise_conv2d";

ConvShape shape(const Tensor& input, int64_t kh, int64_t kw) {
  check_input(kOp, input, 4);
  STD_TORCH_CHECK(kh % 2 == 1 && kw % 2 == 1 && kh <= kMostTaps && kw <= kMostTaps, kOp,
                  ": kernel sides must be odd and at most ", kMostTaps, ", got ", kh, " x ",
                  kw);
  return {int(input.size(0)), int(input.size(1)), int(input.size(2)), int(input.size(3)),
          int(kh), int(kw)};
}

Tensor conv(Tensor input, Tensor weight, std::optional<Tensor> bias, bool flip) {
  STD_TORCH_CHECK(weight.dim() == 4, kOp, ": the weight must be (C, 1, Kh, Kw), got ",
                  weight.dim(), " dimensions");
  const ConvShape s = shape(input, weight.size(2), weight.size(3));
  check_tensor(kOp, "weight", weight, input, {s.channels, 1, s.kernel_height, s.kernel_width});
  check_tensor(kOp, "bias", bias, input, {s.channels});
  Tensor output =
      empty(input, input.scalar_type(), {s.batch, s.channels, s.height, s.width});
  if (output.numel() == 0) return output;
  const Launcher launch(input.get_device_index(), "conv");
  dispatch(kOp, input, [&](auto zero) {
    using T = decltype(zero);
    const bool done = launch_conv(launch, s, data<T>(input), data<T>(weight), data<T>(bias), flip,
                                  static_cast<T*>(output.data_ptr()));
    check_planned(kOp, done, launch.device(), s.kernel_height, s.kernel_width);
  });
  return output;
}

Tensor conv_weight(Tensor input, Tensor grad, int64_t kh, int64_t kw) {
  const ConvShape s = shape(input, kh, kw);
  check_tensor(kOp, "gradient", grad, input, {s.batch, s.channels, s.height, s.width});
  Tensor output = empty(input, input.scalar_type(), {s.channels, 1, kh, kw});
  if (output.numel() == 0) return output;
  if (input.numel() == 0) {
    fill_zero(output);
    return output;
  }
  const Launcher launch(input.get_device_index(), "weight");
  std::optional<Tensor> room;
  const auto allocate = [&](int64_t count) {
    room = empty(input, ScalarType::Float, {count});
    return static_cast<float*>(room->data_ptr());
  };
  dispatch(kOp, input, [&](auto zero) {
    using T = decltype(zero);
    const bool done =
        launch_conv_weight<T>(launch, allocate, s, data<T>(input), data<T>(grad),
                              static_cast<T*>(output.data_ptr()));
    check_planned(kOp, done, launch.device(), kh, kw);
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CUDA, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&conv));
  m.impl("depthwise_conv2d_weight", TORCH_BOX(&conv_weight));
}
