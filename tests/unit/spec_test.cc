// Policies, from text to Spec: either every field is sound, or all faults are told at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "jail/plan/find_policy.h"
#include "jail/spec/environment.h"
#include "jail/spec/explain.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"

namespace jailrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const GroupTexts kGroups = {
    {"base",
     {"seccomp/base.textproto",
      "name: 'base' description: 'all' rules { calls: ['read', 'write'] why: 'input' }"}},
    {"files",
     {"seccomp/files.textproto",
      "name: 'files' description: 'files' rules { calls: 'openat' why: 'opening' }"}},
    {"red",
     {"seccomp/red.textproto",
      "name: 'red' description: 'no' rules { calls: 'ptrace' action: KILL why: 'tracing' }"}},
};
const std::string kHead = "name: 'p' description: 'd' ";
const std::string kCalls = "syscalls { groups: 'base' } ";

std::vector<std::string> faults(const std::string& text, const Overrides& sets = {}) {
  const auto spec = parse(text, "p.textproto", kGroups, sets);
  std::vector<std::string> texts;
  if (!spec) {
    for (const Fault& fault : spec.error()) texts.push_back(fault.text());
  }
  return texts;
}

Spec good(const std::string& text, const Overrides& sets = {}) {
  EXPECT_THAT(faults(text, sets), IsEmpty());
  return parse(text, "p.textproto", kGroups, sets).value();
}

TEST(Parse, fills_in_the_defaults_that_policy_proto_names) {
  const Spec spec = good(kHead + kCalls);
  EXPECT_EQ(spec.image, "python");
  EXPECT_EQ(spec.limits.memory_bytes.get(), 512 * kMiB);
  EXPECT_EQ(spec.limits.pids.get(), 64u);
  EXPECT_EQ(spec.limits.cpus.get(), 1.0);
  EXPECT_EQ(spec.limits.wall_ns.get(), 60 * kSecond);
  EXPECT_EQ(spec.limits.cpu_ns.get(), 60 * kSecond);
  EXPECT_EQ(spec.limits.output_bytes.get(), kMiB);
  EXPECT_EQ(spec.limits.open_files.get(), 1024u);
  EXPECT_EQ(spec.limits.file_size_bytes.get(), 256 * kMiB);
  EXPECT_EQ(spec.limits.collect_files.get(), 1000u);
  EXPECT_EQ(spec.limits.collect_bytes.get(), 256 * kMiB);
  EXPECT_EQ(spec.files, SpecFiles{});
  EXPECT_EQ(spec.network, SpecNetwork::None);
}

TEST(Parse, derives_limits_that_are_not_written_from_those_that_are) {
  const Spec spec =
      good(kHead + kCalls + "limits { wall: '10s' cpus: 2.5 } files { work: '8MiB' }");
  EXPECT_EQ(spec.limits.cpu_ns.get(), 25 * kSecond);
  EXPECT_EQ(spec.limits.file_size_bytes.get(), 8 * kMiB);
  EXPECT_EQ(spec.limits.collect_bytes.get(), 8 * kMiB);
}

TEST(Parse, tells_a_written_zero_from_a_missing_field) {
  EXPECT_EQ(good(kHead + kCalls + "limits { collect_files: 0 }").limits.collect_files.get(), 0u);
  EXPECT_THAT(faults(kHead + kCalls + "limits { pids: 0 }"),
              ElementsAre(HasSubstr("limits.pids: 0 is out of range")));
}

TEST(Parse, reports_all_faults_of_a_policy_at_once_each_with_its_place) {
  const std::string text = R"(name: "p"
descripton: "d"
limits {
  memory: "256MB"
  pids: "many"
  wall: "1 parsec"
  cpus: 4000
}
network { mode: LOOPBAK }
syscalls {
  groups: ["base", "fils"]
  rules { calls: "opennat" why: "x" }
  rules { calls: "getpid" }
}
environment { key: "1BAD" value: "x" }
danger { missing_limit: PIDS }
)";
  EXPECT_THAT(
      faults(text),
      ElementsAre(
          "p.textproto:1:1: description: is missing; say in one sentence what it is for",
          "p.textproto:2:1: unknown field 'descripton'; did you mean 'description'?",
          HasSubstr("p.textproto:4:3: limits.memory: '256MB' is not a size; a size is"),
          HasSubstr("p.textproto:5:9: limits.pids: expected integer"),
          HasSubstr("p.textproto:6:3: limits.wall: '1 parsec' is not a duration; a duration is"),
          "p.textproto:7:3: limits.cpus: 4000 is out of range; choose from 0.01 to 1024",
          "p.textproto:9:11: network.mode: no value 'LOOPBAK'; did you mean 'LOOPBACK'?",
          "p.textproto:11:3: syscalls.groups[1]: no group of system calls 'fils'; did you mean "
          "'files'?",
          HasSubstr("p.textproto:12:11: syscalls.rules[0].calls[0]: no system call 'opennat'"),
          HasSubstr("p.textproto:13:3: syscalls.rules[1].why: is missing"),
          HasSubstr("p.textproto:15:1: environment.1BAD: '1BAD' is no name of a variable"),
          HasSubstr("p.textproto:16:1: danger[0].why: is missing")));
}

TEST(Parse, goes_on_behind_a_bracket_that_is_never_closed) {
  const auto told =
      faults("name: 'p'\ndescription: 'd'\nlimits {\n  pids: 9\nfiles { tmp: '1' }\n" + kCalls);
  EXPECT_THAT(told, ElementsAre(HasSubstr("p.textproto:3:1: limits: '{' is never closed"),
                                HasSubstr("p.textproto:5:9: files.tmp: '1' is not a size")));
}

TEST(Parse, refuses_bytes_that_are_no_text) {
  EXPECT_THAT(faults("name: 'p'\n\xff"), ElementsAre(HasSubstr("p.textproto:2:1: not UTF-8")));
  EXPECT_THAT(faults(std::string("name: 'p'\0", 10)),
              ElementsAre(HasSubstr("p.textproto:1:10: control character 0")));
  EXPECT_THAT(faults(std::string(2 << 20, ' ')), ElementsAre(HasSubstr("larger than 1 MiB")));
  EXPECT_FALSE(faults("").empty());
}

TEST(Parse, ends_for_every_beginning_of_a_policy) {
  std::ifstream file(JAILRUN_SOURCE_DIR "/policies/python.textproto");
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str();
  ASSERT_GT(text.size(), 1000u);
  for (std::size_t length = 0; length < text.size(); length += 3) {
    EXPECT_FALSE(faults(text.substr(0, length)).empty()) << length;
  }
}

TEST(Parse, wants_the_name_of_the_file) {
  EXPECT_THAT(faults("name: 'q' description: 'd' " + kCalls),
              ElementsAre(HasSubstr("write name: \"p\"")));
}

TEST(Parse, refuses_rules_that_contradict_themselves) {
  const auto rule = [](const std::string& text) {
    return faults(kHead + "syscalls { groups: ['base', 'red'] rules { why: 'x' " + text + "} }");
  };
  EXPECT_THAT(rule("calls: 'dup'"), IsEmpty());
  EXPECT_THAT(rule("calls: 'dup' action: ERRNO"),
              ElementsAre(HasSubstr("rules[0].error: is missing")));
  EXPECT_THAT(rule("calls: 'dup' action: ERRNO error: 'EPRM'"),
              ElementsAre(HasSubstr("no errno 'EPRM'")));
  EXPECT_THAT(rule("calls: 'dup' error: 'EPERM'"),
              ElementsAre(HasSubstr("goes with action: ERRNO only")));
  EXPECT_THAT(rule("calls: 'dup' args { index: 6 }"), ElementsAre(HasSubstr("choose from 0 to 5")));
  EXPECT_THAT(rule("calls: 'dup' args { index: 1 } args { index: 1 value: 2 }"),
              ElementsAre(HasSubstr("condition on that argument already")));
  EXPECT_THAT(rule("calls: 'dup' args { index: 1 compare: MASKED_EQUAL mask: 1 value: 2 }"),
              ElementsAre(HasSubstr("has bits outside of mask")));
  EXPECT_THAT(rule("calls: 'socketcall'"),
              ElementsAre(HasSubstr("no system call 'socketcall' on x86-64")));
  EXPECT_THAT(rule("calls: 'mseal'"), IsEmpty());  // newer than Debian 12's libseccomp
  EXPECT_THAT(rule("calls: 'ptrace'"),
              ElementsAre(HasSubstr("'ptrace' is on the red list; drop it, or add danger")));
}

TEST(Parse, takes_calls_off_the_red_list_only_if_they_are_on_it) {
  const std::string red =
      kHead + "syscalls { groups: ['base', 'red'] rules { calls: 'ptrace' why: 'x' } }";
  EXPECT_THAT(faults(red + "danger { syscall: 'ptrace' why: 'x' }"), IsEmpty());
  EXPECT_THAT(faults(kHead + kCalls + "danger { syscall: 'read' why: 'x' }"),
              ElementsAre(HasSubstr("'read' is not on the red list")));
  EXPECT_THAT(faults(kHead + kCalls + "danger { why: 'x' }"),
              ElementsAre(HasSubstr("names no weakening")));
  EXPECT_THAT(faults(kHead + kCalls + "danger { syscall: 'read' missing_limit: CPU why: 'x' }"),
              ElementsAre(HasSubstr("names two weakenings")));
}

TEST(Parse, finds_faults_in_groups_at_their_own_place) {
  GroupTexts groups = kGroups;
  groups["base"].text = "name: 'bass'\ndescription: 'd'\nrules { calls: 'raed' why: 'x' }";
  const auto spec = parse(kHead + kCalls, "p.textproto", groups);
  ASSERT_FALSE(spec);
  ASSERT_EQ(spec.error().size(), 2u);
  EXPECT_THAT(spec.error()[0].text(), HasSubstr("seccomp/base.textproto:1:1: name: 'bass'"));
  EXPECT_THAT(spec.error()[1].text(), HasSubstr("base.textproto:3:9: rules[0].calls[0]: no system "
                                                "call 'raed' on x86-64; did you mean 'read'?"));
}

TEST(Environment, counts_cpus_and_shares_of_memory) {
  const Spec spec = good(kHead + kCalls +
                         "limits { cpus: 1.5 memory: '100MiB' } "
                         "environment { key: 'A' value: '${cpus} of ${memory:60%} $HOME' }");
  EXPECT_THAT(expanded_environment(spec), ElementsAre("A=2 of 62914560 $HOME"));
}

TEST(Environment, refuses_what_stands_for_nothing) {
  for (const char* value : {"${cpu}", "${memory:0%}", "${memory:101%}", "${memory:5}", "${cpus"}) {
    EXPECT_THAT(faults(kHead + kCalls + "environment { key: 'A' value: '" + value + "' }"),
                ElementsAre(HasSubstr("p.textproto:1:")))
        << value;
  }
  EXPECT_THAT(faults(kHead + kCalls +
                     "environment { key: 'A' value: '1' } environment { key: 'A' value: '2' }"),
              ElementsAre(HasSubstr("environment.A: is written twice")));
  std::string many;
  for (int i = 0; i < 65; ++i)
    many += "environment { key: 'A" + std::to_string(i) + "' value: '' } ";
  EXPECT_THAT(faults(kHead + kCalls + many),
              ElementsAre(HasSubstr("65 variables; keep at most 64")));
}

TEST(Set, sets_any_field_by_its_path) {
  const Spec spec =
      good(kHead + kCalls + "environment { key: 'A' value: '1' }",
           {"limits.memory=256MiB", "limits.cpus=2", "environment.FOO=bar=baz", "environment.A=2",
            "network.mode=LOOPBACK", "files.exec=true", "syscalls.groups=files",
            "danger={missing_limit: MEMORY why: 'a laptop'}", "overridable=limits.wall"});
  EXPECT_EQ(spec.limits.memory_bytes.get(), 256 * kMiB);
  EXPECT_EQ(spec.limits.cpu_ns.get(), 120 * kSecond);
  EXPECT_THAT(expanded_environment(spec), ElementsAre("A=2", "FOO=bar=baz"));
  EXPECT_EQ(spec.network, SpecNetwork::Loopback);
  EXPECT_TRUE(spec.files.exec);
  EXPECT_EQ(spec.groups.size(), 2u);
  EXPECT_EQ(spec.dangers.size(), 1u);
  EXPECT_THAT(spec.overridable, ElementsAre("limits.wall"));
}

TEST(Set, names_the_option_in_its_faults) {
  const auto fault = [](const std::string& option) {
    const auto all = faults(kHead + kCalls, {option});
    return all.size() == 1 ? all[0] : std::to_string(all.size()) + " faults";
  };
  EXPECT_THAT(fault("limits.memry=1"),
              "--set limits.memry=1: no field 'limits.memry'; did you mean 'limits.memory'?");
  EXPECT_THAT(fault("limits.memory=1"),
              HasSubstr("--set limits.memory=1: limits.memory: '1' is not a size; "));
  EXPECT_THAT(fault("limits.pids=-1"), HasSubstr("limits.pids takes a whole number"));
  EXPECT_THAT(fault("limits.cpus=nan"),
              HasSubstr("--set limits.cpus=nan: limits.cpus: nan is out of range"));
  EXPECT_THAT(fault("network.mode=loopback"), HasSubstr("did you mean 'LOOPBACK'?"));
  EXPECT_THAT(fault("files.exec=yes"), HasSubstr("takes true or false"));
  EXPECT_THAT(fault("syscalls.groups=nope"),
              HasSubstr("no group of system calls 'nope'; known groups: base, files, red"));
  EXPECT_THAT(fault("limits"), HasSubstr("has no '='"));
  EXPECT_THAT(fault("environment=1"), HasSubstr("environment.NAME=VALUE"));
  EXPECT_THAT(fault("name.x=1"), HasSubstr("name takes text in quotes"));
  EXPECT_THAT(fault("danger={syscal: 'x'}"),
              HasSubstr("danger has the fields missing_limit, syscall, why"));
}

TEST(Print, gives_text_that_parses_to_the_same_spec) {
  const Spec spec = good(kHead + R"(
      image: "python" limits { memory: "100MiB" wall: "1.5s" cpus: 0.25 cpu_time: "77us" output: "1025B" }
      syscalls { groups: ["base", "red"] rules { calls: "fcntl" action: ERRNO error: "EINVAL" why: "ä \"x\""
        args { index: 1 compare: MASKED_EQUAL mask: 0xff value: 8 } args { index: 0 compare: LESS value: 3 } }
        rules { calls: "ptrace" why: "y" } }
      environment { key: "B" value: "${cpus}" } environment { key: "A" value: "x\ny" }
      pool { min: 3 max: 9 share: POLICY children: 77 age: "90s" }
      overridable: "limits.wall" danger { syscall: "ptrace" why: "w" } danger { missing_limit: CPU why: "v" })",
                         {"limits.cpu_time=1234us"});
  const auto again = parse(print(spec), "p.textproto", kGroups);
  ASSERT_TRUE(again) << again.error()[0].text() << print(spec);
  EXPECT_EQ(*again, spec) << print(spec);
  EXPECT_NE(good(kHead + kCalls), spec);
}

TEST(Pool, is_never_warm_unless_a_policy_says_so) {
  EXPECT_EQ(good(kHead + kCalls).pool.max.get(), 0u);
  EXPECT_EQ(good(kHead + kCalls, {"pool={max: 8}"}).pool.max.get(), 8u);
  EXPECT_EQ(good(kHead + kCalls, {"pool={max: 8}", "network.mode=LOOPBACK"}).pool.max.get(), 0u);
}

TEST(Pool, refuses_what_cannot_be_kept) {
  EXPECT_THAT(faults(kHead + kCalls, {"pool={min: 9 max: 8}"}),
              ElementsAre(HasSubstr("9 is more than max")));
  EXPECT_THAT(faults(kHead + kCalls, {"pool.max=513"}), ElementsAre(HasSubstr("out of range")));
}

std::vector<std::string> installed() {
  std::vector<std::string> names;
  for (const std::string& file : policy_files(JAILRUN_SOURCE_DIR "/policies"))
    names.push_back(file.substr(0, file.size() - kPolicySuffix.size()));
  return names;
}

class Installed : public testing::TestWithParam<std::string> {
 protected:
  Spec load() {
    const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/" + GetParam() + ".textproto");
    groups = load_groups(*source).value();
    const auto spec = parse(source->text, source->path, groups);
    if (!spec) {
      for (const Fault& fault : spec.error()) ADD_FAILURE() << fault.text();
    }
    return spec.value();
  }
  GroupTexts groups;
};
INSTANTIATE_TEST_SUITE_P(Policies, Installed, testing::ValuesIn(installed()),
                         [](const auto& policy) {
                           std::string name = policy.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(Installed, is_sound_and_survives_printing) {
  const Spec spec = load();
  const auto again = parse(print(spec), spec.name + ".textproto", groups);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, spec);
  // What may be lacking where nothing delegates: every limit that a cgroup holds, by name.
  EXPECT_EQ(spec.dangers.size(), spec.name == "python-unlimited" ? 3u : 0u);
  EXPECT_EQ(spec.network == SpecNetwork::Loopback, spec.name == "python-loopback");
}

TEST(Explain, puts_danger_first) {
  const Spec spec = good(kHead + kCalls, {"danger={missing_limit: PIDS why: 'an old host'}"});
  EXPECT_TRUE(explain(spec).starts_with("DANGER: "));
  EXPECT_THAT(explain(spec), HasSubstr("cannot enforce the limit pids; why: an old host"));
}

TEST(Explain, of_the_default_policy_is_the_text_that_was_agreed) {
  const std::string path = JAILRUN_SOURCE_DIR "/tests/unit/golden/explain_python.txt";
  const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/python.textproto");
  const auto spec = parse(source->text, source->path, load_groups(*source).value());
  ASSERT_TRUE(spec);
  if (std::getenv("JAILRUN_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << explain(*spec);
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(explain(*spec), golden.str()) << "JAILRUN_UPDATE_GOLDEN=1 writes it anew";
}

class PolicyDir : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/jailrun-policies-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory = name;
    setenv("JAILRUN_POLICY_DIR", name, 1);
  }
  void TearDown() override {
    unsetenv("JAILRUN_POLICY_DIR");
    const std::string command = "rm -r " + directory;
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  std::string directory;
};

TEST_F(PolicyDir, comes_before_what_is_installed) {
  std::ofstream(directory + "/python.textproto") << "name: 'mine'";
  EXPECT_EQ(find_policy("python")->text, "name: 'mine'");
  EXPECT_EQ(find_policy("exec")->path, JAILRUN_SOURCE_DIR "/policies/exec.textproto");
  EXPECT_EQ(find_policy("exec")->group_dirs.front(), JAILRUN_SOURCE_DIR "/policies/seccomp");
}

TEST_F(PolicyDir, names_the_known_policies_for_an_unknown_one) {
  const auto missing = find_policy("pyhton");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "no policy 'pyhton'");
  EXPECT_THAT(missing.error().remedy,
              HasSubstr("did you mean 'python'? known policies: csv-sql, csv-strict, exec, "));
}

TEST_F(PolicyDir, refuses_what_is_no_small_file) {
  const auto folder = find_policy(directory);
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().line(), HasSubstr("is not a regular file"));
  EXPECT_EQ(find_policy(directory + "/none").error().errno_value, ENOENT);
  std::ofstream(directory + "/big") << std::string((1 << 20) + 1, ' ');
  EXPECT_THAT(find_policy(directory + "/big").error().line(), HasSubstr("larger than 1 MiB"));
}

TEST_F(PolicyDir, changes_its_stamp_with_a_group) {
  ASSERT_EQ(std::system(("mkdir " + directory + "/seccomp").c_str()), 0);
  const PolicySource source = *find_policy("python");
  const std::string before = group_stamp(source);
  std::ofstream(directory + "/seccomp/base.textproto") << "name: 'base'";
  const std::string after = group_stamp(source);
  EXPECT_NE(before, after);
  EXPECT_EQ(after, group_stamp(source));
}

}  // namespace
}  // namespace jailrun
