#include "agent/service/http_rate.h"

#include <algorithm>
#include <cmath>

namespace jailrun::service {

std::optional<unsigned> RateLimit::refuse(const std::string& who, double rate, Time now) {
  if (rate <= 0) return std::nullopt;
  const double most = std::max(1.0, 2 * rate);
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = buckets_.try_emplace(who, Bucket{most, now});
  Bucket& bucket = found->second;
  const double passed = std::chrono::duration<double>(now - bucket.at).count();
  bucket.left = std::min(most, bucket.left + passed * rate);
  bucket.at = now;
  if (bucket.left >= 1) {
    bucket.left -= 1;
    return std::nullopt;
  }
  return static_cast<unsigned>(std::ceil((1 - bucket.left) / rate));
}

}  // namespace jailrun::service
