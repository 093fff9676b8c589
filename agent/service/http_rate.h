// How many requests a second somebody may make: a bucket of two seconds' worth for each.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace jailrun::service {

class RateLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Nothing where it may; else the whole seconds to wait. `rate`: a second; 0: without limit.
  std::optional<unsigned> refuse(const std::string& who, double rate, Time now);

 private:
  struct Bucket {
    double left;
    Time at;
  };

  std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace jailrun::service
