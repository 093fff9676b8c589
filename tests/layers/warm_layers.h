// The walls of a warm jail. Its builders live on from jail to jail, so a wall is taken away while
// they run: which one, a page says that the supervisor shares with the test.
#pragma once

#include <vector>

#include "tests/layers/layers.h"

namespace layers {

extern const Layer kWarmLayers[];  // ends with a null name

// The calls of a daemon that is started with these, and of all its worlds: answered as the layer
// kWarmLayers[*active] wants it, and by the kernel alone where *active is negative. `active` lies
// in memory that the caller shares with its children.
std::vector<without::Feature> warm_features(const volatile int* active);

}  // namespace layers
