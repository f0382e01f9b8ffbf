// Reads the plan that a caller wishes for, such as
//
//   SMPCONV_MM_PLAN="conv:images=8,warps=8;weight:splits=4"
//
// A pass that is not named is planned as usual.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "device.cuh"

namespace smpconv_mm {

struct PassSettings {
  const char* pass;
  const char* keys;  // that its planner knows, in spaces
};

// A new pass with a plan adds its line.
constexpr PassSettings kPasses[] = {
    {"conv", " tiles warps segment images stack shared "},
    {"weight", " warps segment images chunk stages splits shared "},
    {"involution", " segment shared "},
    {"involution_input", " segment shared "},
    {"involution_weight", " segment shared "},
};

inline int* setting(PlanSettings& s, const std::string& key) {
  if (key == "warps") return &s.warps;
  if (key == "segment") return &s.segment;
  if (key == "chunk") return &s.chunk;
  if (key == "stages") return &s.stages;
  if (key == "splits") return &s.splits;
  if (key == "tiles") return &s.tiles;
  if (key == "images") return &s.images;
  if (key == "stack") return &s.stack;
  return key == "shared" ? &s.shared : nullptr;
}

// The settings of `pass` in `text`; throws std::runtime_error if any part of the text
// is wrong, whichever pass it is of.
inline PlanSettings parse_settings(const std::string& text, const std::string& pass) {
  const auto wrong = [&](const std::string& what) {
    return std::runtime_error("SMPCONV_MM_PLAN=\"" + text + "\": " + what +
                              "; it is written as conv:images=8,warps=8;weight:splits=4");
  };
  PlanSettings found;
  for (size_t at = 0; at < text.size();) {
    const size_t stop = text.find(';', at);
    const std::string part = text.substr(at, stop - at);
    at = stop == std::string::npos ? text.size() : stop + 1;
    if (part.empty()) continue;
    const size_t colon = part.find(':');
    const std::string name = part.substr(0, colon);
    const char* keys = nullptr;
    std::string known;
    for (const PassSettings& p : kPasses) {
      if (name == p.pass) keys = p.keys;
      known += std::string(" ") + p.pass;
    }
    if (colon == std::string::npos || keys == nullptr)
      throw wrong("\"" + part + "\" must begin with a pass and a colon, the passes are" + known);
    for (size_t from = colon + 1; from <= part.size();) {
      const size_t comma = part.find(',', from);
      const std::string one = part.substr(from, comma - from);
      from = comma == std::string::npos ? part.size() + 1 : comma + 1;
      const size_t equal = one.find('=');
      const std::string key = one.substr(0, equal);
      if (key.empty() || std::string(keys).find(" " + key + " ") == std::string::npos)
        throw wrong("\"" + key + "\" is no setting of " + name + ", which has" + keys);
      const std::string digits = equal == std::string::npos ? "" : one.substr(equal + 1);
      if (digits.empty() || digits.size() > 8 ||
          digits.find_first_not_of("0123456789") != std::string::npos ||
          std::atoi(digits.c_str()) == 0)
        throw wrong(key + " must be a positive whole number, got \"" + digits + "\"");
      if (name == pass) *setting(found, key) = std::atoi(digits.c_str());
    }
  }
  return found;
}

inline PlanSettings settings_from_environment(const char* pass) {
  const char* text = std::getenv("SMPCONV_MM_PLAN");
  return text == nullptr ? PlanSettings() : parse_settings(text, pass);
}

}  // namespace smpconv_mm
