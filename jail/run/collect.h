// Taking out what a run left in /work, once nobody can change it any more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jail/run/result.h"
#include "jail/sys/fd.h"

namespace jailrun {

struct CollectRequest {
  const Fd& work;  // held mount of /work; all processes of the jail are gone
  std::uint32_t host_uid;
  std::uint32_t max_files;
  std::uint64_t max_bytes;  // of all files together
  int out_dir;              // where copies go, or -1 to list only
  std::string out_name;     // for messages
};

struct Collection {
  std::vector<OutputFile> files;
  std::vector<SkippedFile> skipped;  // at most 100; then one entry counts the rest
};

// The walk of /work by a process of its own: what it finds comes on `socket`, its end as end of
// file there. The caller kills it when it has heard enough, and reaps it.
struct Walk {
  Fd socket;
  int pid = 0;
};
Expected<Walk> start_walk(const Fd& work, std::uint32_t host_uid);

// As collect(), from the socket of a walk that another process started.
struct ReceiveRequest {
  int socket;
  std::uint64_t device;  // st_dev of /work: a file from anywhere else is not taken
  std::uint32_t max_files;
  std::uint64_t max_bytes;
  int out_dir;
  std::string out_name;
};
Expected<Collection> receive_files(const ReceiveRequest& request);

// True if anything at all lies in the mount: one system call, so that most runs pay no more.
bool has_files(const Fd& work);

// Copies regular files only, each through a temporary name and rename, so that no half-written file
// has its name. Links, fifos, devices, unreadable, too large, too deep and badly named ones are
// skipped and named. Error: the output directory cannot be written (full, read-only).
Expected<Collection> collect(const CollectRequest& request);

}  // namespace jailrun
