// Which model is asked, where, and with what key: from the environment, and from a file .env in the
// current directory for what the environment does not say.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "agent/llm/http.h"
#include "agent/llm/model.h"

namespace jailrun::agent {

struct Protocol;

// A key. It prints as nothing and compares with nothing: whoever needs it says so.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  const std::string& reveal() const { return text_; }
  bool empty() const { return text_.empty(); }
  // `text` with each occurrence of it replaced.
  std::string hidden_in(std::string text) const;

 private:
  std::string text_;
};

// The variables of LLM_*, OPENAI_* and ANTHROPIC_*.
class Environment {
 public:
  struct Value {
    std::string text;
    bool from_file = false;
  };
  // Error: a file that somebody else can write, or that cannot be read, where it has a say.
  static Expected<Environment> load(const std::string& file = ".env");
  // Empty where it is not set.
  Value get(const std::string& name) const;

 private:
  std::map<std::string, Value> values_;
};

// The NAME=VALUE lines of such a file, `export`, quotes and comments as shells have them. Nothing
// is expanded.
std::map<std::string, std::string> parse_env_file(const std::string& text);

enum class Provider { OpenAi, Anthropic, Compatible, Recorded, Offline };
std::string_view name(Provider provider);

// US$ for a million tokens.
struct Prices {
  double input = 0, cached = 0, output = 0;

  double cost_usd(const Usage& usage) const;
};

// What the command line says; it wins.
struct ModelChoice {
  std::string provider, model, effort;
};

struct ModelSettings {
  Provider provider = Provider::Offline;
  const Protocol* protocol = nullptr;  // null: no server is asked
  std::string base_url, model, effort;
  Secret key;
  bool official = false;                       // the protocol's own maker is asked
  std::string key_name, url_name, model_name;  // the variables, for remedies
  std::string transcript;                      // of Provider::Recorded
  std::string record;                          // where to write one; empty: nowhere
  std::optional<Prices> prices;
  HttpLimits limits;
};

// Error: a provider that does not exist, one without a key, address, model or transcript; a key
// that cannot be a header; a URL that is not http(s); a file .env that would send a key of the
// environment to an address of its own.
Expected<ModelSettings> model_settings(const ModelChoice& choice, const Environment& environment);

// Not for Provider::Offline. Error: a transcript that cannot be read or written.
Expected<std::unique_ptr<LanguageModel>> make_model(const ModelSettings& settings,
                                                    const Cancel& cancel);

}  // namespace jailrun::agent
