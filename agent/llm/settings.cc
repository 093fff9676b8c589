#include "agent/llm/settings.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "agent/llm/protocol.h"

namespace jailrun::agent {
namespace {

Error setting_error(std::string message, std::string remedy) {
  return Error{Stage::None, "model", 0, std::move(message), std::move(remedy)};
}

// Where each provider's settings stand. The second name counts where the first is not set.
struct Names {
  Provider provider;
  std::string_view name;
  const char *key, *url, *model;
  std::string_view official_url;
  std::string_view default_model;
};
constexpr std::array<Names, 5> kProviders{
    {{Provider::OpenAi, "openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL",
      "https://api.openai.com/v1", "gpt-4.1-mini"},
     {Provider::Anthropic, "anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
      "ANTHROPIC_MODEL", "https://api.anthropic.com", ""},
     {Provider::Compatible, "compatible", "LLM_API_KEY", "LLM_BASE_URL", "LLM_MODEL", "", ""},
     {Provider::Recorded, "recorded", "", "", "", "", ""},
     {Provider::Offline, "offline", "", "", "", "", ""}}};

const Names& names_of(Provider provider) {
  return *std::find_if(kProviders.begin(), kProviders.end(),
                       [&](const Names& names) { return names.provider == provider; });
}

Expected<Provider> choose(const ModelChoice& choice, const Environment& environment) {
  auto wanted = choice.provider.empty() ? environment.get("LLM_PROVIDER").text : choice.provider;
  for (const auto& names : kProviders)
    if (names.name == wanted) return names.provider;
  if (!wanted.empty() && wanted != "auto")
    return std::unexpected(
        setting_error("there is no provider of models called " + wanted,
                      "one of: auto, openai, anthropic, compatible, recorded, offline"));
  if (!environment.get("LLM_BASE_URL").text.empty()) return Provider::Compatible;
  if (!environment.get("OPENAI_API_KEY").text.empty()) return Provider::OpenAi;
  if (!environment.get("ANTHROPIC_API_KEY").text.empty()) return Provider::Anthropic;
  if (choice.model.empty()) return Provider::Offline;
  return std::unexpected(
      setting_error("--model " + choice.model + " was given, but OPENAI_API_KEY is not set",
                    "set it or ANTHROPIC_API_KEY, or use --provider openai for a server that "
                    "wants no key"));
}

// Anything else in a header line could add a header of its own.
bool plain(const std::string& key) {
  return std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

Expected<std::optional<Prices>> prices_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  Prices prices;
  int used = 0;
  const int got = std::sscanf(text.c_str(), "%lf/%lf/%lf%n", &prices.input, &prices.cached,
                              &prices.output, &used);
  const bool sane = prices.input >= 0 && prices.cached >= 0 && prices.output >= 0;
  if (got != 3 || used != static_cast<int>(text.size()) || !sane)
    return std::unexpected(
        setting_error("LLM_PRICES is not INPUT/CACHED/OUTPUT",
                      "write US$ for a million tokens of each, such as 0.40/0.10/1.60"));
  return prices;
}

Expected<void> take_address(const Names& names, const Environment& environment,
                            ModelSettings& settings) {
  const auto url = environment.get(names.url), key = environment.get(names.key);
  settings.base_url = url.text.empty() ? std::string(names.official_url) : url.text;
  while (settings.base_url.ends_with('/')) settings.base_url.pop_back();
  if (names.provider == Provider::Anthropic && settings.base_url.ends_with("/v1"))
    settings.base_url.resize(settings.base_url.size() - 3);
  settings.official = settings.base_url == names.official_url;
  settings.key = Secret(key.text);
  if (!plain(key.text))
    return std::unexpected(setting_error(
        std::string(names.key) + " holds a space, a line break or a letter outside of ASCII",
        "set it to the key alone"));
  if (settings.base_url.empty())
    return std::unexpected(
        setting_error(std::string("no server is named: ") + names.url + " is not set",
                      "set it, such as http://localhost:8080/v1"));
  if (!settings.base_url.starts_with("https://") && !settings.base_url.starts_with("http://"))
    return std::unexpected(
        setting_error(std::string(names.url) + " is not an http or https address",
                      "set it to one, such as " + std::string(names.official_url.empty()
                                                                  ? "http://localhost:8080/v1"
                                                                  : names.official_url)));
  if (!key.text.empty() && url.from_file && !key.from_file)
    return std::unexpected(setting_error(
        std::string(names.url) + " stands in .env, but " + names.key + " in the environment",
        "set both in one place: a file of a directory must not choose who is sent the key"));
  if (settings.official && settings.key.empty())
    return std::unexpected(
        setting_error(std::string("no model can be asked: ") + names.key + " is not set",
                      "set it, or use --provider offline"));
  return {};
}

}  // namespace

std::string Secret::hidden_in(std::string text) const {
  for (std::size_t at = 0; !text_.empty() && (at = text.find(text_, at)) != std::string::npos;
       at += 5)
    text.replace(at, text_.size(), "[key]");
  return text;
}

std::string_view name(Provider provider) { return names_of(provider).name; }

double Prices::cost_usd(const Usage& usage) const {
  const auto cached_tokens = std::min(usage.cached, usage.input);
  return (static_cast<double>(usage.input - cached_tokens) * input +
          static_cast<double>(cached_tokens) * cached +
          static_cast<double>(usage.output) * output) /
         1e6;
}

Expected<ModelSettings> model_settings(const ModelChoice& choice, const Environment& environment) {
  ModelSettings settings;
  TRY(settings.provider, choose(choice, environment));
  TRY(settings.prices, prices_of(environment.get("LLM_PRICES").text));
  settings.effort =
      choice.effort.empty() ? environment.get("LLM_REASONING_EFFORT").text : choice.effort;
  settings.record = environment.get("LLM_RECORD").text;
  if (settings.provider == Provider::Offline) return settings;
  if (settings.provider == Provider::Recorded) {
    settings.transcript = environment.get("LLM_TRANSCRIPT").text;
    if (settings.transcript.empty())
      return std::unexpected(setting_error("no transcript is named: LLM_TRANSCRIPT is not set",
                                           "set it to a file that LLM_RECORD has written"));
    return settings;
  }
  const Names& names = names_of(settings.provider);
  settings.key_name = names.key;
  settings.url_name = names.url;
  settings.model_name = names.model;
  TRY_VOID(take_address(names, environment, settings));
  settings.model = choice.model.empty() ? environment.get(names.model).text : choice.model;
  if (settings.model.empty() && settings.official) settings.model = names.default_model;
  if (settings.model.empty())
    return std::unexpected(setting_error("no model is named for " + settings.base_url,
                                         "set " + settings.model_name + " or use --model"));
  const auto api = environment.get("OPENAI_API").text;
  if (!api.empty() && api != "chat" && api != "responses")
    return std::unexpected(
        setting_error("OPENAI_API is neither chat nor responses", "set it to one of them"));
  settings.protocol = settings.provider == Provider::Anthropic ? &kMessages
                      : settings.provider == Provider::OpenAi && api == "responses"
                          ? &kResponses
                          : &kChatCompletions;
  return settings;
}

}  // namespace jailrun::agent
