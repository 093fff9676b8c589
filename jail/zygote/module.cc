// jailrun_zygote: what zygote.py cannot do itself. Loaded by the image's own Python (stable ABI),
// so it asks nothing of the image but libc: the steps are jail/child's.
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/prctl.h>

#include "jail/child/orders.h"
#include "jail/child/raw.h"
#include "jail/zygote/heap.h"

namespace {

using namespace jailrun;
using child::ptr;
using child::sys;

// The order socket, out of the way of the guest's pipes (0 to 4) and its control (5).
constexpr int kOrders = 200, kFirstFree = 6;
constexpr long kEintr = 4;

const child::WarmPlan* plan;
child::Reports* reports;
Stage fail_at;  // of the latest order

struct Order {
  int fds[child::kMaxOrderFds];
  unsigned count;
  Stage fail_at;
};

// Moves the socket and the plan from where the keeper put them and occupies the numbers below.
bool settle() {
  if (sys(SYS_dup3, child::kKeeperSocket, kOrders, 02000000) < 0) return false;
  const long null = sys(SYS_open, ptr("/dev/null"), 2 | 02000000);
  for (int fd = child::kKeeperSocket; fd < kFirstFree; ++fd) {
    if (fd != null && sys(SYS_dup3, null, fd, 02000000) < 0) return false;
  }
  return true;
}

// False: the owner wants no more children, or is gone.
bool receive(Order& order) {
  child::ChildOrder text;
  struct {
    void* base;
    std::uint64_t size;
  } part{&text, sizeof text};
  struct {
    std::uint64_t length;
    std::int32_t level, type;
    std::int32_t fds[child::kMaxOrderFds];
  } rights;
  struct {
    void* name;
    std::uint64_t name_length;
    void* parts;
    std::uint64_t part_count;
    void* control;
    std::uint64_t control_length, flags;
  } message{nullptr, 0, &part, 1, &rights, sizeof rights, 0};
  long n = 0;
  do {
    message.control_length = sizeof rights;
    n = sys(SYS_recvmsg, kOrders, ptr(&message), 0x40000000 /* MSG_CMSG_CLOEXEC */);
  } while (n == -kEintr);
  if (n <= 0) return false;
  order.count = message.control_length < 16
                    ? 0
                    : static_cast<unsigned>((rights.length - 16) / sizeof(std::int32_t));
  for (unsigned i = 0; i < order.count; ++i) order.fds[i] = rights.fds[i];
  order.fail_at = fail_at = text.fail_at;
  return true;
}

std::int32_t* tid_address() {
  std::int32_t* address = nullptr;
  // libc registered it for this thread; the child's copy must hold the child's own id.
  return sys(SYS_prctl, PR_GET_TID_ADDRESS, ptr(&address)) == 0 ? address : nullptr;
}

PyObject* next_child(PyObject*, PyObject*) {
  std::int32_t* tid = tid_address();
  Order order;
  while (receive(order)) {
    long pid = -1;
    if (order.count >= child::kChildTasks) {
      PyOS_BeforeFork();
      pid = child::fork_guest({plan, order.fds, order.count, tid, order.fail_at}, reports);
      if (pid == 0) {
        PyOS_AfterFork_Child();
        return PyLong_FromLong(0);
      }
      PyOS_AfterFork_Parent();
    }
    if (pid < 0 && order.count > child::kChildReports) {
      child::Report failed{};
      failed.error_stage = static_cast<std::uint32_t>(Stage::Spawn);
      failed.error_errno = static_cast<std::int32_t>(-pid);
      sys(SYS_pwrite64, order.fds[child::kChildReports], ptr(&failed), sizeof failed,
          static_cast<long>(offsetof(child::Reports, guest)));
    }
    for (unsigned i = 0; i < order.count; ++i) sys(SYS_close, order.fds[i]);
  }
  return PyLong_FromLong(-1);
}

PyObject* ready(PyObject*, PyObject* text) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) return nullptr;
  if (sys(SYS_write, kOrders, ptr(bytes), size) < 0) {
    PyErr_SetString(PyExc_OSError, "the owner is gone");
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* park(PyObject*, PyObject*) {
  if (!child::await_attestation(reports, fail_at)) sys(SYS_exit_group, 1);
  Py_RETURN_NONE;
}

PyObject* freeze(PyObject*, PyObject*) {
  char text[256];
  jailrun::zygote::freeze_heap(text, sizeof text);
  return PyUnicode_FromString(text);
}

PyObject* immortalize(PyObject*, PyObject* list) {
  std::size_t done = 0;
  for (Py_ssize_t i = 0, n = PyList_Size(list); i < n; ++i) {
    void* const object = PyList_GetItem(list, i);
    done += jailrun::zygote::immortalize(&object, 1);
  }
  return PyErr_Occurred() != nullptr ? nullptr : PyLong_FromSize_t(done);
}

PyMethodDef methods[] = {
    {"ready", ready, METH_O, "Tell the owner that imports are done; TEXT is one line of account."},
    {"next_child", next_child, METH_NOARGS,
     "Fork as ordered. 0 in a child, which is confined; -1 in the zygote when it is to end."},
    {"park", park, METH_NOARGS, "In a child: wait until the owner has attested it."},
    {"immortalize", immortalize, METH_O, "Let no child write the reference counts of LIST."},
    {"freeze_heap", freeze, METH_NOARGS, "Make this process cheap to fork; says what was done."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "jailrun_zygote",
                          nullptr,
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_jailrun_zygote() {
  const long mapped = sys(SYS_mmap, 0, sizeof(child::WarmPlan), 1 /* PROT_READ */,
                          1 /* MAP_SHARED */, child::kKeeperPlan, 0);
  if (mapped < 0 || !settle()) {
    PyErr_SetString(PyExc_OSError, "not started by jailrun-spawner");
    return nullptr;
  }
  plan = reinterpret_cast<const child::WarmPlan*>(mapped);
  return PyModule_Create(&definition);
}
