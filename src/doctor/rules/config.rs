//! `config.*`: what the configuration alone says.

use config::{Cloud, Config};
use url::Url;

use super::super::check::{Check, CheckId, Who};

/// `config.valid`.
#[must_use]
pub fn valid(problems: &[String], warnings: &[String]) -> Check {
    match (problems, warnings) {
        ([], []) => Check::pass(CheckId::ConfigValid, "the configuration is valid"),
        ([], warnings) => Check::warn(
            CheckId::ConfigValid,
            format!("the configuration is valid, but: {}", warnings.join("; ")),
            "change what is not meant so",
        )
        .by(Who::Operator),
        (problems, _) => Check::fail(
            CheckId::ConfigValid,
            Who::Operator,
            format!("the configuration cannot be used: {}", problems.join("; ")),
            "mend each setting that is named; docs/configuration-reference.md says what each may be",
        )
        .with_command("acs-token-broker check-config"),
    }
}

/// `config.plain_http`: tokens to an upstream beyond this machine over plain http.
#[must_use]
pub fn plain_http(config: &Config) -> Check {
    let plain: Vec<String> = upstreams(config)
        .filter(|(_, url)| url.scheme() == "http" && !config::units::is_loopback(url))
        .map(|(key, url)| format!("{key} ({url})"))
        .collect();
    if plain.is_empty() {
        Check::pass(CheckId::ConfigPlainHttp, "no token leaves this machine over plain http")
    } else {
        Check::warn(
            CheckId::ConfigPlainHttp,
            format!("tokens go over plain http, readable on the way: {}", plain.join(", ")),
            "use https there, and take allow_insecure_upstreams out",
        )
        .by(Who::Operator)
    }
}

fn upstreams(config: &Config) -> impl Iterator<Item = (String, &Url)> {
    let tenants = config.entra.tenants.iter().enumerate().filter_map(|(index, tenant)| {
        let authority = tenant.authority.as_ref()?;
        Some((format!("entra.tenants[{index}].authority"), authority))
    });
    let resources = config
        .resources
        .iter()
        .map(|resource| (resource.key("exchange.endpoint"), &resource.exchange.endpoint));
    let graph = config
        .graph_for_checks
        .iter()
        .map(|graph| ("graph.endpoint".to_owned(), &graph.endpoint));
    std::iter::once(("entra.authority".to_owned(), &config.entra.authority))
        .chain(tenants)
        .chain(resources)
        .chain(graph)
}

/// Where Graph is, where the configuration does not say: the cloud's.
#[must_use]
pub fn graph_endpoint(config: &Config) -> Option<Url> {
    let cloud: Cloud = config.entra.cloud;
    match &config.graph_for_checks {
        Some(graph) => Some(graph.endpoint.clone()),
        None => Url::parse(cloud.graph()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Status;
    use super::*;
    use config::load::{Environment, load};

    fn config(endpoint: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.toml");
        let text = format!(
            "allow_insecure_upstreams = true\nentra.tenants = [{{ id = \"8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11\" }}]\n\
             exchange.endpoint = \"{endpoint}\"\nassignments.file = \"assignments.toml\"\n"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("assignments.toml"), "").unwrap();
        load(Some(&file), &Environment::default()).unwrap().config
    }

    #[test]
    fn plain_http_beyond_this_machine_is_reported() {
        for (endpoint, status) in [
            ("https://contoso.communication.azure.com", Status::Pass),
            ("http://127.0.0.1:8090", Status::Pass),
            ("http://acs.internal:8090", Status::Warn),
        ] {
            assert_eq!(plain_http(&config(endpoint)).status, status, "{endpoint}");
        }
    }

    #[test]
    fn problems_fail_and_warnings_warn() {
        let some = ["x: is unknown".to_owned()];
        assert_eq!(valid(&[], &[]).status, Status::Pass);
        assert_eq!(valid(&[], &some).status, Status::Warn);
        let failed = valid(&some, &some);
        assert_eq!(failed.status, Status::Fail);
        assert!(failed.summary.contains("x: is unknown") && failed.fix.is_some());
    }
}
