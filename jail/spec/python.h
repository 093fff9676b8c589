// The `python` block of a policy: from its message to a Spec's, and to the guest.
#pragma once

#include <string>

#include "jail/spec/reader.h"
#include "jail/spec/spec.h"

namespace jailrun {

SpecPython read_python(Reader& reader, const Scope& scope, const policy::Python& in);

// The value of JAILRUN_PYTHON, JSON as rootfs/guest/site/jailrun_policy.py reads it; "" where the
// policy says nothing of Python.
std::string python_for_guest(const Spec& spec);

}  // namespace jailrun
