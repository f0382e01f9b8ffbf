// The inner loops of the involution for one row of outputs, which lie in the lanes of
// vectors. Included once for each instruction set, see isa.h.
//
// Arrays of an output row have `pitch` numbers a row, a multiple of the lanes; what
// stands behind the last output is 0 in the weight and in the gradient. rows[u] is
// where tap row u of member 0 is read, or null outside of the map; tap v of output j of
// a member m lies at rows[u] + m * step + offsets[v] + j.
namespace ISA {

#define INLINE TARGET inline __attribute__((always_inline))

// Members of a group at once: as many sums stay in registers.
constexpr int kMembers = TILE > 8 ? 16 : 8;

template <typename V, typename T>
INLINE V load(const T* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(V));
  return value;
}

template <typename T, typename V>
INLINE void store(T* to, V value) {
  __builtin_memcpy(to, &value, sizeof(V));
}

// out[m][j] = sum_uv weight[u, v][j] * x[m][u, v, j]
template <typename T, int M>
TARGET void involution_output_members(
    T* out, const T* const* rows, int64_t first, int64_t step, const int64_t* offsets,
    int64_t k, const T* weight, int64_t pitch) {
  using V = typename Vector<T>::type;
  for (int64_t j = 0; j < pitch; j += BYTES / sizeof(T)) {
    V sum[M] = {};
    for (int64_t u = 0; u < k; ++u) {
      if (!rows[u]) continue;
      for (int64_t v = 0; v < k; ++v) {
        const V w = load<V>(weight + (u * k + v) * pitch + j);
        const T* x = rows[u] + first + offsets[v] + j;
        for (int m = 0; m < M; ++m) sum[m] += w * load<V>(x + m * step);
      }
    }
    for (int m = 0; m < M; ++m) store(out + m * pitch + j, sum[m]);
  }
}

// total[m][u, v, j] += weight[u, v][j] * grad[m][j]
template <typename T, int M>
TARGET void involution_input_members(
    T* const* rows, int64_t first, int64_t step, const int64_t* offsets, int64_t k,
    const T* weight, const T* grad, int64_t pitch) {
  using V = typename Vector<T>::type;
  // tap rows inside: a number is read again long after it was written
  for (int64_t v = 0; v < k; ++v) {
    for (int64_t u = 0; u < k; ++u) {
      if (!rows[u]) continue;
      for (int64_t j = 0; j < pitch; j += BYTES / sizeof(T)) {
        const V w = load<V>(weight + (u * k + v) * pitch + j);
        T* total = rows[u] + first + offsets[v] + j;
        for (int m = 0; m < M; ++m) {
          T* to = total + m * step;
          store(to, load<V>(to) + w * load<V>(grad + m * pitch + j));
        }
      }
    }
  }
}

// total[u, v][j] += sum_m grad[m][j] * x[m][u, v, j]
template <typename T, int M>
TARGET void involution_weight_members(
    T* total, const T* const* rows, int64_t first, int64_t step, const int64_t* offsets,
    int64_t k, const T* grad, int64_t pitch) {
  using V = typename Vector<T>::type;
  for (int64_t j = 0; j < pitch; j += BYTES / sizeof(T)) {
    V slope[M];
    for (int m = 0; m < M; ++m) slope[m] = load<V>(grad + m * pitch + j);
    for (int64_t u = 0; u < k; ++u) {
      if (!rows[u]) continue;
      for (int64_t v = 0; v < k; ++v) {
        const T* x = rows[u] + first + offsets[v] + j;
        T* to = total + (u * k + v) * pitch + j;
        V sum = load<V>(to);
        for (int m = 0; m < M; ++m) sum += slope[m] * load<V>(x + m * step);
        store(to, sum);
      }
    }
  }
}

// Calls body(integral_constant<int, M>(), m) for members m ... m + M - 1, all in turn.
template <typename F>
void by_members(int64_t members, const F& body) {
  int64_t m = 0;
  for (; m + kMembers <= members; m += kMembers)
    body(std::integral_constant<int, kMembers>(), m);
  for (; m + 4 <= members; m += 4) body(std::integral_constant<int, 4>(), m);
  for (; m < members; ++m) body(std::integral_constant<int, 1>(), m);
}

template <typename T>
void involution_output(
    int64_t members, T* out, const T* const* rows, int64_t step, const int64_t* offsets,
    int64_t k, const T* weight, int64_t pitch) {
  by_members(members, [&](auto count, int64_t m) {
    involution_output_members<T, decltype(count)::value>(
        out + m * pitch, rows, m * step, step, offsets, k, weight, pitch);
  });
}

template <typename T>
void involution_input(
    int64_t members, T* const* rows, int64_t step, const int64_t* offsets, int64_t k,
    const T* weight, const T* grad, int64_t pitch) {
  by_members(members, [&](auto count, int64_t m) {
    involution_input_members<T, decltype(count)::value>(
        rows, m * step, step, offsets, k, weight, grad + m * pitch, pitch);
  });
}

template <typename T>
void involution_weight(
    int64_t members, T* total, const T* const* rows, int64_t step,
    const int64_t* offsets, int64_t k, const T* grad, int64_t pitch) {
  by_members(members, [&](auto count, int64_t m) {
    involution_weight_members<T, decltype(count)::value>(
        total, rows, m * step, step, offsets, k, grad + m * pitch, pitch);
  });
}

#undef INLINE
}  // namespace ISA
