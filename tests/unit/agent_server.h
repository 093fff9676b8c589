// A server on this machine that answers what it is told to: every reply comes from a socket.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "jail/sys/fd.h"

namespace jailrun::test {

// Answers one connection after another with the given texts, then closes; a port of the kernel's
// choice.
class Server {
 public:
  // `holds`: connections stay open after the reply until the server goes.
  explicit Server(std::vector<std::string> replies, bool holds = false)
      : replies_(std::move(replies)), holds_(holds) {
    listener_ = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    listen(listener_.get(), 16);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (const auto& reply : replies_) {
      Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client.valid()) return;
      std::string request = read_request(client.get());
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      for (std::size_t at = 0; at < reply.size();) {
        ssize_t sent = send(client.get(), reply.data() + at, reply.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<std::size_t>(sent);
      }
      if (holds_) held_.push_back(std::move(client));
    }
  }

  static std::string read_request(int fd) {
    std::string all;
    char block[4096];
    while (true) {
      auto end = all.find("\r\n\r\n");
      if (end != std::string::npos) {
        auto at = all.find("Content-Length: ");
        if (at == std::string::npos || all.size() >= end + 4 + std::stoul(all.substr(at + 16)))
          return all;
      }
      ssize_t got = recv(fd, block, sizeof block, 0);
      if (got <= 0) return all;
      all.append(block, static_cast<std::size_t>(got));
    }
  }

  std::vector<std::string> replies_, requests_;
  bool holds_;
  std::vector<Fd> held_;
  Fd listener_;
  int port_ = 0;
  std::mutex mutex_;
  std::thread thread_;
};

inline std::string http(const std::string& status, const std::string& body,
                        const std::string& headers = "") {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// A reply of server-sent events, in chunks of seven bytes; without its end where it breaks off.
inline std::string events(const std::string& body, bool ends = true) {
  std::string out =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
      "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  char size[24];
  for (std::size_t at = 0; at < body.size(); at += 7) {
    const auto piece = body.substr(at, 7);
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    out += size + piece + "\r\n";
  }
  return ends ? out + "0\r\n\r\n" : out;
}

}  // namespace jailrun::test
