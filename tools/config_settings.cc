// The table of settings: what /etc/jailrun/jailrun.conf may say.
#include "tools/config.h"

namespace jailrun::config {
namespace {

constexpr double kDay = 24 * 3600, kMany = 1'000'000'000;

constexpr Setting kSettings[] = {
    // clang-format off
    {"service", "listen", "JAILAGENT_LISTEN", Kind::Text, "127.0.0.1:8000", "where jailagent listens: ADDRESS:PORT; other addresses than loopback need a key"},
    {"service", "unix", "JAILAGENT_UNIX", Kind::Text, "", "a unix socket as well; its mode (0660) says who may"},
    {"service", "host", "JAILAGENT_HOST", Kind::List, "", "names that the service goes by, besides localhost (at once with a reload)"},
    {"service", "cors-origin", "JAILAGENT_CORS_ORIGIN", Kind::List, "", "origins whose pages may ask, https://app.example (at once with a reload)"},
    {"service", "rate", "JAILAGENT_RATE", Kind::Number, "0", "requests a second of each key, 0: any (at once with a reload)", 0, kMany},
    {"service", "keys", "JAILAGENT_KEYS", Kind::Text, "", "the file of API keys"},
    {"service", "store", "JAILRUN_STORE", Kind::Text, "", "root of the file store"},
    {"service", "record", "CAPSULE_DB_PATH", Kind::Text, "", "file of runs and threads"},
    {"service", "policy", "JAILAGENT_POLICY", Kind::Text, "python", "policy of /v1/run and /v1/sessions where none is named"},
    {"service", "execute-policy", "JAILAGENT_EXECUTE_POLICY", Kind::Text, "genomic", "policy of /execute"},
    {"service", "session-minutes", "SESSION_TIMEOUT_MINUTES", Kind::Number, "30", "after which a session that nobody uses is closed", 1, 30 * 24 * 60},
    {"service", "threads", "JAILAGENT_THREADS", Kind::Number, "16", "requests answered at once", 1, 512},
    {"service", "datasets", "DATASETS_DIR", Kind::Text, "", "a directory of data sets besides those of the system"},
    {"limits", "execute-seconds", "MAX_EXECUTION_TIME", Kind::Number, "30", "default time of /execute; set, also its ceiling", 1, 300},
    {"limits", "execute-memory-mb", "MAX_MEMORY_MB", Kind::Number, "512", "memory of /execute; only less than its policy has", 32, 1'048'576},
    {"limits", "execute-output-bytes", "MAX_OUTPUT_SIZE", Kind::Number, "1048576", "of each stream of /execute that is told", 1, 16'777'216},
    {"limits", "interpreter-seconds", "CODE_EXECUTION_TIMEOUT", Kind::Number, "60", "default time of /v1/users/{uid}/execute", 1, 300},
    {"limits", "rows", "MAX_ROWS", Kind::Number, "200", "rows of a query's table", 1, 1000},
    {"limits", "table-bytes", "MAX_OUTPUT_BYTES", Kind::Number, "65536", "bytes of a query's table", 1025, 1'000'000},
    {"limits", "run-seconds", "RUN_TIMEOUT_SECONDS", Kind::Number, "10", "time of a run of /runs, and of questions that are SQL or Python", 1, 60},
    {"limits", "history", "THREAD_HISTORY_WINDOW", Kind::Number, "12", "messages of a thread that a model is told", 2, 200},
    {"limits", "python", "ENABLE_PYTHON_EXECUTION", Kind::Flag, "true", "whether /runs takes Python"},
    {"limits", "files-per-user", "MAX_FILES_PER_USER", Kind::Number, "20", "stored files of a user; the oldest goes for the next", 1, kMany},
    {"limits", "file-hours", "FILE_EXPIRATION_HOURS", Kind::Number, "48", "after which a stored file expires; -1: never", -1, kMany},
    {"models", "provider", "LLM_PROVIDER", Kind::Text, "auto", "auto, openai, anthropic, compatible, recorded or offline"},
    {"models", "base-url", "LLM_BASE_URL", Kind::Text, "", "of a compatible server"},
    {"models", "key", "LLM_API_KEY", Kind::Text, "", "its key", 0, 0, "", true},
    {"models", "model", "LLM_MODEL", Kind::Text, "", "its model"},
    {"models", "reasoning-effort", "LLM_REASONING_EFFORT", Kind::Text, "", "low, medium or high, for models that have it"},
    {"models", "prices", "LLM_PRICES", Kind::Text, "", "US$ for a million tokens: INPUT/CACHED/OUTPUT"},
    {"models", "openai-key", "OPENAI_API_KEY", Kind::Text, "", "key of OpenAI", 0, 0, "", true},
    {"models", "openai-base-url", "OPENAI_BASE_URL", Kind::Text, "", "another server of its kind"},
    {"models", "openai-model", "OPENAI_MODEL", Kind::Text, "", "its model"},
    {"models", "openai-api", "OPENAI_API", Kind::Choice, "", "which of its interfaces", 0, 0, "chat responses"},
    {"models", "anthropic-key", "ANTHROPIC_API_KEY", Kind::Text, "", "key of Anthropic", 0, 0, "", true},
    {"models", "anthropic-base-url", "ANTHROPIC_BASE_URL", Kind::Text, "", "another server of its kind"},
    {"models", "anthropic-model", "ANTHROPIC_MODEL", Kind::Text, "", "its model"},
    {"jaild", "socket", "JAILRUN_SOCKET", Kind::Text, "/run/jaild/jaild.sock", "where jaild listens, and its clients ask"},
    {"jaild", "mode", "JAILD_MODE", Kind::Text, "0660", "mode of the socket, octal"},
    {"jaild", "group", "JAILD_GROUP", Kind::Text, "", "group of the socket: who may ask for jails"},
    {"jaild", "warm", "JAILD_WARM", Kind::List, "", "policies made ready at once; none named: all with pool.min above 0"},
    {"jaild", "trust-owner", "JAILD_TRUST_OWNER", Kind::List, "", "uids that may say whose jail it is; root always may"},
    {"jaild", "on-demand", "JAILD_ON_DEMAND", Kind::Flag, "false", "keep no jail waiting: for hosts short of memory"},
    {"jaild", "import-deadline", "JAILD_IMPORT_DEADLINE", Kind::Number, "120", "seconds after which an interpreter that still imports is taken to hang", 1, 3600},
    {"jaild", "sessions-per-user", "JAILD_SESSIONS_PER_USER", Kind::Number, "64", "sessions that a user may have", 0, kMany},
    {"jaild", "session-idle", "JAILD_SESSION_IDLE", Kind::Number, "900", "seconds after which a session that nobody uses is closed", 1, 30 * kDay},
    {"log", "level", "LOG_LEVEL", Kind::Choice, "info", "how much the daemons tell", 0, 0, "debug info warning error critical"},
    {"log", "file", "LOG_FILE", Kind::Text, "", "a file to append to, besides stderr"},
    {"log", "format", "LOG_FORMAT", Kind::Choice, "text", "of a line", 0, 0, "text json"},
    // clang-format on
};

}  // namespace

std::span<const Setting> settings() { return kSettings; }

}  // namespace jailrun::config
