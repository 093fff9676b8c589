#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tools/options.h"
#include "tools/thin/plan_cache.h"
#include "tools/thin/run_verb.h"

namespace jailrun {

void become_full(const char* verb, char** argv) {
  const std::string program = full_program();
  std::vector<char*> arguments = {argv[0]};
  if (verb[0] != 0) arguments.push_back(const_cast<char*>(verb));
  for (char** argument = argv + 1; argv[0] != nullptr && *argument != nullptr; ++argument)
    arguments.push_back(*argument);
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
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
