// jailrun, the thin program: run and exec. Static, small, and done with its own start in a fraction
// of the time that a jail takes; every other verb is jailrun-full's, which lies beside it.
#include <string_view>

#include "tools/thin/run_verb.h"

int main(int argc, char** argv) {
  jailrun::occupy_standard_descriptors();
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb != "run" && verb != "exec") jailrun::become("jailrun-full", argv);
  return jailrun::run_verb(argc, argv, nullptr);
}
