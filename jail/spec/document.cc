#include "jail/spec/document.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "jail/plan/nearest.h"
#include "jail/spec/statements.h"

namespace jailrun {
namespace {

namespace pb = google::protobuf;

struct Complaint {
  int line, column;
  std::string message;
};

class Collector : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    errors.push_back({line, column, message});
  }
  void AddWarning(int line, pb::io::ColumnNumber column, const std::string& message) override {
    warnings.push_back({line, column, message});
  }
  std::vector<Complaint> errors, warnings;
};

// The index-th text in double quotes, "" where there are fewer.
std::string quoted(std::string_view text, int index) {
  std::size_t from = 0;
  for (;; --index) {
    const std::size_t open = text.find('"', from);
    const std::size_t close = open == std::string_view::npos ? open : text.find('"', open + 1);
    if (close == std::string_view::npos) return "";
    if (index == 0) return std::string(text.substr(open + 1, close - open - 1));
    from = close + 1;
  }
}

const pb::FieldDescriptor* field_at(const pb::Descriptor* type,
                                    const std::vector<std::string>& path) {
  const pb::FieldDescriptor* field = nullptr;
  for (const std::string& name : path) {
    if (type == nullptr) return nullptr;
    field = type->FindFieldByName(name);
    if (field == nullptr) return nullptr;
    type = field->message_type();
  }
  return field;
}

// The last statement for a field of this name that begins before `offset`.
std::optional<Statement> last_named(const std::vector<Statement>& all, const std::string& name,
                                    std::size_t offset) {
  std::optional<Statement> last;
  for (const Statement& each : all) {
    if (each.begin <= offset && each.path.back() == name) last = each;
  }
  return last;
}

std::string lower_first(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

// The first byte that is not part of well-formed UTF-8, or size().
std::size_t first_bad_byte(std::string_view text) {
  std::size_t i = 0;
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
  };
  while (i < text.size()) {
    const unsigned lead = byte(i);
    if (lead != 0 && lead < 0x80) {
      ++i;
      continue;
    }
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4) return i;
    for (int k = 1; k <= more; ++k) {
      if ((byte(i + static_cast<std::size_t>(k)) & 0xc0) != 0x80) return i;
    }
    const unsigned second = byte(i + 1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return i;
    }
    i += static_cast<std::size_t>(more) + 1;
  }
  return i;
}

}  // namespace

Document::Document(std::string_view text, std::string file, pb::Message& message,
                   std::vector<Fault>& faults)
    : text_(text), file_(std::move(file)), rest_(text), faults_(faults) {
  constexpr int kReadings = 64;  // a text with more faults than that is not a policy
  if (!check_bytes()) return;
  for (int reading = 0; reading < kReadings; ++reading) {
    Collector collector;
    tree_ = std::make_unique<Tree>();
    pb::TextFormat::Parser parser;
    parser.RecordErrorsTo(&collector);
    parser.WriteLocationsTo(tree_.get());
    parser.AllowUnknownField(true);
    parser.SetRecursionLimit(16);
    message.Clear();
    const bool whole = parser.ParseFromString(rest_, &message);
    if (whole && collector.errors.empty()) {
      for (const Complaint& each : collector.warnings) {
        unknown_field(each.line, each.column, each.message);
      }
      return;
    }
    if (collector.errors.empty()) break;
    const Complaint& first = collector.errors.front();
    const std::size_t offset = offset_of(rest_, first.line, first.column);
    if (!refuse(offset, first.message, message.GetDescriptor())) break;
  }
  message.Clear();
  tree_ = nullptr;
}

// protobuf places this behind the field's name.
void Document::unknown_field(int line, int column, const std::string& warning) {
  const std::string name = quoted(warning, 1);
  const pb::Descriptor* type =
      pb::DescriptorPool::generated_pool()->FindMessageTypeByName(quoted(warning, 0));
  std::vector<std::string> known;
  if (type != nullptr) known = field_names(*type);
  std::size_t offset = offset_of(rest_, line, column);
  std::string path = name;
  if (const auto statement = last_named(statements(rest_), name, offset)) {
    offset = statement->begin;
    path = joined(statement->path, ".");
  }
  fault_at(offset, path, "unknown field " + in_quotes(path),
           did_you_mean(name, known, "known fields: " + joined(known, ", ")));
}

// What protobuf and the terminal could choke on: NUL, control characters, bytes that are not UTF-8.
bool Document::check_bytes() {
  for (std::size_t i = 0; i < text_.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text_[i]);
    if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      fault_at(i, "", "control character " + std::to_string(c), "a policy is plain UTF-8 text");
      return false;
    }
  }
  const std::size_t bad = first_bad_byte(text_);
  if (bad == text_.size()) return true;
  fault_at(bad, "", "not UTF-8", "a policy is plain UTF-8 text; save it as such");
  return false;
}

// A block that the end of the text finds open is closed before the first line that is indented no
// deeper than the block itself. False if there is none.
bool Document::close_block() {
  const std::vector<Statement> all = statements(rest_);
  const Statement* open = nullptr;
  for (const Statement& each : all) {
    if (!each.leaf && !each.complete) open = &each;
  }
  if (open == nullptr) return false;
  const Place block = place_of(rest_, open->begin);
  std::size_t at = rest_.size();
  for (const Statement& each : all) {
    const Place place = place_of(rest_, each.begin);
    if (each.begin > open->begin && place.line > block.line && place.column <= block.column) {
      at = each.begin;
      break;
    }
  }
  const std::string path = joined(open->path, ".");
  fault_at(open->begin, path, path + ": '{' is never closed", "write a '}' where the block ends");
  rest_.insert(at, "}");
  for (std::size_t& earlier : inserted_) earlier += earlier >= at ? 1 : 0;
  inserted_.push_back(at);
  return true;
}

// One complaint of the parser becomes a fault, and its statement blanks. False: no way on.
bool Document::refuse(std::size_t offset, std::string complaint, const pb::Descriptor* type) {
  if (rest_.find_first_not_of(" \t\r\n", offset) == std::string::npos && close_block()) return true;
  const std::vector<Statement> all = statements(rest_);
  const Statement* statement = statement_at(all, offset);
  const std::string named = quoted(complaint, 0);
  // protobuf notices a wrong name of an enum value only at the token behind it.
  const bool enumeration = complaint.starts_with("Unknown enumeration value");
  const std::optional<Statement> written =
      enumeration ? last_named(all, quoted(complaint, 1), offset) : std::nullopt;
  if (written) {
    statement = &*written;
    offset = written->begin;
    complaint = "no value " + in_quotes(named);
  }
  std::size_t begin = offset, end = std::min(offset + 1, rest_.size());
  std::string path, remedy = "a field is written NAME: VALUE or NAME { … }";
  if (statement != nullptr && (statement->leaf || offset < statement->end)) {
    path = joined(statement->path, ".");
    if (statement->leaf || statement->begin == offset) {
      begin = statement->begin;
      end = std::max(statement->end, end);
      taken_out_.insert(statement->path.back());
      const pb::FieldDescriptor* field = field_at(type, statement->path);
      if (field != nullptr) {
        remedy = path + " takes " + how_to_write(*field);
        const pb::EnumDescriptor* values = field->enum_type();
        if (values != nullptr) remedy = did_you_mean(named, value_names(*values), remedy);
      }
    }
  }
  fault_at(offset, path, (path.empty() ? "" : path + ": ") + lower_first(complaint), remedy);
  bool changed = false;
  for (std::size_t i = begin; i < end; ++i) {
    if (rest_[i] == '\n' || rest_[i] == ' ') continue;
    rest_[i] = ' ';
    changed = true;
  }
  return changed;
}

void Document::fault_at(std::size_t offset, std::string path, std::string message,
                        std::string remedy) const {
  const auto before = std::count_if(inserted_.begin(), inserted_.end(),
                                    [&](std::size_t at) { return at < offset; });
  const Place place = place_of(text_, offset - static_cast<std::size_t>(before));
  faults_.push_back(
      {file_, place.line, place.column, std::move(path), std::move(message), std::move(remedy)});
}

std::size_t Document::offset(const Tree* tree, const pb::Descriptor* type, const std::string& name,
                             int index, std::size_t otherwise) const {
  const pb::FieldDescriptor* field = tree == nullptr ? nullptr : type->FindFieldByName(name);
  if (field == nullptr) return otherwise;
  index = field->is_repeated() ? std::max(index, 0)
                               : -1;  // anything else protobuf takes for a bug of ours
  pb::TextFormat::ParseLocation place = tree->GetLocation(field, index);
  // Of a list in one statement, [a, b], only the first has a place.
  for (; index > 0 && place.line < 0; --index) place = tree->GetLocation(field, index - 1);
  return place.line < 0 ? otherwise : offset_of(rest_, place.line, place.column);
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

std::string how_to_write(const pb::FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return "text in quotes";
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number, such as 1 or 0.5";
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + joined(value_names(*field.enum_type()), ", ");
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return "a block, { … }";
    default:
      return "a whole number, without quotes, not negative";
  }
}

std::string subscript(int index) { return std::to_string(index).insert(0, 1, '[').append("]"); }

std::vector<std::string> field_names(const pb::Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::vector<std::string> value_names(const pb::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

}  // namespace jailrun
