// older_kernel FEATURES PROGRAM ARGUMENTS…: runs a program on a kernel that lacks features (commas
// between their names), as the program sees it.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "tests/without/supervise.h"

namespace {

using without::Feature;

std::vector<const Feature*> chosen(const std::string& names) {
  std::vector<const Feature*> features;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t end = std::min(names.find(',', at), names.size());
    const std::string name = names.substr(at, end - at);
    at = end + 1;
    const Feature* feature = without::kFeatures;
    while (feature->name != nullptr && name != feature->name) ++feature;
    if (feature->name == nullptr) {
      std::fprintf(stderr,
                   "older_kernel: there is no feature '%s'; tests/without/features.cc lists them\n",
                   name.c_str());
      ::_exit(255);
    }
    features.push_back(feature);
  }
  return features;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: older_kernel FEATURE[,FEATURE…] PROGRAM ARGUMENTS…\n");
    return 255;
  }
  return without::run_lacking(chosen(argv[1]), argv + 2);
}
