// What the planning of kernels needs to know of a device, and what a caller may
// wish of a plan.
#pragma once

#include "primitives.cuh"

namespace smpconv_mm {

// Values of a plan that the caller sets; 0: the planning chooses. A planner takes
// them as they are or says that no plan fits; see plan_settings.cuh.
struct PlanSettings {
  int tiles = 0;     // of 16 members that a warp computes at once
  int warps = 0;     // of a block
  int segment = 0;   // rows of the output of a block
  int images = 0;    // of a block
  int stack = 0;     // pairs of rows of an image that a warp computes at once
  int chunk = 0;     // rows of the map that are in shared memory at once
  int stages = 0;    // chunks that are loaded while one is computed
  int splits = 0;    // blocks that share the sum of a channel
  int shared = 0;    // most bytes of shared memory of a block

  bool any() const {
    return tiles || warps || segment || images || stack || chunk || stages || splits || shared;
  }
};

struct Device {
  int processors;
  int shared_of_block, shared_of_processor;  // bytes
  bool has_mma;           // it, and the code that was compiled for it, is of sm_80 or newer
  PlanSettings settings;  // of the pass at hand
};

// Bytes that the system keeps of the shared memory of each block.
constexpr int kReserved = 1024;

template <typename T>
constexpr bool is_half() {
  return sizeof(T) == 2;
}

}  // namespace smpconv_mm
