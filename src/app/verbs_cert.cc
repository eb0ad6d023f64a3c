// cert dev-ca, cert issue: certificates for development.

#include <fmt/format.h>

#include "app/cli.h"
#include "io/dev_ca.h"

namespace banyan {

using nlohmann::json;

namespace {

Exit show_files(const Cli& cli, const Result<io::IssuedFiles>& files) {
  if (!files) return cli.show(files.error());
  const json out = {{"certificate", files->certificate.string()}, {"key", files->key.string()}};
  return cli.show(out, [](const json& made) {
    print_field("certificate", made.value("certificate", ""));
    print_field("key", made.value("key", ""));
  });
}

struct CertOptions {
  std::string folder;
  io::IssueOrder order;
  bool is_client = false;
};

}  // namespace

void add_cert_verbs(CLI::App& app, Cli& cli) {
  CLI::App* const cert = app.add_subcommand("cert", "certificates for development");
  cert->require_subcommand(1);
  auto options = std::make_shared<CertOptions>();

  CLI::App* const ca = cert->add_subcommand("dev-ca", "Make a local authority, once");
  ca->add_option("folder", options->folder, "Where ca.pem and ca-key.pem go")->required();
  ca->callback([&cli, options] { cli.exit = show_files(cli, io::create_dev_ca(options->folder)); });

  CLI::App* const issue = cert->add_subcommand("issue", "Sign a certificate with it");
  issue->add_option("folder", options->folder, "The authority's folder")->required();
  issue->add_option("names", options->order.names, "Host names or addresses; *.name is a wildcard")
      ->required();
  issue->add_option("--days", options->order.days, "Valid for so long");
  issue->add_flag("--client", options->is_client, "For a client instead of a server");
  issue->callback([&cli, options] {
    if (options->is_client) options->order.use = io::CertificateUse::kClient;
    cli.exit = show_files(cli, io::issue_certificate(options->folder, options->order));
  });
}

}  // namespace banyan
