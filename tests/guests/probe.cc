#include "tests/guests/probe.h"

#include <cstdio>
#include <cstring>
#include <initializer_list>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  for (const probe::Probe* const table :
       {probe::kFileProbes, probe::kProcessProbes, probe::kNetworkProbes}) {
    for (const probe::Probe* each = table; each->name != nullptr; ++each) {
      if (std::strcmp(each->name, argv[1]) == 0) return each->run(argv + 2);
    }
  }
  std::fprintf(stderr, "no probe is called %s\n", argv[1]);
  return 251;
}
