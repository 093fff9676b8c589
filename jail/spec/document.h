// Document: a protobuf text file, read with protobuf's own parser as often as it takes to hear all
// of its complaints. Each offending statement is blanked out before the next reading, so places
// stay true.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jail/spec/parse.h"

namespace jailrun {

class Document {
 public:
  using Tree = google::protobuf::TextFormat::ParseInfoTree;

  // Reads what can be read into `message`; what cannot becomes faults.
  Document(std::string_view text, std::string file, google::protobuf::Message& message,
           std::vector<Fault>& faults);

  // Where field `name` (element `index` of a repeated one, else -1) of the message of type `type`
  // that `tree` belongs to is written; `otherwise` where it is not.
  std::size_t offset(const Tree* tree, const google::protobuf::Descriptor* type,
                     const std::string& name, int index, std::size_t otherwise) const;

  // Adds a fault at a place that offset() gave.
  void fault_at(std::size_t offset, std::string path, std::string message,
                std::string remedy) const;

  // Whether a statement for a field of this name was taken out: its absence is no second fault.
  bool taken_out(const std::string& name) const { return taken_out_.contains(name); }

  const Tree* tree() const { return tree_.get(); }
  const std::string& file() const { return file_; }

 private:
  void unknown_field(int line, int column, const std::string& warning);
  bool refuse(std::size_t offset, std::string complaint, const google::protobuf::Descriptor* type);
  bool close_block();
  bool check_bytes();

  const std::string text_, file_;
  std::string rest_;                   // what is left of text_: statements blanked, brackets closed
  std::vector<std::size_t> inserted_;  // offsets in rest_ of brackets that text_ has not
  std::vector<Fault>& faults_;
  std::unique_ptr<Tree> tree_;
  std::set<std::string> taken_out_;
};

// How a value of this field is written: "a whole number", "one of NONE, LOOPBACK".
std::string how_to_write(const google::protobuf::FieldDescriptor& field);

std::string joined(const std::vector<std::string>& words, const char* between);

// "[3]"
std::string subscript(int index);

// Names of the fields of a message, and of the values of an enum: for suggestions.
std::vector<std::string> field_names(const google::protobuf::Descriptor& type);
std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type);

}  // namespace jailrun
