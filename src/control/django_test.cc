#include "control/django.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace banyan::control {
namespace {

using testing::Contains;
using testing::Not;

constexpr std::string_view kManage =
    "os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings\")\n";

constexpr std::string_view kPortable = R"(
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["docs.example"]
DATABASES = {
    "default": database(os.environ["DATABASE_URL"]),
}
if os.environ.get("AWS_STORAGE_BUCKET_NAME"):
    DEFAULT_FILE_STORAGE = "storages.backends.s3boto3.S3Boto3Storage"
else:
    MEDIA_ROOT = "media"
if os.environ.get("CACHE_URL"):
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache"}}
)";

constexpr std::string_view kTied = R"(
SECRET_KEY = get_random_secret_key()
DEBUG = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
MEDIA_ROOT = "/srv/media"
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
)";

spec::Spec spec_of(std::string_view service) {
  const std::string text = std::string(R"(banyan: 1
name: shop
source:
  app: { listen: 127.0.0.1:8000 }
  database: { url: { env: OLD } }
  files: [ { name: media, path: /srv/media } ]
  sessions: { kind: django-db }
gateway: { public_host: docs.example }
databases: { main: { url: { env: NEW } } }
buckets: { media: { root: objects } }
services:
  web:
    command: gunicorn
)") + std::string(service);
  auto outcome = spec::parse_spec(text, "/etc/banyan.yaml");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  return outcome.spec;
}

constexpr std::string_view kBound =
    "    env: { SECRET_KEY: { env: KEY } }\n"
    "    bind: { DATABASE_URL: database.main, \"AWS_*\": bucket.media }\n";

DjangoApp app_of(std::string_view settings) {
  const auto app = find_django(
      {{"manage.py", std::string(kManage)}, {"shop/settings.py", std::string(settings)}});
  EXPECT_TRUE(app);
  return *app;
}

std::vector<std::string> musts(std::string_view settings, std::string_view service) {
  Items items;
  assess_django(app_of(settings), spec_of(service), items);
  std::vector<std::string> ids;
  for (const Item& item : items.list()) {
    if (item.severity == Severity::kMust) ids.push_back(item.id);
  }
  return ids;
}

TEST(Django, IsFoundByItsSettingsModule) {
  EXPECT_FALSE(find_django({{"app.py", "import flask"}}));
  const auto app = app_of(kPortable);
  EXPECT_EQ(app.settings_module, "shop.settings");
  ASSERT_EQ(app.all("DATABASES").size(), 1U);
  EXPECT_EQ(app.all("DATABASES")[0]->place.line, 4);
  EXPECT_TRUE(app.all("DATABASES")[0]->from_environment());
  EXPECT_FALSE(app.all("ALLOWED_HOSTS")[0]->from_environment());
}

TEST(Django, APortableApplicationHasNoOpenItem) {
  EXPECT_THAT(musts(kPortable, kBound), testing::IsEmpty());
}

TEST(Django, WhatTheServiceDoesNotProvideIsNamed) {
  const auto ids = musts(kPortable, "");
  EXPECT_THAT(ids, Contains("django.variable.SECRET_KEY"));
  EXPECT_THAT(ids, Contains("django.variable.DATABASE_URL"));
  EXPECT_THAT(ids, Contains("django.storage"));
}

TEST(Django, WhatLivesOnOneMachineMustChange) {
  const auto ids = musts(kTied, kBound);
  for (const char* id :
       {"django.databases", "django.secret_key", "django.storage", "django.caches"}) {
    EXPECT_THAT(ids, Contains(id));
  }
  EXPECT_THAT(ids, Not(Contains("django.media_root")));
}

TEST(Django, AnItemSaysWhere) {
  Items items;
  assess_django(app_of(kTied), spec_of(kBound), items);
  const auto json = items.to_json();
  EXPECT_EQ(json[0]["severity"], "must");
  EXPECT_THAT(json.dump(), testing::HasSubstr("shop/settings.py:5"));
}

TEST(Django, TheExampleMonolithNeedsNoChange) {
  const auto repository = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  const auto files = read_code((repository / "examples" / "eaglebox").string());
  ASSERT_TRUE(files);
  const auto app = find_django(*files);
  ASSERT_TRUE(app);
  const auto lift = spec::load_spec((repository / "examples" / "specs" / "lift.yaml").string());
  ASSERT_TRUE(lift.ok());
  Items items;
  assess_django(*app, lift.spec, items);
  EXPECT_EQ(items.count(Severity::kMust), 0) << items.to_json().dump(2);
}

}  // namespace
}  // namespace banyan::control
