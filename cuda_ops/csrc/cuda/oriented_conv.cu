// Brings torch's tensors to the kernels of the oriented convolution.
#include "oriented_conv_plan.cuh"
#include "tensors.cuh"

namespace {

using namespace smpconv_mm;

constexpr const char* kOp = "oriented_conv2d";

// Maps are contiguous, or channels-last: contiguous (N, H, W, C) with permuted sizes.
bool is_channels_last(const Tensor& map) {
  int64_t stride = 1;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (map.size(d) != 1 && map.stride(d) != stride) return false;
    stride *= map.size(d);
  }
  return true;
}

Tensor empty_map(const Tensor& like, bool channels_last, const int64_t (&sizes)[4]) {
  int64_t strides[4], stride = 1;
  const int channels_last_order[] = {1, 3, 2, 0}, order[] = {3, 2, 1, 0};
  for (const int d : channels_last ? channels_last_order : order) {
    strides[d] = stride;
    stride *= sizes[d];
  }
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      4, sizes, strides,
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(like.scalar_type())),
      aoti_torch_device_type_cuda(), like.get_device_index(), &made));
  return Tensor(made);
}

// `map` is the input, or the output's gradient for a map of height x width.
OrientedShape shape(const Tensor& map, const Tensor& angle, int64_t height, int64_t width,
                    int64_t taps, int64_t stride) {
  STD_TORCH_CHECK(map.dim() == 4, kOp, ": maps must be (N, C, H, W), got ", map.dim(),
                  " dimensions");
  STD_TORCH_CHECK(map.is_cuda(), kOp, ": the maps must be on a GPU, as other tensors are");
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
  const bool contiguous = map.is_contiguous();
  STD_TORCH_CHECK(contiguous || is_channels_last(map), kOp,
                  ": maps must be contiguous or channels-last");
  return {int(map.size(0)), int(map.size(1)), int(height), int(width), int(taps),
          int(stride), contiguous ? 0 : 1};
}

void check_map(const char* name, const Tensor& map, const Tensor& input,
               const OrientedShape& s, int64_t height, int64_t width) {
  STD_TORCH_CHECK(map.dim() == 4 && map.size(0) == s.batch && map.size(1) == s.channels &&
                      map.size(2) == height && map.size(3) == width,
                  kOp, ": the ", name, " must have shape (", s.batch, ", ", s.channels,
                  ", ", height, ", ", width, ")");
  STD_TORCH_CHECK(map.scalar_type() == input.scalar_type() && map.is_cuda() &&
                      map.get_device_index() == input.get_device_index() &&
                      (s.channels_last ? is_channels_last(map) : map.is_contiguous()),
                  kOp, ": the ", name, " must have the input's dtype, device and layout");
}

Tensor conv(Tensor input, Tensor weight, Tensor angle, std::optional<Tensor> bias,
            int64_t stride) {
  const OrientedShape s =
      shape(input, angle, input.size(2), input.size(3), weight.size(-1), stride);
  check_tensor(kOp, "weight", weight, input, {s.channels, 1, 1, s.taps});
  check_tensor(kOp, "bias", bias, input, {s.channels});
  Tensor output = empty_map(
      input, s.channels_last,
      {s.batch, s.channels, ceil_div(s.height, s.stride), ceil_div(s.width, s.stride)});
  if (output.numel() == 0) return output;
  const Launcher launch(input.get_device_index(), "oriented");
  dispatch(kOp, input, [&](auto zero) {
    using T = decltype(zero);
    const bool done = oriented_conv2d(launch, launch.device(), s, data<T>(input),
                                      data<T>(weight), data<float>(angle), data<T>(bias),
                                      static_cast<T*>(output.data_ptr()));
    check_planned(kOp, done, launch.device(), 1, s.taps);
  });
  return output;
}

Tensor conv_input(Tensor grad, Tensor weight, Tensor angle, int64_t stride, int64_t height,
                  int64_t width) {
  const OrientedShape s = shape(grad, angle, height, width, weight.size(-1), stride);
  check_map("gradient", grad, grad, s, ceil_div(s.height, s.stride),
            ceil_div(s.width, s.stride));
  check_tensor(kOp, "weight", weight, grad, {s.channels, 1, 1, s.taps});
  Tensor output = empty_map(grad, s.channels_last, {s.batch, s.channels, height, width});
  if (output.numel() == 0) return output;
  const Launcher launch(grad.get_device_index(), "oriented");
  dispatch(kOp, grad, [&](auto zero) {
    using T = decltype(zero);
    const bool done = oriented_conv2d_input(launch, launch.device(), s, data<T>(grad),
                                            data<T>(weight), data<float>(angle),
                                            static_cast<T*>(output.data_ptr()));
    check_planned(kOp, done, launch.device(), 1, s.taps);
  });
  return output;
}

Tensor conv_weight(Tensor input, Tensor grad, Tensor angle, int64_t taps, int64_t stride) {
  const OrientedShape s =
      shape(input, angle, input.size(2), input.size(3), taps, stride);
  check_map("gradient", grad, input, s, ceil_div(s.height, s.stride),
            ceil_div(s.width, s.stride));
  Tensor output = empty(input, input.scalar_type(), {s.channels, 1, 1, taps});
  if (output.numel() == 0) return output;
  if (input.numel() == 0) {
    fill_zero(output);
    return output;
  }
  const Launcher launch(input.get_device_index(), "oriented");
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
