// The data files of a question, checked on the host before anything else is done.
#pragma once

#include <string>
#include <vector>

#include "agent/jails/jail_client.h"

namespace jailrun::agent {

// Each argument is SRC or SRC:NAME. Refuses, by name and with a remedy, what is missing,
// unreadable, empty, a directory or anything but a regular file. Names are made safe for code and
// distinct: "My sales (2).csv" becomes "My_sales_2.csv".
Expected<std::vector<Input>> check_inputs(const std::vector<std::string>& arguments);

}  // namespace jailrun::agent
