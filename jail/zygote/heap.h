// What makes the zygote cheap to fork.
#pragma once

#include <cstddef>

namespace jailrun::zygote {

// Rearranges this process's memory so that a fork copies fewer page tables; its one thread calls it
// once, after imports. `account` gets one line: what was done, or why nothing was.
void freeze_heap(char* account, std::size_t size);

}  // namespace jailrun::zygote
