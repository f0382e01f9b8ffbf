// How the gradient of a depthwise kernel is cut into blocks on the tensor cores, and
// the copy of the maps into shared memory.
//
// A member is an image, or one of the row segments of an image: 16 members are the
// inner dimension of a matrix product. In shared memory a map is [row][member][column],
// the rows of it a ring.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

constexpr int kMembers = 16;      // of a matrix product
constexpr int kWeightWarps = 8;   // of a block, at most
constexpr int kWeightAhead = 3;   // stages that are loaded ahead, at most
constexpr int kWeightHead = 32;   // bytes of shared memory before all else

// How the threads of a block copy a map: so many copies make a row, so many rows and
// members are copied at once.
struct WeightCopy {
  int vectors, rows, members;
  int turns;  // that they need for all members: equally many for each
};

// From sm_100 on the compiler needs more registers for the same code.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr bool kNewCompiler = true;
#else
constexpr bool kNewCompiler = false;
#endif

struct WeightTile {
  int segments, segment;  // of an image; rows of the output's gradient of a segment
  int parts;              // 16 members each, that are in shared memory at once
  int jobs, splits;       // job: the rows of `parts` parts; a block does split, + splits..
  int column_segments;    // of a map
  int chunk;              // rows of the output's gradient of a stage
  int ahead;              // stages that are loaded while one is computed
  int rows, grad_rows;    // of the rings
  int row_pitch, grad_row_pitch;  // elements from a row of a ring to the next
  int row_blocks;         // that share the rows of the kernel
  int groups, phases;     // warps: a group has some rows of the kernel, a phase some
                          // rows of the output's gradient
  int vector;             // elements of a copy
  WeightCopy copy, grad_copy;
  int shared;             // bytes
};

// The share of a block.
struct WeightBlock {
  int first_job, split;          // split: the block's share of the sum of its channels
  int channel, left;             // left: first column of x
  int first_u, pairs, last_u;    // rows of the kernel, and how many pairs they are
  int lowest, highest;           // rows of x, from a segment's first row, that it needs

  __device__ WeightBlock(int index, int columns, const ConvShape& s, const WeightTile& t) {
    unsigned rest = index, splits = t.splits, blocks = t.row_blocks;
    const unsigned all_splits = splits * t.column_segments;
    split = rest % all_splits;
    first_job = split % splits;
    left = split / splits * columns;
    rest /= all_splits;
    channel = rest / blocks;
    const unsigned row_block = rest % blocks, all_pairs = s.kernel_height / 2 + 1;
    const int first_pair = row_block * all_pairs / blocks, padding = s.kernel_height / 2;
    pairs = (row_block + 1) * all_pairs / blocks - first_pair;
    first_u = 2 * first_pair;
    last_u = smaller(first_u + 2 * pairs, s.kernel_height) - 1;
    const bool whole = t.segments == 1;
    lowest = larger(whole ? 0 : -padding, first_u - padding);
    highest = larger(lowest, smaller(whole ? s.height : t.segment + padding,
                                     t.segment + last_u - padding));
  }
};

// The share of a warp in the work of a block.
struct WeightWarp {
  int index, group, phase;

  __device__ WeightWarp(int thread, const WeightTile& t) {
    const unsigned groups = t.groups, phases = t.phases;
    const unsigned warp = __shfl_sync(~0u, thread / kWarpSize, 0);  // known to be uniform
    index = warp;
    phase = warp / groups;
    // neighbouring warps, on different quarters of a processor, have different rows
    group = (warp + phase * larger(1, groups / phases)) % groups;
  }
};

// A float32 map is the sum of two bfloat16 maps, `low` elements apart: a number is
// rounded, and what is left is rounded.
template <typename T>
struct WeightNumbers {
  using Element = T;
  static constexpr int kParts = 1;
};
template <>
struct WeightNumbers<float> {
  using Element = __nv_bfloat16;
  static constexpr int kParts = 2;
};

// The columns of one of the two maps that a block needs.
template <typename T>
struct WeightColumns {
  const T* map;  // of the first image; the first column
  int columns;
  int lead;      // columns of zeros on the left of them, in shared memory
};

// Rows of one of the two maps on their way into its ring.
template <typename T>
struct WeightRowsToLoad {
  WeightColumns<T> from;
  typename WeightNumbers<T>::Element* to;  // slot 0; first column
  int place;                               // of this thread
  int low, pitch, row_pitch, part_pitch, ring;
  int slot, first, rows;                   // rows [first, first + rows)
};

// The slot of a ring that is `slot` from the first on, for slots up to twice the ring.
__device__ __forceinline__ int wrapped(int slot, int ring) {
  return slot >= ring ? slot - ring : slot;
}

// Stores numbers that were on their way through registers.
template <typename T, int Vector>
__device__ __forceinline__ void store_numbers(
    typename WeightNumbers<T>::Element* to, int low, const Numbers<T, Vector>& numbers) {
  if constexpr (WeightNumbers<T>::kParts == 1) {
    *reinterpret_cast<Numbers<T, Vector>*>(to) = numbers;
  } else {
    using Element = typename WeightNumbers<T>::Element;
    Numbers<Element, Vector> high, rest;
#pragma unroll
    for (int e = 0; e < Vector; ++e) {
      high.value[e] = from_float<Element>(numbers.value[e]);
      rest.value[e] = from_float<Element>(numbers.value[e] - to_float(high.value[e]));
    }
    *reinterpret_cast<Numbers<Element, Vector>*>(to) = high;
    *reinterpret_cast<Numbers<Element, Vector>*>(to + low) = rest;
  }
}

// Copies a row of `turns` members, `stride` apart at `from` and `pitch` at `to`; those
// from `valid` on become 0.
template <int Batch, int Vector, typename T>
__device__ __forceinline__ void load_members(typename WeightNumbers<T>::Element* to,
                                             int pitch, int low, const T* from,
                                             int64_t stride, int turns, int valid) {
  if constexpr (WeightNumbers<T>::kParts == 1 && Vector > 1) {
    unsigned address = shared_address(to);
#pragma unroll 4
    for (int turn = 0; turn < turns; ++turn) {
      copy_async_or_zero<Vector * int(sizeof(T))>(address, from, turn < valid);
      address += pitch * int(sizeof(T));
      from += stride;
    }
  } else {
    for (int turn = 0; turn < turns; turn += Batch) {
      Numbers<T, Vector> numbers[Batch];
#pragma unroll
      for (int i = 0; i < Batch; ++i)
        numbers[i] = turn + i < smaller(valid, turns)
                         ? *reinterpret_cast<const Numbers<T, Vector>*>(from + i * stride)
                         : Numbers<T, Vector>{};
#pragma unroll
      for (int i = 0; i < Batch; ++i)
        if (turn + i < turns) store_numbers(to + i * pitch, low, numbers[i]);
      to += Batch * pitch;
      from += Batch * stride;
    }
  }
}

// The turns of a thread whose members are own, own + step, .. that are images: there are
// `images` of them from the first member on.
__device__ __forceinline__ int valid_turns(int images, int own, int step) {
  return images <= own ? 0 : int(unsigned(images - own + step - 1) / unsigned(step));
}

// What a thread copies: columns from `column` on of rows row, row + copy.rows, .. of
// members member, member + copy.members, ..; kept in shared memory, packed.
struct WeightPlace {
  int column, row, member;  // member: -1 if it copies nothing

  __device__ WeightPlace(const WeightCopy& copy, int vector, int columns) {
    const int rest = unsigned(threadIdx.x) / unsigned(copy.vectors);
    column = (int(threadIdx.x) - rest * copy.vectors) * vector;
    member = unsigned(rest) / unsigned(copy.rows);
    row = rest - member * copy.rows;
    if (member >= copy.members || column >= columns) member = -1;
  }
  explicit __device__ WeightPlace(int packed)
      : column(packed & 255), row(packed >> 8 & 255), member(packed >> 16) {}
  __device__ int packed() const {
    return column | row << 8 | int(unsigned(member) << 16);
  }
};

// Copies the rows of the members from first_member on; what lies outside of the map
// becomes 0. A thread copies the same columns of every copy.members-th member; where a
// copy passes through registers, `Batch` of them are under way.
template <int Batch, int Vector, typename T>
__device__ __forceinline__ void load_rows(const WeightRowsToLoad<T>& w,
                                          const WeightCopy& copy, int first_member,
                                          const ConvShape& s, const WeightTile& t) {
  const int members = kMembers * t.parts, step = copy.members;
  const WeightPlace place(w.place);
  const int own = place.member, column = place.column;
  if (own < 0) return;
  const int64_t stride = int64_t(s.channels) * s.height * s.width;
  const int valid = s.batch - first_member >= members
                        ? copy.turns
                        : valid_turns(s.batch - first_member, own, step);
  for (int r = place.row; r < w.rows; r += copy.rows) {
    auto* to = w.to + wrapped(w.slot + r, w.ring) * w.row_pitch + own * w.pitch + column;
    const T* from = w.from.map + column;
    if (t.segments == 1) {
      from += (first_member + own) * stride + int64_t(w.first + r) * s.width;
      load_members<Batch, Vector>(to, step * w.pitch, w.low, from, step * stride,
                                  copy.turns, valid);
    } else {
      for (int member = own; member < members; member += step) {
        const int all = first_member + member, segment = unsigned(all) / unsigned(s.batch);
        const int row = segment * t.segment + w.first + r;
        const bool inside = segment < t.segments && row >= 0 && row < s.height;
        load_members<1, Vector>(to, 0, w.low,
                                from + (all - segment * s.batch) * stride +
                                    int64_t(row) * s.width,
                                0, 1, inside);
        to += step * w.pitch;
      }
    }
  }
}

template <int Batch, typename T>
__device__ __forceinline__ void load_rows(const WeightRowsToLoad<T>& w,
                                          const WeightCopy& copy, int first_member,
                                          const ConvShape& s, const WeightTile& t) {
  if (t.vector == 4) {
    load_rows<Batch, 4>(w, copy, first_member, s, t);
  } else if (t.vector == 2) {
    load_rows<Batch, 2>(w, copy, first_member, s, t);
  } else if (t.vector == 1) {
    load_rows<Batch, 1>(w, copy, first_member, s, t);
  } else if constexpr (sizeof(T) == 2) {
    load_rows<Batch, 8>(w, copy, first_member, s, t);
  }
}

// As load_rows, of `parts` parts from first_part on, each as w.part_pitch has it.
template <int Batch, int Vector, typename T>
__device__ __forceinline__ void load_parts(const WeightRowsToLoad<T>& w,
                                           const WeightCopy& copy, int first_part,
                                           int parts, const ConvShape& s) {
  const WeightPlace place(copy, Vector, s.width);
  const int own = place.member, step = copy.members, column = place.column;
  if (own < 0) return;
  const int64_t stride = int64_t(s.channels) * s.height * s.width;
  for (int r = place.row; r < w.rows; r += copy.rows) {
    auto* to = w.to + r * w.row_pitch + own * w.pitch + column;
    for (int part = first_part; part < first_part + parts; ++part) {
      const T* from = w.from.map + (part * kMembers + own) * stride + r * s.width + column;
      const int images = s.batch - part * kMembers;
      load_members<Batch, Vector>(
          to, step * w.pitch, w.low, from, step * stride, copy.turns,
          images >= kMembers ? copy.turns : valid_turns(images, own, step));
      to += w.part_pitch;
    }
  }
}

template <int Batch, typename T>
__device__ __forceinline__ void load_parts(const WeightRowsToLoad<T>& w,
                                           const WeightCopy& copy, int first_part,
                                           int parts, int vector, const ConvShape& s) {
  if (vector == 4) {
    load_parts<Batch, 4>(w, copy, first_part, parts, s);
  } else if (vector == 2) {
    load_parts<Batch, 2>(w, copy, first_part, parts, s);
  } else if (vector == 1) {
    load_parts<Batch, 1>(w, copy, first_part, parts, s);
  } else if constexpr (sizeof(T) == 2) {
    load_parts<Batch, 8>(w, copy, first_part, parts, s);
  }
}

// Whole maps of an odd width: those of `channels` channels are one stretch of memory,
// copied as pairs of numbers, `Batch` of each of the two maps under way. copy.vectors is
// their number.
template <int Batch, typename T>
__device__ __forceinline__ void load_pairs(const WeightRowsToLoad<T> (&w)[2],
                                           const WeightCopy& copy, int first_part,
                                           int parts, const ConvShape& s) {
  static_assert(sizeof(T) == 2, "a pair is a word");
  const int area = s.height * s.width, members = kMembers * parts;
  const int valid = smaller(members, s.batch - kMembers * first_part);
  int member = unsigned(threadIdx.x) / unsigned(copy.vectors);
  const int first = (int(threadIdx.x) - member * copy.vectors) * 2;
  if (member >= copy.members) return;
  const int64_t stride = int64_t(s.channels) * area;
  const int64_t from = kMembers * first_part * stride + first;
  int to[2];  // both maps are laid out alike
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int channel = unsigned(first + e) / unsigned(area), at = first + e - channel * area;
    const int row = unsigned(at) / unsigned(s.width);
    to[e] = at - row * s.width + row * w[0].row_pitch + channel * parts * w[0].part_pitch;
  }
  for (; member < members; member += Batch * copy.members) {
    Pair<T> pairs[2][Batch];
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      const int m = member + i * copy.members;
      if (m < valid)
#pragma unroll
        for (int which = 0; which < 2; ++which)
          pairs[which][i].word =
              *reinterpret_cast<const unsigned*>(w[which].from.map + from + m * stride);
    }
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      const int m = member + i * copy.members;
      if (m >= members) break;
      const int at = m / kMembers * w[0].part_pitch + m % kMembers * w[0].pitch;
#pragma unroll
      for (int which = 0; which < 2; ++which)
#pragma unroll
        for (int e = 0; e < 2; ++e) w[which].to[at + to[e]] = pairs[which][i].value[e];
    }
  }
}

// Columns of every line of a ring become 0: those beside the map, which no copy meets.
template <typename Element>
__device__ __forceinline__ void zero_columns(Element* to, int rows, int row_pitch,
                                             int lines, int pitch, int from, int until) {
  if (from >= until) return;
  for (int i = threadIdx.x; i < rows * lines; i += blockDim.x) {
    const int row = unsigned(i) / unsigned(lines), line = i - row * lines;
    for (int column = from; column < until; ++column)
      to[row * row_pitch + line * pitch + column] = from_float<Element>(0.f);
  }
}

// Sums the diagonals of sums of products: of the columns of g that they have in common,
// those of each follow each other in a row, a place further left than of the one before.
// A tile's upper and lower half go into two rows of `taps`.
template <int Tiles, int Offsets>
__device__ __forceinline__ void sum_diagonals(const float (&sum)[Tiles][Offsets][4],
                                              float* skewed, float* taps) {
  constexpr int kLine = 8 * Offsets + 7, kSkewed = 8 * Offsets + 13;
  const int lane = threadIdx.x % kWarpSize;
  for (int k = lane; k < 2 * 8 * kSkewed; k += kWarpSize) skewed[k] = 0.f;
#pragma unroll
  for (int m = 0; m < Tiles; ++m) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int j = lane % 4 * 2 + r % 2;
      float* to = skewed + (r / 2 * 8 + j) * kSkewed + lane / 4 + 7 - j;
#pragma unroll
      for (int k = 0; k < Offsets; ++k) to[8 * k] = sum[m][k][r];
    }
    __syncwarp();
    for (int k = lane; k < 2 * kLine; k += kWarpSize) {
      const float* from = skewed + (k < kLine ? k : 8 * kSkewed + k - kLine);
      float total = 0.f;
#pragma unroll
      for (int j = 0; j < 8; ++j) total += from[j * kSkewed];
      taps[2 * m * kLine + k] = total;
    }
  }
}

// Writes a row of a kernel's gradient, a warp's work: tap v is `sum(v + first)` if that
// place of the line of `line` places is there.
template <typename T, typename Sum>
__device__ __forceinline__ void store_taps(T* output, float* partial, int64_t row,
                                           int width, int first, int line, Sum sum) {
  for (int v = threadIdx.x % kWarpSize; v < width; v += kWarpSize) {
    const int k = v + first;
    const float total = k >= 0 && k < line ? sum(k) : 0.f;
    if (partial != nullptr)
      partial[row * width + v] = total;
    else
      output[row * width + v] = from_float<T>(total);
  }
}

}  // namespace smpconv_mm
