// The routes of the file store.
#include <cerrno>
#include <ctime>

#include "agent/service/multipart.h"
#include "agent/service/service.h"

namespace jailrun::service {
namespace {

std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// Users of two keys are not the same ones, whatever they call themselves.
std::string owner_of(const Call& call) { return call.owner + ":" + call.parts[0]; }

Json view(const Call& call, const store::StoredFile& file) {
  return {{"file_id", file.id},
          {"user_id", call.parts[0]},
          {"filename", file.name},
          {"file_size", file.bytes},
          {"file_type", file.type},
          {"media_type", file.media_type},
          {"sha256", file.sha256},
          {"uploaded_at", time_text(file.uploaded_s)},
          {"expires_at", file.expires_s ? Json(time_text(*file.expires_s)) : Json()}};
}

HttpReply reply_of(const Error& error) {
  if (error.errno_value == ENOENT) return failure(404, "there is no such file");
  if (error.errno_value == EFBIG) return failure(413, error.message);
  if (error.errno_value == EINVAL || error.errno_value == 0) return failure(400, error.message);
  return reply_from(error);
}

}  // namespace

void Service::add_files() {
  const std::uint64_t most = options_.store_options.file_bytes;
  const auto with = [this](auto act) {
    return [this, act](Call& call) {
      auto files = store();
      return files ? act(*files, call) : reply_from(files.error());
    };
  };
  routes_.add({"POST",
               "/v1/users/{uid}/files",
               "Store a file: the body, named by ?filename=, or one of a form",
               {},
               {most + kFormBytes, true},
               with([](store::FileStore& files, Call& call) {
                 auto form = take_upload(call.http);
                 if (!form) return std::move(form.error());
                 const auto file = files.put(owner_of(call), form->name, form->file.get());
                 if (!file) return reply_of(file.error());
                 return json_reply(
                     {{"success", true}, {"file_id", file->id}, {"metadata", view(call, *file)}},
                     201);
               })});
  routes_.add({"GET",
               "/v1/users/{uid}/files",
               "The user's files, newest first",
               {},
               {},
               with([](store::FileStore& files, Call& call) {
                 const auto all = files.list(owner_of(call));
                 if (!all) return reply_of(all.error());
                 Json rows = Json::array();
                 for (const auto& file : *all) rows.push_back(view(call, file));
                 return json_reply({{"files", rows}});
               })});
  routes_.add({"DELETE",
               "/v1/users/{uid}/files",
               "Remove them all",
               {},
               {},
               with([](store::FileStore& files, Call& call) {
                 const auto count = files.remove_all(owner_of(call));
                 return count ? json_reply({{"deleted", *count}}) : reply_of(count.error());
               })});
  routes_.add({"GET",
               "/v1/users/{uid}/files/{fid}",
               "What is known of a file",
               {},
               {},
               with([](store::FileStore& files, Call& call) {
                 const auto file = files.info(owner_of(call), call.parts[1]);
                 return file ? json_reply(view(call, *file)) : reply_of(file.error());
               })});
  routes_.add({"GET",
               "/v1/users/{uid}/files/{fid}/content",
               "Its content",
               {},
               {},
               with([](store::FileStore& files, Call& call) {
                 auto opened = files.get(owner_of(call), call.parts[1]);
                 if (!opened) return reply_of(opened.error());
                 HttpReply reply;
                 const std::string tag = "\"" + opened->file.sha256 + "\"";
                 reply.headers.emplace_back("ETag", tag);
                 if (call.http.header("if-none-match") == tag) {
                   reply.status = 304;
                   return reply;
                 }
                 // Whatever it says it is, no browser is to show it as a page of ours.
                 reply.type = "application/octet-stream";
                 reply.headers.emplace_back("Content-Disposition", "attachment");
                 reply.file = std::move(opened->content);
                 reply.file_bytes = opened->file.bytes;
                 return reply;
               })});
  routes_.add({"DELETE",
               "/v1/users/{uid}/files/{fid}",
               "Remove a file",
               {},
               {},
               with([](store::FileStore& files, Call& call) {
                 const auto done = files.remove(owner_of(call), call.parts[1]);
                 if (!done) return reply_of(done.error());
                 return *done ? json_reply({{"success", true}})
                              : failure(404, "there is no such file");
               })});
  routes_.add({"POST",
               "/v1/admin/cleanup",
               "Remove what has expired",
               {},
               {1024},
               with([](store::FileStore& files, Call&) {
                 const auto swept = files.sweep();
                 if (!swept) return reply_of(swept.error());
                 return json_reply({{"success", true},
                                    {"deleted_files", swept->expired},
                                    {"timestamp", time_text(std::time(nullptr))}});
               })});
}

}  // namespace jailrun::service
