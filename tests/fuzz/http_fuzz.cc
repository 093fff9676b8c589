// A request as text, as a socket would bring it, through everything that is ours: head, target,
// route, body, form, handler. There is no jaild, so no jail is made; the store and the record are.
#include <spdlog/spdlog.h>
#include <sys/mman.h>

#include <filesystem>

#include "agent/service/http_head.h"
#include "agent/service/multipart.h"
#include "agent/service/service.h"
#include "tests/fuzz/input.h"

namespace {

using namespace jailrun;
using namespace jailrun::service;
namespace http = boost::beast::http;

class Place {
 public:
  Place() {
    std::string name = "/dev/shm/jailrun-fuzz-XXXXXX";
    fuzz::check(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Place() { std::filesystem::remove_all(path_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

ServiceOptions options(const std::string& place) {
  spdlog::set_level(spdlog::level::off);
  ServiceOptions options;
  options.sessions.jaild = place + "/nobody";
  options.store = place + "/files";
  options.store_options.owner_files = 4;
  options.store_options.file_bytes = 4096;
  options.record = place + "/record.db";
  options.version = "0";
  return options;
}

Service& served() {
  static const Place place;
  static Service made(options(place.path()), Keys::read("").value());
  return made;
}

Fd file_of(const std::string& body) {
  Fd file(::memfd_create("upload", MFD_CLOEXEC));
  fuzz::check(write_all(file.get(), body.data(), body.size()) == 0);
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  http::request_parser<http::string_body> parser;
  parser.eager(true);
  parser.header_limit(16 << 10);
  parser.body_limit(64 << 10);
  boost::system::error_code fault;
  parser.put(boost::asio::buffer(data, size), fault);
  if (!parser.is_header_done()) return 0;
  const auto& head = parser.get().base();
  HttpRequest request;
  if (!http_detail::is_framed_once(head) || !http_detail::fill(head, request)) return 0;
  const BodyRule rule = served().rule(request.method, request.path);
  const std::string body = parser.get().body().substr(0, rule.bytes);
  if (rule.to_file) {
    request.upload = file_of(body);
  } else {
    request.body = body;
  }
  const HttpReply reply = served().handle(request);
  fuzz::check(reply.status >= 200 && reply.status < 600);
  for (const auto& [name, value] : reply.headers)
    fuzz::check(value.find_first_of("\r\n") == std::string::npos);
  if (reply.type == "application/json" && !reply.body.empty() && request.method != "HEAD" &&
      !accepts_gzip(request))
    fuzz::check(nlohmann::json::accept(reply.body));
  // A form by itself: not every path takes one.
  if (!request.upload.valid()) {
    request.upload = file_of(parser.get().body());
    const auto form = take_upload(request);
    if (!form) fuzz::check(form.error().status >= 400);
  }
  return 0;
}
