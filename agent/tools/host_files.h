// safe_file_access: an agent that may read host files, and run nothing.
#pragma once

#include "agent/jails/jail_client.h"
#include "agent/tools/tool.h"

namespace jailrun::agent {

// CSV files below `root`, reached by no link and no "..". Each file that was read is added to
// `handed`, for the jail of another agent.
std::unique_ptr<Tool> make_safe_file_access(std::string root, std::vector<Input>& handed);

// $JAIL_DATA_DIR, or ./resources/data.
std::string default_data_root();

// The first `rows` rows of CSV text and its header, in aligned columns.
std::string first_rows(const std::string& csv, std::size_t rows);

}  // namespace jailrun::agent
