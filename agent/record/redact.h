// Redactor: takes keys out of what is going to be kept. Every text of a record passes through it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace jailrun::agent {

class Redactor {
 public:
  Redactor() = default;
  // Knows the values of all variables of the environment, and of ./.env, whose names say KEY,
  // TOKEN, SECRET or PASSWORD. What only looks like a key ("sk-…", "ghp_…") goes without being
  // known.
  static Redactor from_environment();
  // Shorter than eight characters is no secret: it would be found everywhere.
  void add(const std::string& secret);

  // Each key is "[key]" in what is returned.
  std::string text(std::string from) const;
  // All strings of a value, names of members included.
  nlohmann::json value(nlohmann::json from) const;
  bool finds(const std::string& in) const { return text(in) != in; }

 private:
  std::vector<std::string> secrets_;
};

}  // namespace jailrun::agent
