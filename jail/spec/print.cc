#include <google/protobuf/text_format.h>

#include "jail/spec/parse.h"
#include "jail/spec/policy.pb.h"
#include "jail/sys/error.h"

namespace jailrun {
namespace {

struct Unit {
  const char* name;
  std::uint64_t factor;
};

// The largest unit that divides the value: exact, where format_bytes() is for reading.
template <std::size_t N>
std::string exact(std::uint64_t value, const Unit (&units)[N]) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0)
      return std::to_string(value / unit.factor) + unit.name;
  }
  return std::to_string(value) + units[N - 1].name;
}

std::string size(std::uint64_t bytes) {
  return exact(bytes, {{"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}, {"B", 1}});
}

std::string duration(std::uint64_t nanoseconds) {
  constexpr Unit kUnits[] = {
      {"h", 3600 * kSecond}, {"m", 60 * kSecond}, {"s", kSecond}, {"ms", kMs}, {"us", 1000}};
  if (nanoseconds % 1000 == 0) return exact(nanoseconds, kUnits);
  std::string fraction = std::to_string(nanoseconds % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return std::to_string(nanoseconds / 1000) + "." + fraction + "us";
}

void write(const SpecLimits& in, policy::Limits& out) {
  out.set_memory(size(in.memory_bytes.get()));
  out.set_pids(in.pids.get());
  out.set_cpus(in.cpus.get());
  out.set_wall(duration(in.wall_ns.get()));
  out.set_wall_most(duration(in.wall_most_ns.get()));
  const double natural = static_cast<double>(in.wall_ns.get()) * in.cpus.get();
  if (in.cpu_ns != CpuNs::clamped(static_cast<std::uint64_t>(natural))) {
    out.set_cpu_time(duration(in.cpu_ns.get()));
  }
  out.set_output(size(in.output_bytes.get()));
  out.set_open_files(in.open_files.get());
  out.set_file_size(size(in.file_size_bytes.get()));
  out.set_collect_files(in.collect_files.get());
  out.set_collect_bytes(size(in.collect_bytes.get()));
}

void write(const SpecFiles& in, policy::Files& out) {
  out.set_tmp(size(in.tmp_bytes.get()));
  out.set_work(size(in.work_bytes.get()));
  out.set_shm(size(in.shm_bytes.get()));
  out.set_inodes(in.inodes.get());
  out.set_exec(in.exec);
}

void write(const SpecPool& in, policy::Pool& out) {
  out.set_min(in.min.get());
  out.set_max(in.max.get());
  out.set_share(static_cast<policy::Pool::Share>(in.share));
  out.set_children(in.children.get());
  out.set_age(duration(in.age_ns.get()));
}

void add(const std::vector<std::string>& in, google::protobuf::RepeatedPtrField<std::string>* out) {
  for (const std::string& each : in) out->Add()->assign(each);
}

void write(const SpecPython& in, policy::Python& out) {
  add(in.preload, out.mutable_preload());
  add(in.imports, out.mutable_imports());
  out.set_language(static_cast<policy::Python::Language>(in.language));
  policy::CodeRules& code = *out.mutable_code();
  add(in.code.only_imports, code.mutable_only_imports());
  add(in.code.refused_imports, code.mutable_refused_imports());
  add(in.code.refused_calls, code.mutable_refused_calls());
  add(in.code.refused_attributes, code.mutable_refused_attributes());
  code.set_bytes(size(in.code.bytes.get()));
  code.set_warn(in.code.warn);
}

void write(const Rule& in, policy::SyscallRule& out) {
  for (const Syscall& call : in.calls) out.add_calls(call.name);
  out.set_action(static_cast<policy::SyscallRule::Action>(in.action));
  if (in.action == Action::Errno) out.set_error(errno_name(in.errno_value));
  for (const Condition& condition : in.conditions) {
    policy::Argument& argument = *out.add_args();
    argument.set_index(condition.index.get());
    argument.set_compare(static_cast<policy::Argument::Compare>(condition.compare));
    argument.set_value(condition.value);
    argument.set_mask(condition.mask);
  }
  out.set_why(in.why);
}

}  // namespace

std::string print(const Spec& spec) {
  policy::Policy out;
  out.set_name(spec.name);
  out.set_description(spec.description);
  out.set_image(spec.image);
  write(spec.limits, *out.mutable_limits());
  write(spec.files, *out.mutable_files());
  out.mutable_network()->set_mode(static_cast<policy::Network::Mode>(spec.network));
  for (const RuleGroup& group : spec.groups) out.mutable_syscalls()->add_groups(group.name);
  for (const Rule& rule : spec.rules) write(rule, *out.mutable_syscalls()->add_rules());
  for (const auto& [name, value] : spec.environment) (*out.mutable_environment())[name] = value;
  for (const std::string& path : spec.overridable) out.add_overridable(path);
  write(spec.pool, *out.mutable_pool());
  if (spec.python != SpecPython{}) write(spec.python, *out.mutable_python());
  out.set_packages(spec.packages);
  for (const SpecDanger& danger : spec.dangers) {
    policy::Danger& written = *out.add_danger();
    if (const LimitKind* limit = std::get_if<LimitKind>(&danger.weakened)) {
      written.set_missing_limit(static_cast<policy::Danger::Limit>(static_cast<int>(*limit) + 1));
    } else {
      written.set_syscall(std::get<Syscall>(danger.weakened).name);
    }
    written.set_why(danger.why);
  }
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(out, &text);
  return text;
}

}  // namespace jailrun
