// The inner loops of the depthwise convolution for one block of channels, which
// lie in the lanes of a vector. Included once for each instruction set, see isa.h.
namespace ISA {

#define INLINE TARGET inline __attribute__((always_inline))

// sum[i + FROM] += tap * x[i] for the listed i
template <int FROM, typename V, int N, int... I>
INLINE void add(V (&sum)[N], V tap, const V* x, std::integer_sequence<int, I...>) {
  ((sum[I + FROM] += tap * x[I]), ...);
}

// Taps that reach left of the map from the first D columns of the tile only.
template <int D, typename V, int N>
INLINE void left(V (&sum)[N], const V* taps, int64_t count, int64_t shift, const V* x) {
  if constexpr (D > 0) {
    const int64_t b = -shift - D;
    if (b >= 0 && b < count) {
      add<D>(sum, taps[b], x, std::make_integer_sequence<int, N - D>());
    }
    left<D - 1>(sum, taps, count, shift, x);
  }
}

// Taps that reach right of the map from the last D columns of the tile only.
template <int D, typename V, int N>
INLINE void right(
    V (&sum)[N], const V* taps, int64_t count, int64_t shift, const V* x, int64_t width) {
  if constexpr (D < N) {
    const int64_t first = width - N + D, b = first - shift;
    if (b >= 0 && b < count) {
      add<0>(sum, taps[b], x + first, std::make_integer_sequence<int, N - D>());
    }
    right<D + 1>(sum, taps, count, shift, x, width);
  }
}

// out[a] += sum_rb taps[r][b] * x[r][shift + a + b] for the N columns a of a
// tile, N <= width; x is 0 outside of its columns, and no time is spent there.
template <typename T, int N>
TARGET void tile(
    T* out_, const T* taps_, int64_t count, const T* x_, int64_t width, int64_t shift,
    int64_t rows) {
  using V = typename Vector<T>::type;
  V* out = reinterpret_cast<V*>(out_);
  const V* taps = reinterpret_cast<const V*>(taps_);
  const V* x = reinterpret_cast<const V*>(x_);
  constexpr auto all = std::make_integer_sequence<int, N>();
  const int64_t stop = std::min(count, width - N + 1 - shift);
  V sum[N] = {};
  for (int64_t r = 0; r < rows; ++r, taps += count, x += width) {
    if (shift < 0) left<N - 1>(sum, taps, count, shift, x);
    int64_t b = std::max<int64_t>(0, -shift);
    for (; b + 1 < stop; b += 2) {  // by twos: each input is loaded once for both
      add<0>(sum, taps[b], x + shift + b, all);
      add<0>(sum, taps[b + 1], x + shift + b + 1, all);
    }
    if (b < stop) add<0>(sum, taps[b], x + shift + b, all);
    if (stop < count) right<1>(sum, taps, count, shift, x, width);
  }
  for (int i = 0; i < N; ++i) out[i] += sum[i];
}

template <typename T, int... I>
TARGET void correlate(
    std::integer_sequence<int, I...>, T* out, int64_t columns, const T* taps,
    int64_t count, const T* x, int64_t width, int64_t offset, int64_t rows) {
  static constexpr decltype(&tile<T, 1>) tiles[] = {&tile<T, I + 1>...};
  constexpr int64_t lanes = BYTES / sizeof(T);
  const int64_t most = std::min<int64_t>(TILE, width);
  const int64_t parts = (columns + most - 1) / most;
  // as many rows at a time as stay in the first cache
  const int64_t step = std::max<int64_t>(1, (16 << 10) / ((width + count) * BYTES));
  for (int64_t r = 0; r < rows; r += step) {
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t a = columns * part / parts;
      const int64_t n = columns * (part + 1) / parts - a;
      tiles[n - 1](
          out + a * lanes, taps + r * count * lanes, count, x + r * width * lanes, width,
          a - offset, std::min(step, rows - r));
    }
  }
}

// out[a] += sum_rb taps[r][b] * x[r][a + b - offset] for all columns a of a row
template <typename T>
TARGET void correlate_rows(
    T* out, int64_t columns, const T* taps, int64_t count, const T* x, int64_t width,
    int64_t offset, int64_t rows) {
  correlate(
      std::make_integer_sequence<int, TILE>(), out, columns, taps, count, x, width,
      offset, rows);
}

#undef INLINE
}  // namespace ISA
