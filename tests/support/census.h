// Census: everything of the host that a run could leave behind, counted before and after.
#pragma once

#include <map>
#include <string>

namespace jailrun::test {

// What exists now, each thing by a name that stays the same while it lives: descriptors of this
// process, its children, host processes with a guest's uid or named jailrun, mounts of this mount
// namespace, cgroups named jailrun-*, entries of the run directory and of the state directory, and
// those of /tmp and /dev/shm that have jailrun in their names.
std::map<std::string, std::string> take_census();

// What `after` has and `before` has not, a line each; empty: nothing was left behind.
std::string left_behind(const std::map<std::string, std::string>& before,
                        const std::map<std::string, std::string>& after);

}  // namespace jailrun::test

// Runs a statement between two counts and expects them to be the same.
#define EXPECT_NOTHING_LEFT_BY(statement)                                                       \
  do {                                                                                          \
    const auto census_before = ::jailrun::test::take_census();                                  \
    statement;                                                                                  \
    EXPECT_EQ(::jailrun::test::left_behind(census_before, ::jailrun::test::take_census()), ""); \
  } while (false)
