// Limits of the service that its operator has set in the environment (or by the configuration
// file).
#pragma once

#include "agent/service/service.h"

namespace jailrun::service {

// MAX_EXECUTION_TIME (seconds: default of /execute, and its ceiling), MAX_MEMORY_MB,
// MAX_OUTPUT_SIZE (bytes), CODE_EXECUTION_TIMEOUT (seconds). Error: no such number, or
// ENABLE_NETWORKING, which no policy of the service can grant.
Expected<void> limits_of_environment(ServiceOptions& options);

}  // namespace jailrun::service
