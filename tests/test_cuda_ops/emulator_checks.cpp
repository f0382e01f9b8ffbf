// What the emulator promises, one check a name; see test_emulator.py.
#include "cuda_on_cpu.h"

#include <cstdio>
#include <map>

#define CHECK(condition) \
  if (!(condition)) throw std::runtime_error("line " + std::to_string(__LINE__) + ": " #condition)

static float* shared() { return reinterpret_cast<float*>(emulator::shared_memory()); }

template <typename F>
static void run(unsigned threads, F kernel, size_t bytes = 4096, unsigned blocks = 1) {
  for (unsigned seed = 0; seed < 6; ++seed)
    emulator::launch(seed, dim3(blocks), dim3(threads), bytes, kernel);
}

template <typename F>
static std::string error_of(F function) {
  try {
    function();
  } catch (const emulator::Error& error) {
    return error.what();
  }
  return "";
}

static void barrier() {
  run(100, [] {
    for (int round = 0; round < 3; ++round) {
      shared()[threadIdx.x] = float(threadIdx.x + round);
      __syncthreads();
      unsigned other = (threadIdx.x + 37) % 100;
      CHECK(shared()[other] == float(other + round));
      __syncthreads();
    }
  }, 4096, 2);
}

static void missing_barrier() {
  int wrong = 0;
  run(100, [&] {
    shared()[threadIdx.x] = 1;
    wrong += !(shared()[(threadIdx.x + 37) % 100] == 1);
  });
  CHECK(wrong > 0);
}

static void deadlock() {
  const auto half = [] { run(64, [] { if (threadIdx.x < 32) __syncthreads(); }); };
  CHECK(error_of(half).find("deadlock") != std::string::npos);
  const auto lane = [] { run(32, [] { if (threadIdx.x) __ballot_sync(~0u, true); }); };
  CHECK(error_of(lane).find("deadlock") != std::string::npos);
}

static void shuffles_and_votes() {
  run(70, [] {
    unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    unsigned lanes = warp < 2 ? 32 : 6, mask = warp < 2 ? ~0u : 63u;
    CHECK(__shfl_sync(mask, int(thread), 3) == int(warp * 32 + 3));
    CHECK(__shfl_xor_sync(mask, float(thread), 1) == float(thread ^ 1));
    int down = __shfl_down_sync(mask, int(lane), 2);
    if (lane + 2 < lanes) CHECK(down == int(lane) + 2);
    CHECK(__ballot_sync(mask, lane % 2) == (0xAAAAAAAAu & mask));
    CHECK(__any_sync(mask, lane == 5) && !__any_sync(mask, lane == 40));
    CHECK(!__all_sync(mask, lane != 5) && __all_sync(mask, lane < 32));
    float sum = float(lane);
    if (warp < 2) {
      for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(mask, sum, by);
      CHECK(sum == 496);
    }
  });
}

// Row-major a (16 x 16) and b (16 x 8) in shared memory, by the layouts of the PTX
// manual; `ldmatrix` must give the fragments that loading by hand gives.
static void matrix_product() {
  run(32, [] {
    auto* a = reinterpret_cast<__nv_bfloat16*>(emulator::shared_memory());
    auto* b = a + 16 * 16;
    unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4 * 2;
    for (unsigned i = lane; i < 256; i += 32) a[i] = __float2bfloat16_rn(float(i * 7 % 13) - 6);
    for (unsigned i = lane; i < 128; i += 32) b[i] = __float2bfloat16_rn(float(i * 5 % 11) - 5);
    __syncthreads();
    const auto pack = [](__nv_bfloat16 x, __nv_bfloat16 y) {
      return unsigned(x.bits) | unsigned(y.bits) << 16;
    };
    unsigned fa[4], by_hand[4], fb[2];
    for (int r = 0; r < 4; ++r) {
      unsigned row = g + r % 2 * 8, column = t + r / 2 * 8;
      by_hand[r] = pack(a[row * 16 + column], a[row * 16 + column + 1]);
    }
    emulator::ldmatrix_x4<false>(fa, a + lane % 16 * 16 + lane / 16 * 8);
    for (int r = 0; r < 4; ++r) CHECK(fa[r] == by_hand[r]);
    emulator::ldmatrix_x4<true>(fa, a + lane % 16 * 16 + lane / 16 * 8);
    for (int r = 0; r < 4; ++r) {
      unsigned row = t + r % 2 * 8, column = g + r / 2 * 8;
      CHECK(fa[r] == pack(a[row * 16 + column], a[(row + 1) * 16 + column]));
    }
    for (unsigned r = 0; r < 2; ++r)
      fb[r] = pack(b[(t + 8 * r) * 8 + g], b[(t + 8 * r + 1) * 8 + g]);
    float sum[4] = {1, 2, 3, 4};
    emulator::mma_16816<__nv_bfloat16>(sum, by_hand, fb[0], fb[1]);
    for (unsigned r = 0; r < 4; ++r) {
      float expected = float(r + 1);
      for (unsigned k = 0; k < 16; ++k)
        expected += __bfloat162float(a[(g + r / 2 * 8) * 16 + k]) *
                    __bfloat162float(b[k * 8 + t + r % 2]);
      CHECK(sum[r] == expected);
    }
  });
}

static void copies_land_late() {
  alignas(16) static float source[64];
  for (int i = 0; i < 64; ++i) source[i] = float(i);
  run(4, [] {
    float* mine = shared() + 4 * threadIdx.x;
    emulator::copy_async(mine, source + 4 * threadIdx.x, 16);
    CHECK(mine[0] != mine[0]);  // still NaN
    emulator::copy_commit();
    emulator::copy_async(mine + 16, source + 16, 16);
    emulator::copy_commit();
    emulator::copy_wait(1);
    CHECK(mine[3] == float(4 * threadIdx.x + 3) && mine[16] != mine[16]);
    emulator::copy_wait(0);
    CHECK(mine[16] == 16);
  });
  const auto odd = [] { run(1, [] { emulator::copy_async(shared() + 1, source, 16); }); };
  CHECK(error_of(odd).find("misaligned") != std::string::npos);
}

static void behind_shared_memory() {
  const auto write = [] { run(1, [] { shared()[25] = 0; }, 100); };
  CHECK(error_of(write).find("behind the shared memory") != std::string::npos);
}

static void sixteen_bit_numbers() {
  CHECK(__float2half_rn(1.f).bits == 0x3C00 && __float2half_rn(-2.f).bits == 0xC000);
  CHECK(__float2half_rn(65504.f).bits == 0x7BFF && __float2half_rn(65520.f).bits == 0x7C00);
  CHECK(__float2half_rn(5.9604645e-8f).bits == 1 && __float2half_rn(2e-8f).bits == 0);
  CHECK(__float2half_rn(1.f + 1.f / 2048).bits == 0x3C00);      // a tie, to even
  CHECK(__float2half_rn(1.f + 3.f / 2048).bits == 0x3C02);
  CHECK(__float2bfloat16_rn(1.f).bits == 0x3F80);
  CHECK(__float2bfloat16_rn(1.f + 1.f / 256).bits == 0x3F80);   // a tie, to even
  CHECK(__float2bfloat16_rn(1.f + 3.f / 256).bits == 0x3F82);
  for (unsigned bits = 0; bits < 65536; ++bits) {
    __half half{uint16_t(bits)};
    __nv_bfloat16 brain{uint16_t(bits)};
    float h = __half2float(half), b = __bfloat162float(brain);
    if (h == h) CHECK(__float2half_rn(h).bits == bits);
    if (b == b) CHECK(__float2bfloat16_rn(b).bits == bits);
  }
}

int main(int, char** arguments) {
  const std::map<std::string, void (*)()> checks = {
      {"barrier", barrier},
      {"missing_barrier", missing_barrier},
      {"deadlock", deadlock},
      {"shuffles_and_votes", shuffles_and_votes},
      {"matrix_product", matrix_product},
      {"copies_land_late", copies_land_late},
      {"behind_shared_memory", behind_shared_memory},
      {"sixteen_bit_numbers", sixteen_bit_numbers},
  };
  try {
    checks.at(arguments[1])();
  } catch (const std::exception& error) {
    fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
