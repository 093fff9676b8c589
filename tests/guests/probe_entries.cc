// Ways into the kernel other than the `syscall` instruction that a program is compiled to, and ways
// to a page of a file other than write(2). This program lies below 4 GiB, where 32-bit code reaches
// it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/guests/probe.h"

namespace probe {
namespace {

// What a way writes on stdout once the kernel does as it asks: the reader of stdout sees it, and
// need not believe this program.
char said[32];
std::size_t length;

// 32-bit code finds its stack here.
alignas(16) char low_stack[4096];

constexpr std::uint64_t kCode32 = 0x23;  // the kernel's segment for 32-bit programs

// Entered in 32-bit mode with eax = 4 (write), ebx = 1, ecx and ebp = text, edx = its length.
extern "C" {
void enter_by_int80();
void enter_by_sysenter();
void enter_by_syscall();
void enter_by_native_syscall();
}
asm(R"(
.text
.code32
enter_by_int80:
  int $0x80
  movl $1, %eax
  xorl %ebx, %ebx
  int $0x80
enter_by_sysenter:
  sysenter
  ud2
enter_by_syscall:
  syscall
  ud2
.code64
enter_by_native_syscall:
  syscall
  movl $60, %eax
  xorl %edi, %edi
  syscall
)");

std::uint64_t address(void (*code)()) { return std::bit_cast<std::uint64_t>(code); }

void int80() {
  long result = 4;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(1L), "c"(said), "d"(length)
               : "memory", "r8", "r9", "r10", "r11");
}

// Returns as from a far call, into a segment of 32-bit code.
[[noreturn]] void far_return(void (*code)()) {
  auto* stack = reinterpret_cast<std::uint64_t*>(low_stack + sizeof low_stack) - 2;
  stack[0] = address(code);
  stack[1] = kCode32;
  asm volatile(
      "movq %[stack], %%rsp\n\t"
      "movq %%rcx, %%rbp\n\t"
      "lretq"
      :
      : [stack] "r"(stack), "a"(4L), "b"(1L), "c"(said), "d"(length)
      : "memory");
  __builtin_unreachable();
}

// The signal frame that its handler leaves: rt_sigreturn takes every register from it.
enum class Frame { Int80, Vmsplice } frame_of;
iovec part;

void forge(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto set = [&](int which, std::uint64_t value) {
    registers[which] = static_cast<greg_t>(value);
  };
  if (frame_of == Frame::Int80) {
    set(REG_RIP, address(enter_by_int80));
    set(REG_CSGSFS, (static_cast<std::uint64_t>(registers[REG_CSGSFS]) & ~0xffffUL) | kCode32);
    set(REG_RSP, reinterpret_cast<std::uint64_t>(low_stack + sizeof low_stack - 64));
    set(REG_RAX, 4);
    set(REG_RBX, 1);
    set(REG_RCX, reinterpret_cast<std::uint64_t>(said));
    set(REG_RDX, length);
    return;
  }
  // Puts the page itself into the pipe: a call that the policy refuses.
  part = {said, length};
  set(REG_RIP, address(enter_by_native_syscall));
  set(REG_RAX, SYS_vmsplice);
  set(REG_RDI, 1);
  set(REG_RSI, reinterpret_cast<std::uint64_t>(&part));
  set(REG_RDX, 1);
  set(REG_R10, 0);
}

void return_through(Frame frame) {
  frame_of = frame;
  struct sigaction action{};
  action.sa_sigaction = forge;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGUSR1, &action, nullptr);
  ::raise(SIGUSR1);
}

struct Way {
  const char* name;
  void (*go)();
};
constexpr Way kWays[] = {
    {"int80", int80},
    {"far-int80", [] { far_return(enter_by_int80); }},
    {"far-sysenter", [] { far_return(enter_by_sysenter); }},
    {"far-syscall", [] { far_return(enter_by_syscall); }},
    {"frame-int80", [] { return_through(Frame::Int80); }},
    {"frame-vmsplice", [] { return_through(Frame::Vmsplice); }},
};

// Each way in a child of its own; then "NAME: ended by signal N" or "NAME: ended".
int entries(char**) {
  for (const Way& way : kWays) {
    length = static_cast<std::size_t>(std::snprintf(said, sizeof said, "wrote by %s\n", way.name));
    const pid_t child = ::fork();
    if (child == 0) {
      way.go();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
      std::printf("%s: ended by signal %d\n", way.name, WTERMSIG(status));
    else
      std::printf("%s: ended\n", way.name);
    std::fflush(stdout);
  }
  return 0;
}

// time(2) by the page that old programs call. The kernel asks the filter there as well.
int vsyscall_time(char**) {
  const auto call = std::bit_cast<long (*)(long*)>(std::uintptr_t{0xffffffffff600400});
  const long now = call(nullptr);
  if (now < 0) return static_cast<int>(-now);
  return now > 0 ? 0 : kRefused;
}

// Writes to a page of FILE that is mapped, through /proc/self/mem, which asks no page for its
// protection. "shared": as it is mapped; "private": which must write a copy.
int write_through_memory(char** a) {
  const bool shared = std::strcmp(a[1], "shared") == 0;
  int file = ::open(a[0], O_RDWR);
  const bool own = file >= 0;
  if (!own) file = ::open(a[0], O_RDONLY);
  const int memory = ::open("/proc/self/mem", O_RDWR);
  if (file < 0 || memory < 0) return errno;
  const int rights = shared && own ? PROT_READ | PROT_WRITE : PROT_READ;
  void* place = ::mmap(nullptr, 4096, rights, shared ? MAP_SHARED : MAP_PRIVATE, file, 0);
  if (place == MAP_FAILED) return errno;
  return outcome(::pwrite(memory, "changed!", 8, reinterpret_cast<off_t>(place)));
}

}  // namespace

const Probe kEntryProbes[] = {
    {"entries", entries},
    {"vsyscall-time", vsyscall_time},
    {"write-through-memory", write_through_memory},
    {nullptr, nullptr},
};

}  // namespace probe
