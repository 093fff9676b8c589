// The routes of data sets. The registry is read anew with each request: what was registered while
// the service runs is there.
#include "agent/datasets/registry.h"
#include "agent/service/service.h"

namespace jailrun::service {

void Service::add_datasets() {
  routes_.add({"GET", "/datasets", "Data sets that can be asked about", {}, {}, [](Call&) {
                 const auto registry = agent::DatasetRegistry::load();
                 if (!registry) return reply_from(registry.error());
                 Json rows = Json::array();
                 for (const agent::Dataset& set : registry->all())
                   rows.push_back(agent::summary_json(set));
                 return json_reply({{"datasets", rows}});
               }});
  routes_.add({"GET",
               "/datasets/{id}/schema",
               "Its files with columns and first rows",
               {},
               {},
               [](Call& call) {
                 const auto registry = agent::DatasetRegistry::load();
                 if (!registry) return reply_from(registry.error());
                 if (registry->find(call.parts[0]) == nullptr)
                   return failure(404, "Dataset not found");
                 const auto set = registry->open(call.parts[0]);
                 // Its files are not those that were registered: nobody is to compute with them.
                 return set ? json_reply(agent::schema_json(*set))
                            : failure(409, set.error().line());
               }});
}

}  // namespace jailrun::service
