// The routes of the chat bot's interpreter: code of a user with his files, results as files.
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

#include "agent/service/cells.h"
#include "agent/service/inputs.h"
#include "agent/service/service.h"
#include "agent/service/views.h"
#include "agent/store/file_types.h"
#include "jail/launch/packages.h"

namespace jailrun::service {
namespace {

constexpr double kMostTimeout = 300;
constexpr std::size_t kOutputChars = 100'000, kMostData = 64u << 20;
constexpr std::uint64_t kCodeBytes = 2u << 20;

// At most so many characters of UTF-8, and the word that there were more.
std::string shortened(std::string text, bool truncated) {
  std::size_t chars = 0, at = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && ++chars > kOutputChars) break;
  }
  if (at >= text.size() && !truncated) return text;
  text.resize(at);
  return text + "\n... (output truncated)";
}

// What the code has written: each file in the answer and in the store.
void take_files(SessionBook::Held& held, const CellAnswer& answer, store::FileStore& store,
                const std::string& owner, Json& result) {
  const auto files = answer.head.find("files");
  if (answer.ended || files == answer.head.end() || !files->is_array()) return;
  std::size_t bytes = 0;
  for (const Json& each : *files) {
    if (!each.is_object()) continue;
    const std::string name = text_of(each, "name");
    bytes += number_of(each, "bytes");
    if (bytes > kMostData) break;
    auto content = held.session().get(name);
    if (!content) continue;
    const std::string plain = name.substr(name.rfind('/') + 1);
    Json row = {{"filename", name},
                {"type", store::type_of(plain).type},
                {"size", content->size()},
                {"data", base64(*content)}};
    const Fd file(::memfd_create("generated", MFD_CLOEXEC));
    if (file.valid() && write_all(file.get(), content->data(), content->size()) == 0 &&
        ::lseek(file.get(), 0, SEEK_SET) == 0) {
      if (const auto kept = store.put(owner, plain, file.get(), "generated")) {
        row["file_id"] = kept->id;
        result["generated_file_ids"].push_back(kept->id);
      }
    }
    result["generated_files"].push_back(std::move(row));
  }
}

void tell_error(const CellAnswer& answer, double timeout_s, Json& result) {
  const auto seconds = std::to_string(static_cast<long>(timeout_s));
  const auto fail = [&result](const std::string& text, int code) {
    result["success"] = false;
    result["error"] = text;
    result["return_code"] = code;
  };
  const std::string outcome = text_of(answer.head, "outcome");
  if (answer.wall_hit || (answer.ended && answer.ended->result.verdict == Verdict::WallTimeout)) {
    fail("Execution timeout after " + seconds + " seconds", -1);
    result["execution_time"] = timeout_s;
  } else if (answer.ended) {
    fail(answer.ended->result.reason, answer.ended->result.status);
  } else if (outcome == "exit") {
    const auto status = static_cast<int>(number_of(answer.head, "status"));
    if (status != 0) fail(answer.err, status);
  } else if (outcome != "ok") {
    const auto error = answer.head.find("error");
    const bool told = error != answer.head.end() && error->is_object();
    const std::string what = told ? text_of(*error, "message") : outcome;
    if (told && text_of(*error, "type") == "CodeRefused") {
      fail("Security validation failed: Blocked unsafe operation: " + what, 1);
    } else {
      fail(answer.err + (told ? text_of(*error, "traceback") : what), 1);
    }
  }
}

}  // namespace

// The policy's own limit is its default; where it may be more, what was asked for counts.
Expected<std::string> Service::create(const std::string& owner, const std::string& name,
                                      LeaseRequest request, double timeout_s,
                                      SessionBook::Life life) {
  LeaseRequest wider = request;
  wider.overrides.push_back("limits.wall=" + std::to_string(static_cast<long>(timeout_s + 1)) +
                            "s");
  auto made = sessions_.create(owner, name, std::move(wider), life);
  if (made || (made.error().message.find("(NotNarrower)") == std::string::npos &&
               made.error().message.find("(NotOverridable)") == std::string::npos))
    return made;
  return sessions_.create(owner, name, std::move(request), life);
}

HttpReply Service::interpret(Call& call) {
  const std::string owner = call.owner + ":" + call.parts[0];
  const double timeout_s = number_in(call.body, "timeout", options_.limits.interpreter_s);
  auto files = store();
  if (!files) return reply_from(files.error());
  auto inputs = open_files(*files, owner, texts_in(call.body, "user_files"));
  if (!inputs) return std::move(inputs.error());
  Json result = {{"success", true},
                 {"output", ""},
                 {"error", ""},
                 {"execution_time", 0.0},
                 {"return_code", 0},
                 {"generated_files", Json::array()},
                 {"generated_file_ids", Json::array()},
                 {"installed_packages", Json::array()},
                 {"failed_packages", Json::array()}};
  LeaseRequest request;
  request.policy = options_.interpreter_policy;
  request.files = inputs->files;
  const std::vector<std::string> wanted = texts_in(call.body, "install_packages");
  const auto approved = wanted.empty() ? std::vector<ApprovedPackage>() : approved_packages();
  for (const std::string& each : wanted) {
    const std::string package = package_name(each);
    const auto found = std::ranges::find(approved, package, &ApprovedPackage::name);
    if (found == approved.end() || found->origin == PackageOrigin::None) {
      const std::string why = found == approved.end() ? "is not in the approved list"
                                                      : "is not available: " + found->reason;
      result["failed_packages"].push_back(each);
      result["success"] = false;
      result["error"] = "Package '" + each + "' " + why;
      continue;
    }
    result["installed_packages"].push_back(each);
    if (found->origin == PackageOrigin::Layer) request.packages.push_back(package);
  }
  if (!result["failed_packages"].empty()) return json_reply(result);
  const auto id =
      create(call.owner, "", std::move(request), timeout_s, SessionBook::Life::OneRequest);
  if (!id) return reply_from(id.error());
  HttpReply reply;
  {
    auto held = sessions_.hold(call.owner, *id);
    if (!held) return reply_from(held.error());
    const auto done = execute_in(*held, call.body, call.http, {}, timeout_s);
    if (done) {
      result["output"] = shortened(done->answer.out, done->answer.out_truncated);
      result["execution_time"] = done->seconds;
      tell_error(done->answer, timeout_s, result);
      take_files(*held, done->answer, *files, owner, result);
      if (const auto warnings = done->answer.head.find("warnings");
          warnings != done->answer.head.end())
        result["warnings"] = *warnings;
      reply = json_reply(result);
    } else {
      reply = reply_from(done.error());
    }
  }
  reply.after = [this, owner = call.owner, id = *id] { sessions_.remove(owner, id); };
  return reply;
}

HttpReply Service::interpreter_status() const {
  auto files = store();
  if (!files) return reply_from(files.error());
  const auto totals = files->totals();
  if (!totals) return reply_from(totals.error());
  struct stat image{};
  const std::string path = package_link("python", "x");  // "" where there is no image
  const bool there = !path.empty();
  Json names = Json::array();
  for (const ApprovedPackage& each : approved_packages())
    if (each.origin == PackageOrigin::Image ||
        ::stat(package_link("python", each.name).c_str(), &image) == 0)
      names.push_back(each.name);
  const auto& limits = options_.store_options;
  const std::size_t count = names.size();
  return json_reply(
      {{"venv_exists", there},
       {"python_path", "/usr/bin/python3"},
       {"installed_packages", std::move(names)},
       {"package_count", count},
       {"last_cleanup", swept_s_.load()},
       {"total_user_files", totals->files},
       {"total_file_size_mb", static_cast<double>(totals->bytes) / (1 << 20)},
       {"file_expiration_hours", limits.keep_s ? static_cast<double>(*limits.keep_s) / 3600 : -1.0},
       {"max_file_size_mb", limits.file_bytes >> 20}});
}

void Service::add_interpreter() {
  routes_.add({"POST",
               "/v1/users/{uid}/execute",
               "Execute code of a user in a jail of its own, with his files",
               {{"code", "string", true, {}, {}, "Python"},
                {"timeout", "number", false, 1, kMostTimeout, "seconds; default 60"},
                {"user_files", "array", false, {}, {}, "ids of stored files"},
                {"install_packages", "array", false, {}, {}, "names of approved packages"}},
               {kCodeBytes},
               [this](Call& call) { return interpret(call); }});
  routes_.add({"GET", "/v1/interpreter/status", "What code finds", {}, {}, [this](Call&) {
                 return interpreter_status();
               }});
  const auto row = [](const ApprovedPackage& each) {
    struct stat st{};
    const bool ready = each.origin == PackageOrigin::Image ||
                       ::stat(package_link("python", each.name).c_str(), &st) == 0;
    return Json{{"name", each.name},
                {"approved", true},
                {"ready", ready},
                {"reason", each.reason.empty() ? Json() : Json(each.reason)}};
  };
  routes_.add({"GET", "/v1/packages", "Approved packages", {}, {}, [row](Call&) {
                 Json all = Json::array();
                 for (const ApprovedPackage& each : approved_packages()) all.push_back(row(each));
                 return json_reply({{"packages", all}});
               }});
  routes_.add({"GET", "/v1/packages/{name}", "One of them", {}, {}, [row](Call& call) {
                 const auto all = approved_packages();
                 const auto found =
                     std::ranges::find(all, package_name(call.parts[0]), &ApprovedPackage::name);
                 if (found == all.end())
                   return failure(404,
                                  "Package '" + call.parts[0] + "' is not in the approved list");
                 return json_reply(row(*found));
               }});
}

}  // namespace jailrun::service
