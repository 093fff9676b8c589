// The table of a run in the form that a request accepts: JSON, CSV or an Arrow stream.
#pragma once

#include "agent/service/service.h"

namespace jailrun::service {

// What `Accept` of `call` names first of CSV and Arrow, where it names no JSON, and `result` is a
// table ({columns, rows}); else `whole`. Arrow is written in a jail: the values are a guest's.
HttpReply reply_with_table(const ServiceOptions& options, const Call& call, const Json& result,
                           const Json& whole);

}  // namespace jailrun::service
