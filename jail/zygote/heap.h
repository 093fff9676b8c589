// What makes the zygote cheap to fork.
#pragma once

#include <cstddef>

namespace jailrun::zygote {

// Moves this process's memory into a sealed memfd that it maps privately, in place. A fork then
// copies no page tables for it (they fill by faults), a library has two mappings instead of six,
// and what is only read is mapped 2 MiB at a time. Its one thread calls it once, after all imports.
// `account` gets one line: what was done, or why it was not. Whatever fails, no content changes.
void freeze_heap(char* account, std::size_t size);

// Sets the reference count of each Python object to CPython 3.12's and 3.13's mark of immortality:
// a child that looks at one leaves its page alone. Gives how many were not immortal before. Only
// for those versions on a 64-bit machine, the caller checks that.
std::size_t immortalize(void* const* objects, std::size_t count);

}  // namespace jailrun::zygote
