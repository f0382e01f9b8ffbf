// The vectors of an instruction set, and conversions of 16-bit numbers with them.
// Included once for each instruction set by isa.h.
namespace ISA {

// BYTES of numbers; may_alias, because the arrays hold plain T.
template <typename T>
struct Vector {
  typedef T type __attribute__((vector_size(BYTES), may_alias));
};

TARGET inline void widen(const c10::BFloat16* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, from + i, sizeof half);
    const uint32_t bits = uint32_t(half) << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

// Rounds to the nearest, ties to even; a NaN stays one.
TARGET inline void narrow(const float* from, c10::BFloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    const uint16_t half = uint16_t((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
    std::memcpy(to + i, &half, sizeof half);
  }
}

#if BYTES > 16
// One vector by F16C.
TARGET inline void widen_vector(const c10::Half* from, float* to) {
#if BYTES == 32
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  _mm256_storeu_ps(to, _mm256_cvtph_ps(halves));
#else
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  _mm512_storeu_ps(to, _mm512_maskz_cvtph_ps(0xFFFF, halves));
#endif
}

TARGET inline void narrow_vector(const float* from, c10::Half* to) {
  constexpr int round = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
#if BYTES == 32
  const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from), round);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
#else
  const __m256i halves = 
      _mm512_maskz_cvtps_ph(0xFFFF, _mm512_loadu_ps(from), round);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
#endif
}

// The last numbers, fewer than a vector, pass through a whole one.
TARGET inline void widen(const c10::Half* from, float* to, int64_t count) {
  constexpr int64_t lanes = BYTES / 4;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) widen_vector(from + i, to + i);
  if (i < count) {
    c10::Half halves[lanes] = {};
    float values[lanes];
    std::memcpy(halves, from + i, (count - i) * sizeof(c10::Half));
    widen_vector(halves, values);
    std::memcpy(to + i, values, (count - i) * sizeof(float));
  }
}

TARGET inline void narrow(const float* from, c10::Half* to, int64_t count) {
  constexpr int64_t lanes = BYTES / 4;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) narrow_vector(from + i, to + i);
  if (i < count) {
    c10::Half halves[lanes];
    float values[lanes] = {};
    std::memcpy(values, from + i, (count - i) * sizeof(float));
    narrow_vector(values, halves);
    std::memcpy(to + i, halves, (count - i) * sizeof(c10::Half));
  }
}
#else
TARGET inline void widen(const c10::Half* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

TARGET inline void narrow(const float* from, c10::Half* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<c10::Half>(from[i]);
}
#endif

}  // namespace ISA
