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
  int shared;             // bytes
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

// Columns of one of the two maps as a block holds them, and the thread's share of a
// copy: it copies the same columns of the same rows of every at_once-th member.
template <typename T>
struct WeightWindow {
  using Element = typename WeightNumbers<T>::Element;
  const T* map;             // of the first channel and image; the first column
  Element* to;              // where that column goes; slot 0 of the ring
  int ring, pitch, columns;
  int row, column, member;  // of this thread
  int rows_at_once, at_once;

  __device__ WeightWindow(const T* map, Element* to, int ring, int pitch, int columns,
                          int chunk, int vector)
      : map(map), to(to), ring(ring), pitch(pitch), columns(columns) {
    const int vectors = columns / larger(vector, 1), rest = int(threadIdx.x) / vectors;
    rows_at_once = smaller(chunk, int(blockDim.x) / vectors);
    column = int(threadIdx.x) % vectors * larger(vector, 1);
    row = rest % rows_at_once;
    member = rest / rows_at_once;
    at_once = int(blockDim.x) / (vectors * rows_at_once);
  }
};

template <int Bytes>
__device__ __forceinline__ void store_zeros(void* to) {
  if constexpr (Bytes == 16) *static_cast<uint4*>(to) = uint4{0, 0, 0, 0};
  if constexpr (Bytes == 8) *static_cast<uint2*>(to) = uint2{0, 0};
  if constexpr (Bytes == 4) *static_cast<unsigned*>(to) = 0;
  if constexpr (Bytes == 2) *static_cast<uint16_t*>(to) = 0;
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
      const float left = numbers.value[e] - to_float(high.value[e]);
      rest.value[e] = from_float<Element>(left - left == 0.f ? left : 0.f);  // not of Inf
    }
    *reinterpret_cast<Numbers<Element, Vector>*>(to) = high;
    *reinterpret_cast<Numbers<Element, Vector>*>(to + low) = rest;
  }
}

// Copies rows [first, first + rows) of the members from first_member on to the slots
// from `slot` on; what lies outside of the map becomes 0.
template <int Vector, typename T>
__device__ __forceinline__ void load_rows(const WeightWindow<T>& w, int low, int slot,
                                          int first, int rows, int first_member,
                                          const ConvShape& s, const WeightTile& t) {
  using Element = typename WeightNumbers<T>::Element;
  constexpr bool kAsync = WeightNumbers<T>::kParts == 1 && Vector > 1;
  constexpr int kBatch = kAsync ? 1 : 8;  // loads under way
  const int members = kMembers * t.parts;
  if (w.member >= w.at_once) return;
  const int64_t stride = int64_t(s.channels) * s.height * s.width;
  for (int r = w.row; r < rows; r += w.rows_at_once) {
    const int at = slot + r >= w.ring ? slot + r - w.ring : slot + r;
    Element* to = w.to + (at * members + w.member) * w.pitch + w.column;
    const int y = first + r;
    const T* from =
        w.map + (first_member + w.member) * stride + int64_t(y) * s.width + w.column;
    const int valid = s.batch - first_member;
    for (int member = w.member; member < members; member += kBatch * w.at_once) {
      Numbers<T, Vector> numbers[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int m = member + i * w.at_once;
        const T* source = from + i * w.at_once * stride;
        bool inside = m < valid && m < members;
        if (t.segments > 1) {
          const int all = first_member + m, segment = all / s.batch;
          const int row = segment * t.segment + y;
          inside = m < members && segment < t.segments && row >= 0 && row < s.height;
          source = w.map + (all - segment * s.batch) * stride + int64_t(row) * s.width +
                   w.column;
        }
        if constexpr (!kAsync) {
          numbers[i] = inside ? *reinterpret_cast<const Numbers<T, Vector>*>(source)
                              : Numbers<T, Vector>{};
        } else if (inside) {
          copy_async<Vector * int(sizeof(T))>(to, source);
        } else {
          store_zeros<Vector * int(sizeof(T))>(to);
        }
      }
      if constexpr (!kAsync) {
#pragma unroll
        for (int i = 0; i < kBatch; ++i)
          if (member + i * w.at_once < members)
            store_numbers(to + i * w.at_once * w.pitch, low, numbers[i]);
      }
      from += kBatch * w.at_once * stride;
      to += kBatch * w.at_once * w.pitch;
    }
  }
}

template <typename T>
__device__ __forceinline__ void load_rows(const WeightWindow<T>& w, int low, int slot,
                                          int first, int rows, int first_member,
                                          const ConvShape& s, const WeightTile& t) {
  switch (t.vector) {
    case 8:
      if constexpr (sizeof(T) == 2)
        load_rows<8>(w, low, slot, first, rows, first_member, s, t);
      break;
    case 4:
      load_rows<4>(w, low, slot, first, rows, first_member, s, t);
      break;
    case 2:
      load_rows<2>(w, low, slot, first, rows, first_member, s, t);
      break;
    default:
      load_rows<1>(w, low, slot, first, rows, first_member, s, t);
  }
}

// Whole maps of an odd width: those of t.channels channels are one stretch of memory,
// copied as pairs of numbers. Both maps at once, so that all loads are under way.
template <typename T>
__device__ __forceinline__ void load_pairs(const WeightWindow<T>& x,
                                           const WeightWindow<T>& grad, int slot,
                                           int grad_slot, int first_member,
                                           const ConvShape& s, const WeightTile& t) {
  static_assert(sizeof(T) == 2, "a pair is a word");
  constexpr int kBatch = 16;
  const int area = s.height * s.width, words = t.channels * area / 2;
  const int word = int(threadIdx.x) % words, at_once = int(blockDim.x) / words;
  const int members = kMembers * t.parts, valid = smaller(members, s.batch - first_member);
  const int64_t stride = int64_t(s.channels) * area;
  int target[2][2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int channel = (2 * word + e) / area, at = (2 * word + e) % area;
    const int row = at / s.width, column = at - row * s.width;
    const int r = slot + row >= x.ring ? slot + row - x.ring : slot + row;
    const int n = grad_slot + row >= grad.ring ? grad_slot + row - grad.ring : grad_slot + row;
    target[0][e] = (r * t.channels + channel) * members * x.pitch + column;
    target[1][e] = (n * t.channels + channel) * members * grad.pitch + column;
  }
  int member = int(threadIdx.x) / words;
  if (member >= at_once) return;
  for (; member < members; member += kBatch * at_once) {
    Pair<T> pairs[2][kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int m = member + i * at_once;
      if (m >= valid) continue;
      const int64_t from = (first_member + m) * stride + 2 * word;
      pairs[0][i].word = *reinterpret_cast<const unsigned*>(x.map + from);
      pairs[1][i].word = *reinterpret_cast<const unsigned*>(grad.map + from);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int m = member + i * at_once;
      if (m >= members) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        x.to[target[0][e] + m * x.pitch] = pairs[0][i].value[e];
        grad.to[target[1][e] + m * grad.pitch] = pairs[1][i].value[e];
      }
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
