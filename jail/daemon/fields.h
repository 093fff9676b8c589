// The numbers of jaild.proto's fields, for clients: protozero reads and writes the same wire format
// without protobuf's library. tests/unit/jaild_wire_test.cc compares the two.
#pragma once

#include <protozero/exception.hpp>

// A field of another type than its number says is a broken message: in a release build protozero
// would read it as something else, in any other it would end the program.
#define protozero_assert(sound) \
  ((sound) ? void() : throw protozero::unknown_pbf_wire_type_exception())

#include <protozero/pbf_builder.hpp>
#include <protozero/pbf_message.hpp>

namespace jailrun::fields {

using Tag = protozero::pbf_tag_type;

enum class ToDaemon : Tag { Descriptors = 1, Lease, Kill, Ps, Stats, KillJail, Session };
enum class FromDaemon : Tag { Descriptors = 1, Leased, Refused, Ended, Ps, Stats, Done, Sessions };
enum class Lease : Tag {
  Request = 1,
  Policy,
  Overrides,
  Owner,
  Files,
  QueueNs,
  WantsFiles,
  First,
  Session,
  Packages,
  Label
};
enum class Kill : Tag { Lease = 1, Cancelled, OutputExceeded };
enum class Query : Tag { Request = 1, Lease };  // PsQuery, StatsQuery, KillJail, Done
enum class Timing : Tag { Stage = 1, AtNs, Ns };
enum class Leased : Tag {
  Request = 1,
  Lease,
  Start,
  Timeline,
  QueuedNs,
  WallNs,
  OutputBytes,
  CollectFiles,
  CollectBytes,
  Warnings,
  Session
};
enum class SessionRequest : Tag { Request = 1, Session, Op, WallNs, Pid, Ends, Label };
enum class SessionEntry : Tag {
  Session = 1,
  Policy,
  Uid,
  Owner,
  State,
  AgeNs,
  IdleNs,
  MemoryBytes,
  Origin,
  Label
};
enum class SessionList : Tag { Request = 1, Sessions, More };
enum class Refused : Tag { Request = 1, Name, Message, Remedy };
enum class Evidence : Tag { Name = 1, Flag, Number, Text };
enum class Limit : Tag { Name = 1, Value, EnforcedBy };
enum class Ended : Tag {
  Lease = 1,
  Verdict,
  Reason,
  Evidence,
  Status,
  ExitCode,
  Signal,
  WallNs,
  CpuNs,
  MemoryPeakBytes,
  PidsPeak,
  Timeline,
  Limits,
  LimitsHit,
  Warnings,
  WorkDevice
};
enum class Jail : Tag {
  Lease = 1,
  Policy,
  State,
  Uid,
  Owner,
  Pid,
  AgeNs,
  LeasedNs,
  MemoryBytes,
  HostUid
};
enum class Ps : Tag { Request = 1, Jails, More };
enum class Metric : Tag { Name = 1, Policy, Kind, Value, Text };
enum class Stats : Tag { Request = 1, Metrics };

}  // namespace jailrun::fields
