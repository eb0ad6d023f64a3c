#include "control/import_nginx.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "spec/spec_yaml.h"

namespace banyan::control {
namespace {

constexpr std::string_view kSite = R"(
user www-data;
events { worker_connections 1024; }
http {
  include mime.types;
  gzip on;                                    # line 6
  client_max_body_size 20m;
  upstream app { least_conn; server 10.0.0.1:8000 weight=3; server 10.0.0.2:8000 backup; }
  server {
    listen 80 default_server; listen [::]:80;
    server_name docs.example www.docs.example;
    add_header X-Frame-Options DENY;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location / { proxy_pass http://app; proxy_read_timeout 30s; }
    location /api/ { proxy_pass http://127.0.0.1:9000/v1/; proxy_set_header X-Side "api side"; }
    location = /health { return 200 "ok\n"; }
    location ~ \.php$ { fastcgi_pass unix:/run/php.sock; }
    location /static/ { root /srv/www; }
    location /old/ { return 301 https://$host$request_uri; }
  }
  server { listen 443 ssl; server_name shop.example; location /a { proxy_pass http://app; } }
}
)";

Imported imported(std::string_view text, const std::string& file = "/nowhere/nginx.conf") {
  const ReadFile none = [](const std::string& path) -> Result<std::string> {
    return failure(Code::kNotFound, path);
  };
  auto out = import_nginx(text, file, none);
  EXPECT_TRUE(out) << out.error().message();
  return out ? *out : Imported{};
}

const spec::Route* find(const Imported& in, const std::string& id,
                        std::optional<std::string> host = {}) {
  const auto found =
      std::ranges::find_if(in.routes, [&](const auto& r) { return r.id == id && r.host == host; });
  return found == in.routes.end() ? nullptr : &*found;
}

bool left(const Imported& in, const std::string& where, const std::string& what) {
  return std::ranges::any_of(in.left, [&](const LeftOver& one) {
    return one.where == where && one.what.find(what) != std::string::npos && !one.do_this.empty();
  });
}

TEST(ImportNginx, CarriesUpstreamsServersAndLocations) {
  const Imported in = imported(kSite);
  EXPECT_EQ(in.listen, (std::vector<std::string>{"0.0.0.0:80", "[::]:80"}));
  const spec::Service& app = in.services.at("app");
  EXPECT_EQ(app.endpoints[0].weight, 3);
  EXPECT_TRUE(app.endpoints[1].backup);
  const spec::Route* root = find(in, "/*");
  ASSERT_NE(root, nullptr);
  EXPECT_EQ(root->to, "app");
  EXPECT_EQ(root->rules.timeout, spec::Millis(30'000));
  EXPECT_EQ(root->rules.limits.body_bytes, 20 << 20);
  EXPECT_EQ(root->rules.headers.response.add[0].name, "X-Frame-Options");
  EXPECT_FALSE(root->rules.rewrite) << "Host $host is what Banyan sends anyway";
  const spec::Route* api = find(in, "/api/*");
  ASSERT_NE(api, nullptr);
  EXPECT_EQ(api->rules.rewrite->prefix, "/v1");
  EXPECT_EQ(api->rules.rewrite->host, "127.0.0.1:9000")
      << "a location that sets headers inherits none";
  EXPECT_EQ(api->rules.headers.request.set[0].value, "api side");
  EXPECT_EQ(find(in, "/health")->rules.respond->body, "ok\\n");
  EXPECT_EQ(find(in, "/old/*")->rules.redirect->location, "https://${host}${uri}");
}

TEST(ImportNginx, EveryHostWithoutARootAnswersItsOwn404) {
  const Imported in = imported(kSite);
  ASSERT_NE(find(in, "/a/*", "shop.example"), nullptr);
  EXPECT_EQ(find(in, "/*", "shop.example")->rules.respond->status, 404);
}

TEST(ImportNginx, SaysWhatWasLeftWithItsLine) {
  const Imported in = imported(kSite);
  EXPECT_TRUE(left(in, "nginx.conf:6", "gzip on"));
  EXPECT_TRUE(left(in, "nginx.conf:14", "X-Real-IP"));
  EXPECT_TRUE(left(in, "nginx.conf:19", "location ~ \\.php$"));
  EXPECT_TRUE(left(in, "nginx.conf:20", "root /srv/www"));
  EXPECT_TRUE(left(in, "nginx.conf:23", "listen 443 ssl"));
  EXPECT_FALSE(left(in, "nginx.conf:15", ""));
}

TEST(ImportNginx, AFileOfSitesEnabledStandsInsideHttp) {
  const Imported in = imported(
      "upstream app { server 127.0.0.1:8000; }\nserver { location / { proxy_pass http://app; } }");
  EXPECT_NE(find(in, "/*"), nullptr);
  EXPECT_FALSE(left(in, "nginx.conf:1", ""));
  EXPECT_FALSE(left(in, "nginx.conf:2", ""));
}

TEST(ImportNginx, ReadsWhatIsIncluded) {
  const auto folder = std::filesystem::temp_directory_path() / "banyan-import-nginx-test";
  std::filesystem::create_directories(folder / "sites");
  std::ofstream(folder / "sites/a.conf")
      << "server { listen 81; location / { proxy_pass http://127.0.0.1:1; } }";
  const ReadFile read = [](const std::string& path) -> Result<std::string> {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const auto in = import_nginx("http { include sites/*.conf; include none.conf; }",
                               (folder / "nginx.conf").string(), read);
  ASSERT_TRUE(in);
  EXPECT_EQ(in->listen, std::vector<std::string>{"0.0.0.0:81"});
  EXPECT_TRUE(left(*in, "nginx.conf:1", "include none.conf"));
  std::filesystem::remove_all(folder);
}

TEST(ImportNginx, RefusesWhatIsNoConfiguration) {
  for (const char* text : {"http {", "}", "a b", "http { server } }", ";"}) {
    const auto out = parse_nginx(text, "x.conf");
    ASSERT_FALSE(out) << text;
    EXPECT_NE(out.error().message().find("x.conf:1: "), std::string::npos);
  }
  EXPECT_FALSE(parse_nginx(std::string(100, '{'), "x.conf"));
}

TEST(ImportNginx, WhatItWritesIsAValidSpec) {
  const std::string yaml = imported_yaml(imported(kSite), "docs", "nginx.conf");
  const auto outcome = spec::parse_spec(yaml, "/etc/banyan.yaml");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << spec::format(problem) << yaml;
  const auto known = std::ranges::find(outcome.spec.routes, "/api/*", &spec::Route::path);
  ASSERT_NE(known, outcome.spec.routes.end());
  EXPECT_EQ(known->rules.rewrite->prefix, "/v1");
  EXPECT_EQ(outcome.spec.services.at("app").endpoints[0].weight, 3);
}

TEST(ImportNginx, LeavesNothingInACommentThatYamlRefuses) {
  const std::string site =
      "http { gz\x01\x7f\xff on; server { location / { proxy_pass http://10.0.0.1; } } }";
  const auto outcome =
      spec::parse_spec(imported_yaml(imported(site), "docs", "nginx.conf"), "/etc/banyan.yaml");
  EXPECT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.spec.routes.size(), 1U);
}

}  // namespace
}  // namespace banyan::control
