// What the kernels need of the machine: numbers, copies, matrix products.
// Compiled by nvcc, or by a C++ compiler against emulator/cuda_on_cpu.h.
#pragma once

#ifdef SMPCONV_MM_EMULATED
#include "cuda_on_cpu.h"
#define SMPCONV_MM_SHARED(name) unsigned char* name = emulator::shared_memory()
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define SMPCONV_MM_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#include <cstdint>
#include <type_traits>

// Matrix products and asynchronous copies came with sm_80.
#if defined(SMPCONV_MM_EMULATED) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define SMPCONV_MM_HAS_MMA 1
#else
#define SMPCONV_MM_HAS_MMA 0
#endif

namespace smpconv_mm {

constexpr int kWarpSize = 32;

struct ConvShape {
  int batch, channels, height, width, kernel_height, kernel_width;
};

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
__host__ __device__ constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
__host__ __device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }
__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

template <typename T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same<T, __half>::value) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same<T, __nv_bfloat16>::value) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

// Neighbours in memory that are copied at once.
template <typename T, int Vector>
struct alignas(sizeof(T) * Vector) Numbers {
  T value[Vector];
};

// Elements, 16 bytes at most, that a copy may take from or to rows of `width`.
template <typename T>
int copy_vector(int width, const T* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  for (int vector = 16 / sizeof(T); vector > 1; vector /= 2)
    if (width % vector == 0 && address % (vector * sizeof(T)) == 0) return vector;
  return 1;
}

// Calls body(integral_constant) with the number of elements of a copy.
template <typename T, typename F>
__device__ __forceinline__ void with_vector(int vector, const F& body) {
  if constexpr (sizeof(T) == 2)
    if (vector == 8) return body(std::integral_constant<int, 8>());
  switch (vector) {
    case 4: return body(std::integral_constant<int, 4>());
    case 2: return body(std::integral_constant<int, 2>());
    default: return body(std::integral_constant<int, 1>());
  }
}

// The value, of which the compiler does not know that it has it already: it is computed
// again, instead of kept in registers meanwhile.
__device__ __forceinline__ int again(int value) {
#if !defined(SMPCONV_MM_EMULATED)
  asm volatile("" : "+r"(value));
#endif
  return value;
}

// Two neighbours as one word: the first is the lower half.
template <typename T>
union Pair {
  T value[2];
  unsigned word;
  __device__ Pair() : word(0) {}
};

// Two numbers rounded to T, as Pair has them.
template <typename T>
__device__ __forceinline__ unsigned round_pair(float first, float second) {
#if !defined(SMPCONV_MM_EMULATED) && SMPCONV_MM_HAS_MMA
  unsigned word;  // in one instruction
  if constexpr (std::is_same<T, __nv_bfloat16>::value)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
#else
  Pair<T> pair;
  pair.value[0] = from_float<T>(first);
  pair.value[1] = from_float<T>(second);
  return pair.word;
#endif
}

// The two numbers of a word.
template <typename T>
__device__ __forceinline__ void split_pair(unsigned word, float& first, float& second) {
#if !defined(SMPCONV_MM_EMULATED)
  if constexpr (std::is_same<T, __nv_bfloat16>::value) {
    first = __uint_as_float(word << 16), second = __uint_as_float(word & 0xffff0000u);
    return;
  }
#endif
  Pair<T> pair;
  pair.word = word;
  first = to_float(pair.value[0]), second = to_float(pair.value[1]);
}

// `Vector` neighbours on their way through registers: 16-bit numbers as words.
template <typename T, int Vector>
using Packed = Numbers<
    typename std::conditional<sizeof(T) == 2 && (Vector > 1), unsigned, T>::type,
    sizeof(T) == 2 && (Vector > 1) ? Vector / 2 : Vector>;

template <typename T, int Vector>
__device__ __forceinline__ void unpack(float (&to)[Vector], const Packed<T, Vector>& from) {
  if constexpr (sizeof(T) == 2 && Vector > 1) {
#pragma unroll
    for (int e = 0; e < Vector; e += 2) split_pair<T>(from.value[e / 2], to[e], to[e + 1]);
  } else {
#pragma unroll
    for (int e = 0; e < Vector; ++e) to[e] = to_float(from.value[e]);
  }
}

template <typename T, int Vector>
__device__ __forceinline__ Packed<T, Vector> pack(const float (&from)[Vector]) {
  Packed<T, Vector> to;
  if constexpr (sizeof(T) == 2 && Vector > 1) {
#pragma unroll
    for (int e = 0; e < Vector; e += 2) to.value[e / 2] = round_pair<T>(from[e], from[e + 1]);
  } else {
#pragma unroll
    for (int e = 0; e < Vector; ++e) to.value[e] = from_float<T>(from[e]);
  }
  return to;
}

// sum += a b for a (16 x 16), b (16 x 8), in the layout of mma.m16n8k16: lane
// 4 g + t holds of `a` rows g, g + 8 and of `b` column g, of `sum` rows g, g + 8
// and columns 2 t, 2 t + 1.
template <typename T>
__device__ __forceinline__ void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::mma_16816<T>(sum, a, b0, b1);
#elif SMPCONV_MM_HAS_MMA
  if constexpr (std::is_same<T, __half>::value) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

// Loads four 8 x 8 matrices of 16-bit numbers from shared memory; lane 8 m + r
// names the address of row r of matrix m.
template <bool Transposed>
__device__ __forceinline__ void load_matrices(unsigned (&out)[4], const void* row) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::ldmatrix_x4<Transposed>(out, row);
#elif SMPCONV_MM_HAS_MMA
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
  }
#endif
}

// The address of a place in shared memory, for load_matrices_at.
__device__ __forceinline__ unsigned shared_address(const void* place) {
#if defined(SMPCONV_MM_EMULATED)
  return emulator::shared_address(place);
#else
  return static_cast<unsigned>(__cvta_generic_to_shared(place));
#endif
}

// load_matrices<false>, with shared_address() of the rows.
__device__ __forceinline__ void load_matrices_at(unsigned (&out)[4], unsigned row) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::ldmatrix_x4<false>(out, emulator::shared_memory() + row);
#elif SMPCONV_MM_HAS_MMA
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
#endif
}

// Brings a line of 128 bytes to the second cache.
__device__ __forceinline__ void prefetch(const void* from) {
#if !defined(SMPCONV_MM_EMULATED)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#endif
}

// Copies `Bytes` (4, 8 or 16) to shared memory without waiting; zeros if not `inside`,
// and then nothing is read.
template <int Bytes>
__device__ __forceinline__ void copy_async_or_zero(unsigned to, const void* from,
                                                   bool inside) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::copy_async(emulator::shared_memory() + to, from, Bytes, inside ? Bytes : 0);
#elif SMPCONV_MM_HAS_MMA
  const int size = inside ? Bytes : 0;
  if constexpr (Bytes == 16) {  // past the first cache: no one else reads it
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(size)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from),
                 "n"(Bytes), "r"(size)
                 : "memory");
  }
#endif
}

// Copies `Bytes` (4, 8 or 16) to shared memory without waiting.
template <int Bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::copy_async(to, from, Bytes);
#elif SMPCONV_MM_HAS_MMA
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from),
               "n"(Bytes)
               : "memory");
#endif
}

__device__ __forceinline__ void copy_commit() {
#if defined(SMPCONV_MM_EMULATED)
  emulator::copy_commit();
#elif SMPCONV_MM_HAS_MMA
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

__device__ __forceinline__ void copy_wait() {
#if defined(SMPCONV_MM_EMULATED)
  emulator::copy_wait(0);
#elif SMPCONV_MM_HAS_MMA
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Waits until at most `groups` (0, 1 or 2) of the committed groups are under way.
__device__ __forceinline__ void copy_wait_but(int groups) {
#if defined(SMPCONV_MM_EMULATED)
  emulator::copy_wait(groups);
#elif SMPCONV_MM_HAS_MMA
  if (groups == 0) asm volatile("cp.async.wait_group 0;" ::: "memory");
  if (groups == 1) asm volatile("cp.async.wait_group 1;" ::: "memory");
  if (groups == 2) asm volatile("cp.async.wait_group 2;" ::: "memory");
#endif
}

}  // namespace smpconv_mm
