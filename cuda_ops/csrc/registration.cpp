// Schemas of the compiled operations. Each device registers its kernels beside
// them: cpu/*.cpp for CPU, cuda/*.cu for CUDA. Only LibTorch's stable ABI is
// used, so one library serves every Python and every torch from 2.10 on.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(smpconv_mm_ext, m) {
  // flip: with the kernel turned by 180 degrees, which is the gradient of the input
  m.def(
      "depthwise_conv2d(Tensor input, Tensor weight, Tensor? bias, bool flip=False)"
      " -> Tensor");
  m.def(
      "depthwise_conv2d_weight(Tensor input, Tensor grad, int kh, int kw)"
      " -> Tensor");
  m.def(
      "oriented_conv2d(Tensor input, Tensor weight, Tensor angle, Tensor? bias,"
      " int stride) -> Tensor");
  m.def(
      "oriented_conv2d_input(Tensor grad, Tensor weight, Tensor angle, int stride,"
      " int height, int width) -> Tensor");
  m.def(
      "oriented_conv2d_weight(Tensor input, Tensor grad, Tensor angle, int taps,"
      " int stride) -> Tensor");
  m.def(
      "involution(Tensor input, Tensor weight, int stride, int padding, int dilation,"
      " bool interleaved, bool clamp) -> Tensor");
  m.def(
      "involution_input(Tensor grad, Tensor weight, int height, int width, int stride,"
      " int padding, int dilation, bool interleaved, bool clamp) -> Tensor");
  m.def(
      "involution_weight(Tensor input, Tensor grad, int groups, int kernel, int stride,"
      " int padding, int dilation, bool interleaved, bool clamp) -> Tensor");
}
