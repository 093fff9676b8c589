#include "jail/daemon/decode.h"

#include "jail/daemon/fields.h"

namespace jailrun {
namespace {

template <typename T>
using In = protozero::pbf_message<T>;

TimelineEntry timing(In<fields::Timing> in) {
  TimelineEntry entry{Stage::None, 0, 0};
  while (in.next()) {
    switch (in.tag()) {
      case fields::Timing::Stage: {
        const std::string stage = in.get_string();
        for (std::size_t i = 0; i < kStageCount; ++i)
          if (kStages[i].name == stage) entry.stage = static_cast<Stage>(i);
        break;
      }
      case fields::Timing::AtNs:
        entry.at_ns = in.get_int64();
        break;
      case fields::Timing::Ns:
        entry.ns = in.get_int64();
        break;
      default:
        in.skip();
    }
  }
  return entry;
}

Leased leased(In<fields::Leased> in) {
  Leased out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Leased::Request:
        out.request = in.get_uint64();
        break;
      case fields::Leased::Lease:
        out.id = in.get_uint64();
        break;
      case fields::Leased::Start:
        out.start = in.get_string();
        break;
      case fields::Leased::Timeline:
        out.timeline.push_back(timing(in.get_message()));
        break;
      case fields::Leased::QueuedNs:
        out.queued_ns = in.get_uint64();
        break;
      case fields::Leased::WallNs:
        out.wall_ns = in.get_uint64();
        break;
      case fields::Leased::OutputBytes:
        out.output_bytes = in.get_uint64();
        break;
      case fields::Leased::CollectFiles:
        out.collect_files = in.get_uint32();
        break;
      case fields::Leased::CollectBytes:
        out.collect_bytes = in.get_uint64();
        break;
      case fields::Leased::Warnings:
        out.warnings.push_back(in.get_string());
        break;
      case fields::Leased::Session:
        out.session = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

Refusal refused(In<fields::Refused> in) {
  Refusal out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Refused::Request:
        out.request = in.get_uint64();
        break;
      case fields::Refused::Name:
        out.name = in.get_string();
        break;
      case fields::Refused::Message:
        out.message = in.get_string();
        break;
      case fields::Refused::Remedy:
        out.remedy = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

std::pair<std::string, EvidenceValue> evidence(In<fields::Evidence> in) {
  std::pair<std::string, EvidenceValue> out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Evidence::Name:
        out.first = in.get_string();
        break;
      case fields::Evidence::Flag:
        out.second = in.get_bool();
        break;
      case fields::Evidence::Number:
        out.second = std::uint64_t{in.get_uint64()};
        break;
      case fields::Evidence::Text:
        out.second = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

EnforcedLimit limit(In<fields::Limit> in) {
  EnforcedLimit out{};
  while (in.next()) {
    switch (in.tag()) {
      case fields::Limit::Name:
        out.name = in.get_string();
        break;
      case fields::Limit::Value:
        out.value = in.get_double();
        break;
      case fields::Limit::EnforcedBy:
        out.enforced_by = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

Verdict verdict(const std::string& text) {
  for (int i = 0; i <= static_cast<int>(Verdict::Ok); ++i)
    if (name(static_cast<Verdict>(i)) == text) return static_cast<Verdict>(i);
  return Verdict::Cancelled;
}

LeaseEnded ended(In<fields::Ended> in) {
  LeaseEnded out;
  Result& result = out.result;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Ended::Lease:
        out.id = in.get_uint64();
        break;
      case fields::Ended::Verdict:
        result.verdict = verdict(in.get_string());
        break;
      case fields::Ended::Reason:
        result.reason = in.get_string();
        break;
      case fields::Ended::Evidence:
        result.evidence.push_back(evidence(in.get_message()));
        break;
      case fields::Ended::Status:
        result.status = in.get_int32();
        break;
      case fields::Ended::ExitCode:
        result.exit_code = in.get_int32();
        break;
      case fields::Ended::Signal:
        result.signal = in.get_int32();
        break;
      case fields::Ended::WallNs:
        result.wall_ns = in.get_uint64();
        break;
      case fields::Ended::CpuNs:
        result.cpu_ns = in.get_uint64();
        break;
      case fields::Ended::MemoryPeakBytes:
        result.memory_peak_bytes = in.get_uint64();
        break;
      case fields::Ended::PidsPeak:
        result.pids_peak = in.get_uint64();
        break;
      case fields::Ended::Timeline:
        result.timeline.push_back(timing(in.get_message()));
        break;
      case fields::Ended::Limits:
        result.limits.push_back(limit(in.get_message()));
        break;
      case fields::Ended::LimitsHit:
        result.limits_hit.push_back(in.get_string());
        break;
      case fields::Ended::Warnings:
        result.warnings.push_back(in.get_string());
        break;
      case fields::Ended::WorkDevice:
        out.work_device = in.get_uint64();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

JailInfo jail(In<fields::Jail> in) {
  JailInfo out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Jail::Lease:
        out.lease = in.get_uint64();
        break;
      case fields::Jail::Policy:
        out.policy = in.get_string();
        break;
      case fields::Jail::State:
        out.state = in.get_string();
        break;
      case fields::Jail::Uid:
        out.uid = in.get_uint32();
        break;
      case fields::Jail::Owner:
        out.owner = in.get_string();
        break;
      case fields::Jail::Pid:
        out.pid = in.get_int32();
        break;
      case fields::Jail::AgeNs:
        out.age_ns = in.get_uint64();
        break;
      case fields::Jail::LeasedNs:
        out.leased_ns = in.get_uint64();
        break;
      case fields::Jail::MemoryBytes:
        out.memory_bytes = in.get_uint64();
        break;
      case fields::Jail::HostUid:
        out.host_uid = in.get_uint32();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

JailList jails(In<fields::Ps> in) {
  JailList out;
  while (in.next()) {
    if (in.tag() == fields::Ps::Jails) {
      out.jails.push_back(jail(in.get_message()));
    } else if (in.tag() == fields::Ps::More) {
      out.more = in.get_uint64();
    } else {
      in.skip();
    }
  }
  return out;
}

Metric metric(In<fields::Metric> in) {
  Metric out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::Metric::Name:
        out.name = in.get_string();
        break;
      case fields::Metric::Policy:
        out.policy = in.get_string();
        break;
      case fields::Metric::Kind:
        out.kind = in.get_string();
        break;
      case fields::Metric::Value:
        out.value = in.get_double();
        break;
      case fields::Metric::Text:
        out.text = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

Metrics metrics(In<fields::Stats> in) {
  Metrics out;
  while (in.next()) {
    if (in.tag() == fields::Stats::Metrics) {
      out.push_back(metric(in.get_message()));
    } else {
      in.skip();
    }
  }
  return out;
}

SessionInfo session(In<fields::SessionEntry> in) {
  SessionInfo out;
  while (in.next()) {
    switch (in.tag()) {
      case fields::SessionEntry::Session:
        out.session = in.get_string();
        break;
      case fields::SessionEntry::Policy:
        out.policy = in.get_string();
        break;
      case fields::SessionEntry::Uid:
        out.uid = in.get_uint32();
        break;
      case fields::SessionEntry::Owner:
        out.owner = in.get_string();
        break;
      case fields::SessionEntry::State:
        out.state = in.get_string();
        break;
      case fields::SessionEntry::AgeNs:
        out.age_ns = in.get_uint64();
        break;
      case fields::SessionEntry::IdleNs:
        out.idle_ns = in.get_uint64();
        break;
      case fields::SessionEntry::MemoryBytes:
        out.memory_bytes = in.get_uint64();
        break;
      case fields::SessionEntry::Origin:
        out.origin = in.get_string();
        break;
      case fields::SessionEntry::Label:
        out.label = in.get_string();
        break;
      default:
        in.skip();
    }
  }
  return out;
}

SessionInfos sessions(In<fields::SessionList> in) {
  SessionInfos out;
  while (in.next()) {
    if (in.tag() == fields::SessionList::Sessions) {
      out.sessions.push_back(session(in.get_message()));
    } else if (in.tag() == fields::SessionList::More) {
      out.more = in.get_bool();
    } else {
      in.skip();
    }
  }
  return out;
}

RequestDone done(In<fields::Query> in) {
  RequestDone out;
  while (in.next()) {
    if (in.tag() == fields::Query::Request) {
      out.request = in.get_uint64();
    } else {
      in.skip();
    }
  }
  return out;
}

std::optional<Decoded> decode(std::string_view bytes) {
  std::optional<Message> message;
  std::uint32_t descriptors = 0;
  In<fields::FromDaemon> in(bytes.data(), bytes.size());
  while (in.next()) {
    switch (in.tag()) {
      case fields::FromDaemon::Descriptors:
        descriptors = in.get_uint32();
        break;
      case fields::FromDaemon::Leased:
        message = leased(in.get_message());
        break;
      case fields::FromDaemon::Refused:
        message = refused(in.get_message());
        break;
      case fields::FromDaemon::Ended:
        message = ended(in.get_message());
        break;
      case fields::FromDaemon::Ps:
        message = jails(in.get_message());
        break;
      case fields::FromDaemon::Stats:
        message = metrics(in.get_message());
        break;
      case fields::FromDaemon::Done:
        message = done(in.get_message());
        break;
      case fields::FromDaemon::Sessions:
        message = sessions(in.get_message());
        break;
      default:
        in.skip();
    }
  }
  if (!message) return std::nullopt;
  return Decoded{std::move(*message), descriptors};
}

}  // namespace

std::optional<Decoded> decode_message(std::string_view bytes) {
  try {  // protozero throws where a message is cut short or a field of another type
    return decode(bytes);
  } catch (const protozero::exception&) {
    return std::nullopt;
  }
}

}  // namespace jailrun
