// Tests in the jails of one world: its zygote takes a second to start.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>

#include "tests/support/plans.h"
#include "tests/support/warm.h"

namespace jailrun {

class InWorld : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    const auto plan = test::plan_of("python");
    if (plan) world_ = test::start_world(*plan);
  }
  static void TearDownTestSuite() { world_.reset(); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_NE(world_, nullptr);
  }
  inline static std::unique_ptr<World> world_;
};

}  // namespace jailrun
