#include "agent/service/multipart.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace jailrun::service {
namespace {

constexpr std::size_t kMostParts = 32, kMostHead = 8 << 10, kMostBoundary = 70;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// The parameter `name` of a header's value, quoted or not. A backslash escapes a quote alone:
// browsers send names of Windows' files as they are.
std::string parameter(std::string_view value, std::string_view name) {
  const std::string small = lower(value), wanted = std::string(name) + "=";
  bool quoted = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '"') quoted = !quoted;
    if (quoted || value[i] != ';') continue;
    std::size_t at = value.find_first_not_of(" \t", i + 1);
    if (at == std::string_view::npos || small.compare(at, wanted.size(), wanted) != 0) continue;
    at += wanted.size();
    if (at >= value.size() || value[at] != '"')
      return std::string(value.substr(at, value.find_first_of("; \t", at) - at));
    std::string out;
    for (++at; at < value.size() && value[at] != '"'; ++at) {
      if (value[at] == '\\' && at + 1 < value.size() && value[at + 1] == '"') ++at;
      out += value[at];
    }
    return out;
  }
  return {};
}

// Only a name: what a client calls its folders is nobody's business here.
std::string base_name(const std::string& name) {
  const std::size_t slash = name.find_last_of("/\\");
  return slash == std::string::npos ? name : name.substr(slash + 1);
}

class Mapped {
 public:
  explicit Mapped(int fd) {
    struct stat st{};
    if (::fstat(fd, &st) != 0 || st.st_size == 0) return;
    size_ = static_cast<std::size_t>(st.st_size);
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  }
  ~Mapped() {
    if (data_ != MAP_FAILED) ::munmap(data_, size_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  std::string_view text() const {
    return data_ == MAP_FAILED ? std::string_view()
                               : std::string_view(static_cast<const char*>(data_), size_);
  }

 private:
  void* data_ = MAP_FAILED;
  std::size_t size_ = 0;
};

std::size_t find(std::string_view text, std::string_view what, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* const found =
      ::memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::expected<Fd, HttpReply> copy_of(int source, std::size_t from, std::size_t bytes) {
  Fd file(::open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  auto at = static_cast<off_t>(from);
  while (file.valid() && bytes > 0) {
    const ssize_t n = ::sendfile(file.get(), source, &at, bytes);
    if (n <= 0) file.reset();
    bytes -= n <= 0 ? 0 : static_cast<std::size_t>(n);
  }
  if (!file.valid() || ::lseek(file.get(), 0, SEEK_SET) != 0)
    return std::unexpected(failure(503, "no room for an upload"));
  return file;
}

struct Part {
  std::string name, filename;
  bool is_file = false;
  std::size_t from = 0, bytes = 0;
};

std::unexpected<HttpReply> bad(const char* what) {
  return std::unexpected(failure(400, std::string("not a well-formed form: ") + what));
}

// The part that begins at `at`, behind its delimiter's line; moves `at` behind the next delimiter.
std::expected<Part, HttpReply> next_part(std::string_view text, const std::string& delimiter,
                                         std::size_t& at) {
  const std::size_t head_end = find(text.substr(0, at + kMostHead), "\r\n\r\n", at);
  if (head_end == std::string_view::npos) return bad("a part without an end of its head");
  Part part;
  for (std::size_t line = at; line < head_end;) {
    const std::size_t end = std::min(find(text, "\r\n", line), head_end);
    const std::string_view field = text.substr(line, end - line);
    if (lower(field.substr(0, 20)) == "content-disposition:") {
      part.name = parameter(field, "name");
      part.filename = parameter(field, "filename");
      part.is_file = lower(field).find("filename=") != std::string::npos;
    }
    line = end + 2;
  }
  if (part.name.empty()) return bad("a part without a name");
  part.from = head_end + 4;
  // Of an empty part, the end of its head is where its delimiter begins.
  const std::size_t end = find(text, delimiter, part.from - 2);
  if (end == std::string_view::npos) return bad("a part without an end");
  part.bytes = end < part.from ? 0 : end - part.from;
  at = end + delimiter.size();
  return part;
}

std::expected<Upload, HttpReply> read_form(const HttpRequest& request,
                                           const std::string& boundary) {
  if (boundary.empty() || boundary.size() > kMostBoundary) return bad("no boundary");
  const Mapped mapped(request.upload.get());
  const std::string_view text = mapped.text();
  const std::string delimiter = "\r\n--" + boundary;
  Upload upload;
  std::size_t fields = 0;
  if (!text.starts_with(std::string_view(delimiter).substr(2))) return bad("no part in it");
  std::size_t at = delimiter.size() - 2;
  for (std::size_t count = 0;; ++count) {
    if (text.substr(at).starts_with("--")) break;
    if (!text.substr(at).starts_with("\r\n")) return bad("a delimiter that goes on");
    if (count == kMostParts) return bad("too many parts");
    at += 2;
    auto part = next_part(text, delimiter, at);
    if (!part) return std::unexpected(std::move(part.error()));
    if (part->is_file) {
      if (upload.file.valid())
        return std::unexpected(failure(400, "one file at a time: send a request for each"));
      auto file = copy_of(request.upload.get(), part->from, part->bytes);
      if (!file) return std::unexpected(std::move(file.error()));
      upload.file = std::move(*file);
      upload.name = base_name(part->filename);
      continue;
    }
    fields += part->bytes;
    if (fields > kFormBytes)
      return std::unexpected(failure(413, "the fields of the form are too large"));
    upload.fields[part->name] = std::string(text.substr(part->from, part->bytes));
  }
  if (!upload.file.valid()) return std::unexpected(failure(400, "there is no file in the form"));
  return upload;
}

}  // namespace

std::string Upload::field(const std::string& wanted) const {
  const auto found = fields.find(wanted);
  return found == fields.end() ? std::string() : found->second;
}

std::expected<Upload, HttpReply> take_upload(const HttpRequest& request) {
  const std::string type = request.header("content-type");
  Upload upload;
  if (lower(type).starts_with("multipart/form-data")) {
    auto form = read_form(request, parameter(type, "boundary"));
    if (!form) return form;
    upload = std::move(*form);
  } else {
    upload.file = Fd(::fcntl(request.upload.get(), F_DUPFD_CLOEXEC, 3));
    if (!upload.file.valid()) return std::unexpected(failure(503, "no room for an upload"));
  }
  for (const auto& [name, value] : request.query) upload.fields.try_emplace(name, value);
  if (!upload.field("filename").empty()) upload.name = upload.field("filename");
  if (upload.name.empty())
    return std::unexpected(failure(400, "say what it is called: ?filename=NAME"));
  return upload;
}

}  // namespace jailrun::service
