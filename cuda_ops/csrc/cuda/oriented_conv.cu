// Brings torch's tensors to the kernels of the oriented convolution.
#include "layout.cuh"
#include "oriented_conv_plan.cuh"

namespace {

using namespace smpconv_mm;

constexpr const char* kOp = "oriented_conv2d";

// `map` is the input, or the output's gradient for a map of height x width.
OrientedShape shape(const Tensor& map, const Tensor& angle, int64_t height, int64_t width,
                    int64_t taps, int64_t stride) {
  check_input(kOp, map, 4);
  STD_TORCH_CHECK(taps % 2 == 1 && taps > 0 && taps <= kMostLineTaps, kOp,
                  ": the number of taps must be odd and at most ", kMostLineTaps, ", got ",
                  taps);
  STD_TORCH_CHECK(stride > 0, kOp, ": the stride must be positive, got ", stride);
  STD_TORCH_CHECK(angle.dim() == 1 && angle.size(0) == map.size(1) &&
                      angle.scalar_type() == ScalarType::Float && angle.is_contiguous() &&
                      angle.is_cuda() && angle.get_device_index() == map.get_device_index(),
                  kOp, ": the angles must be a contiguous float32 (", map.size(1),
                  ",) on the device of the maps");
  for (const int64_t size : {map.size(0), map.size(1), height, width, stride})
    STD_TORCH_CHECK(size <= std::numeric_limits<int>::max() / 4, kOp, ": a side of ", size,
                    " is too long");
  return {int(map.size(0)), int(map.size(1)), int(height),
          int(width),       int(taps),        int(stride)};
}

// The output is in the memory format of the maps, as in the passes below.
Tensor conv(Tensor maps, Tensor weight, Tensor angle, std::optional<Tensor> bias,
            int64_t stride) {
  check_on_gpu(kOp, maps);
  const Launcher launch(maps.get_device_index(), "oriented");
  const Tensor input = to_contiguous(kOp, launch, maps);
  const OrientedShape s =
      shape(input, angle, input.size(2), input.size(3), weight.size(-1), stride);
  check_tensor(kOp, "weight", weight, input, {s.channels, 1, 1, s.taps});
  check_tensor(kOp, "bias", bias, input, {s.channels});
  Tensor output = empty(
      input, input.scalar_type(),
      {s.batch, s.channels, ceil_div(s.height, s.stride), ceil_div(s.width, s.stride)});
  if (output.numel() > 0) {
    dispatch(kOp, input, [&](auto zero) {
      using T = decltype(zero);
      const bool done = oriented_conv2d(launch, launch.device(), s, data<T>(input),
                                        data<T>(weight), data<float>(angle), data<T>(bias),
                                        static_cast<T*>(output.data_ptr()));
      check_planned(kOp, done, launch.device(), 1, s.taps);
    });
  }
  return is_channels_last(maps) ? to_channels_last(kOp, launch, output) : output;
}

Tensor conv_input(Tensor grads, Tensor weight, Tensor angle, int64_t stride,
                  int64_t height, int64_t width) {
  check_on_gpu(kOp, grads);
  const Launcher launch(grads.get_device_index(), "oriented");
  const Tensor grad = to_contiguous(kOp, launch, grads);
  const OrientedShape s = shape(grad, angle, height, width, weight.size(-1), stride);
  check_tensor(kOp, "gradient", grad, grad,
               {s.batch, s.channels, ceil_div(s.height, s.stride),
                ceil_div(s.width, s.stride)});
  check_tensor(kOp, "weight", weight, grad, {s.channels, 1, 1, s.taps});
  Tensor output = empty(grad, grad.scalar_type(), {s.batch, s.channels, height, width});
  if (output.numel() > 0) {
    dispatch(kOp, grad, [&](auto zero) {
      using T = decltype(zero);
      const bool done = oriented_conv2d_input(launch, launch.device(), s, data<T>(grad),
                                              data<T>(weight), data<float>(angle),
                                              static_cast<T*>(output.data_ptr()));
      check_planned(kOp, done, launch.device(), 1, s.taps);
    });
  }
  return is_channels_last(grads) ? to_channels_last(kOp, launch, output) : output;
}

Tensor conv_weight(Tensor maps, Tensor grads, Tensor angle, int64_t taps, int64_t stride) {
  check_on_gpu(kOp, maps);
  STD_TORCH_CHECK(grads.is_cuda(), kOp, ": the gradient must be on the input's device");
  const Launcher launch(maps.get_device_index(), "oriented");
  const Tensor input = to_contiguous(kOp, launch, maps);
  const Tensor grad = to_contiguous(kOp, launch, grads);
  const OrientedShape s =
      shape(input, angle, input.size(2), input.size(3), taps, stride);
  check_tensor(kOp, "gradient", grad, input,
               {s.batch, s.channels, ceil_div(s.height, s.stride),
                ceil_div(s.width, s.stride)});
  Tensor output = empty(input, input.scalar_type(), {s.channels, 1, 1, taps});
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
    const bool done = oriented_conv2d_weight(launch, allocate, launch.device(), s,
                                             data<T>(input), data<T>(grad),
                                             data<float>(angle),
                                             static_cast<T*>(output.data_ptr()));
    check_planned(kOp, done, launch.device(), 1, s.taps);
  });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(smpconv_mm_ext, CUDA, m) {
  m.impl("oriented_conv2d", TORCH_BOX(&conv));
  m.impl("oriented_conv2d_input", TORCH_BOX(&conv_input));
  m.impl("oriented_conv2d_weight", TORCH_BOX(&conv_weight));
}
