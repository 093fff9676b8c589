// Trying a thing in a child process, so that trying leaves nothing behind.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace jailrun::full {

struct Tried {
  int error = 0;  // errno of what was tried; 0: it worked. ETIMEDOUT: the child hung and was killed
  std::string text;  // what the child wrote
};

// Runs `what` in a forked child; it returns an errno, and may write a short text to the descriptor
// that it is given. The child and everything it started in a pid namespace of its own is gone
// afterwards.
Tried try_in_child(const std::function<int(int text_fd)>& what);

// The same in a new user namespace that maps one id (inside 0) to an id of ours, with the
// namespaces of `flags` (CLONE_NEW*) made in the same call. In a new pid namespace the child is
// pid 1.
Tried try_in_namespaces(unsigned long flags, const std::function<int(int text_fd)>& what);

// A child that is born in a cgroup, and ends there.
Tried try_clone_into(int cgroup);

// Runs a program to its end and keeps its exit status and what it wrote (64 KiB of each at most).
struct Ran {
  int status = 127;
  std::string out, err;
};
Ran run_program(const std::vector<std::string>& argv);

}  // namespace jailrun::full
