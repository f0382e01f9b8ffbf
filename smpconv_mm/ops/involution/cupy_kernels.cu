// Involution, compiled by CuPy when it is first used, once for each
//   TYPE     0 float32, 1 float64, 2 float16, 3 bfloat16
//   KERNEL   side of the kernel
// without any header. Sums are taken in float32, those of float64 in float64.

#if TYPE == 0
typedef float Number;
typedef float Sum;
__device__ inline Sum load(Number x) { return x; }
__device__ inline Number store(Sum x) { return x; }
#elif TYPE == 1
typedef double Number;
typedef double Sum;
__device__ inline Sum load(Number x) { return x; }
__device__ inline Number store(Sum x) { return x; }
#elif TYPE == 2
typedef unsigned short Number;  // the bits
typedef float Sum;
__device__ inline Sum load(Number x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
}
__device__ inline Number store(Sum x) {
  Number y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
#else
typedef unsigned short Number;  // the bits
typedef float Sum;
__device__ inline Sum load(Number x) { return __uint_as_float(unsigned(x) << 16); }
__device__ inline Number store(Sum x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return 0x7FFF;
  return Number((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}
#endif

constexpr int kThreads = 128;
constexpr int kChannels = 8;  // of a group that a thread works on

struct Shape {
  int channels, groups, height, width, out_height, out_width;
  int stride, padding, dilation;
  bool interleaved, clamp;

  __device__ int members() const { return channels / groups; }

  // The plane of channel `member` of a group, counted over images and channels.
  __device__ long long plane(long long image, int group, int member) const {
    const int channel =
        interleaved ? member * groups + group : group * members() + member;
    return image * channels + channel;
  }

  // Where the window of output `o` begins on an axis of `size` places.
  __device__ int first(int o, int size) const {
    int place = o * stride - padding;
    if (clamp) {
      if (place < 0) place += (-place + dilation - 1) / dilation * dilation;
      const int over = place + dilation * (KERNEL - 1) - (size - 1);
      if (over > 0) place -= (over + dilation - 1) / dilation * dilation;
    }
    return place;
  }

  // The outputs of an axis that may read `place`, all of them and a few more.
  __device__ int first_reader(int place, int outputs) const {
    const int begin = place - dilation * (KERNEL - 1) + padding;
    if (begin <= 0 || (clamp && begin - padding < dilation)) return 0;
    const int o = (begin + stride - 1) / stride;
    return o < outputs ? o : outputs;
  }
  __device__ int last_reader(int place, int size, int outputs) const {
    if (clamp && place >= size - dilation * KERNEL) return outputs;
    const int o = (place + padding) / stride + 1;
    return o < outputs ? o : outputs;
  }

  // The tap by which output `o` reads `place`, or -1.
  __device__ int tap(int o, int place, int size) const {
    const int offset = place - first(o, size);
    const int t = offset / dilation;
    return offset >= 0 && offset % dilation == 0 && t < KERNEL ? t : -1;
  }
};

#define SHAPE                                                                           \
  long long channels, long long groups, long long height, long long width,              \
      long long out_height, long long out_width, long long stride, long long padding,   \
      long long dilation, long long interleaved, long long clamp
#define MAKE_SHAPE                                                                      \
  const Shape s = {int(channels),   int(groups),    int(height),                        \
                   int(width),      int(out_height), int(out_width),                    \
                   int(stride),     int(padding),   int(dilation),                      \
                   interleaved != 0, clamp != 0}

// A thread computes a place of some channels of a group of the output.
extern "C" __global__ void __launch_bounds__(kThreads)
    involution_output(const Number* input, const Number* weight, Number* target, SHAPE) {
  MAKE_SHAPE;
  const int outputs = s.out_height * s.out_width;
  const int blocks = (outputs + kThreads - 1) / kThreads;
  const int chunks = (s.members() + kChannels - 1) / kChannels;
  const int place = int(blockIdx.x % blocks) * kThreads + int(threadIdx.x);
  const int member = int(blockIdx.x / blocks % chunks) * kChannels;
  const int group = int(blockIdx.x / blocks / chunks % s.groups);
  const long long image = blockIdx.x / blocks / chunks / s.groups;
  if (place >= outputs) return;
  const int top = s.first(place / s.out_width, s.height);
  const int left = s.first(place % s.out_width, s.width);
  const long long area = (long long)s.height * s.width;
  const long long step = (s.interleaved ? s.groups : 1) * area;
  const int count = s.members() - member < kChannels ? s.members() - member : kChannels;
  const Number* maps = input + s.plane(image, group, member) * area;
  const Number* numbers =
      weight + (image * s.groups + group) * (KERNEL * KERNEL) * outputs + place;
  Sum sum[kChannels] = {};
  for (int u = 0; u < KERNEL; ++u) {
    const int y = top + u * s.dilation;
    if (y < 0 || y >= s.height) continue;
#pragma unroll
    for (int v = 0; v < KERNEL; ++v) {
      const int x = left + v * s.dilation;
      if (x < 0 || x >= s.width) continue;
      const Sum w = load(numbers[(long long)(u * KERNEL + v) * outputs]);
      const Number* from = maps + (long long)y * s.width + x;
#pragma unroll
      for (int d = 0; d < kChannels; ++d)
        if (d < count) sum[d] += w * load(from[d * step]);
    }
  }
  for (int d = 0; d < count; ++d)
    target[s.plane(image, group, member + d) * outputs + place] = store(sum[d]);
}

// A thread computes a place of some channels of a group of the input's gradient.
extern "C" __global__ void __launch_bounds__(kThreads)
    involution_input(const Number* grad, const Number* weight, Number* target, SHAPE) {
  MAKE_SHAPE;
  const int outputs = s.out_height * s.out_width, area = s.height * s.width;
  const int blocks = (area + kThreads - 1) / kThreads;
  const int chunks = (s.members() + kChannels - 1) / kChannels;
  const int place = int(blockIdx.x % blocks) * kThreads + int(threadIdx.x);
  const int member = int(blockIdx.x / blocks % chunks) * kChannels;
  const int group = int(blockIdx.x / blocks / chunks % s.groups);
  const long long image = blockIdx.x / blocks / chunks / s.groups;
  if (place >= area) return;
  const int y = place / s.width, x = place % s.width;
  const long long step = (s.interleaved ? s.groups : 1) * (long long)outputs;
  const int count = s.members() - member < kChannels ? s.members() - member : kChannels;
  const Number* maps = grad + s.plane(image, group, member) * outputs;
  const Number* numbers = weight + (image * s.groups + group) * (KERNEL * KERNEL) * outputs;
  const int last_row = s.last_reader(y, s.height, s.out_height);
  const int first_column = s.first_reader(x, s.out_width);
  const int last_column = s.last_reader(x, s.width, s.out_width);
  Sum sum[kChannels] = {};
  for (int i = s.first_reader(y, s.out_height); i < last_row; ++i) {
    const int u = s.tap(i, y, s.height);
    if (u < 0) continue;
    for (int j = first_column; j < last_column; ++j) {
      const int v = s.tap(j, x, s.width);
      if (v < 0) continue;
      const long long output = (long long)i * s.out_width + j;
      const Sum w = load(numbers[(long long)(u * KERNEL + v) * outputs + output]);
#pragma unroll
      for (int d = 0; d < kChannels; ++d)
        if (d < count) sum[d] += w * load(maps[d * step + output]);
    }
  }
  for (int d = 0; d < count; ++d)
    target[s.plane(image, group, member + d) * area + place] = store(sum[d]);
}

// A thread computes a row of taps of the weight's gradient at an output.
extern "C" __global__ void __launch_bounds__(kThreads)
    involution_weight(const Number* input, const Number* grad, Number* target, SHAPE) {
  MAKE_SHAPE;
  const int outputs = s.out_height * s.out_width;
  const int blocks = (outputs + kThreads - 1) / kThreads;
  const int output = int(blockIdx.x % blocks) * kThreads + int(threadIdx.x);
  const int u = int(blockIdx.x / blocks % KERNEL);
  const int group = int(blockIdx.x / blocks / KERNEL % s.groups);
  const long long image = blockIdx.x / blocks / KERNEL / s.groups;
  if (output >= outputs) return;
  const int y = s.first(output / s.out_width, s.height) + u * s.dilation;
  const int left = s.first(output % s.out_width, s.width);
  const bool inside = y >= 0 && y < s.height;
  const long long area = (long long)s.height * s.width;
  Sum sum[KERNEL] = {};
  for (int member = 0; inside && member < s.members(); ++member) {
    const long long plane = s.plane(image, group, member);
    const Sum slope = load(grad[plane * outputs + output]);
    const Number* line = input + plane * area + (long long)y * s.width;
#pragma unroll
    for (int v = 0; v < KERNEL; ++v) {
      const int x = left + v * s.dilation;
      if (x >= 0 && x < s.width) sum[v] += slope * load(line[x]);
    }
  }
  Number* to =
      target + ((image * s.groups + group) * KERNEL + u) * KERNEL * outputs + output;
#pragma unroll
  for (int v = 0; v < KERNEL; ++v) to[(long long)v * outputs] = store(sum[v]);
}
