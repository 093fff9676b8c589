#include "agent/service/questions.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agent/agents/inquiry.h"
#include "agent/base/text.h"
#include "agent/base/variable.h"
#include "agent/data/inputs.h"
#include "agent/datasets/registry.h"
#include "agent/llm/json.h"
#include "agent/service/cells.h"
#include "agent/service/views.h"
#include "agent/store/file_types.h"
#include "jail/daemon/log.h"

namespace jailrun::service {
namespace {

using namespace jailrun::agent;
using nlohmann::json;

constexpr std::size_t kMostMessage = 16 << 10, kShownOutput = 64 << 10;
constexpr std::uint64_t kMostPicture = 2 << 20;
constexpr std::chrono::minutes kWithin{10};
constexpr std::size_t kSteps = 8;
constexpr int kGone = 499;  // nobody reads it

Error with_status(int status, std::string message) {
  return Error{Stage::None, "question", status, std::move(message), ""};
}

// "store:USER/ID", where the user is not the one without a name.
std::pair<std::string, std::string> user_and_id(std::string origin) {
  origin.erase(0, std::string("store:").size());
  const auto slash = origin.rfind('/');
  if (slash == std::string::npos) return {"", origin};
  return {origin.substr(0, slash), origin.substr(slash + 1)};
}

Expected<void> add_stored(const QuestionPlace& place, const std::string& user,
                          const std::string& id, QuestionData& data) {
  TRY(auto files, store::FileStore::open(place.options.store, place.options.store_options));
  auto opened = files.get(place.owner + ":" + user, id);
  if (!opened) return std::unexpected(with_status(404, "there is no file " + printable(id)));
  // By a name that jailrun, our child, can open as well.
  const auto path =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(opened->content.get());
  auto name = opened->file.name;
  std::ranges::replace(name, ':', '_');
  std::vector<std::string> sources;
  for (const auto& input : data.inputs) sources.push_back(input.source + ":" + input.name);
  sources.push_back(path + ":" + name);
  auto checked = check_inputs(sources);
  if (!checked) return std::unexpected(with_status(400, checked.error().message));
  auto input = checked->back();
  input.origin = "store:" + (user.empty() ? "" : user + "/") + id;
  data.inputs.push_back(std::move(input));
  data.held.push_back(std::move(opened->content));
  return {};
}

Expected<void> add_dataset(const std::string& id, QuestionData& data) {
  TRY(const auto registry, DatasetRegistry::load());
  if (registry.find(id) == nullptr) return std::unexpected(with_status(404, "Dataset not found"));
  auto found = registry.open(id);
  if (!found) return std::unexpected(with_status(409, found.error().line()));
  data.inputs = inputs_of(*found);
  for (auto& input : data.inputs) input.origin = "dataset:" + id;
  data.tables = tables_of(*found);
  data.dataset_id = id;
  data.dataset_hash = found->version_hash;
  data.about = dataset_text(*found);
  data.as_of = found->as_of;
  return {};
}

}  // namespace

Expected<QuestionData> find_data(const QuestionPlace& place, const Json& body,
                                 const ThreadRow* thread) {
  QuestionData data;
  const auto dataset = text_in(body, "dataset_id"), user = text_in(body, "user_id");
  const auto files = texts_in(body, "files");
  if (!dataset.empty()) {
    TRY_VOID(add_dataset(dataset, data));
    return data;
  }
  for (const auto& id : files) TRY_VOID(add_stored(place, user, id, data));
  if (files.empty() && thread != nullptr) {
    if (!thread->dataset_id.empty()) TRY_VOID(add_dataset(thread->dataset_id, data));
    for (const json& file : thread->data) {
      const auto origin = text_member(file, "origin");
      if (!thread->dataset_id.empty() || !origin.starts_with("store:")) continue;
      const auto [owner, id] = user_and_id(origin);
      TRY_VOID(add_stored(place, owner, id, data));
    }
  }
  if (!data.inputs.empty()) return data;
  return std::unexpected(with_status(400, "name a data set (dataset_id) or stored files (files)"));
}

Expected<Record> open_record(const ServiceOptions& options) {
  std::string path = options.record;
  if (path.empty()) {
    TRY(path, Record::default_path());
  }
  return Record::open(path, Redactor::from_environment());
}

JailOptions jails_for(const ServiceOptions& options, const std::string& jailrun, bool direct) {
  return JailOptions{jailrun, direct ? "" : options.policy, {}, "", options.sessions.jaild};
}

DirectLimits direct_limits() {
  DirectLimits limits;
  limits.rows = number_from_environment("MAX_ROWS", 200, 1, 1000);
  limits.bytes = number_from_environment("MAX_OUTPUT_BYTES", 65'536, 1025, 1'000'000);
  if (const char* on = std::getenv("ENABLE_PYTHON_EXECUTION"))
    limits.python = std::string_view(on) != "0" && lower(on) != "false";
  limits.deadline = Clock::now() + kWithin;
  return limits;
}

Scratch::Scratch() {
  std::error_code failed;
  path_ = (std::filesystem::temp_directory_path(failed) / "jailagent-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) path_.clear();
}

Scratch::~Scratch() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Question::Question(const ServiceOptions& options, std::string owner, std::string request_id,
                   SendEvent send, int gone)
    : options_(options),
      owner_(std::move(owner)),
      request_id_(std::move(request_id)),
      send_(std::move(send)),
      cancel_(Cancel::on_descriptor(gone)) {}

void Question::tell(const char* event, const Json& data) {
  if (send_) send_(event, data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void Question::stage(const char* name, const std::string& message) {
  stage_ = name;
  tell("status", {{"stage", stage_}, {"message", printable(message)}});
}

Watcher Question::watcher() {
  Watcher watcher;
  watcher.progress = [this](const std::string& what) {
    spdlog::debug("{}", what);
    if (what.starts_with("asking ")) stage_ = "planning";
    tell("status", {{"stage", stage_}, {"message", printable(what)}});
  };
  if (!send_) return watcher;
  watcher.text = [this](std::string_view text) { tell("text", {{"text", printable(text)}}); };
  watcher.again = [this] { tell("again", Json::object()); };
  watcher.begun = [this](std::size_t number, const Step& step) {
    step_ = number;
    told_[0] = told_[1] = 0;
    stage("validating");
    tell("code", {{"step", number},
                  {"language", step.sql.empty() ? "python" : "sql"},
                  {"code", step.code},
                  {"sql", step.sql.empty() ? Json() : Json(step.sql)}});
    stage("executing");
  };
  const auto live = [this](int stream) {
    return [this, stream](std::string_view text) {
      told_[stream] += text.size();
      tell("output", {{"step", step_},
                      {"stream", stream == 0 ? "stdout" : "stderr"},
                      {"text", printable(text)}});
    };
  };
  watcher.out = live(0);
  watcher.err = live(1);
  watcher.ended = [this](std::size_t number, const Step& step) { step_ended(number, step); };
  return watcher;
}

void Question::step_ended(std::size_t number, const Step& step) {
  const std::string* streams[] = {&step.result.out, &step.result.err};
  for (int i = 0; i < 2; ++i)
    if (streams[i]->size() > told_[i])
      tell("output", {{"step", number},
                      {"stream", i == 0 ? "stdout" : "stderr"},
                      {"text", clip(printable(streams[i]->substr(told_[i])), kShownOutput)}});
  Json files = Json::array();
  for (const auto& file : step.files) {
    const auto url = file_url(run_id_, number, file.name);
    const std::string media = store::type_of(file.name).media;
    files.push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"media_type", media}, {"url", url}});
    if (!media.starts_with("image/") || file.bytes > kMostPicture) continue;
    const auto content = read_file_at(AT_FDCWD, file.path.c_str(), kMostPicture);
    tell("plot", {{"step", number},
                  {"name", file.name},
                  {"media_type", media},
                  {"data", base64(content)},
                  {"url", url}});
  }
  const auto& result = step.result;
  tell("step",
       {{"step", number},
        {"verdict", result.verdict},
        {"reason", result.reason},
        {"exit_code", result.exit_code ? Json(*result.exit_code) : Json()},
        {"wall_ns", result.wall_ns},
        {"memory_peak_bytes", result.memory_peak_bytes ? Json(*result.memory_peak_bytes) : Json()},
        {"files", files}});
}

Expected<Answered> Question::answer(const std::string& message, QuestionData& data,
                                    const std::vector<agent::Message>& past,
                                    const ModelSettings& model) {
  if (scratch_.path().empty()) return std::unexpected(with_status(503, "no room for files"));
  TRY(const std::string jailrun, find_jailrun());
  const auto direct = direct_message(message);
  const auto jails = jails_for(options_, jailrun, direct.has_value());
  const Bounds bounds{kSteps * 2 + 2, 400'000, 0, Clock::now() + kWithin};
  if (direct && !data.tables.empty()) {
    TRY(Answered answered, answer_directly(*direct, jails, data.inputs, data.tables, cancel_,
                                           watcher(), direct_limits()));
    answered.asked.question = message;
    return answered;
  }
  InquiryOptions wish;
  wish.jails = jails;
  wish.model = model;
  wish.out = scratch_.out();
  wish.about = data.about;
  wish.as_of = data.as_of;
  wish.steps = kSteps;
  wish.direct = direct_limits();
  TRY(auto inquiry,
      Inquiry::open(std::move(wish), data.inputs, cancel_, watcher(), bounds.deadline));
  TRY(Answered answered, inquiry->ask(message, past, bounds));
  TRY_VOID(inquiry->finish());
  return answered;
}

Expected<Answered> Question::recorded(const std::string& message, QuestionData& data,
                                      const ThreadRow* thread) {
  const LogScope request("request_id", request_id_);
  TRY(const Environment environment, Environment::load());
  TRY(const ModelSettings model, model_settings({}, environment));
  TRY(const std::string jailrun, find_jailrun());
  const auto direct = direct_message(message);
  auto jails = jails_for(options_, jailrun, direct.has_value());
  if (direct) jails = direct_options(std::move(jails), direct->mode);
  TRY(Circumstances around, circumstances(jails, data.inputs, cancel_));
  around.dataset_id = data.dataset_id;
  around.dataset_hash = data.dataset_hash;
  std::vector<agent::Message> past;
  const std::string thread_id = thread == nullptr ? "" : thread->thread_id;
  if (thread != nullptr) {
    TRY(past, record_->history(owner_, thread_id));
    TRY_VOID(record_->set_data(owner_, thread_id, around.data, data.dataset_id));
  }
  TRY(run_id_, record_->begin({owner_, thread_id, message, data.dataset_id, model.model}));
  const LogScope run("run_id", run_id_);
  spdlog::info("asks {}", model.model.empty() ? name(model.provider) : model.model);
  tell("start", {{"run_id", run_id_}, {"thread_id", thread_id}});
  stage("planning");
  auto answered = answer(message, data, past, model);
  if (!answered) spdlog::error("{}", answered.error().line());
  Captured captured =
      answered ? capture(*answered, around) : capture(message, answered.error(), around);
  // Without a model only some questions can be read: who asked another was not answered wrongly.
  if (answered && answered->asked.provider == "offline" && !answered->outcome.answered &&
      answered->asked.steps.empty()) {
    captured.capsule["status"] = "rejected";
    captured.capsule["error_json"] =
        json{{"type", "LLM_UNAVAILABLE"}, {"message", answered->outcome.answer}};
  }
  TRY_VOID(record_->end(owner_, run_id_, std::move(captured)));
  TRY(const auto kept, record_->capsule(owner_, run_id_));
  if (!kept) return std::unexpected(with_status(410, "the run was deleted while it went on"));
  capsule_ = *kept;
  if (!answered && is_cancelled(answered.error()))
    return std::unexpected(with_status(kGone, "cancelled"));
  return answered;
}

Expected<Json> Question::ask(const Json& body) {
  const auto message = text_in(body, "message"), thread_id = text_in(body, "thread_id");
  if (message.find_first_not_of(" \t\r\n") == std::string::npos)
    return std::unexpected(with_status(400, "the message is empty"));
  if (message.size() > kMostMessage)
    return std::unexpected(with_status(413, "the message is longer than 16 KiB"));
  if (!thread_id.empty() && !is_plain_id(thread_id))
    return std::unexpected(with_status(400, "thread_id: 1 to 128 of letters, digits, . _ : and -"));
  TRY(Record record, open_record(options_));
  record_.emplace(std::move(record));
  TRY(const auto known, record_->find_thread(owner_, thread_id));
  TRY(QuestionData data, find_data({options_, owner_}, body, known ? &*known : nullptr));
  TRY(const ThreadRow thread, record_->thread(owner_, thread_id));
  const auto done = recorded(message, data, &thread);
  // What went wrong with the run is in its capsule, and so in the reply.
  if (!done && (capsule_.is_null() || done.error().errno_value == kGone))
    return std::unexpected(done.error());
  return chat_view(capsule_);
}

Expected<Json> Question::analyze(Input input, const std::string& question) {
  TRY(Record record, open_record(options_));
  record_.emplace(std::move(record));
  QuestionData data;
  data.inputs.push_back(std::move(input));
  TRY(Answered answered, recorded(question, data, nullptr));
  answered.asked.run_id = run_id_;
  // Paths of the scratch directory say nothing to anybody.
  for (Step& step : answered.asked.steps)
    for (std::size_t i = 0; i < step.files.size(); ++i)
      step.files[i].path =
          file_url(run_id_, static_cast<std::size_t>(&step - answered.asked.steps.data()) + 1,
                   step.files[i].name);
  return Json::parse(as_json(answered.asked, answered.outcome), nullptr, false);
}

}  // namespace jailrun::service
