// The inner loops of the oriented convolution for one block of channels, which lie in
// the lanes of a vector: places are vectors, and `offsets` count them. Included once
// for each instruction set, see isa.h.
namespace ISA {

// For the columns I of a tile; folds, as a loop over an array takes it to memory.
template <typename T, int... I>
TARGET inline __attribute__((always_inline)) void line_tile(
    std::integer_sequence<int, I...>, T* out_, int64_t out_step, const T* taps_,
    const int64_t* offsets, int64_t count, const T* x_, int64_t step) {
  using V = typename Vector<T>::type;
  V* out = reinterpret_cast<V*>(out_);
  const V* taps = reinterpret_cast<const V*>(taps_);
  const V* x = reinterpret_cast<const V*>(x_);
  V sum[] = {(static_cast<void>(I), V{})...};
  for (int64_t s = 0; s < count; ++s) {
    const V tap = taps[s];
    const V* at = x + offsets[s];
    ((sum[I] += tap * at[I * step]), ...);
  }
  ((out[I * out_step] = sum[I]), ...);
}

template <typename T, int N>
TARGET void line_tile(
    T* out, int64_t out_step, const T* taps, const int64_t* offsets, int64_t count,
    const T* x, int64_t step) {
  constexpr auto all = std::make_integer_sequence<int, N>();
  if (step == 1) {  // a constant, for fewer additions
    line_tile(all, out, out_step, taps, offsets, count, x, 1);
  } else {
    line_tile(all, out, out_step, taps, offsets, count, x, step);
  }
}

template <typename T, int... I>
TARGET void line_row(
    std::integer_sequence<int, I...>, T* out, int64_t out_step, int64_t columns,
    const T* taps, const int64_t* offsets, int64_t count, const T* x, int64_t step) {
  using Tile = void (*)(
      T*, int64_t, const T*, const int64_t*, int64_t, const T*, int64_t);
  static constexpr Tile tiles[] = {&line_tile<T, I + 1>...};
  constexpr int64_t lanes = BYTES / sizeof(T);
  const int64_t parts = (columns + TILE - 1) / TILE;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t a = columns * part / parts, n = columns * (part + 1) / parts - a;
    tiles[n - 1](
        out + a * out_step * lanes, out_step, taps, offsets, count, x + a * step * lanes,
        step);
  }
}

// out[a * out_step] = sum_s taps[s] * x[a * step + offsets[s]] for all columns a
template <typename T>
TARGET void line_sums(
    T* out, int64_t out_step, int64_t columns, const T* taps, const int64_t* offsets,
    int64_t count, const T* x, int64_t step) {
  line_row(
      std::make_integer_sequence<int, TILE>(), out, out_step, columns, taps, offsets,
      count, x, step);
}

template <typename T, int N>
TARGET void line_tap_tile(
    T* sums_, const T* grad_, int64_t columns, const int64_t* offsets, const T* x_,
    int64_t step) {
  using V = typename Vector<T>::type;
  V* sums = reinterpret_cast<V*>(sums_);
  const V* grad = reinterpret_cast<const V*>(grad_);
  const V* x = reinterpret_cast<const V*>(x_);
  V sum[N];
  for (int s = 0; s < N; ++s) sum[s] = sums[s];
  int64_t a = 0;
  for (; a + 4 <= columns; a += 4, x += 4 * step) {  // an offset serves for four columns
    const V g[4] = {grad[a], grad[a + 1], grad[a + 2], grad[a + 3]};
    for (int s = 0; s < N; ++s) {
      const V* at = x + offsets[s];
      for (int i = 0; i < 4; ++i) sum[s] += g[i] * at[i * step];
    }
  }
  for (; a < columns; ++a, x += step) {
    const V g = grad[a];
    for (int s = 0; s < N; ++s) sum[s] += g * x[offsets[s]];
  }
  for (int s = 0; s < N; ++s) sums[s] = sum[s];
}

template <typename T, int... I>
TARGET void line_taps(
    std::integer_sequence<int, I...>, T* sums, const T* grad, int64_t columns,
    const int64_t* offsets, int64_t count, const T* x, int64_t step) {
  static constexpr decltype(&line_tap_tile<T, 1>) tiles[] = {&line_tap_tile<T, I + 1>...};
  constexpr int64_t lanes = BYTES / sizeof(T);
  constexpr int64_t most = TILE > 8 ? 12 : 6;  // sums stay in registers
  const int64_t parts = (count + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t s = count * part / parts, n = count * (part + 1) / parts - s;
    tiles[n - 1](sums + s * lanes, grad, columns, offsets + s, x, step);
  }
}

// sums[s] += sum_a grad[a] * x[a * step + offsets[s]] for all taps s
template <typename T>
TARGET void line_products(
    T* sums, const T* grad, int64_t columns, const int64_t* offsets, int64_t count,
    const T* x, int64_t step) {
  line_taps(
      std::make_integer_sequence<int, TILE>(), sums, grad, columns, offsets, count, x,
      step);
}

}  // namespace ISA
