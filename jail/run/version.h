#pragma once

namespace jailrun {
inline constexpr const char* kVersion = JAILRUN_VERSION;
}
