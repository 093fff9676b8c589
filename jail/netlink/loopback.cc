#include "jail/netlink/loopback.h"

#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include <memory>

#include "jail/confine/net.h"

namespace jailrun {
namespace {

struct FreeSocket {
  void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
};
struct FreeLink {
  void operator()(rtnl_link* link) const { ::rtnl_link_put(link); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;
using Link = std::unique_ptr<rtnl_link, FreeLink>;

Error failed(int netlink_error) {
  return Error{Stage::JoinNetwork, "lo", 0,
               std::string("cannot set lo up in the jail: ") + ::nl_geterror(netlink_error),
               "run `jailrun doctor` to see what this host allows"};
}

}  // namespace

Expected<void> bring_up_loopback(pid_t pid) {
  const Fd network(
      ::open(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  TRY(const InNetwork inside, InNetwork::enter(network));
  const Socket socket(::nl_socket_alloc());
  if (int error = socket ? ::nl_connect(socket.get(), NETLINK_ROUTE) : -NLE_NOMEM; error < 0) {
    return std::unexpected(failed(error));
  }
  rtnl_link* found = nullptr;
  if (const int error = ::rtnl_link_get_kernel(socket.get(), 0, "lo", &found); error < 0)
    return std::unexpected(failed(error));
  const Link link(found), change(::rtnl_link_alloc());
  if (!change) return std::unexpected(failed(-NLE_NOMEM));
  ::rtnl_link_set_flags(change.get(), IFF_UP);
  if (const int error = ::rtnl_link_change(socket.get(), link.get(), change.get(), 0); error < 0) {
    return std::unexpected(failed(error));
  }
  return {};
}

}  // namespace jailrun
