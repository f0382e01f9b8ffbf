// Each instruction set's inner loops, called directly: their name is the argument.
// Status 0: right; 1: wrong; 77: this processor lacks it.
#include "depthwise_kernels.h"

#include <cmath>
#include <cstdio>
#include <random>

static int failures = 0;
#define CHECK(condition, ...)                          \
  if (!(condition) && ++failures < 10) {               \
    fprintf(stderr, "line %d: %s ", __LINE__, #condition); \
    fprintf(stderr, __VA_ARGS__);                      \
    fputs("\n", stderr);                               \
  }

template <typename T, typename F>
static void correlation(F correlate_rows, int64_t lanes, double tolerance) {
  std::mt19937 random(0);
  std::normal_distribution<double> normal;
  for (int64_t width : {1, 2, 7, 23, 40})
    for (int64_t count : {1, 3, 9, 31})
      for (int64_t columns : {int64_t(1), width}) {
        const int64_t rows = 3, offset = count / 2;
        const auto numbers = [&](int64_t size) {
          auto* made = static_cast<T*>(
              ::operator new(size * lanes * sizeof(T), std::align_val_t(64)));
          for (int64_t i = 0; i < size * lanes; ++i) made[i] = T(normal(random));
          return made;
        };
        T *out = numbers(columns), *taps = numbers(rows * count), *x = numbers(rows * width);
        std::vector<double> exact(out, out + columns * lanes);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t a = 0; a < columns; ++a)
            for (int64_t b = 0; b < count; ++b) {
              const int64_t at = a + b - offset;
              if (at < 0 || at >= width) continue;
              for (int64_t l = 0; l < lanes; ++l)
                exact[a * lanes + l] += double(taps[(r * count + b) * lanes + l]) *
                                        double(x[(r * width + at) * lanes + l]);
            }
        correlate_rows(out, columns, taps, count, x, width, offset, rows);
        for (int64_t i = 0; i < columns * lanes; ++i)
          CHECK(
              std::abs(out[i] - exact[i]) < tolerance, "width %d, %d taps", int(width),
              int(count));
        for (T* made : {out, taps, x}) ::operator delete(made, std::align_val_t(64));
      }
}

// Every 16-bit number to float, and floats around every one back.
template <typename S, typename Widen, typename Narrow>
static void conversions(Widen widen, Narrow narrow) {
  constexpr int kAll = 1 << 16, kOdd = 13;  // the last vector of a line is not full
  std::vector<S> halves(kAll);
  for (int i = 0; i < kAll; ++i) {
    const uint16_t bits = uint16_t(i);
    std::memcpy(&halves[i], &bits, 2);
  }
  std::vector<float> floats(kAll), more;
  for (int i = 0; i < kAll; i += kOdd)
    widen(&halves[i], &floats[i], std::min(kOdd, kAll - i));
  for (int i = 0; i < kAll; ++i) {
    const float expected = static_cast<float>(halves[i]);
    CHECK(
        floats[i] == expected || (expected != expected && floats[i] != floats[i]),
        "widen %x", i);
    for (float factor : {1.f, 1 - 0x1p-13f, 1 + 0x1p-13f, 1 + 0x1p-9f, 1 + 0x1p-12f})
      more.push_back(floats[i] * factor);
  }
  more.push_back(65520.f);
  more.push_back(3.4e38f);
  std::vector<S> back(more.size());
  const int size = int(more.size());
  for (int i = 0; i < size; i += kOdd)
    narrow(&more[i], &back[i], std::min(kOdd, size - i));
  for (int i = 0; i < size; ++i) {
    const S expected = static_cast<S>(more[i]);
    const bool none = more[i] != more[i];
    CHECK(
        none ? static_cast<float>(back[i]) != static_cast<float>(back[i])
             : !std::memcmp(&back[i], &expected, 2),
        "narrow %a", more[i]);
  }
}

#define CHECK_ALL(ISA, BYTES)                                                       \
  do {                                                                              \
    correlation<float>(&ISA::correlate_rows<float>, BYTES / 4, 1e-4);               \
    correlation<double>(&ISA::correlate_rows<double>, BYTES / 8, 1e-12);            \
    const auto widen = [](const auto* a, float* b, int64_t n) { ISA::widen(a, b, n); };  \
    const auto narrow = [](const float* a, auto* b, int64_t n) { ISA::narrow(a, b, n); }; \
    conversions<c10::Half>(widen, narrow);                                          \
    conversions<c10::BFloat16>(widen, narrow);                                      \
  } while (false)

int main(int, char** arguments) {
  const std::string isa = arguments[1];
  if (isa == "base") {
    CHECK_ALL(base, 16);
    return failures > 0;
  }
#if defined(__x86_64__)
  if (isa == "avx2" && best_isa() != Isa::base) {
    CHECK_ALL(avx2, 32);
    return failures > 0;
  }
  if (isa == "avx512" && best_isa() == Isa::avx512) {
    CHECK_ALL(avx512, 64);
    return failures > 0;
  }
#endif
  return 77;
}
