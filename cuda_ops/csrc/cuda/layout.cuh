// Maps in channels-last: the kernels know contiguous ones, so they are turned.
#pragma once

#include "tensors.cuh"
#include "transpose.cuh"

namespace smpconv_mm {

// Whether (N, C, H, W) is dense with the channels of a place side by side. Maps that are
// contiguous as well, such as those of one channel, are not meant.
inline bool is_channels_last(const Tensor& maps) {
  if (maps.dim() != 4 || maps.is_contiguous()) return false;
  int64_t expected = 1;
  for (const int d : {1, 3, 2, 0}) {
    if (maps.size(d) != 1 && maps.stride(d) != expected) return false;
    expected *= maps.size(d);
  }
  return true;
}

inline Tensor transposed(const char* op, const Launcher& launch, const Tensor& maps,
                         const Tensor& target, int64_t rows, int64_t columns) {
  const int64_t most = int64_t(1) << 30;
  STD_TORCH_CHECK(maps.size(0) < most && rows < most && columns < most, op,
                  ": a map is too large");
  dispatch(op, maps, [&](auto zero) {
    using T = decltype(zero);
    transpose(launch, {int(maps.size(0)), int(rows), int(columns)}, data<T>(maps),
              static_cast<T*>(target.data_ptr()));
  });
  return target;
}

// The maps, contiguous if they were in channels-last.
inline Tensor to_contiguous(const char* op, const Launcher& launch, const Tensor& maps) {
  if (maps.numel() == 0 || !is_channels_last(maps)) return maps;
  const int64_t n = maps.size(0), c = maps.size(1), h = maps.size(2), w = maps.size(3);
  const Tensor target = empty(maps, maps.scalar_type(), {n, c, h, w});
  return transposed(op, launch, maps, target, h * w, c);
}

// Contiguous maps in channels-last.
inline Tensor to_channels_last(const char* op, const Launcher& launch, const Tensor& maps) {
  const int64_t n = maps.size(0), c = maps.size(1), h = maps.size(2), w = maps.size(3);
  const Tensor target =
      empty(maps, maps.scalar_type(), {n, c, h, w}, {h * w * c, 1, w * c, c});
  if (maps.numel() == 0) return target;
  return transposed(op, launch, maps, target, c, h * w);
}

}  // namespace smpconv_mm
