// Fourier transforms of one block of channels, which lie in the lanes of a vector:
// every lane is a transform of its own. Complex numbers are two vectors, real and
// imaginary part. Included once for each instruction set, see isa.h.
namespace ISA {

#define INLINE TARGET inline __attribute__((always_inline))

template <typename V>
struct Complex {
  V re, im;
  INLINE Complex operator+(const Complex& o) const { return {re + o.re, im + o.im}; }
  INLINE Complex operator-(const Complex& o) const { return {re - o.re, im - o.im}; }
};

// a * (c - i s)
template <typename T, typename V>
INLINE Complex<V> turn(const Complex<V>& a, T c, T s) {
  return {a.re * c + a.im * s, a.im * c - a.re * s};
}

// -i a
template <typename V>
INLINE Complex<V> quarter(const Complex<V>& a) {
  return {a.im, -a.re};
}

// In place: a[k] = sum_j a[j] exp(-2 pi i j k / N)
template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[2]) {
  const Complex<V> t = a[0] - a[1];
  a[0] = a[0] + a[1];
  a[1] = t;
}

template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[3]) {
  constexpr T half = 0.5, sine = 0.86602540378443864676;
  const Complex<V> t = a[1] + a[2], d = a[1] - a[2];
  const Complex<V> m = {a[0].re - half * t.re, a[0].im - half * t.im};
  a[0] = a[0] + t;
  a[1] = {m.re + sine * d.im, m.im - sine * d.re};
  a[2] = {m.re - sine * d.im, m.im + sine * d.re};
}

template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[4]) {
  const Complex<V> s = a[0] + a[2], d = a[0] - a[2];
  const Complex<V> t = a[1] + a[3], e = quarter(a[1] - a[3]);
  a[0] = s + t;
  a[1] = d + e;
  a[2] = s - t;
  a[3] = d - e;
}

template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[5]) {
  constexpr T c1 = 0.30901699437494742410, c2 = -0.80901699437494742410;
  constexpr T s1 = 0.95105651629515357212, s2 = 0.58778525229247312917;
  const Complex<V> t1 = a[1] + a[4], d1 = a[1] - a[4];
  const Complex<V> t2 = a[2] + a[3], d2 = a[2] - a[3];
  const Complex<V> m1 = {
      a[0].re + c1 * t1.re + c2 * t2.re, a[0].im + c1 * t1.im + c2 * t2.im};
  const Complex<V> m2 = {
      a[0].re + c2 * t1.re + c1 * t2.re, a[0].im + c2 * t1.im + c1 * t2.im};
  const Complex<V> e1 = {s1 * d1.im + s2 * d2.im, -(s1 * d1.re + s2 * d2.re)};
  const Complex<V> e2 = {s2 * d1.im - s1 * d2.im, s1 * d2.re - s2 * d1.re};
  a[0] = a[0] + t1 + t2;
  a[1] = m1 + e1;
  a[2] = m2 + e2;
  a[3] = m2 - e2;
  a[4] = m1 - e1;
}

template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[6]) {  // 2 and 3 are coprime: no factors between
  Complex<V> even[3] = {a[0], a[2], a[4]}, odd[3] = {a[3], a[5], a[1]};
  small_dft<T>(even);
  small_dft<T>(odd);
  a[0] = even[0] + odd[0];
  a[1] = even[1] - odd[1];
  a[2] = even[2] + odd[2];
  a[3] = even[0] - odd[0];
  a[4] = even[1] + odd[1];
  a[5] = even[2] - odd[2];
}

template <typename T, typename V>
INLINE void small_dft(Complex<V> (&a)[8]) {
  constexpr T c = 0.70710678118654752440;
  Complex<V> even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
  small_dft<T>(even);
  small_dft<T>(odd);
  odd[1] = {c * (odd[1].re + odd[1].im), c * (odd[1].im - odd[1].re)};
  odd[2] = quarter(odd[2]);
  odd[3] = {c * (odd[3].im - odd[3].re), -c * (odd[3].re + odd[3].im)};
  for (int k = 0; k < 4; ++k) {
    a[k] = even[k] + odd[k];
    a[k + 4] = even[k] - odd[k];
  }
}

// One butterfly of a stage. SWAP = 1 takes the parts the other way round, which
// makes the transform its inverse (times the length).
template <int N, int SWAP, bool TURNS, typename T, typename V, int... K>
INLINE void butterfly(
    const V* x, int64_t apart, V* y, int64_t stride, const T* turns,
    std::integer_sequence<int, K...>) {
  Complex<V> a[N] = {{x[2 * K * apart + SWAP], x[2 * K * apart + 1 - SWAP]}...};
  small_dft<T>(a);
  if constexpr (TURNS) {
    ((a[K] = K ? turn(a[K], turns[2 * K - 2 * !!K], turns[2 * K - 2 * !!K + 1]) : a[K]), ...);
  }
  ((y[2 * K * stride + SWAP] = a[K].re, y[2 * K * stride + 1 - SWAP] = a[K].im), ...);
}

// Stage of radix N of a Stockham transform: of `length` points left to transform,
// `stride` transforms interleaved.
template <int N, int SWAP, typename T>
TARGET void stage(const T* x_, T* y_, int64_t length, int64_t stride, const T* turns) {
  using V = typename Vector<T>::type;
  const V* x = reinterpret_cast<const V*>(x_);
  V* y = reinterpret_cast<V*>(y_);
  constexpr auto each = std::make_integer_sequence<int, N>();
  const int64_t parts = length / N, apart = parts * stride;
  for (int64_t q = 0; q < stride; ++q) {
    butterfly<N, SWAP, false>(x + 2 * q, apart, y + 2 * q, stride, turns, each);
  }
  for (int64_t p = 1; p < parts; ++p, turns += 2 * N - 2) {
    for (int64_t q = 0; q < stride; ++q) {
      butterfly<N, SWAP, true>(
          x + 2 * (q + stride * p), apart, y + 2 * (q + stride * N * p), stride, turns,
          each);
    }
  }
}

// Transform of plan.length points from x to y; `work` is as long. All differ.
template <int SWAP, typename T>
TARGET void transform(const Plan<T>& plan, const T* x, T* y, T* work) {
  int64_t length = plan.length, stride = 1;
  const T* turns = plan.turns.data();
  for (size_t i = 0; i < plan.radices.size(); ++i) {
    const int radix = plan.radices[i];
    T* out = (plan.radices.size() - i) % 2 ? y : work;
    switch (radix) {
      case 2: stage<2, SWAP>(x, out, length, stride, turns); break;
      case 3: stage<3, SWAP>(x, out, length, stride, turns); break;
      case 4: stage<4, SWAP>(x, out, length, stride, turns); break;
      case 5: stage<5, SWAP>(x, out, length, stride, turns); break;
      case 6: stage<6, SWAP>(x, out, length, stride, turns); break;
      case 8: stage<8, SWAP>(x, out, length, stride, turns); break;
    }
    turns += 2 * (radix - 1) * (length / radix - 1);
    length /= radix;
    stride *= radix;
    x = out;
  }
}

// Two real rows, the parts of z, to rows r and s of `half`, where column f of
// `half` (`apart` numbers long) holds frequency f; both times 2. z is spent.
template <typename T>
TARGET void rows_forward(
    const Plan<T>& plan, T* z_, T* work_, T* half_, int64_t apart, int64_t r, int64_t s) {
  using V = typename Vector<T>::type;
  T* done = work_ + 2 * plan.length * (BYTES / sizeof(T));
  transform<0>(plan, z_, done, work_);
  const V* z = reinterpret_cast<const V*>(done);
  V* half = reinterpret_cast<V*>(half_);
  for (int64_t f = 0; f <= plan.length / 2; ++f, half += 2 * apart) {
    const int64_t g = f ? plan.length - f : 0;
    const V a = z[2 * f], b = z[2 * f + 1], c = z[2 * g], d = z[2 * g + 1];
    half[2 * r] = a + c;
    half[2 * r + 1] = b - d;
    half[2 * s] = b + d;
    half[2 * s + 1] = c - a;
  }
}

// The inverse of rows_forward, times the length over 2 where it doubled.
template <typename T>
TARGET void rows_inverse(
    const Plan<T>& plan, T* z_, T* work_, const T* half_, int64_t apart, int64_t r,
    int64_t s) {
  using V = typename Vector<T>::type;
  T* done = work_ + 2 * plan.length * (BYTES / sizeof(T));
  V* z = reinterpret_cast<V*>(done);
  const V* half = reinterpret_cast<const V*>(half_);
  for (int64_t f = 0; f <= plan.length / 2; ++f, half += 2 * apart) {
    const int64_t g = f ? plan.length - f : 0;
    const V a = half[2 * r], b = half[2 * r + 1], c = half[2 * s], d = half[2 * s + 1];
    z[2 * g] = a + d;
    z[2 * g + 1] = c - b;
    z[2 * f] = a - d;
    z[2 * f + 1] = b + c;
  }
  transform<1>(plan, done, z_, work_);
}

// Each column to its spectrum, times `scale`.
template <typename T>
TARGET void columns_forward(
    const Plan<T>& plan, T* half, T* work, int64_t columns, int64_t apart, T scale) {
  using V = typename Vector<T>::type;
  constexpr int64_t lanes = BYTES / sizeof(T);
  T* done = work + 2 * plan.length * lanes;
  for (int64_t f = 0; f < columns; ++f, half += 2 * apart * lanes) {
    transform<0>(plan, half, done, work);
    for (int64_t i = 0; i < 2 * plan.length; ++i) {
      reinterpret_cast<V*>(half)[i] = scale * reinterpret_cast<const V*>(done)[i];
    }
  }
}

// Each column to its spectrum, times the conjugate of `kernel`, and back.
template <typename T>
TARGET void columns_product(
    const Plan<T>& plan, T* half, T* work, int64_t columns, int64_t apart,
    const T* kernel) {
  using V = typename Vector<T>::type;
  constexpr int64_t lanes = BYTES / sizeof(T);
  T* done = work + 2 * plan.length * lanes;
  V* z = reinterpret_cast<V*>(done);
  for (int64_t f = 0; f < columns; ++f) {
    transform<0>(plan, half, done, work);
    const V* k = reinterpret_cast<const V*>(kernel);
    for (int64_t i = 0; i < 2 * plan.length; i += 2) {
      const V re = z[i] * k[i] + z[i + 1] * k[i + 1];
      z[i + 1] = z[i + 1] * k[i] - z[i] * k[i + 1];
      z[i] = re;
    }
    transform<1>(plan, done, half, work);
    half += 2 * apart * lanes;
    kernel += 2 * apart * lanes;
  }
}

// sum += spectrum of the columns of x times conjugate of those of g
template <typename T>
TARGET void columns_correlate(
    const Plan<T>& plan, const T* x, const T* g, T* work, int64_t columns, int64_t apart,
    T* sum) {
  using V = typename Vector<T>::type;
  constexpr int64_t lanes = BYTES / sizeof(T);
  T *a_ = work + 2 * plan.length * lanes, *b_ = work + 4 * plan.length * lanes;
  const V *a = reinterpret_cast<const V*>(a_), *b = reinterpret_cast<const V*>(b_);
  for (int64_t f = 0; f < columns; ++f) {
    transform<0>(plan, x, a_, work);
    transform<0>(plan, g, b_, work);
    V* s = reinterpret_cast<V*>(sum);
    for (int64_t i = 0; i < 2 * plan.length; i += 2) {
      s[i] += a[i] * b[i] + a[i + 1] * b[i + 1];
      s[i + 1] += a[i + 1] * b[i] - a[i] * b[i + 1];
    }
    x += 2 * apart * lanes;
    g += 2 * apart * lanes;
    sum += 2 * apart * lanes;
  }
}

// Each column from its spectrum, times the length.
template <typename T>
TARGET void columns_inverse(
    const Plan<T>& plan, T* half, T* work, int64_t columns, int64_t apart) {
  constexpr int64_t lanes = BYTES / sizeof(T);
  T* done = work + 2 * plan.length * lanes;
  for (int64_t f = 0; f < columns; ++f, half += 2 * apart * lanes) {
    transform<1>(plan, half, done, work);
    std::copy_n(done, 2 * plan.length * lanes, half);
  }
}

#undef INLINE
}  // namespace ISA
