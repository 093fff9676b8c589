// The provider that asks no model: it translates the question itself, or says that it cannot.
#pragma once

#include <memory>

#include "agent/provider.h"

namespace jailrun::agent::offline {

std::unique_ptr<Provider> make_provider();

}  // namespace jailrun::agent::offline
