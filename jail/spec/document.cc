#include "jail/spec/document.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <cctype>

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

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

const pb::FieldDescriptor* field_at(const pb::Descriptor* type, const std::vector<std::string>& path) {
  const pb::FieldDescriptor* field = nullptr;
  for (const std::string& name : path) {
    if (type == nullptr) return nullptr;
    field = type->FindFieldByName(name);
    if (field == nullptr) return nullptr;
    type = field->message_type();
  }
  return field;
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
    : text_(text), file_(std::move(file)), faults_(faults) {
  constexpr int kReadings = 64;  // a text with more faults than that is not a policy
  std::string rest = text_;
  if (!check_bytes(rest)) return;
  for (int reading = 0; reading < kReadings; ++reading) {
    Collector collector;
    tree_ = std::make_unique<Tree>();
    pb::TextFormat::Parser parser;
    parser.RecordErrorsTo(&collector);
    parser.WriteLocationsTo(tree_.get());
    parser.AllowUnknownField(true);
    parser.SetRecursionLimit(16);
    message.Clear();
    const bool whole = parser.ParseFromString(rest, &message);
    if (whole && collector.errors.empty()) {
      for (const Complaint& each : collector.warnings) {
        const std::string name = quoted(each.message, 1);
        const pb::Descriptor* type =
            pb::DescriptorPool::generated_pool()->FindMessageTypeByName(quoted(each.message, 0));
        const std::vector<std::string> known =
            type == nullptr ? std::vector<std::string>{} : field_names(*type);
        std::size_t offset = offset_of(rest, each.line, each.column);
        const auto all = statements(rest);
        const Statement* statement = statement_at(all, offset > 0 ? offset - 1 : 0);
        for (const Statement& candidate : all) {
          if (candidate.path.back() == name && candidate.begin <= offset) statement = &candidate;
        }
        if (statement != nullptr) offset = statement->begin;
        const std::string path = statement == nullptr ? name : joined(statement->path, ".");
        fault_at(offset, path, "unknown field " + in_quotes(path),
                 did_you_mean(name, known, "known fields: " + joined(known, ", ")));
      }
      return;
    }
    if (collector.errors.empty()) break;
    const Complaint& first = collector.errors.front();
    const std::string before = rest;
    refuse(rest, offset_of(rest, first.line, first.column), first.message, message.GetDescriptor());
    if (rest == before) break;
  }
  message.Clear();
  tree_ = nullptr;
}

// What protobuf and the terminal could choke on: NUL, control characters, bytes that are not UTF-8.
bool Document::check_bytes(std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      fault_at(i, "", "control character " + std::to_string(c), "a policy is plain UTF-8 text");
      return false;
    }
  }
  const std::size_t bad = first_bad_byte(text);
  if (bad == text.size()) return true;
  fault_at(bad, "", "not UTF-8", "a policy is plain UTF-8 text; save it as such");
  return false;
}

// One complaint of the parser becomes a fault, and its statement blanks.
void Document::refuse(std::string& text, std::size_t offset, const std::string& complaint,
                      const pb::Descriptor* type) {
  const std::vector<Statement> all = statements(text);
  const Statement* statement = statement_at(all, offset);
  std::size_t begin = offset, end = std::min(offset + 1, text.size());
  std::string path;
  std::string remedy = "a field is written NAME: VALUE or NAME { … }";
  if (statement != nullptr && (statement->leaf || offset < statement->end)) {
    path = joined(statement->path, ".");
    const bool whole = statement->leaf || statement->begin == offset || !statement->complete;
    if (whole) {
      begin = statement->begin;
      end = std::max(statement->end, std::min(offset + 1, text.size()));
      taken_out_.insert(statement->path.back());
    }
    const pb::FieldDescriptor* field = field_at(type, statement->path);
    if (!statement->complete && !statement->leaf) {
      remedy = "close '" + path + " {' with '}'";
    } else if (field != nullptr && whole) {
      remedy = path + " takes " + how_to_write(*field);
      if (field->enum_type() != nullptr) {
        remedy = did_you_mean(quoted(complaint, 0), value_names(*field->enum_type()), remedy);
      }
    }
  }
  fault_at(offset, path, (path.empty() ? "" : path + ": ") + lower_first(complaint), remedy);
  for (std::size_t i = begin; i < end; ++i) {
    if (text[i] != '\n') text[i] = ' ';
  }
}

void Document::fault_at(std::size_t offset, std::string path, std::string message,
                        std::string remedy) const {
  const Place place = place_of(text_, offset);
  faults_.push_back({file_, place.line, place.column, std::move(path), std::move(message),
                     std::move(remedy)});
}

void Document::fault(const Tree* tree, const pb::Descriptor* type, const std::string& name, int index,
                     std::string path, std::string message, std::string remedy) const {
  std::size_t offset = 0;
  const pb::FieldDescriptor* field = tree == nullptr ? nullptr : type->FindFieldByName(name);
  if (field != nullptr) {
    const pb::TextFormat::ParseLocation place = tree->GetLocation(field, index);
    if (place.line >= 0) offset = offset_of(text_, place.line, place.column);
  }
  fault_at(offset, std::move(path), std::move(message), std::move(remedy));
}

std::string how_to_write(const pb::FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_STRING: return "text in quotes";
    case pb::FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    case pb::FieldDescriptor::CPPTYPE_DOUBLE: return "a number, such as 1 or 0.5";
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + joined(value_names(*field.enum_type()), ", ");
    case pb::FieldDescriptor::CPPTYPE_MESSAGE: return "a block, { … }";
    default: return "a whole number, without quotes, not negative";
  }
}

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
