// What came of a cell, in the shapes that programs of the service know.
#pragma once

#include "agent/service/routes.h"
#include "jail/session/session.h"

namespace jailrun::service {

std::string base64(std::string_view bytes);

// {"data": {MIME: text}, "binary": {MIME: base64}, …} of one display.
Json display_view(const SessionFrame& frame);

// All of it.
Json cell_view(const CellAnswer& answer, double seconds);

// POST /execute: session_id, success, stdout, stderr, result, error, execution_time, files_created.
Json execute_view(const std::string& session, const CellAnswer& answer, double seconds,
                  double timeout_s);

}  // namespace jailrun::service
