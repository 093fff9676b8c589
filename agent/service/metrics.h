// ServiceMetrics: what the service counts of its own, for /metrics.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <tuple>

#include "jail/daemon/exposition.h"

namespace jailrun::service {

// From any thread.
class ServiceMetrics {
 public:
  // `route`: its pattern, for paths are without number; `bytes` of the bodies.
  void replied(const std::string& method, const std::string& route, unsigned status, double seconds,
               std::uint64_t received, std::uint64_t sent);
  // A jail, from the request to it: `start` as jaild names it, or refused.
  void started(const std::string& start, double seconds);
  // A question that has ended, of its capsule.
  void asked(const nlohmann::json& capsule);

  void expose(Exposition& into) const;

 private:
  struct Histogram {
    static constexpr std::array kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                           0.025,  0.05,    0.1,    0.25,  1.0,    5.0,   30.0};
    std::array<std::uint64_t, kBounds.size() + 1> counts{};
    double sum = 0;
    void observe(double seconds);
  };
  static void add(Exposition& into, const Exposition::Labels& labels, const Histogram& histogram);

  mutable std::mutex mutex_;
  std::map<std::tuple<std::string, std::string, unsigned>, std::uint64_t> replies_;
  std::map<std::string, Histogram> durations_;  // by route
  std::map<std::string, Histogram> starts_;
  std::map<std::string, std::uint64_t> questions_;  // by status
  std::map<std::string, double> tokens_;            // by kind
  std::uint64_t received_ = 0, sent_ = 0, turns_ = 0;
  double cost_usd_ = 0;
};

}  // namespace jailrun::service
