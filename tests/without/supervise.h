// Runs a program whose kernel answers some calls otherwise.
//
// A supervisor answers the calls in question through seccomp's user notification, for the program
// and all that it starts, whatever their namespaces. So the programs that are tested are those that
// are installed: nothing in them can be told to do without. The supervisor is no child of the
// program's, holds none of its descriptors, and ends with the last process it answers.
#pragma once

#include <vector>

#include "tests/without/features.h"

namespace without {

// Becomes argv[0]; returns only where it cannot, with the status to exit with.
int run_lacking(const std::vector<const Feature*>& features, char** argv);

}  // namespace without
