#include "tests/guests/probe.h"

#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace probe {

int run_named(char** words) {
  for (const Probe* const table : {kFileProbes, kProcessProbes, kNetworkProbes, kBatteryProbes,
                                   kEntryProbes, kMachineProbes}) {
    for (const Probe* each = table; each->name != nullptr; ++each) {
      if (std::strcmp(each->name, words[0]) == 0) return each->run(words + 1);
    }
  }
  std::fprintf(stderr, "no probe is called %s\n", words[0]);
  return 251;
}

}  // namespace probe

int main(int argc, char** argv) { return argc < 2 ? 2 : probe::run_named(argv + 1); }
