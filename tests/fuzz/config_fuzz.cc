// Any bytes as a configuration file: settings, or faults that name file and remedy.
#include <sys/mman.h>
#include <sys/stat.h>

#include "jail/sys/fd.h"
#include "tests/fuzz/input.h"
#include "tools/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace jailrun;
  const Fd file(::memfd_create("config", MFD_CLOEXEC));
  fuzz::check(::fchmod(file.get(), 0600) == 0);
  fuzz::check(write_all(file.get(), reinterpret_cast<const char*>(data), size) == 0);
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const config::Config read = config::read({path}, true);
  for (const Error& fault : read.faults)
    fuzz::check(fault.message.starts_with(path) && !fault.remedy.empty());
  for (const auto& [variable, value] : read.values)
    fuzz::check(value.line > 0 && value.file == path);
  return 0;
}
