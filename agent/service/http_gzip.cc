#include "agent/service/http_gzip.h"

#include <algorithm>
#include <boost/beast/zlib/deflate_stream.hpp>
#include <boost/crc.hpp>

namespace jailrun::service {
namespace {

constexpr std::size_t kShort = 1400;  // one packet is as good as half of one
constexpr int kLevel = 4, kWindowBits = 15, kMemory = 8;

bool is_text(std::string_view type) {
  return type.starts_with("text/") || type.starts_with("application/json") ||
         type.starts_with("application/x-ipynb+json");
}

void append_le(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}

}  // namespace

std::optional<std::string> gzip(std::string_view plain) {
  namespace zlib = boost::beast::zlib;
  zlib::deflate_stream stream;
  stream.reset(kLevel, kWindowBits, kMemory, zlib::Strategy::normal);
  std::string out("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);  // RFC 1952: no name, no time
  const std::size_t head = out.size();
  out.resize(head + stream.upper_bound(plain.size()));
  zlib::z_params params;
  params.next_in = plain.data();
  params.avail_in = plain.size();
  params.next_out = out.data() + head;
  params.avail_out = out.size() - head;
  boost::beast::error_code fault;
  stream.write(params, zlib::Flush::finish, fault);
  if (fault != zlib::error::end_of_stream) return std::nullopt;
  out.resize(head + params.total_out);
  boost::crc_32_type crc;
  crc.process_bytes(plain.data(), plain.size());
  append_le(out, crc.checksum());
  append_le(out, static_cast<std::uint32_t>(plain.size()));
  return out;
}

void pack(HttpReply& reply, const HttpRequest& request) {
  if (reply.file.valid() || reply.events || reply.body.size() < kShort || !is_text(reply.type) ||
      std::ranges::any_of(reply.headers,
                          [](const auto& each) { return each.first == "Content-Encoding"; }))
    return;
  if (std::ranges::none_of(reply.headers, [](const auto& each) { return each.first == "Vary"; }))
    reply.headers.emplace_back("Vary", "Accept-Encoding");
  if (!accepts_gzip(request)) return;
  if (auto packed = gzip(reply.body)) {
    reply.body = std::move(*packed);
    reply.headers.emplace_back("Content-Encoding", "gzip");
  }
}

}  // namespace jailrun::service
