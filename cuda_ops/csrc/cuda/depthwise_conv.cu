// Brings torch's tensors to the kernels of the depthwise convolution.
#include "depthwise_conv_launch.cuh"
#include "layout.cuh"

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

// The output is in the memory format of the input.
Tensor conv(Tensor maps, Tensor weight, std::optional<Tensor> bias, bool flip) {
  check_on_gpu(kOp, maps);
  const Launcher launch(maps.get_device_index(), "conv");
  const Tensor input = to_contiguous(kOp, launch, maps);
  STD_TORCH_CHECK(weight.dim() == 4, kOp, ": the weight must be (C, 1, Kh, Kw), got ",
                  weight.dim(), " dimensions");
  const ConvShape s = shape(input, weight.size(2), weight.size(3));
  check_tensor(kOp, "weight", weight, input, {s.channels, 1, s.kernel_height, s.kernel_width});
  check_tensor(kOp, "bias", bias, input, {s.channels});
  Tensor output =
      empty(input, input.scalar_type(), {s.batch, s.channels, s.height, s.width});
  if (output.numel() > 0) {
    dispatch(kOp, input, [&](auto zero) {
      using T = decltype(zero);
      const bool done = launch_conv(launch, s, data<T>(input), data<T>(weight), data<T>(bias),
                                    flip, static_cast<T*>(output.data_ptr()));
      check_planned(kOp, done, launch.device(), s.kernel_height, s.kernel_width);
    });
  }
  return is_channels_last(maps) ? to_channels_last(kOp, launch, output) : output;
}

Tensor conv_weight(Tensor maps, Tensor grads, int64_t kh, int64_t kw) {
  check_on_gpu(kOp, maps);
  const Launcher launch(maps.get_device_index(), "weight");
  const Tensor input = to_contiguous(kOp, launch, maps);
  const ConvShape s = shape(input, kh, kw);
  STD_TORCH_CHECK(grads.is_cuda(), kOp, ": the gradient must be on the input's device");
  const Tensor grad = to_contiguous(kOp, launch, grads);
  check_tensor(kOp, "gradient", grad, input, {s.batch, s.channels, s.height, s.width});
  Tensor output = empty(input, input.scalar_type(), {s.channels, 1, kh, kw});
  if (output.numel() == 0) return output;
  if (input.numel() == 0) {
    fill_zero(output);
    return output;
  }
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
