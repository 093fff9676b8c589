// jailrun-net: run and exec for policies with a loopback network, which take netlink. The thin
// program becomes it; nobody calls it by its name.
#include "jail/netlink/loopback.h"
#include "tools/thin/run_verb.h"

int main(int argc, char** argv) {
  jailrun::occupy_standard_descriptors();
  return jailrun::run_verb(argc, argv, &jailrun::bring_up_loopback);
}
