// without_layer LAYERS PROGRAM ARGUMENTS…: runs a program whose jails lack walls, by the names of
// layers.cc (semicolons between them).
#include <cstdio>
#include <sstream>

#include "tests/layers/layers.h"
#include "tests/without/supervise.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: without_layer LAYER[;LAYER…] PROGRAM ARGUMENTS…\n");
    return 255;
  }
  static std::vector<without::Feature> removed;
  std::istringstream names(argv[1]);
  for (std::string name; std::getline(names, name, ';');) {
    const auto of_layer = layers::without_layer(name);
    if (of_layer.empty()) {
      std::fprintf(stderr, "without_layer: there is no layer '%s'\n", name.c_str());
      return 255;
    }
    removed.insert(removed.end(), of_layer.begin(), of_layer.end());
  }
  std::vector<const without::Feature*> features;
  for (const without::Feature& each : removed) features.push_back(&each);
  return without::run_lacking(features, argv + 2);
}
