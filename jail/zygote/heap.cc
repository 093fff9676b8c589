#include "jail/zygote/heap.h"

#include <cstring>

namespace jailrun::zygote {

void freeze_heap(char* account, std::size_t size) {
  std::strncpy(account, "heap as it is", size - 1);
}

}  // namespace jailrun::zygote
