// Transposes a batch of matrices: maps from channels-last to contiguous, and back.
#pragma once

#include "device.cuh"

namespace smpconv_mm {

struct TransposeShape {
  int batch, rows, columns;
};

constexpr int kTransposeSide = 32;  // of the tile of a block, in words
constexpr int kTransposeWarps = 8;

// A word is an element, or with `Pairs` two neighbours in a row of 16-bit elements: the
// tile then has 64 rows and columns, and pairs of words exchange their halves.
template <typename Word, bool Pairs>
__global__ void transpose_kernel(const Word* input, Word* output, TransposeShape s,
                                 int row_tiles, int column_tiles) {
  constexpr int kPlanes = Pairs ? 2 : 1;
  SMPCONV_MM_SHARED(shared);
  // [plane][column][row]; an odd pitch keeps the columns in different banks
  constexpr int kPitch = kTransposeSide + 1;
  Word* tile = reinterpret_cast<Word*>(shared);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int tiles = row_tiles * column_tiles;
  const int64_t matrix = blockIdx.x / tiles;
  const int at = int(blockIdx.x - matrix * tiles);
  const int top = at / column_tiles * kTransposeSide;
  const int left = at % column_tiles * kTransposeSide;
  const int rows = s.rows / kPlanes, columns = s.columns / kPlanes;  // in words
  input += matrix * s.rows * columns;
  output += matrix * s.columns * rows;

  Word words[kTransposeSide / kTransposeWarps][kPlanes];
#pragma unroll
  for (int i = 0; i < kTransposeSide / kTransposeWarps; ++i) {
    const int row = top + warp + i * kTransposeWarps, column = left + lane;
#pragma unroll
    for (int p = 0; p < kPlanes; ++p)
      words[i][p] = row < rows && column < columns
                        ? input[(int64_t(row) * kPlanes + p) * columns + column]
                        : Word(0);
  }
#pragma unroll
  for (int i = 0; i < kTransposeSide / kTransposeWarps; ++i) {
    Word* const to = tile + lane * kPitch + warp + i * kTransposeWarps;
    if constexpr (Pairs) {
      to[0] = (words[i][0] & 0xffffu) | (words[i][1] << 16);
      to[kTransposeSide * kPitch] = (words[i][0] >> 16) | (words[i][1] & 0xffff0000u);
    } else {
      to[0] = words[i][0];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kTransposeSide / kTransposeWarps; ++i) {
    const int column = warp + i * kTransposeWarps;
    if (left + column >= columns || top + lane >= rows) continue;
#pragma unroll
    for (int p = 0; p < kPlanes; ++p)
      output[(int64_t(left + column) * kPlanes + p) * rows + top + lane] =
          tile[(p * kTransposeSide + column) * kPitch + lane];
  }
}

// (batch, rows, columns) to (batch, columns, rows).
template <typename T, typename Launch>
void transpose(const Launch& launch, const TransposeShape& s, const T* input, T* output) {
  const auto run = [&](auto word, auto pairs) {
    using Word = decltype(word);
    constexpr int kPlanes = pairs.value ? 2 : 1;
    const int row_tiles = ceil_div(s.rows / kPlanes, kTransposeSide);
    const int column_tiles = ceil_div(s.columns / kPlanes, kTransposeSide);
    launch(transpose_kernel<Word, pairs.value>, int64_t(s.batch) * row_tiles * column_tiles,
           kTransposeWarps * kWarpSize,
           int(kPlanes * kTransposeSide * (kTransposeSide + 1) * sizeof(Word)),
           reinterpret_cast<const Word*>(input), reinterpret_cast<Word*>(output), s,
           row_tiles, column_tiles);
  };
  if constexpr (is_half<T>()) {
    const bool aligned = reinterpret_cast<uintptr_t>(input) % 4 == 0 &&
                         reinterpret_cast<uintptr_t>(output) % 4 == 0;
    if (s.rows % 2 == 0 && s.columns % 2 == 0 && aligned)
      run(uint32_t(), std::true_type());
    else
      run(uint16_t(), std::false_type());
  } else {
    run(uint32_t(), std::false_type());
  }
}

}  // namespace smpconv_mm
