// A capsule as others read it. Both texts are made of the capsule alone, keys redacted as in it.
#pragma once

#include <string>
#include <vector>

#include "agent/record/capsule.h"

namespace jailrun::agent {

// A Jupyter notebook (nbformat 4.5) of what was run, failures included, with outputs and pictures.
std::string notebook_of(const nlohmann::json& capsule, const std::vector<KeptFile>& files);

// Several of them as one, in order.
std::string joined_notebooks(const std::vector<std::string>& notebooks);

// One HTML page that asks nothing of any server and runs nothing: its policy says so, what guests
// wrote is escaped, and HTML of theirs lies in a sandboxed frame.
std::string report_of(const nlohmann::json& capsule, const std::vector<KeptFile>& files);

std::string html_escaped(std::string_view text);
// Markdown as models write it (headings, lists, tables, code, bold): everything else stays text.
std::string html_of_markdown(std::string_view text);

std::string base64_of(std::string_view bytes);

}  // namespace jailrun::agent
