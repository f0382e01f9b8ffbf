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
};

// Blocks on a processor, at least: 128 registers a thread for two, 80 for three. From
// sm_100 on the compiler needs a few more.
template <typename T, int Eighths>
constexpr int kWeightBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
    1;
#else
    std::is_same<T, float>::value ? 1 : Eighths <= 2 ? 3 : 2;
#endif

struct WeightTile {
  int segments, segment;  // of an image; rows of the output's gradient of a segment
  int parts;              // 16 members each, that are in shared memory at once
  int channels;           // of a block
  int jobs, splits;       // job: the rows of `parts` parts; a block does split, + splits..
  int column_segments;    // of a map
  int chunk;              // rows of the output's gradient of a stage
  int ahead;              // stages that are loaded while one is computed
  int rows, grad_rows;    // of the rings
  int row_blocks;         // that share the rows of the kernel
  int groups, phases;     // warps: a group has some rows of the kernel, a phase some
                          // rows of the output's gradient
  int vector;             // elements of a copy; 0: pairs of whole maps, see load_pairs
  WeightCopy copy, grad_copy;
  int shared;             // bytes
};

// The share of a block.
struct WeightBlock {
  int first_job, split;          // split: the block's share of the sum of its channels
  int first_channel, left;       // left: first column of x
  int first_u, pairs, last_u;    // rows of the kernel, and how many pairs they are
  int lowest, highest;           // rows of x, from a segment's first row, that it needs

  __device__ WeightBlock(int index, int columns, const ConvShape& s, const WeightTile& t) {
    unsigned rest = index, splits = t.splits, blocks = t.row_blocks;
    const unsigned all_splits = splits * t.column_segments;
    split = rest % all_splits;
    first_job = split % splits;
    left = split / splits * columns;
    rest /= all_splits;
    first_channel = rest / blocks * t.channels;
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
  int index, group, phase, channel;

  __device__ WeightWarp(int thread, const WeightTile& t) {
    const unsigned groups = t.groups, phases = t.phases;
    const unsigned warp = __shfl_sync(~0u, thread / kWarpSize, 0);  // known to be uniform
    index = warp;
    phase = warp / groups % phases;
    channel = warp / groups / phases;
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
  int low, pitch, ring;
  int slot, first, rows;                   // rows [first, first + rows)
};

// The slot of a ring that is `slot` from the first on, for slots up to twice the ring.
__device__ __forceinline__ int wrapped(int slot, int ring) {
  return slot >= ring ? slot - ring : slot;
}

// The next `Vector` numbers, on their way through registers.
template <typename T, int Vector>
struct alignas(Vector * sizeof(T)) Numbers {
  T value[Vector];
};

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

// Copies the rows of the members from first_member on; what lies outside of the map
// becomes 0. A thread copies the same columns of every copy.members-th member; where a
// copy passes through registers, `Batch` of them are under way.
template <int Batch, int Vector, typename T>
__device__ __forceinline__ void load_rows(const WeightRowsToLoad<T>& w,
                                          const WeightCopy& copy, int first_member,
                                          const ConvShape& s, const WeightTile& t) {
  using Element = typename WeightNumbers<T>::Element;
  constexpr bool kAsync = WeightNumbers<T>::kParts == 1 && Vector > 1;
  constexpr int kBatch = kAsync ? 1 : Batch;
  const int members = kMembers * t.parts;
  const int rest = unsigned(threadIdx.x) / unsigned(copy.vectors);
  const int column = (int(threadIdx.x) - rest * copy.vectors) * Vector;
  const int own_member = unsigned(rest) / unsigned(copy.rows);
  if (own_member >= copy.members || column >= w.from.columns) return;
  const int64_t stride = int64_t(s.channels) * s.height * s.width;
  const int64_t step = copy.members * stride;
  const int valid = smaller(members, s.batch - first_member);
  for (int r = rest - own_member * copy.rows; r < w.rows; r += copy.rows) {
    const int at = wrapped(w.slot + r, w.ring);
    Element* to = w.to + (at * members + own_member) * w.pitch + column;
    const T* from = w.from.map + (first_member + own_member) * stride +
                    int64_t(w.first + r) * s.width + column;
    for (int member = own_member; member < members; member += kBatch * copy.members) {
      Numbers<T, Vector> numbers[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int m = member + i * copy.members;
        const T* source = from + i * step;
        bool inside = m < valid;
        if (t.segments > 1) {
          const int all = first_member + m, segment = unsigned(all) / unsigned(s.batch);
          const int row = segment * t.segment + w.first + r;
          inside = m < members && segment < t.segments && row >= 0 && row < s.height;
          source = w.from.map + (all - segment * s.batch) * stride + int64_t(row) * s.width +
                   column;
        }
        if constexpr (!kAsync) {
          numbers[i] = inside ? *reinterpret_cast<const Numbers<T, Vector>*>(source)
                              : Numbers<T, Vector>{};
        } else {
          copy_async_or_zero<Vector * int(sizeof(T))>(shared_address(to), source, inside);
        }
      }
      if constexpr (!kAsync) {
#pragma unroll
        for (int i = 0; i < kBatch; ++i)
          if (member + i * copy.members < members)
            store_numbers(to + i * copy.members * w.pitch, w.low, numbers[i]);
      }
      from += kBatch * step;
      to += kBatch * copy.members * w.pitch;
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

// Whole maps of an odd width: those of t.channels channels are one stretch of memory,
// copied as pairs of numbers, `Batch` of them under way. copy.vectors is their number.
template <int Batch, typename T>
__device__ __forceinline__ void load_pairs(const WeightRowsToLoad<T>& w,
                                           const WeightCopy& copy, int first_member,
                                           const ConvShape& s, const WeightTile& t) {
  static_assert(sizeof(T) == 2, "a pair is a word");
  const int area = s.height * s.width, members = kMembers * t.parts;
  const int valid = smaller(members, s.batch - first_member);
  const int64_t stride = int64_t(s.channels) * area;
  int member = unsigned(threadIdx.x) / unsigned(copy.vectors);
  const int first = (int(threadIdx.x) - member * copy.vectors) * 2;
  if (member >= copy.members) return;
  T* to[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int channel = unsigned(first + e) / unsigned(area), at = first + e - channel * area;
    const int row = unsigned(at) / unsigned(s.width), slot = wrapped(w.slot + row, w.ring);
    to[e] = w.to + at - row * s.width +
            (slot * t.channels + channel) * members * w.pitch;
  }
  for (; member < members; member += Batch * copy.members) {
    Pair<T> pairs[Batch];
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      const int m = member + i * copy.members;
      if (m < valid)
        pairs[i].word = *reinterpret_cast<const unsigned*>(
            w.from.map + (first_member + m) * stride + first);
    }
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      const int m = member + i * copy.members;
      if (m >= members) break;
      to[0][m * w.pitch] = pairs[i].value[0];
      to[1][m * w.pitch] = pairs[i].value[1];
    }
  }
}

// Columns of every line of a ring become 0: those beside the map, which no copy meets.
template <typename Element>
__device__ __forceinline__ void zero_columns(Element* to, int lines, int pitch, int from,
                                             int until) {
  if (from >= until) return;
  for (int line = threadIdx.x; line < lines; line += blockDim.x)
    for (int column = from; column < until; ++column)
      to[line * pitch + column] = from_float<Element>(0.f);
}

}  // namespace smpconv_mm
