// Which places an output of an involution reads, and which outputs read a place.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

struct InvolutionShape {
  int batch, channels, groups;
  int height, width;          // of the input
  int kernel;                 // its side
  int out_height, out_width;  // of the output and of the weight's map
  int stride, padding, dilation;
  int interleaved;  // channel c has kernel c mod groups, else c / (channels of a group)
  int clamp;        // a window that leaves the map is moved inside
};

struct Range {
  int first, last;  // [first, last)

  __host__ __device__ int size() const { return last - first; }
};

__host__ __device__ inline int floor_div(int a, int b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

__host__ __device__ inline int group_width(const InvolutionShape& s) {
  return s.channels / s.groups;
}

// The plane of channel `member` of a group, counted over images and channels.
__host__ __device__ inline int64_t plane_of(const InvolutionShape& s, int64_t image,
                                            int group, int member) {
  const int channel =
      s.interleaved ? member * s.groups + group : group * group_width(s) + member;
  return image * s.channels + channel;
}

// Where the window of output `o` begins on an axis of `size` places.
__host__ __device__ inline int first_place(const InvolutionShape& s, int o, int size) {
  int first = o * s.stride - s.padding;
  if (s.clamp) {
    if (first < 0) first += ceil_div(-first, s.dilation) * s.dilation;
    const int over = first + s.dilation * (s.kernel - 1) - (size - 1);
    if (over > 0) first -= ceil_div(over, s.dilation) * s.dilation;
  }
  return first;
}

// The tap by which a window that begins at `first` reads `place`, or -1.
__host__ __device__ inline int tap_at(const InvolutionShape& s, int first, int place) {
  int tap = place - first;
  if (s.dilation > 1) {
    if (tap % s.dilation != 0) return -1;
    tap /= s.dilation;
  }
  return tap >= 0 && tap < s.kernel ? tap : -1;
}

// Places that the windows of outputs [o.first, o.last) read, those outside of the
// map included.
__host__ __device__ inline Range places_of(const InvolutionShape& s, Range o, int size) {
  // moved windows keep their places modulo the dilation, but not their order
  const int slack = s.clamp ? s.dilation - 1 : 0;
  return {first_place(s, o.first, size) - slack,
          first_place(s, o.last - 1, size) + s.dilation * (s.kernel - 1) + 1 + slack};
}

// Outputs that read places of [p.first, p.last) by one of the taps low ... high; some
// that do not are among them.
__host__ __device__ inline Range readers_of(const InvolutionShape& s, Range p, int low,
                                            int high, int size, int outputs) {
  const int least = p.first - high * s.dilation;  // where the windows begin
  const int most = p.last - 1 - low * s.dilation;
  Range o = {floor_div(least + s.padding + s.stride - 1, s.stride),
             floor_div(most + s.padding, s.stride) + 1};
  if (s.clamp) {
    if (least < s.dilation) o.first = 0;
    if (most >= size - s.dilation * s.kernel) o.last = outputs;
  }
  o.first = larger(0, smaller(o.first, outputs));
  o.last = larger(o.first, smaller(o.last, outputs));
  return o;
}

}  // namespace smpconv_mm
