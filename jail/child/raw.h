// System calls without libc: no errno, no cancellation points, no locks that another thread could
// hold. Each returns what the kernel returns: a value, or -errno.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

namespace jailrun::child {

inline long sys(long nr, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

template <typename T>
long ptr(const T* pointer) {
  return reinterpret_cast<long>(pointer);
}

// One message with descriptors, as sendmsg(2) and recvmsg(2) take it (struct msghdr of libc).
struct Part {
  void* base;
  std::uint64_t size;
};
struct Rights {  // SOL_SOCKET, SCM_RIGHTS
  static constexpr unsigned kMost = 12, kHead = 16;
  std::uint64_t length;  // of the head and the descriptors
  std::int32_t level = 1, type = 1;
  std::int32_t fds[kMost];
};
struct Message {
  void* name = nullptr;
  std::uint64_t name_length = 0;
  Part* parts;
  std::uint64_t part_count = 1;
  Rights* control;
  std::uint64_t control_length, flags = 0;
};

}  // namespace jailrun::child
