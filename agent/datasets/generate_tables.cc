// What the synthetic data sets hold.
#include "agent/datasets/generate.h"

namespace jailrun::agent {
namespace {

constexpr std::int64_t kDay = 86'400;
constexpr int kTickets = 6417, kOrders = 4200, kCustomers = 900, kSensors = 50, kReadings = 999;

using Names = std::vector<std::string>;

MadeDataset make_support(const GenerateOptions& options) {
  Dice dice(options.seed * 3 + 1);
  const Names categories{"Billing", "Technical", "Account", "Shipping", "Feature request"};
  const Names priorities{"low", "medium", "high", "urgent"},
      channels{"email", "chat", "phone", "web"};
  const Names agents{"Avery", "Blake", "Casey", "Devon", "Emery", "Finley", "Harper", "Jordan"};
  const Names subjects{
      "Cannot sign in",         "Charged twice, please refund", "Parcel \"lost\" in transit",
      "50%_off code refused",   "Export stops at update",       "Feature: dark mode",
      "Invoice has wrong name", "App closes at start"};
  const std::vector<int> hours{72, 36, 12, 4};  // to resolve, by priority
  TableWriter tickets("tickets.csv", {{"ticket_id", "BIGINT"},
                                      {"created_at", "TIMESTAMP"},
                                      {"resolved_at", "TIMESTAMP"},
                                      {"customer_id", "BIGINT"},
                                      {"agent", "VARCHAR"},
                                      {"category", "VARCHAR"},
                                      {"priority", "VARCHAR"},
                                      {"status", "VARCHAR"},
                                      {"channel", "VARCHAR"},
                                      {"subject", "VARCHAR"},
                                      {"first_response_minutes", "BIGINT"},
                                      {"resolution_hours", "DOUBLE"},
                                      {"satisfaction", "BIGINT"}});
  const std::int64_t begin = options.now_s - 180 * kDay;
  for (int i = 0; i < kTickets; ++i) {
    const std::int64_t created = begin + (options.now_s - begin) * i / (kTickets - 1) -
                                 (i + 1 < kTickets ? dice.below(1800) : 0);
    const std::size_t priority = dice.weighed({35, 40, 18, 7});
    const std::int64_t tenths = std::max<std::int64_t>(
        2, dice.bell(hours[priority] * 10, static_cast<std::int64_t>(hours[priority]) * 6));
    const std::int64_t resolved = created + tenths * 360;
    const bool closed = resolved <= options.now_s && !dice.chance(4);
    const std::size_t status = closed ? dice.weighed({30, 70}) : 2 + dice.weighed({60, 40});
    const bool rated = closed && dice.chance(60);
    tickets.row({std::int64_t{i + 1}, calendar_text(created),
                 closed ? Cell(calendar_text(resolved)) : Cell(Missing{}),
                 dice.between(1, kCustomers), agents[static_cast<std::size_t>(dice.below(8))],
                 categories[dice.weighed({25, 35, 15, 15, 10})], priorities[priority],
                 Names{"resolved", "closed", "open", "pending"}[status],
                 channels[dice.weighed({40, 30, 10, 20})],
                 subjects[static_cast<std::size_t>(dice.below(8))],
                 std::max<std::int64_t>(1, dice.bell(60 >> priority, 40 >> priority)),
                 closed ? Cell(Decimal{tenths, 1}) : Cell(Missing{}),
                 rated ? Cell(static_cast<std::int64_t>(1 + dice.weighed({5, 8, 17, 35, 35})))
                       : Cell(Missing{})});
  }
  return {"support",
          "Customer support",
          "Tickets of a help desk over six months: category, priority, status, agent, times and "
          "satisfaction. Synthetic.",
          calendar_text(options.now_s, 'T'),
          {"How many tickets are there by priority?",
           "What is the average resolution_hours by category?",
           "Which agent has the highest average satisfaction?", "How many tickets by month?"},
          {std::move(tickets)}};
}

struct Product {
  const char *name, *category;
  std::int64_t cents;
};

const std::vector<Product>& products() {
  static const std::vector<Product> kProducts{{"Rain jacket", "Clothing", 8900},
                                              {"Wool jumper", "Clothing", 6450},
                                              {"T-shirt", "Clothing", 1999},
                                              {"Running shoes", "Clothing", 11900},
                                              {"Headphones", "Electronics", 14900},
                                              {"Keyboard", "Electronics", 7990},
                                              {"Phone charger", "Electronics", 2490},
                                              {"Camera", "Electronics", 54900},
                                              {"Desk lamp", "Home", 3990},
                                              {"Saucepan", "Home", 4590},
                                              {"Cushion", "Home", 1890},
                                              {"Novel", "Books", 1290},
                                              {"Cookbook", "Books", 2890},
                                              {"Atlas", "Books", 4990},
                                              {"Football", "Sports", 2990},
                                              {"Yoga mat", "Sports", 3490}};
  return kProducts;
}

TableWriter make_products() {
  TableWriter table("products.csv", {{"product_id", "BIGINT"},
                                     {"name", "VARCHAR"},
                                     {"category", "VARCHAR"},
                                     {"price", "DOUBLE"}});
  std::int64_t id = 0;
  for (const Product& each : products())
    table.row({++id, std::string(each.name), std::string(each.category), Decimal{each.cents}});
  return table;
}

TableWriter make_customers(Dice& dice, const GenerateOptions& options) {
  TableWriter table("customers.csv", {{"customer_id", "BIGINT"},
                                      {"country", "VARCHAR"},
                                      {"segment", "VARCHAR"},
                                      {"joined_on", "DATE"}});
  const Names countries{"Germany", "France", "United Kingdom", "Spain", "Côte d'Ivoire"};
  const Names segments{"new", "regular", "loyal"};
  for (std::int64_t id = 1; id <= kCustomers; ++id)
    table.row({id, countries[dice.weighed({35, 25, 20, 15, 5})],
               segments[dice.weighed({40, 40, 20})],
               calendar_text(options.now_s - dice.between(1, 1500) * kDay).substr(0, 10)});
  return table;
}

MadeDataset make_ecommerce(const GenerateOptions& options) {
  Dice dice(options.seed * 3 + 2);
  TableWriter orders("orders.csv", {{"order_id", "BIGINT"},
                                    {"customer_id", "BIGINT"},
                                    {"ordered_at", "TIMESTAMP"},
                                    {"status", "VARCHAR"},
                                    {"payment", "VARCHAR"},
                                    {"amount", "DOUBLE"}});
  TableWriter items("order_items.csv", {{"order_id", "BIGINT"},
                                        {"product_id", "BIGINT"},
                                        {"quantity", "BIGINT"},
                                        {"unit_price", "DOUBLE"},
                                        {"returned", "BOOLEAN"}});
  auto customers = make_customers(dice, options);
  const std::int64_t begin = options.now_s - 365 * kDay;
  for (std::int64_t id = 1; id <= kOrders; ++id) {
    const std::int64_t at = begin + (options.now_s - begin) * id / kOrders;
    const std::size_t status = dice.weighed({80, 8, 7, 5});
    std::int64_t total = 0;
    for (std::int64_t n = dice.between(1, 4); n > 0; --n) {
      const auto product = static_cast<std::size_t>(dice.below(std::ssize(products())));
      const std::int64_t quantity = 1 + static_cast<std::int64_t>(dice.weighed({70, 20, 10}));
      const std::int64_t cents = products()[product].cents * (dice.chance(15) ? 80 : 100) / 100;
      items.row({id, static_cast<std::int64_t>(product) + 1, quantity, Decimal{cents},
                 status == 0 && dice.chance(products()[product].category[0] == 'C' ? 22 : 7)});
      total += quantity * cents;
    }
    orders.row({id, dice.between(1, kCustomers), calendar_text(at),
                Names{"delivered", "shipped", "cancelled", "pending"}[status],
                Names{"card", "invoice", "paypal"}[dice.weighed({60, 25, 15})], Decimal{total}});
  }
  return {
      "ecommerce",
      "Online shop",
      "A year of orders of an online shop: customers, products, orders and their items, some of "
      "which came back. Synthetic.",
      calendar_text(options.now_s, 'T'),
      {"Total amount by month", "Average price by category", "Which five products sold best?",
       "What share of orders has a returned item, by category?", "How many rows by country?"},
      {std::move(customers), make_products(), std::move(orders), std::move(items)}};
}

MadeDataset make_sensors(const GenerateOptions& options) {
  Dice dice(options.seed * 3 + 3);
  TableWriter table("sensors.csv", {{"recorded_at", "TIMESTAMP"},
                                    {"sensor_id", "VARCHAR"},
                                    {"location", "VARCHAR"},
                                    {"temperature_c", "DOUBLE"},
                                    {"humidity_pct", "DOUBLE"},
                                    {"vibration_mm_s", "DOUBLE"},
                                    {"battery_pct", "BIGINT"},
                                    {"is_anomaly", "BOOLEAN"}});
  const Names locations{"Hall A", "Hall B", "Roof", "Cellar", "Yard"};
  // Tenths of a degree above the night, by the hour.
  constexpr std::int64_t kCurve[24] = {5,  3,  2,  1,  0,  0,  4,  10, 18, 27, 36, 44,
                                       51, 56, 59, 60, 57, 52, 45, 37, 29, 21, 14, 9};
  const std::int64_t step = 30 * kDay / (kReadings - 1);
  for (std::int64_t n = 0; n < kReadings; ++n) {
    const std::int64_t at = options.now_s - (kReadings - 1 - n) * step;
    for (std::int64_t sensor = 0; sensor < kSensors; ++sensor) {
      const bool anomaly = dice.below(1000) < 8;
      const auto hour = static_cast<std::size_t>(at % kDay / 3600);
      const bool silent = dice.below(1000) < 3;  // it sent nothing but that it is there
      table.row({calendar_text(at), (sensor < 9 ? "S0" : "S") + std::to_string(sensor + 1),
                 locations[static_cast<std::size_t>(sensor % 5)],
                 silent ? Cell(Missing{})
                        : Cell(Decimal{dice.bell(150 + sensor % 5 * 12 + kCurve[hour], 8) +
                                           (anomaly ? 200 : 0),
                                       1}),
                 Decimal{dice.bell(480, 60), 1},
                 Decimal{std::max<std::int64_t>(0, dice.bell(anomaly ? 1600 : 320, 180)), 2},
                 100 - n * (20 + sensor % 18) / kReadings, anomaly});
    }
  }
  return {
      "sensors",
      "Sensor readings",
      "Thirty days of readings of fifty sensors: temperature, humidity, vibration, battery, "
      "anomalies. Synthetic.",
      calendar_text(options.now_s, 'T'),
      {"How many rows by location where is_anomaly is true?", "Average temperature_c by location",
       "Which sensors have a battery below 20 %?", "Plot average temperature_c over recorded_at"},
      {std::move(table)}};
}

}  // namespace

std::vector<MadeDataset> make_datasets(const GenerateOptions& options) {
  std::vector<MadeDataset> made;
  made.push_back(make_ecommerce(options));
  made.push_back(make_support(options));
  made.push_back(make_sensors(options));
  return made;
}

}  // namespace jailrun::agent
