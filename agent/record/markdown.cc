// Markdown to HTML, the part that answers use. Every piece of text is escaped before anything else
// is done with it: no input makes a tag that is not made here, and there are no links.
#include <algorithm>
#include <cctype>

#include "agent/record/export.h"

namespace jailrun::agent {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  return text;
}

// `code` and **bold**; what does not end is text.
std::string inline_html(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool code = text.starts_with('`'), bold = text.starts_with("**");
    const std::string_view mark = code ? "`" : "**";
    const auto end = code || bold ? text.find(mark, mark.size()) : std::string_view::npos;
    if (end != std::string_view::npos && end > mark.size()) {
      const auto inside = text.substr(mark.size(), end - mark.size());
      out += code ? "<code>" + html_escaped(inside) + "</code>"
                  : "<strong>" + inline_html(inside) + "</strong>";
      text.remove_prefix(end + mark.size());
      continue;
    }
    const auto skip = code || bold ? mark.size() : 0;
    const auto next = std::min(text.find_first_of("`*", skip + (skip == 0 ? 1 : 0)), text.size());
    out += html_escaped(text.substr(0, next));
    text.remove_prefix(next);
  }
  return out;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with('|')) line.remove_prefix(1);
  if (line.ends_with('|')) line.remove_suffix(1);
  std::vector<std::string_view> cells;
  while (true) {
    const auto end = std::min(line.find('|'), line.size());
    cells.push_back(trimmed(line.substr(0, end)));
    if (end == line.size()) return cells;
    line.remove_prefix(end + 1);
  }
}

bool is_rule(std::string_view line) {
  return line.find('-') != std::string_view::npos &&
         trimmed(line).find_first_not_of("|-: ") == std::string_view::npos;
}

std::string row_html(std::string_view line, const char* cell) {
  std::string out = "<tr>";
  for (const auto text : cells_of(line))
    out += std::string("<") + cell + ">" + inline_html(text) + "</" + cell + ">";
  return out + "</tr>\n";
}

std::size_t heading_level(std::string_view line) {
  const auto level = std::min(line.find_first_not_of('#'), line.size());
  return level >= 1 && level <= 6 && line.size() > level && line[level] == ' ' ? level : 0;
}

bool is_item(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with("- ") || line.starts_with("* ")) return true;
  const auto digits = std::min(line.find_first_not_of("0123456789"), line.size());
  return digits > 0 && line.substr(digits).starts_with(". ");
}

// One block at `at`, which moves past it.
std::string block_html(const std::vector<std::string_view>& lines, std::size_t& at) {
  const auto line = trimmed(lines[at]);
  if (line.starts_with("```")) {
    std::string code;
    for (++at; at < lines.size() && !trimmed(lines[at]).starts_with("```"); ++at)
      code += html_escaped(lines[at]) + "\n";
    ++at;
    return "<pre>" + code + "</pre>\n";
  }
  if (const auto level = heading_level(line); level > 0) {
    ++at;
    const auto tag = "h" + std::to_string(std::min<std::size_t>(level + 2, 6));
    return "<" + tag + ">" + inline_html(line.substr(level + 1)) + "</" + tag + ">\n";
  }
  if (line.find('|') != std::string_view::npos && at + 1 < lines.size() && is_rule(lines[at + 1])) {
    std::string out = "<table>\n" + row_html(line, "th");
    for (at += 2; at < lines.size() && lines[at].find('|') != std::string_view::npos; ++at)
      out += row_html(lines[at], "td");
    return out + "</table>\n";
  }
  if (is_item(line)) {
    std::string out = "<ul>\n";
    for (; at < lines.size() && is_item(lines[at]); ++at) {
      const auto item = trimmed(lines[at]);
      out += "<li>" + inline_html(item.substr(item.find(' ') + 1)) + "</li>\n";
    }
    return out + "</ul>\n";
  }
  std::string out = "<p>";
  const auto from = at;
  for (; at < lines.size() && !trimmed(lines[at]).empty(); ++at) {
    const auto next = trimmed(lines[at]);
    if (at > from && (next.starts_with("```") || is_item(next) || heading_level(next) > 0)) break;
    out += (at > from ? "<br>\n" : "") + inline_html(next);
  }
  return out + "</p>\n";
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return out;
}

std::string html_of_markdown(std::string_view text) {
  const auto lines = lines_of(text);
  std::string out;
  for (std::size_t at = 0; at < lines.size();) {
    if (trimmed(lines[at]).empty())
      ++at;
    else
      out += block_html(lines, at);
  }
  return out;
}

}  // namespace jailrun::agent
