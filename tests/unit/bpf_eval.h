// A classic BPF evaluator, as small as seccomp filters need it: the filter as a pure function.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace jailrun::test {

struct Evaluation {
  std::uint32_t action = 0;  // SECCOMP_RET_*
  int steps = 0;
  bool looks_at_arguments = false;
};

// What the kernel does with a filter; none where the program is not a valid one (a bad jump, an
// unknown instruction, no return).
inline std::optional<Evaluation> evaluate(std::span<const sock_filter> program,
                                          const seccomp_data& data) {
  std::uint32_t accumulator = 0;
  int steps = 0;
  bool looks_at_arguments = false;
  for (std::size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& in = program[pc];
    ++steps;
    bool jump = false;
    switch (in.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (in.k + 4 > sizeof data || in.k % 4 != 0) return std::nullopt;
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + in.k, 4);
        looks_at_arguments |= in.k > offsetof(seccomp_data, arch);
        continue;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= in.k;
        continue;
      case BPF_RET | BPF_K:
        return Evaluation{in.k, steps, looks_at_arguments};
      case BPF_JMP | BPF_JA:
        pc += in.k;
        continue;
      case BPF_JMP | BPF_JEQ | BPF_K:
        jump = accumulator == in.k;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        jump = accumulator > in.k;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        jump = accumulator >= in.k;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        jump = (accumulator & in.k) != 0;
        break;
      default:
        return std::nullopt;
    }
    pc += jump ? in.jt : in.jf;
  }
  return std::nullopt;
}

}  // namespace jailrun::test
