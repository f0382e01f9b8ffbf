// Chooses the kernel and the tiles of a depthwise convolution and launches it, through
// `launch(kernel, blocks, threads, shared bytes, arguments...)`: a function of the
// CUDA runtime, or of the emulator.
#pragma once

#include "depthwise_conv_device.cuh"
#include "depthwise_conv_mma_kernel.cuh"
#include "depthwise_conv_simt_kernel.cuh"

namespace smpconv_mm {

// Template arguments of conv_mma_kernel.
struct ConvInstance {
  int reach, eighths, tiles;  // D, E, Tiles
  bool whole;
  int parts, size;  // MmaNumbers::kParts; bytes of an element
};

// Output rows that a row of the input meets on average.
inline float rows_on_map(int height, int reach) {
  const int most = smaller(reach, height - 1);
  return 1 + float(most) * (2 * height - most - 1) / height;
}

// About the cycles that a plan takes on each processor, to compare plans by.
inline float conv_cycles(const ConvShape& s, const Device& device, const ConvInstance& k,
                         const ConvTile& t, int tasks) {
  constexpr float kProduct = 1.5f;  // of a product: 6, in a quarter of the processor
  constexpr float kAlone = 9.f;     // of a product, to a warp that has a quarter for itself
  constexpr float kTask = 150.f;    // of what a task does around its products
  constexpr float kBlock = 1500.f;  // of what a block does around its tasks
  constexpr float kMemory = 800.f;  // until memory has answered
  constexpr float kBytes = 8.f;     // read in a cycle
  const int task_rows = kRows * ((kTile * k.tiles) >> t.image_bits);
  const float rows = rows_on_map(s.height, s.kernel_height / 2);
  const int band = smaller(2 * k.reach + 1, ceil_div(smaller(t.columns, s.width), 8));
  const int step = products(k.reach, k.parts) * k.tiles * kRows * k.eighths * band;
  const float task = kTask + ((rows < s.kernel_height ? rows : s.kernel_height) + task_rows) /
                                 2 * (step + 12);
  const int64_t blocks = int64_t(s.channels) * t.groups * t.segments * t.column_segments;
  const int processors = larger(1, device.processors);
  const int share = int((blocks + processors - 1) / processors);
  const int registers = t.warps * kWarpSize * (256 / blocks_of_processor(k.eighths, k.parts));
  const int resident = larger(1, smaller(device.shared_of_processor / (t.shared + kReserved),
                                         (64 << 10) / registers));
  const int taps = tap_bytes(k.reach, 1, s.kernel_height) / 8;
  const float start = kMemory * (2 + taps / (t.warps * kWarpSize * 8));
  // the more warps, the better one computes while another waits
  const float company = smaller(resident, share) * t.warps;
  const float busy = share * tasks * task * kProduct * (1 + 4 / company);
  const float alone =
      ceil_div(share, resident) * (start + ceil_div(tasks, t.warps) * task * kAlone);
  return t.shared / kBytes + share * (kBlock + t.shared / 32) + (busy > alone ? busy : alone) + alone / 4;
}

// Sets the fastest plan, as far as the caller did not.
inline bool plan_conv(const ConvShape& s, const Device& device, const ConvInstance& k,
                      ConvTile* best) {
  const PlanSettings& set = device.settings;
  const int members = kTile * k.tiles, block_columns = 8 * k.eighths;
  const int limit = set.shared ? smaller(set.shared, device.shared_of_block)
                               : device.shared_of_block;
  float least = 0;
  ConvTile t;
  // of a wide map two tasks side by side, which share what both meet
  t.columns = block_columns * (s.width <= block_columns ? 1 : 2);
  t.column_segments = ceil_div(s.width, t.columns);
  const int columns = smaller(s.width, t.columns + (k.whole ? 0 : 16 * k.reach));
  t.row_pitch = round_up(columns, 8) * k.parts;
  for (int parts = 1; parts == 1 || parts < s.height; parts *= 2) {
    t.segment = set.segment ? set.segment : round_up(ceil_div(s.height, parts), kRows);
    t.segments = ceil_div(s.height, t.segment);
    const int rows = smaller(s.height, t.segment + s.kernel_height - 1);
    t.image_pitch = 8 * (rows * t.row_pitch / 8 | 1);  // odd: no two in the same banks
    t.stage_pitch =
        staged(k.eighths) ? round_up(smaller(t.segment, s.height) * s.width, 8) : 0;
    for (int images = 1; images == 1 || images < 2 * s.batch; images *= 2) {
      t.images = set.images ? set.images : images;
      t.groups = ceil_div(s.batch, t.images);
      const int inputs = k.eighths + (k.whole ? 0 : 2 * k.reach);
      const int64_t bytes =
          tap_bytes(k.reach, k.parts, s.kernel_height) + 16 * (inputs * k.parts + 1) +
          t.images * (int64_t(t.image_pitch) * 2 + int64_t(t.stage_pitch) * k.size);
      if (bytes > limit) break;
      t.shared = int(bytes);
      for (t.image_bits = 0; 2 << t.image_bits <= smaller(t.images, members);) ++t.image_bits;
      if (set.stack)
        for (t.image_bits = 0; members >> t.image_bits > set.stack;) ++t.image_bits;
      const int task_images = 1 << t.image_bits, stack = members >> t.image_bits;
      if (t.images % task_images || (set.stack && stack != set.stack)) break;
      const int tasks = ceil_div(smaller(t.segment, s.height), kRows * stack) *
                        ceil_div(smaller(t.columns, s.width), block_columns) *
                        ceil_div(smaller(t.images, s.batch), task_images);
      for (int warps : {kMaxWarps, kMaxWarps / 2}) {
        t.warps = set.warps ? set.warps : warps;  // all load, also those without a task
        const float cycles = conv_cycles(s, device, k, t, tasks);
        if (least > 0 && cycles >= least) continue;
        least = cycles;
        *best = t;
      }
      if (set.images) break;
    }
    if (set.segment) break;
  }
  return least > 0;
}

inline int simt_side(const ConvShape& s) {
  const int side = larger(s.height, s.width);
  return side <= 8 ? 8 : side <= 16 ? 16 : 32;
}

inline bool plan_simt_conv(const ConvShape& s, const Device& device, int side,
                           SimtConvTile* t) {
  const int threads = (side / kStrip) * (side / kStrip);
  t->row_tiles = ceil_div(s.height, side);
  t->column_tiles = ceil_div(s.width, side);
  t->rows = smaller(s.height, side + s.kernel_height - 1);
  t->taps = round_up(s.kernel_width, kStrip);
  t->pitch = side + t->taps;
  for (t->images = smaller(128 / threads, s.batch); t->images > 0; --t->images) {
    t->shared = (s.kernel_height * t->taps + t->images * t->rows * t->pitch) * 4;
    t->threads = threads * t->images;
    t->image_tiles = ceil_div(s.batch, t->images);
    if (t->shared <= smaller(48 << 10, device.shared_of_block) ||
        (t->images == 1 && t->shared <= device.shared_of_block))
      return true;
  }
  return false;
}

template <typename T>
bool aligned(const T* pointer, int elements) {
  return reinterpret_cast<uintptr_t>(pointer) % (elements * sizeof(T)) == 0;
}

template <int D, int E, int Tiles, bool Whole, typename T, typename Launch>
bool conv_mma(Launch& launch, const Device& device, const ConvShape& s, const T* input,
              const T* weight, const T* bias, bool flip, T* output) {
  ConvTile t;
  const ConvInstance instance = {D, E, Tiles, Whole, MmaNumbers<T>::kParts, sizeof(T)};
  if (device.settings.tiles && device.settings.tiles != Tiles) return false;
  if (!plan_conv(s, device, instance, &t)) return false;
  t.load = copy_vector(s, input, input);
  // what is written at once: rows, or all rows of a block
  const int run = t.stage_pitch ? t.segment * s.width : s.width;
  for (t.store = 16 / sizeof(T); t.store > 1; t.store /= 2)
    if (aligned(output, t.store) && s.height * s.width % t.store == 0 &&
        (t.stage_pitch && t.segments == 1 || run % t.store == 0))
      break;
  launch(conv_mma_kernel<T, D, E, Tiles, Whole>,
         int64_t(s.channels) * t.segments * t.column_segments * t.groups,
         t.warps * kWarpSize, t.shared, input, weight, bias, output, flip, s, t);
  return true;
}

// Chooses the other template arguments. A map of 8, 16, 32 or 56 columns is "whole".
template <int D, typename T, typename Launch>
bool conv_mma(Launch& launch, const Device& device, const ConvShape& s, const T* input,
              const T* weight, const T* bias, bool flip, T* output) {
  const auto run = [&](auto eighths, auto tiles, auto whole) {
    return conv_mma<D, eighths.value, tiles.value, whole.value>(
        launch, device, s, input, weight, bias, flip, output);
  };
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  constexpr std::integral_constant<int, 4> four;
  constexpr std::integral_constant<int, 7> seven;
  constexpr std::true_type whole;
  constexpr std::false_type part;
  const int eighths = ceil_div(s.width, 8), tiles = device.settings.tiles;
  if constexpr (D == 0) return run(one, two, whole);
  if constexpr (D == 1)
    if (eighths == 2) return run(two, two, whole);
  if constexpr (D > 0 && D < 4) {
    if constexpr (is_half<T>())
      if (eighths == 4 && (tiles ? tiles == 2 : s.batch >= 32)) return run(four, two, whole);
    if (eighths == 4) return run(four, one, whole);
  }
  if constexpr (D > 0) {
    if (eighths == 7) return run(seven, one, whole);
    if (round_up(eighths, 7) <= round_up(eighths, 4)) return run(seven, one, part);
    return run(four, one, part);
  }
}

template <int Side, typename T, typename Launch>
bool conv_simt(Launch& launch, const Device& device, const ConvShape& s, const T* input,
               const T* weight, const T* bias, bool flip, T* output) {
  SimtConvTile t;
  if (!plan_simt_conv(s, device, Side, &t)) return false;
  launch(conv_simt_kernel<T, Side>,
         int64_t(s.channels) * t.image_tiles * t.row_tiles * t.column_tiles, t.threads,
         t.shared, input, weight, bias, output, flip, s, t);
  return true;
}

constexpr int kLeastTerms = 49;

// Computes a batch of at least one image; `flip`: with the kernel turned by 180 degrees,
// for the gradient of the input. False: nothing was launched, as the kernel is larger
// than kMostTaps or does not fit the shared memory.
template <typename T, typename Launch>
bool depthwise_conv2d(Launch& launch, const Device& device, const ConvShape& s,
                      const T* input, const T* weight, const T* bias, bool flip,
                      T* output) {
  if (s.kernel_height > kMostTaps || s.kernel_width > kMostTaps) return false;
  // two bfloat16 are a float32 with an error of 4e-6, which sums of few products show
  const int terms = smaller(s.kernel_height, s.height) * smaller(s.kernel_width, s.width);
  if (device.has_mma && (is_half<T>() || terms >= kLeastTerms)) {
    bool done = false;
    switch (smaller(ceil_div(s.width, 8) - 1, larger(1, ceil_div(s.kernel_width / 2, 8)))) {
      case 0: done = conv_mma<0>(launch, device, s, input, weight, bias, flip, output); break;
      case 1: done = conv_mma<1>(launch, device, s, input, weight, bias, flip, output); break;
      case 2: done = conv_mma<2>(launch, device, s, input, weight, bias, flip, output); break;
      case 3: done = conv_mma<3>(launch, device, s, input, weight, bias, flip, output); break;
      default: done = conv_mma<4>(launch, device, s, input, weight, bias, flip, output);
    }
    if (done || device.settings.any()) return done;
  }
  switch (simt_side(s)) {
    case 8: return conv_simt<8>(launch, device, s, input, weight, bias, flip, output);
    case 16: return conv_simt<16>(launch, device, s, input, weight, bias, flip, output);
    default: return conv_simt<32>(launch, device, s, input, weight, bias, flip, output);
  }
}

}  // namespace smpconv_mm
