// `jailrun ask --replay`: a capsule of the record, or of a file, once more.
#pragma once

#include "tools/full/question.h"

namespace jailrun::full {

struct Told {
  std::string text;
  int status = 0;  // 1: something differs
};

// `what`: the id of a run, or a file that `jailrun runs export` has written. The data are those of
// the capsule, unless `options` name others.
Expected<Told> replay_run(const std::string& what, const QuestionOptions& options,
                          const agent::Cancel& cancel, Recording& recording, bool as_json);

}  // namespace jailrun::full
