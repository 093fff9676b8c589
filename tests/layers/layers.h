// The walls of a jail, each of which can be taken away alone.
//
// A wall is taken away by the kernel that the jail's builder sees: a supervisor (tests/without)
// answers the call that would put it up with success and does nothing, or changes what the call is
// given, or undoes it from outside as root. The programs are those that are installed; nothing in
// them can be told to do without.
#pragma once

#include <string>
#include <vector>

#include "tests/without/features.h"

namespace layers {

struct Layer {
  const char* name;
  const char* removed;  // what is not done, for the table
};

extern const Layer kLayers[];  // ends with a null name

// What the kernel answers without a layer of the table, or without rules of the filter:
// "allow=NUMBER,NUMBER…" lets these calls pass whatever their arguments are; "nothing" takes none
// away. Empty: no such layer.
std::vector<without::Feature> without_layer(const std::string& name);

}  // namespace layers
