// Runs CUDA device code on the CPU, so that it can be tested without a GPU.
//
// A thread block is a set of fibers, one for each CUDA thread, on one CPU thread.
// A fiber runs until it waits: at a barrier, or at an operation of its warp
// (shuffle, vote, matrix product). Which fiber runs next is drawn from a seed,
// so that code that lacks a barrier fails under some order. Asynchronous copies
// land as late as they may: when their thread waits for them. Shared memory
// starts as NaN and is followed by more NaN, which nobody may change.
//
// Supported is what the kernels of this folder's neighbour use; an error
// (a barrier that some threads never reach, an access behind shared memory, a
// misaligned copy) throws emulator::Error from launch().
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr int kWarp = 32;
constexpr size_t kStack = 256 << 10, kGuard = 1 << 12;
constexpr unsigned char kNaN = 0xFF;  // NaN in every floating format

enum class State { kReady, kBarrier, kWarp, kDone };

struct Copy {
  void* to;
  const void* from;
  int bytes, read;  // zeros follow what is read
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state = State::kReady;
  const void* operation = nullptr;  // what the warp waits for: address of a tag
  void* operands = nullptr;
  unsigned mask = 0;
  std::vector<std::vector<Copy>> copies;  // groups; the last is open
};

struct Block {
  dim3 index, size, grid;
  std::vector<Fiber> fibers;
  int current = 0;
  ucontext_t scheduler;
  std::vector<uint4> shared;  // aligned as on the device
  std::function<void()> body;
  std::string failure;
};

inline Block*& block() {
  static thread_local Block* value = nullptr;
  return value;
}

inline dim3 thread_index() {
  const Block& b = *block();
  unsigned i = b.current;
  return dim3(i % b.size.x, i / b.size.x % b.size.y, i / (b.size.x * b.size.y));
}

inline void wait(State state) {
  Block& b = *block();
  Fiber& self = b.fibers[b.current];
  self.state = state;
  swapcontext(&self.context, &b.scheduler);
}

inline void fail(const std::string& what) {
  Block& b = *block();
  if (b.failure.empty()) b.failure = what;
  wait(State::kDone);
}

// Lets the threads of a warp meet; the last of them calls
// `action(operands of the 32 lanes)`. Absent lanes have null operands.
template <typename Operands, typename Action>
void meet(unsigned mask, Operands& mine, Action action) {
  static const char tag = 0;  // one for each operation, as each has its own type
  Block& b = *block();
  int first = b.current / kWarp * kWarp, lane = b.current - first;
  int lanes = std::min<int>(kWarp, int(b.fibers.size()) - first);
  if (!(mask >> lane & 1)) fail("a lane is not in the mask of its own operation");
  Fiber& self = b.fibers[b.current];
  self.operation = &tag;
  self.operands = &mine;
  self.mask = mask;
  Operands* all[kWarp] = {};
  for (int i = 0; i < lanes; ++i) {
    const Fiber& other = b.fibers[first + i];
    if (!(mask >> i & 1)) continue;
    bool here = i == lane || (other.state == State::kWarp &&
                              other.operation == &tag && other.mask == mask);
    if (!here) return wait(State::kWarp);
    all[i] = static_cast<Operands*>(other.operands);
  }
  action(all);
  for (int i = 0; i < lanes; ++i)
    if (all[i]) b.fibers[first + i].state = State::kReady;
}

inline void enter() {
  Block& b = *block();
  b.body();
  b.fibers[b.current].state = State::kDone;
  swapcontext(&b.fibers[b.current].context, &b.scheduler);
}

inline void run_block(Block& b, unsigned order, std::mt19937& random,
                      size_t shared_bytes) {
  const int threads = b.size.x * b.size.y * b.size.z;
  auto* shared = reinterpret_cast<unsigned char*>(b.shared.data());
  const size_t all_bytes = b.shared.size() * sizeof(uint4);
  memset(shared, kNaN, all_bytes);
  for (Fiber& fiber : b.fibers) {
    fiber.state = State::kReady;
    fiber.copies.assign(1, {});
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  block() = &b;
  std::vector<int> ready;
  while (b.failure.empty()) {
    ready.clear();
    int waiting = 0, done = 0;
    for (int i = 0; i < threads; ++i) {
      State state = b.fibers[i].state;
      if (state == State::kReady) ready.push_back(i);
      waiting += state == State::kBarrier;
      done += state == State::kDone;
    }
    if (done == threads) break;
    if (ready.empty()) {
      if (waiting + done < threads || done > 0) {
        b.failure = "deadlock: some threads wait at a barrier or an operation of "
                    "their warp that others never reach";
        break;
      }
      for (Fiber& fiber : b.fibers) fiber.state = State::kReady;
      continue;
    }
    if (order == 1) std::reverse(ready.begin(), ready.end());
    if (order == 2) std::shuffle(ready.begin(), ready.end(), random);
    // orders 0 and 1: the first, or last, warp goes as far as it can
    const int warp = order < 2 ? ready[0] / kWarp : -1;
    for (int i : ready) {
      if (warp >= 0 && i / kWarp != warp) continue;
      b.current = i;
      swapcontext(&b.scheduler, &b.fibers[i].context);
      if (!b.failure.empty()) break;
    }
  }
  for (size_t i = shared_bytes; i < all_bytes && b.failure.empty(); ++i)
    if (shared[i] != kNaN) b.failure = "write behind the shared memory";
  if (!b.failure.empty()) throw Error(b.failure);
}

// Runs kernel(arguments...) for every thread of every block.
template <typename Kernel, typename... Arguments>
void launch(unsigned seed, dim3 grid, dim3 size, size_t shared_bytes, Kernel kernel,
            Arguments... arguments) {
  std::mt19937 random(seed);
  Block b;
  b.size = size;
  b.grid = grid;
  b.fibers.resize(size.x * size.y * size.z);
  for (Fiber& fiber : b.fibers) fiber.stack.reset(new char[kStack]);
  b.shared.resize((shared_bytes + kGuard) / sizeof(uint4) + 1);
  b.body = [&] { kernel(arguments...); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        b.index = dim3(x, y, z);
        run_block(b, seed % 3, random, shared_bytes);
      }
}

inline unsigned char* shared_memory() {
  return reinterpret_cast<unsigned char*>(block()->shared.data());
}

inline unsigned shared_address(const void* place) {
  return unsigned(static_cast<const unsigned char*>(place) - shared_memory());
}

}  // namespace emulator

#define threadIdx (emulator::thread_index())
#define blockIdx (emulator::block()->index)
#define blockDim (emulator::block()->size)
#define gridDim (emulator::block()->grid)

inline void __syncthreads() { emulator::wait(emulator::State::kBarrier); }

inline void __syncwarp(unsigned mask = ~0u) {
  int none = 0;
  emulator::meet(mask, none, [](int**) {});
}

inline int atomicAdd(int* address, int value) {
  const int before = *address;
  *address += value;
  return before;
}

// ------------------------------------------------------------ shuffles, votes
namespace emulator {
struct Shuffle {
  double value;
  int source;
};

inline int lane() { return block()->current % kWarp; }

template <typename T>
T shuffle(unsigned mask, T value, int source) {
  Shuffle mine{static_cast<double>(value), source};
  meet(mask, mine, [](Shuffle** all) {
    double values[kWarp];
    for (int i = 0; i < kWarp; ++i) {
      const Shuffle* from = all[i] ? all[all[i]->source & (kWarp - 1)] : nullptr;
      values[i] = from ? from->value : std::nan("");
    }
    for (int i = 0; i < kWarp; ++i)
      if (all[i]) all[i]->value = values[i];
  });
  return static_cast<T>(mine.value);
}

struct Vote {
  bool predicate;
  unsigned ballot;
};
}  // namespace emulator

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulator::shuffle(mask, value, source);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
  return emulator::shuffle(mask, value, emulator::lane() ^ with);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  int source = emulator::lane() + int(by);
  return emulator::shuffle(mask, value, source < emulator::kWarp ? source : emulator::lane());
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  emulator::Vote mine{predicate, 0};
  emulator::meet(mask, mine, [](emulator::Vote** all) {
    unsigned ballot = 0;
    for (int i = 0; i < emulator::kWarp; ++i) ballot |= unsigned(all[i] && all[i]->predicate) << i;
    for (int i = 0; i < emulator::kWarp; ++i)
      if (all[i]) all[i]->ballot = ballot;
  });
  return mine.ballot;
}
inline bool __any_sync(unsigned mask, bool predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline bool __all_sync(unsigned mask, bool predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

// ------------------------------------------------------------ 16-bit numbers
struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };

inline float __bfloat162float(__nv_bfloat16 value) {
  uint32_t bits = uint32_t(value.bits) << 16;
  float out;
  memcpy(&out, &bits, 4);
  return out;
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return {0x7FFF};
  bits += 0x7FFF + (bits >> 16 & 1);  // to the nearest, ties to even
  return {uint16_t(bits >> 16)};
}
inline float __half2float(__half value) {
  int sign = value.bits >> 15, exponent = value.bits >> 10 & 31;
  float mantissa = float(value.bits & 1023), out;
  if (exponent == 31)
    out = mantissa ? std::nanf("") : INFINITY;
  else
    out = exponent ? std::ldexp(mantissa + 1024, exponent - 25) : std::ldexp(mantissa, -24);
  return sign ? -out : out;
}
inline __half __float2half_rn(float value) {
  uint16_t sign = std::signbit(value) << 15;
  float size = std::fabs(value);
  if (value != value) return {0x7FFF};
  if (size >= 65520.f) return {uint16_t(sign | 0x7C00)};
  if (size < 6.103515625e-05f)  // subnormal: multiples of 2^-24
    return {uint16_t(sign | uint16_t(std::nearbyint(std::ldexp(size, 24))))};
  int exponent;
  float fraction = std::frexp(size, &exponent);  // in [0.5, 1)
  int mantissa = int(std::nearbyint(std::ldexp(fraction, 11)));  // 1024 .. 2048
  return {uint16_t(sign | (((exponent + 14) << 10) + (mantissa - 1024)))};
}

// ------------------------------------------- matrix and copy instructions
// The layouts are those of the PTX manual (mma.m16n8k16, ldmatrix, cp.async).
namespace emulator {
struct Mma {
  float* sum;
  const unsigned* a;
  unsigned b[2];
};

template <typename T>
float element(unsigned pair, int which) {
  T value;
  value.bits = uint16_t(pair >> (16 * which));
  if constexpr (std::is_same<T, __half>::value) return __half2float(value);
  else return __bfloat162float(value);
}

template <typename T>
void mma_16816(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  Mma mine{sum, a, {b0, b1}};
  meet(~0u, mine, [](Mma** all) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < kWarp; ++lane) {
      int g = lane / 4, t = lane % 4 * 2;
      for (int e = 0; e < 2; ++e) {
        for (int r = 0; r < 4; ++r)
          a[g + r % 2 * 8][t + e + r / 2 * 8] = element<T>(all[lane]->a[r], e);
        for (int r = 0; r < 2; ++r) b[t + e + r * 8][g] = element<T>(all[lane]->b[r], e);
      }
    }
    for (int lane = 0; lane < kWarp; ++lane)
      for (int r = 0; r < 4; ++r) {
        int row = lane / 4 + r / 2 * 8, column = lane % 4 * 2 + r % 2;
        float total = all[lane]->sum[r];
        for (int k = 0; k < 16; ++k) total += a[row][k] * b[k][column];
        all[lane]->sum[r] = total;
      }
  });
}

struct LoadMatrix {
  unsigned* out;
  const void* row;
};

template <bool Transposed>
void ldmatrix_x4(unsigned (&out)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix: a row is not 16-byte aligned");
  LoadMatrix mine{out, row};
  meet(~0u, mine, [](LoadMatrix** all) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      uint16_t m[8][8];
      for (int r = 0; r < 8; ++r) memcpy(m[r], all[matrix * 8 + r]->row, 16);
      for (int lane = 0; lane < kWarp; ++lane) {
        int r = lane / 4, c = lane % 4 * 2;
        unsigned low = Transposed ? m[c][r] : m[r][c];
        unsigned high = Transposed ? m[c + 1][r] : m[r][c + 1];
        all[lane]->out[matrix] = low | high << 16;
      }
    }
  });
}

inline void copy_async(void* to, const void* from, int bytes, int read) {
  if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes)
    fail("cp.async: misaligned address");
  block()->fibers[block()->current].copies.back().push_back({to, from, bytes, read});
}

inline void copy_async(void* to, const void* from, int bytes) {
  copy_async(to, from, bytes, bytes);
}

inline void copy_commit() { block()->fibers[block()->current].copies.push_back({}); }

// Waits until at most `pending` committed groups are under way.
inline void copy_wait(int pending) {
  auto& groups = block()->fibers[block()->current].copies;
  while (int(groups.size()) - 1 > pending) {
    for (const Copy& copy : groups.front()) {
      memcpy(copy.to, copy.from, copy.read);
      memset(static_cast<char*>(copy.to) + copy.read, 0, copy.bytes - copy.read);
    }
    groups.erase(groups.begin());
  }
}
}  // namespace emulator
