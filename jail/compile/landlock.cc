#include "jail/compile/compile.h"

namespace jailrun {
namespace {

// Rights by the ABI that brought them; the headers of Debian 12 know ABI 2.
enum FsRight : std::uint64_t {
  kExecute = 1 << 0,
  kWriteFile = 1 << 1,
  kReadFile = 1 << 2,
  kReadDir = 1 << 3,
  kRemoveDir = 1 << 4,
  kRemoveFile = 1 << 5,
  kMakeChar = 1 << 6,
  kMakeDir = 1 << 7,
  kMakeReg = 1 << 8,
  kMakeSock = 1 << 9,
  kMakeFifo = 1 << 10,
  kMakeBlock = 1 << 11,
  kMakeSym = 1 << 12,
  kRefer = 1 << 13,     // ABI 2, kernel 5.19
  kTruncate = 1 << 14,  // ABI 3, kernel 6.2
  kIoctlDev = 1 << 15,  // ABI 5, kernel 6.10
};
constexpr std::uint64_t kBindTcp = 1, kConnectTcp = 2;             // ABI 4, kernel 6.7
constexpr std::uint64_t kScopeAbstractUnix = 1, kScopeSignal = 2;  // ABI 6, kernel 6.12

std::uint64_t fs_rights(int abi) {
  std::uint64_t rights = (std::uint64_t{1} << 13) - 1;
  if (abi >= 2) rights |= kRefer;
  if (abi >= 3) rights |= kTruncate;
  if (abi >= 5) rights |= kIoctlDev;
  return rights;
}

}  // namespace

LandlockPlan landlock_plan(int abi, NetworkMode network) {
  LandlockPlan plan{};
  if (abi < 1) return plan;
  plan.abi = abi;
  plan.handled_fs = fs_rights(abi);
  plan.read_fs = kExecute | kReadFile | kReadDir;
  // Everything but device nodes and ioctl on devices; what noexec forbids stays forbidden by the
  // mount.
  plan.write_fs = plan.handled_fs & ~std::uint64_t{kMakeChar | kMakeBlock | kIoctlDev};
  // No rule grants a port: with LOOPBACK the namespace has nothing but itself to talk to.
  if (abi >= 4 && network == NetworkMode::None) plan.handled_net = kBindTcp | kConnectTcp;
  if (abi >= 6) plan.scoped = kScopeAbstractUnix | kScopeSignal;
  return plan;
}

}  // namespace jailrun
