// The probe of tests/guests, in a jail and outside of any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/live.h"

namespace jailrun::test {

// The command line of `jailrun exec` that runs `probe ARGUMENTS…` in a jail of the default policy
// for Python, with the executable /work that a compiled program needs.
std::vector<std::string> jailed(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& options = {});

Outcome probe_jailed(const std::vector<std::string>& arguments,
                     const std::vector<std::string>& options = {});
// As a plain child of this process; `prepare` runs in it before exec.
Outcome probe_unjailed(const std::vector<std::string>& arguments,
                       const std::function<void()>& prepare = {});

// A jail whose guest has said "ready" and waits for a line on stdin.
std::unique_ptr<Live> waiting_jail(const std::vector<std::string>& arguments = {"wait"},
                                   const std::vector<std::string>& options = {},
                                   const std::function<void()>& prepare = {});
std::unique_ptr<Live> waiting_program(const std::vector<std::string>& arguments = {"wait"},
                                      const std::function<void()>& prepare = {});

// 32 hexadecimal digits that nothing else contains.
std::string canary();

// A directory of this test alone, gone with the object.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  std::string file(const std::string& name, const std::string& content = {},
                   unsigned mode = 0644) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace jailrun::test
