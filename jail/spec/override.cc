#include "jail/spec/override.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <charconv>
#include <memory>

#include "jail/plan/nearest.h"
#include "jail/spec/document.h"

namespace jailrun {
namespace {

namespace pb = google::protobuf;

class Silent : public pb::io::ErrorCollector {
 public:
  void AddError(int, pb::io::ColumnNumber, const std::string& message) override {
    if (first.empty()) first = message;
  }
  std::string first;
};

struct Setter {
  const std::string& option;  // PATH=VALUE
  std::string path, value;

  Fault fault(std::string message, std::string remedy) const {
    return {"--set " + option, 0, 0, path, std::move(message), std::move(remedy)};
  }
  Fault wrong_value(const pb::FieldDescriptor& field) const {
    return fault(path + ": " + in_quotes(value) + " does not fit",
                 path + " takes " + how_to_write(field));
  }

  template <typename T>
  std::optional<T> number() const {
    T result{};
    const char* end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, result);
    if (error != std::errc{} || rest != end) return std::nullopt;
    return result;
  }
};

// The block that environment.NAME lies in: the entry of that name, made if there is none.
pb::Message* environment_entry(pb::Message& policy, const pb::FieldDescriptor& field,
                               const std::string& name) {
  const pb::Reflection& reflection = *policy.GetReflection();
  const pb::FieldDescriptor* key = field.message_type()->map_key();
  for (int i = 0; i < reflection.FieldSize(policy, &field); ++i) {
    pb::Message* entry = reflection.MutableRepeatedMessage(&policy, &field, i);
    if (entry->GetReflection()->GetString(*entry, key) == name) return entry;
  }
  pb::Message* entry = reflection.AddMessage(&policy, &field);
  entry->GetReflection()->SetString(entry, key, name);
  return entry;
}

std::optional<Fault> set_message(const Setter& set, const pb::FieldDescriptor& field,
                                 pb::Message& in) {
  const pb::Reflection& reflection = *in.GetReflection();
  std::string text = set.value;
  if (text.size() >= 2 && text.front() == '{' && text.back() == '}') {
    text = text.substr(1, text.size() - 2);
  }
  const std::unique_ptr<pb::Message> value(
      reflection.GetMessageFactory()->GetPrototype(field.message_type())->New());
  Silent errors;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.SetRecursionLimit(16);
  if (!parser.ParseFromString(text, value.get())) {
    return set.fault(
        set.path + ": " + errors.first,
        set.path + " has the fields " + joined(field_names(*field.message_type()), ", "));
  }
  pb::Message* target = field.is_repeated() ? reflection.AddMessage(&in, &field)
                                            : reflection.MutableMessage(&in, &field);
  target->MergeFrom(*value);
  return std::nullopt;
}

std::optional<Fault> set_field(const Setter& set, const pb::FieldDescriptor& field,
                               pb::Message& in) {
  const pb::Reflection& reflection = *in.GetReflection();
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_STRING:
      if (field.is_repeated()) {
        reflection.AddString(&in, &field, set.value);
      } else {
        reflection.SetString(&in, &field, set.value);
      }
      return std::nullopt;
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      if (set.value != "true" && set.value != "false") return set.wrong_value(field);
      reflection.SetBool(&in, &field, set.value == "true");
      return std::nullopt;
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      if (const auto value = set.number<double>())
        return reflection.SetDouble(&in, &field, *value), std::nullopt;
      return set.wrong_value(field);
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      if (const auto value = set.number<std::uint32_t>())
        return reflection.SetUInt32(&in, &field, *value), std::nullopt;
      return set.wrong_value(field);
    case pb::FieldDescriptor::CPPTYPE_ENUM: {
      const pb::EnumValueDescriptor* value = field.enum_type()->FindValueByName(set.value);
      if (value == nullptr) {
        Fault fault = set.wrong_value(field);
        fault.remedy = did_you_mean(set.value, value_names(*field.enum_type()), fault.remedy);
        return fault;
      }
      reflection.SetEnum(&in, &field, value);
      return std::nullopt;
    }
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return set_message(set, field, in);
    default:
      return set.fault(set.path + ": cannot be set by its path", "write it in a policy file");
  }
}

}  // namespace

std::expected<Applied, Fault> apply_override(const std::string& option, pb::Message& message) {
  const std::size_t equals = option.find('=');
  Setter set{option, option.substr(0, equals), ""};
  if (equals == std::string::npos) {
    return std::unexpected(set.fault(in_quotes(option) + " has no '='", "write --set PATH=VALUE"));
  }
  set.value = option.substr(equals + 1);
  pb::Message* in = &message;
  std::string rest = set.path;
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string name = rest.substr(0, dot);
    const pb::FieldDescriptor* field = in->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) {
      const std::string known_prefix = set.path.substr(0, set.path.size() - rest.size());
      std::vector<std::string> known = field_names(*in->GetDescriptor());
      for (std::string& each : known) each = known_prefix + each;
      return std::unexpected(
          set.fault("no field " + in_quotes(set.path),
                    did_you_mean(known_prefix + name, known, "known: " + joined(known, ", "))));
    }
    if (dot == std::string::npos) {
      if (field->is_map()) {
        return std::unexpected(set.fault(set.path + ": one variable at a time",
                                         "write --set " + set.path + ".NAME=VALUE"));
      }
      if (auto fault = set_field(set, *field, *in)) return std::unexpected(*fault);
      if (!field->is_repeated()) return Applied{set.path};
      const int last = in->GetReflection()->FieldSize(*in, field) - 1;
      return Applied{set.path + subscript(last)};
    }
    rest = rest.substr(dot + 1);
    if (field->is_map()) {
      pb::Message* entry = environment_entry(*in, *field, rest);
      entry->GetReflection()->SetString(entry, field->message_type()->map_value(), set.value);
      return Applied{set.path};
    }
    if (field->message_type() == nullptr || field->is_repeated()) {
      return std::unexpected(set.fault("no field " + in_quotes(set.path),
                                       set.path.substr(0, set.path.size() - rest.size() - 1) +
                                           " takes " + how_to_write(*field)));
    }
    in = in->GetReflection()->MutableMessage(in, field);
  }
}

}  // namespace jailrun
