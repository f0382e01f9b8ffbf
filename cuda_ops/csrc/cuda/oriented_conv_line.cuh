// An oriented kernel as the kernels on a GPU see it: the pixels of a line, and the
// strips of outputs that a thread sums.
//
// A thread computes a strip of Strip outputs one step of the line apart. Where the next
// tap is one step further along, all but one of the inputs that it needs are those of
// the tap before: such taps are a run, and cost one load for Strip products. Taps on
// one pixel are added up before.
#pragma once

#include "windows.cuh"

namespace smpconv_mm {

constexpr int kMostLineTaps = 63;
constexpr int kLineThreads = 288;  // most of a block

// One pass: `target` is summed from `source` on a grid, whose place (y, x) is pixel
// (y, x) / spread of the source, if that is whole, and on which target (p, q) is
// centred at (p, q) * stride.
struct LinePass {
  int batch, channels, taps;
  int source_height, source_width, spread;
  int target_height, target_width, stride;
  bool mirrored;  // offsets are negated
};

struct LineTile {
  int rows, columns, row_tiles, column_tiles;  // of the target
  int images, parts;  // at once, at most; blocks that share the images of a channel's tile
  Copies copies;
  int region, grad_region;  // floats of the maps in shared memory
  int threads, shared;
};

struct Run {
  int offset, length;  // of the first pixel from the centre; pixels
};

// How maps lie in shared memory for a line, and which threads work on them. The zeros
// behind a row are also those before the next one, the rows of zeros below a map those
// above the next.
struct LineLayout {
  int pitch, plane;   // floats of a row and of a map
  int lead;           // place of the tile's first row and column
  int lanes, strips;  // strips beside and behind each other
  int images;         // that there are threads for
  int floats;         // of their maps
};

struct alignas(16) Line {
  int runs, pixels;
  int row_step, column_step;  // between the outputs of a strip
  int row_reach, column_reach;
  LineLayout at;
  int images;  // of a turn of the block
  Window source, target;  // what their outputs need; the outputs or their gradients
  Run run[kMostLineTaps + 1];
  float value[kMostLineTaps + 1];  // of a pixel: its taps' sum, or their gradient
  int pixel[kMostLineTaps + 1];    // of a tap, or -1 if it never meets the map
  int row[kMostLineTaps + 1], column[kMostLineTaps + 1];  // offsets of a tap
};

__device__ __forceinline__ uint64_t ballot(bool low, bool high) {
  const uint64_t upper = __ballot_sync(~0u, high);
  return upper << 32 | __ballot_sync(~0u, low);
}

__device__ __forceinline__ int count_bits(uint64_t bits) {
#if defined(SMPCONV_MM_EMULATED)
  return __builtin_popcountll(bits);
#else
  return __popcll(bits);
#endif
}

__device__ __forceinline__ int sign(int value) { return (value > 0) - (value < 0); }
__device__ __forceinline__ int magnitude(int value) { return value < 0 ? -value : value; }

// The smallest number from `least` on that is `rest` modulo `modulus`.
__host__ __device__ constexpr int next_with_rest(int least, int rest, int modulus) {
  return least + (((rest - least) % modulus) + modulus) % modulus;
}

template <int Strip>
__host__ __device__ inline LineLayout lay_out(const LinePass& s, const LineTile& t,
                                              int row_reach, int column_reach,
                                              int row_step, int column_step) {
  const bool along_rows = row_step == 0;  // a strip lies in a row
  const int align = smaller(t.copies.vector, 4);
  const int rows = smaller(larger(s.source_height, s.target_height),
                           (t.rows - 1) * s.stride + 1 + 2 * row_reach);
  const int columns =
      smaller(larger(s.source_width, s.target_width),
              (t.columns - 1) * s.stride + 1 + 2 * (column_reach + t.copies.vector - 1));
  LineLayout at;
  at.lanes = along_rows ? t.rows : t.columns + (column_step != 0 ? Strip - 1 : 0);
  at.strips = ceil_div(along_rows ? t.columns : t.rows, Strip);
  at.images = smaller(t.images, t.threads / (at.lanes * at.strips));
  // Threads of a warp shall find their inputs in different banks.
  at.pitch = align * (ceil_div(columns + column_reach, align) | 1);
  if (!along_rows && at.strips > 1 && s.stride == 1) {
    int more = 0;
    while (more < 16 && ((at.pitch + more) * Strip - at.lanes) % 32 != 0) more += 2 * align;
    at.pitch += more % 16;
  }
  at.plane = next_with_rest((rows + row_reach) * at.pitch,
                            along_rows ? t.rows * at.pitch : round_up(at.lanes, align), 32);
  at.lead = round_up(row_reach * at.pitch + column_reach + Strip + t.copies.vector, 4);
  // Strips read beyond the tile.
  const int last_row = (round_up(t.rows, Strip) - 1) * s.stride + row_reach;
  const int last_column =
      (larger(round_up(t.columns, Strip), at.lanes) - 1) * s.stride + column_reach;
  at.floats =
      at.lead + (at.images - 1) * at.plane + last_row * at.pitch + last_column + 1;
  return at;
}

// A warp makes the line of a channel. Offsets are those of the definition: sine and
// cosine rounded to float, a float product, rounded toward zero.
template <int Strip, typename T>
__device__ void make_line(Line& line, float angle, const T* weight, const LinePass& s,
                          const LineTile& t) {
  const int lane = threadIdx.x % kWarpSize, centre = s.taps / 2;
  const int height = larger(s.source_height, s.target_height);
  const int width = larger(s.source_width, s.target_width);
  const bool finite = angle - angle == 0.f;
  const double exact = finite ? angle : 0.f;
  double sine_of, cosine_of;
  sincos(exact, &sine_of, &cosine_of);
  const float sine = static_cast<float>(sine_of), cosine = static_cast<float>(cosine_of);
  bool kept[2], fresh[2], cut[2];
  int down[2], right[2];  // from the tap before
  for (int e = 0; e < 2; ++e) {
    const int tap = lane + e * kWarpSize;
    const float distance = static_cast<float>(s.mirrored ? centre - tap : tap - centre);
    const int y = static_cast<int>(-sine * distance);
    const int x = static_cast<int>(cosine * distance);
    kept[e] = tap < s.taps && magnitude(y) < height && magnitude(x) < width;
    line.row[tap] = y, line.column[tap] = x;
  }
  __syncwarp();
  const uint64_t all = ballot(kept[0], kept[1]);
  const int first = centre - count_bits(all) / 2;  // symmetric about the centre
  for (int e = 0; e < 2; ++e) {
    const int tap = lane + e * kWarpSize;
    down[e] = tap > first && kept[e] ? line.row[tap] - line.row[tap - 1] : 0;
    right[e] = tap > first && kept[e] ? line.column[tap] - line.column[tap - 1] : 0;
    fresh[e] = kept[e] && (tap == first || down[e] != 0 || right[e] != 0);
  }
  const uint64_t pixels = ballot(fresh[0], fresh[1]);
  const int tall = count_bits(ballot(down[0] && !right[0], down[1] && !right[1]));
  const int flat = count_bits(ballot(!down[0] && right[0], !down[1] && right[1]));
  const int slanted = count_bits(ballot(down[0] && right[0], down[1] && right[1]));
  int row_step = -sign(line.row[first]), column_step = -sign(line.column[first]);
  const bool together = s.stride == 1 && count_bits(pixels) > 1;
  if (!together || (tall >= flat && tall >= slanted)) {
    column_step = 0;
    if (!together) row_step = 1;
  } else if (flat >= slanted) {
    row_step = 0;
  }
  for (int e = 0; e < 2; ++e) {
    const int tap = lane + e * kWarpSize;
    cut[e] = fresh[e] && (tap == first || !together || down[e] != row_step ||
                          right[e] != column_step);
  }
  const uint64_t cuts = ballot(cut[0], cut[1]);

  const int row_reach = magnitude(line.row[first]);
  const int column_reach = magnitude(line.column[first]);
  const LineLayout at =
      lay_out<Strip>(s, t, row_reach, column_reach, row_step, column_step);
  for (int e = 0; e < 2; ++e) {
    const int tap = lane + e * kWarpSize;
    const uint64_t before = (uint64_t(1) << tap) - 1;
    const int pixel = count_bits(pixels & before), run = count_bits(cuts & before);
    if (kept[e]) line.pixel[tap] = fresh[e] ? pixel : pixel - 1;
    if (!kept[e]) line.pixel[tap] = -1;
    if (fresh[e]) {
      float sum = 0.f;
      if (weight != nullptr) {
        sum = to_float(weight[tap]);
        for (int next = tap + 1; next < first + count_bits(all); ++next) {
          if (line.row[next] != line.row[tap] || line.column[next] != line.column[tap]) break;
          sum += to_float(weight[next]);
        }
        if (!finite) sum = angle - angle;  // NaN, not hidden
      }
      line.value[pixel] = sum;
    }
    if (cut[e]) {
      const uint64_t cuts_behind = cuts & ~(before << 1 | 1);
      const uint64_t until = (cuts_behind & (0 - cuts_behind)) - 1;  // the next cut
      line.run[run].offset = line.row[tap] * at.pitch + line.column[tap];
      line.run[run].length = count_bits(pixels & until & ~before);
    }
  }
  if (lane == 0) {
    line.runs = count_bits(cuts), line.pixels = count_bits(pixels);
    line.row_step = row_step, line.column_step = column_step;
    line.row_reach = row_reach, line.column_reach = column_reach;
    line.at = at;
  }
  __syncwarp();
}

// From row to row of the gradient's tile in shared memory, chosen likewise.
__host__ __device__ inline int gradient_pitch(const LineTile& t) {
  const int align = smaller(t.copies.vector, 4);
  return align * (ceil_div(t.columns, align) | 1);
}

// Maps in shared memory: where they begin, floats of a map and of a row.
struct Places {
  int first, plane, pitch;
};

// A thread's strip of outputs.
struct Strip {
  int image;
  int from, to;     // place of the first in the source; of itself
  unsigned inside;  // bits of the outputs that lie in the tile of the target
};

template <int Length>
__device__ __forceinline__ Strip find_strip(const Line& line, int task, int rows,
                                            int columns, int stride, const Places& to) {
  const int lanes = line.at.lanes, strips = line.at.strips;
  Strip strip{task / (lanes * strips), 0, 0, 0};
  task -= strip.image * lanes * strips;
  int row, column;  // of the first output
  if (line.row_step == 0) {
    row = task / strips;
    column = task % strips * Length + (line.column_step < 0 ? Length - 1 : 0);
  } else {
    row = task / lanes * Length + (line.row_step < 0 ? Length - 1 : 0);
    column = task % lanes - (line.column_step > 0 ? Length - 1 : 0);
  }
  strip.from = line.at.lead + strip.image * line.at.plane +
               (row * line.at.pitch + column) * stride;
  strip.to = to.first + strip.image * to.plane + row * to.pitch + column;
  for (int i = 0; i < Length; ++i, row += line.row_step, column += line.column_step) {
    const bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
    strip.inside |= unsigned(inside) << i;
  }
  return strip;
}

// Calls body(pixel, inputs) for every pixel of the line, where inputs(i) is what output
// i of the strip meets there; the centre of its first output is maps[from].
template <int Length, typename Body>
__device__ __forceinline__ void walk_line(const Line& line, const float* maps, int from,
                                          int stride, Body body) {
  // Places in bytes: one instruction less for each.
  constexpr int kBytes = sizeof(float);
  const auto load = [&](int place) {
    return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(maps) + place);
  };
  const int step = (line.row_step * line.at.pitch + line.column_step) * kBytes;
  const int apart = step * stride;
  int pixel = 0;
  for (int r = 0; r < line.runs; ++r) {
    const Run run = line.run[r];
    int next = (from + run.offset) * kBytes;
    float window[Length];
#pragma unroll
    for (int i = 0; i < Length - 1; ++i, next += apart) window[i] = load(next);
    for (int left = again(run.length); left > 0; left -= Length) {
#pragma unroll
      for (int turn = 0; turn < Length; ++turn) {
        if (turn == left) break;
        window[(Length - 1 + turn) % Length] = load(next);
        next += step;
        body(pixel + turn, [&](int i) { return window[(i + turn) % Length]; });
      }
      pixel += smaller(left, Length);
    }
  }
}

}  // namespace smpconv_mm
