// The two halves of compile_filter: what libseccomp says, and the same said shorter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <linux/filter.h>

#include "jail/spec/spec.h"
#include "jail/sys/error.h"

namespace jailrun {

// libseccomp's two ways to find a call's number: all in a row, or a binary tree (faster to run and
// to load, slower to make).
enum class Spelling : std::uint8_t { Linear, Tree };

// libseccomp's own programs, joined. What the filter means; shrink_filter's result is compared
// with it.
Expected<std::vector<sock_filter>> spelled_filter(const Spec& spec, Spelling spelling);

// A program that gives the same action for every seccomp_data and is cheaper to load. Pure.
// Understands what libseccomp writes: loads, AND, comparisons for equality and order, RET.
// Errors: any other instruction, a jump out of the program, rules that branch beyond measure.
Expected<std::vector<sock_filter>> shrink_filter(std::span<const sock_filter> program);

}  // namespace jailrun
