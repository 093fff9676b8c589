#include "jail/spec/parse.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "jail/plan/nearest.h"
#include "jail/spec/environment.h"
#include "jail/spec/override.h"
#include "jail/spec/python.h"
#include "jail/spec/reader.h"
#include "jail/spec/rules.h"
#include "jail/spec/syscalls.h"

namespace jailrun {
namespace {

namespace pb = google::protobuf;

constexpr std::size_t kTextMaxBytes = 1 << 20;

std::string stem(const std::string& file) {
  std::string name = file.substr(file.rfind('/') + 1);
  constexpr std::string_view suffix = ".textproto";
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : "";
}

std::uint64_t natural_cpu_ns(const SpecLimits& limits) {
  return static_cast<std::uint64_t>(static_cast<double>(limits.wall_ns.get()) * limits.cpus.get());
}

// What follows another field by default follows it here too, unless the base says otherwise.
SpecLimits read_limits(Reader& reader, const Scope& scope, const policy::Limits& in,
                       const SpecFiles& files, const Spec& base) {
  SpecLimits out = base.limits;
  if (in.has_memory()) reader.bytes(scope, "memory", in.memory(), out.memory_bytes);
  if (in.has_pids()) reader.number(scope, "pids", in.pids(), out.pids);
  if (in.has_cpus()) reader.number(scope, "cpus", in.cpus(), out.cpus);
  if (in.has_wall()) reader.duration(scope, "wall", in.wall(), out.wall_ns, WallNs::most);
  if (out.wall_most_ns < out.wall_ns || base.limits.wall_most_ns == base.limits.wall_ns)
    out.wall_most_ns = out.wall_ns;
  if (in.has_wall_most()) {
    reader.duration(scope, "wall_most", in.wall_most(), out.wall_most_ns, WallNs::most);
    out.wall_most_ns = std::max(out.wall_most_ns, out.wall_ns);
  }
  if (base.limits.cpu_ns == CpuNs::clamped(natural_cpu_ns(base.limits)))
    out.cpu_ns = CpuNs::clamped(natural_cpu_ns(out));
  if (in.has_cpu_time()) reader.duration(scope, "cpu_time", in.cpu_time(), out.cpu_ns, kDay);
  if (in.has_output()) reader.bytes(scope, "output", in.output(), out.output_bytes);
  if (in.has_open_files()) reader.number(scope, "open_files", in.open_files(), out.open_files);
  if (base.limits.file_size_bytes == base.files.work_bytes) out.file_size_bytes = files.work_bytes;
  if (in.has_file_size()) reader.bytes(scope, "file_size", in.file_size(), out.file_size_bytes);
  if (in.has_collect_files()) {
    reader.number(scope, "collect_files", in.collect_files(), out.collect_files);
  }
  using CollectBytes = decltype(out.collect_bytes);
  if (base.limits.collect_bytes == CollectBytes::clamped(base.files.work_bytes.get()))
    out.collect_bytes = CollectBytes::clamped(files.work_bytes.get());
  if (in.has_collect_bytes()) {
    reader.bytes(scope, "collect_bytes", in.collect_bytes(), out.collect_bytes);
  }
  return out;
}

SpecFiles read_files(Reader& reader, const Scope& scope, const policy::Files& in, SpecFiles out) {
  if (in.has_tmp()) reader.bytes(scope, "tmp", in.tmp(), out.tmp_bytes);
  if (in.has_work()) reader.bytes(scope, "work", in.work(), out.work_bytes);
  if (in.has_shm()) reader.bytes(scope, "shm", in.shm(), out.shm_bytes);
  if (in.has_inodes()) reader.number(scope, "inodes", in.inodes(), out.inodes);
  if (in.has_exec()) out.exec = in.exec();
  return out;
}

SpecPool read_pool(Reader& reader, const Scope& scope, const policy::Pool& in, const Spec& spec) {
  SpecPool out = spec.pool;
  if (in.has_min()) reader.number(scope, "min", in.min(), out.min);
  if (in.has_max()) reader.number(scope, "max", in.max(), out.max);
  if (in.has_share())
    out.share = in.share() == policy::Pool::POLICY ? PoolShare::Policy : PoolShare::Owner;
  if (in.has_children()) reader.number(scope, "children", in.children(), out.children);
  if (in.has_age()) reader.duration(scope, "age", in.age(), out.age_ns, kDay);
  if (out.min > out.max) {
    reader.fault(scope, "min", std::to_string(out.min.get()) + " is more than max",
                 "raise pool.max to as many, or lower pool.min");
  }
  // A jail with a network gets one of its own, which cannot be made ahead for it.
  if (spec.network != SpecNetwork::None) out.min = out.max = 0;
  return out;
}

// By reflection: the generated map would lose the order and the doubles.
void read_environment(Reader& reader, const Scope& scope, const policy::Policy& in, Spec& spec) {
  const pb::FieldDescriptor* field = scope.type->FindFieldByName("environment");
  const pb::Reflection& reflection = *in.GetReflection();
  std::size_t bytes = 0;
  std::set<std::string> seen;
  const int count = reflection.FieldSize(in, field);
  for (int i = 0; i < count; ++i) {
    const pb::Message& entry = reflection.GetRepeatedMessage(in, field, i);
    const std::string name =
        entry.GetReflection()->GetString(entry, field->message_type()->map_key());
    const std::string value =
        entry.GetReflection()->GetString(entry, field->message_type()->map_value());
    const std::string path = "environment." + name;
    const auto fault = [&](const std::string& message, const std::string& remedy) {
      reader.fault_of_entry(scope, "environment", i, path, message, remedy);
    };
    if (!is_variable_name(name)) {
      fault(in_quotes(name) + " is no name of a variable",
            "use letters, digits and '_', no digit first");
    } else if (!seen.insert(name).second) {
      fault("is written twice", "keep one of them");
    }
    if (const std::string wrong = fault_in_value(value); !wrong.empty()) {
      fault(wrong, "write ${cpus} or ${memory:NN%} with NN from 1 to 100");
    }
    spec.environment[name] = value;
  }
  for (const auto& [name, value] : spec.environment) bytes += name.size() + value.size() + 2;
  if (spec.environment.size() > 64) {
    reader.fault(scope, "environment", std::to_string(spec.environment.size()) + " variables",
                 "keep at most 64", std::min(count - 1, 64));
  } else if (bytes > kEnvironmentMaxBytes) {
    reader.fault(scope, "environment", std::to_string(bytes) + " bytes in all", "keep below 8 KiB",
                 count - 1);
  }
}

void read_groups(Reader& reader, const Scope& scope, const policy::Syscalls& in,
                 const GroupTexts& texts, std::vector<Fault>& faults, Spec& spec) {
  std::vector<std::string> known;
  for (const auto& [name, text] : texts) known.push_back(name);
  // Groups that only --set names are added to the base's.
  bool all_set = true;
  for (int i = 0; i < in.groups_size(); ++i)
    all_set = all_set && reader.is_set(scope.prefix + "groups" + subscript(i));
  if (!all_set) spec.groups.clear();
  std::set<std::string> seen;
  for (const RuleGroup& group : spec.groups) seen.insert(group.name);
  for (int i = 0; i < in.groups_size(); ++i) {
    const std::string& name = in.groups(i);
    const auto text = texts.find(name);
    if (text == texts.end()) {
      std::string list;
      for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
      reader.fault(scope, "groups", "no group of system calls " + in_quotes(name),
                   did_you_mean(name, known, "known groups: " + list), i);
      continue;
    }
    if (!seen.insert(name).second) {
      reader.fault(scope, "groups", in_quotes(name) + " is named twice", "keep one of them", i);
      continue;
    }
    policy::SyscallGroup group;
    const Reader::Options none;
    const Document document(text->second.text, text->second.file, group, faults);
    Reader own(faults, none);
    const Scope all{document, document.tree(), group.GetDescriptor(), "", 0};
    spec.groups.push_back(own.group(all, group, name));
  }
}

void read_dangers(Reader& reader, const Scope& scope, const policy::Policy& in, Spec& spec) {
  const std::vector<std::string> red = red_list(spec.groups, spec.rules);
  for (int i = 0; i < in.danger_size(); ++i) {
    const policy::Danger& danger = in.danger(i);
    const Scope inside = scope.inside("danger", i);
    reader.require(inside, "why", danger.why(), "say why the weakening is wanted");
    const bool limit = danger.missing_limit() != policy::Danger::NO_LIMIT;
    if (limit == !danger.syscall().empty()) {
      if (scope.document.taken_out("missing_limit") || scope.document.taken_out("syscall"))
        continue;
      reader.fault(scope, "danger",
                   "names " + std::string(limit ? "two weakenings" : "no weakening"),
                   "write exactly one of missing_limit and syscall", i);
    } else if (limit) {
      const auto kind = static_cast<LimitKind>(danger.missing_limit() - policy::Danger::MEMORY);
      spec.dangers.push_back({kind, danger.why()});
    } else if (const auto number = syscall_number(danger.syscall())) {
      if (!std::binary_search(red.begin(), red.end(), danger.syscall())) {
        reader.fault(inside, "syscall", in_quotes(danger.syscall()) + " is not on the red list",
                     did_you_mean(danger.syscall(), red, "drop it: a rule is enough"));
      }
      spec.dangers.push_back({Syscall{*number, danger.syscall()}, danger.why()});
    } else {
      reader.fault(inside, "syscall",
                   "no system call " + in_quotes(danger.syscall()) + " on x86-64",
                   did_you_mean(danger.syscall(), red, "man 2 syscalls lists them"));
    }
  }
}

// The policy's own rules may not soften what is on the red list, unless a danger says so.
void check_red_list(Reader& reader, const Scope& scope, const policy::Syscalls& in,
                    const Spec& spec) {
  std::vector<std::string> red = red_list(spec.groups, {});
  for (const SpecDanger& danger : spec.dangers) {
    if (const Syscall* call = std::get_if<Syscall>(&danger.weakened)) std::erase(red, call->name);
  }
  for (int i = 0; i < in.rules_size(); ++i) {
    if (in.rules(i).action() == policy::SyscallRule::KILL) continue;
    for (int k = 0; k < in.rules(i).calls_size(); ++k) {
      const std::string& call = in.rules(i).calls(k);
      if (!std::binary_search(red.begin(), red.end(), call)) continue;
      reader.fault(scope.inside("rules", i), "calls", in_quotes(call) + " is on the red list",
                   "drop it, or add danger { syscall: \"" + call + "\" why: \"…\" }", k);
    }
  }
}

void read_overridable(Reader& reader, const Scope& scope, const policy::Policy& in, Spec& spec) {
  if (in.overridable_size() > 0) spec.overridable.clear();
  for (int i = 0; i < in.overridable_size(); ++i) {
    const pb::Descriptor* type = scope.type;
    std::string rest = in.overridable(i), at;
    while (type != nullptr) {
      const std::size_t dot = rest.find('.');
      const pb::FieldDescriptor* field = type->FindFieldByName(rest.substr(0, dot));
      if (field == nullptr) {
        std::vector<std::string> known = field_names(*type);
        for (std::string& each : known) each = at + each;
        reader.fault(scope, "overridable", "no field " + in_quotes(in.overridable(i)),
                     did_you_mean(at + rest.substr(0, dot), known,
                                  "name a field by its path, \"limits.wall\""),
                     i);
        break;
      }
      type = dot == std::string::npos || field->is_map() ? nullptr : field->message_type();
      if (type == nullptr) break;
      at += rest.substr(0, dot + 1);
      rest = rest.substr(dot + 1);
    }
    spec.overridable.push_back(in.overridable(i));
  }
}

// What the fields have that this policy does not write. A base with faults has them told as its
// own.
Spec read_base(Reader& reader, const Scope& scope, const policy::Policy& in,
               const GroupTexts& groups, std::vector<Fault>& faults) {
  Spec none;
  none.image = "python";
  if (in.base().empty()) return none;
  const auto fault = [&](const std::string& message, const std::string& remedy) {
    reader.fault(scope, "base", in_quotes(in.base()) + message, remedy);
    return none;
  };
  const auto text = groups.policies.find(in.base());
  std::vector<std::string> known;
  for (const auto& [name, each] : groups.policies) known.push_back(name);
  if (text == groups.policies.end()) {
    return fault(" is not an installed policy",
                 did_you_mean(in.base(), known, "known: " + joined(known, ", ")));
  }
  GroupTexts without = groups;
  without.policies.clear();  // one step: a base has none
  auto base = parse(text->second.text, text->second.file, without);
  if (!base) {
    faults.insert(faults.end(), base.error().begin(), base.error().end());
    return none;
  }
  if (!base->dangers.empty())
    return fault(" has a danger block", "write what is wanted of it here, with its reason");
  return std::move(*base);
}

Spec read_policy(Reader& reader, const Scope& scope, const policy::Policy& in,
                 const GroupTexts& groups, std::vector<Fault>& faults) {
  Spec spec = read_base(reader, scope, in, groups, faults);
  const Spec base = spec;
  spec.name = in.name();
  spec.description = in.description();
  if (!in.image().empty()) spec.image = in.image();
  const std::string file_name = stem(scope.document.file());
  if (!is_name(spec.name, false)) {
    if (!scope.document.taken_out("name")) {
      reader.fault(scope, "name",
                   spec.name.empty() ? "is missing" : in_quotes(spec.name) + " is no name",
                   "use lower-case letters, digits and '-'");
    }
  } else if (!file_name.empty() && file_name != spec.name) {
    reader.fault(scope, "name", in_quotes(spec.name) + " is not the name of the file",
                 "write name: \"" + file_name + "\", or rename the file");
  }
  reader.require(scope, "description", spec.description, "say in one sentence what it is for");
  if (!is_name(spec.image, true)) {
    reader.fault(
        scope, "image", in_quotes(spec.image) + " is no name",
        "use lower-case letters, digits, '-', '_' and '.'; `jailrun rootfs ls` lists images");
  }
  spec.files = read_files(reader, scope.inside("files"), in.files(), base.files);
  spec.limits = read_limits(reader, scope.inside("limits"), in.limits(), spec.files, base);
  if (in.network().has_mode()) {
    spec.network = in.network().mode() == policy::Network::LOOPBACK ? SpecNetwork::Loopback
                                                                    : SpecNetwork::None;
  }
  const Scope calls = scope.inside("syscalls");
  read_groups(reader, calls, in.syscalls(), groups, faults, spec);
  if (in.syscalls().groups().empty() && in.base().empty() && !calls.document.taken_out("groups"))
    reader.fault(calls, "groups", "is missing", "name at least one, such as \"base\"");
  for (Rule& rule : reader.rules(calls, in.syscalls().rules()))
    spec.rules.push_back(std::move(rule));
  read_environment(reader, scope, in, spec);
  read_overridable(reader, scope, in, spec);
  spec.pool = read_pool(reader, scope.inside("pool"), in.pool(), spec);
  if (in.has_python()) spec.python = read_python(reader, scope.inside("python"), in.python());
  if (in.has_packages()) spec.packages = in.packages();
  read_dangers(reader, scope, in, spec);
  check_red_list(reader, calls, in.syscalls(), spec);
  return spec;
}

void sort_by_place(std::vector<Fault>& faults) {
  const auto key = [](const Fault& fault) {
    return std::make_tuple(fault.line == 0, fault.file, fault.line, fault.column);
  };
  std::stable_sort(faults.begin(), faults.end(),
                   [&](const Fault& a, const Fault& b) { return key(a) < key(b); });
  faults.erase(std::unique(faults.begin(), faults.end()), faults.end());
}

}  // namespace

std::string Fault::text() const {
  std::string place = file;
  if (line > 0) place += ":" + std::to_string(line) + ":" + std::to_string(column);
  return place + ": " + message + "; " + remedy;
}

std::expected<Spec, std::vector<Fault>> parse(std::string_view text, const std::string& file,
                                              const GroupTexts& groups, const Overrides& sets) {
  std::vector<Fault> faults;
  if (text.size() > kTextMaxBytes) {
    faults.push_back(
        {file, 1, 1, "", "larger than 1 MiB", "no policy is that long: is it the right file?"});
    return std::unexpected(std::move(faults));
  }
  policy::Policy message;
  const Document document(text, file, message, faults);
  Reader::Options options;
  for (const std::string& set : sets) {
    const auto applied = apply_override(set, message);
    if (applied) {
      options[applied->path] = "--set " + set;
    } else {
      faults.push_back(applied.error());
    }
  }
  // A text that could not be read as a whole has no fields to judge: only what the parser said.
  if (document.tree() == nullptr && !faults.empty()) return std::unexpected(std::move(faults));
  Reader reader(faults, options);
  const Scope scope{document, document.tree(), message.GetDescriptor(), "", 0};
  Spec spec = read_policy(reader, scope, message, groups, faults);
  if (faults.empty()) return spec;
  sort_by_place(faults);
  return std::unexpected(std::move(faults));
}

}  // namespace jailrun
