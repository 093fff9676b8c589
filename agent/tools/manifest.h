// Tools of other people: a JSON manifest names a command, which runs in a jail of its own.
//
//   {"name": "word_count", "description": "…", "parameters": {…JSON schema…},
//    "command": ["/usr/bin/python3", "/data/word_count.py"],
//    "files": ["word_count.py"], "data": true, "policy": "python", "timeout": "10s"}
//
// The command gets the arguments as JSON on stdin; what it prints is the result. `files` lie beside
// the manifest and are seen in /data; with `data` those of the question are as well.
#pragma once

#include "agent/jails/jail_client.h"
#include "agent/tools/tool.h"

namespace jailrun::agent {

// Error: a manifest that cannot be read or says something else than the above.
Expected<std::unique_ptr<Tool>> read_manifest(const std::string& path, const JailClient& client);

}  // namespace jailrun::agent
