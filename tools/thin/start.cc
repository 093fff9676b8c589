#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tools/options.h"
#include "tools/thin/plan_cache.h"
#include "tools/thin/run_verb.h"

namespace jailrun {

void become(const char* name, char** argv) {
  const std::string program = program_beside(name);
  ::execv(program.c_str(), argv);
  std::fprintf(stderr, "jailrun: cannot run %s: %s; install it beside jailrun\n", program.c_str(),
               strerrordesc_np(errno));
  ::_exit(kStatusOurs);
}

void occupy_standard_descriptors() {
  int fd = 0;
  do fd = ::open("/dev/null", O_RDONLY);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace jailrun
