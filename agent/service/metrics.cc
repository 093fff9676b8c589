#include "agent/service/metrics.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace jailrun::service {
namespace {

std::string bound_text(double bound) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", bound);
  return text;
}

double number_at(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

// What people and alarms know statuses by.
std::string class_of(unsigned status) { return std::to_string(status / 100) + "xx"; }

}  // namespace

void ServiceMetrics::Histogram::observe(double seconds) {
  const auto* const bound = std::ranges::lower_bound(kBounds, seconds);
  ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
  sum += seconds;
}

void ServiceMetrics::replied(const std::string& method, const std::string& route, unsigned status,
                             double seconds, std::uint64_t received, std::uint64_t sent) {
  const std::lock_guard lock(mutex_);
  ++replies_[{method, route, status}];
  durations_[route].observe(seconds);
  received_ += received;
  sent_ += sent;
}

void ServiceMetrics::started(const std::string& start, double seconds) {
  const std::lock_guard lock(mutex_);
  starts_[start].observe(seconds);
}

void ServiceMetrics::asked(const nlohmann::json& capsule) {
  const auto usage = capsule.find("usage");
  const auto status = capsule.find("status");
  const std::lock_guard lock(mutex_);
  ++questions_[status != capsule.end() && status->is_string() ? status->get<std::string>()
                                                              : "failed"];
  if (usage == capsule.end() || !usage->is_object()) return;
  // Cached ones are among the input, reasoning ones among the output.
  for (const char* kind : {"input", "cached", "output", "reasoning"})
    tokens_[kind] += number_at(*usage, (std::string(kind) + "_tokens").c_str());
  turns_ += static_cast<std::uint64_t>(number_at(*usage, "turns"));
  cost_usd_ += number_at(*usage, "cost_usd");
}

void ServiceMetrics::add(Exposition& into, const Exposition::Labels& labels,
                         const Histogram& histogram) {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    below += histogram.counts[i];
    Exposition::Labels all = labels;
    all.emplace_back("le", i < Histogram::kBounds.size() ? bound_text(Histogram::kBounds[i])
                                                         : std::string("+Inf"));
    into.sample(all, static_cast<double>(below), "_bucket");
  }
  into.sample(labels, histogram.sum, "_sum");
  into.sample(labels, static_cast<double>(below), "_count");
}

void ServiceMetrics::expose(Exposition& into) const {
  const std::lock_guard lock(mutex_);
  const auto one = [&into](const char* name, const char* help, double value) {
    into.family(name, "counter", help);
    into.sample({}, value);
  };
  std::map<std::string, std::uint64_t> classes = {{"2xx", 0}, {"3xx", 0}, {"4xx", 0}, {"5xx", 0}};
  for (const auto& [key, count] : replies_) classes[class_of(std::get<2>(key))] += count;
  into.family("jailagent_replies_total", "counter", "Replies, by class of status");
  for (const auto& [name, count] : classes)
    into.sample({{"status", name}}, static_cast<double>(count));
  into.family("jailagent_requests_total", "counter", "Requests, by route and status");
  for (const auto& [key, count] : replies_)
    into.sample({{"method", std::get<0>(key)},
                 {"route", std::get<1>(key)},
                 {"status", std::to_string(std::get<2>(key))}},
                static_cast<double>(count));
  into.family("jailagent_request_duration_seconds", "histogram",
              "From the request to its reply; to the first event of a stream");
  for (const auto& [route, histogram] : durations_) add(into, {{"route", route}}, histogram);
  into.family("jailagent_jail_start_seconds", "histogram",
              "From the request of a jail to the jail, by how it was had");
  for (const auto& [start, histogram] : starts_) add(into, {{"start", start}}, histogram);
  one("jailagent_received_bytes_total", "Bytes of bodies of requests",
      static_cast<double>(received_));
  one("jailagent_sent_bytes_total", "Bytes of bodies of replies, without streams of events",
      static_cast<double>(sent_));
  into.family("jailagent_questions_total", "counter", "Questions, by how they ended");
  for (const auto& [status, count] : questions_)
    into.sample({{"status", status}}, static_cast<double>(count));
  into.family("jailagent_model_tokens_total", "counter",
              "Tokens of models; cached are among input, reasoning among output");
  for (const char* kind : {"input", "cached", "output", "reasoning"}) {
    const auto found = tokens_.find(kind);
    into.sample({{"kind", kind}}, found == tokens_.end() ? 0 : found->second);
  }
  one("jailagent_model_turns_total", "Replies of models", static_cast<double>(turns_));
  one("jailagent_model_cost_usd_total", "What they cost, by LLM_PRICES", cost_usd_);
}

}  // namespace jailrun::service
