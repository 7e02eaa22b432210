//! The files that `dev` writes: the broker's configuration and its assignments.

use std::fmt::Write as _;
use std::path::Path;

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_URI};
use azure_emulator::{Assignment, Emulator, PrincipalType};

use super::Mode;
use super::certificate::DevCertificate;

pub(super) const CLIENT_SECRET_FILE: &str = "client-secret";
pub(super) const ACCESS_KEY_FILE: &str = "access-key";
pub(super) const ASSIGNMENT_FILE: &str = "assignments.toml";

/// What a mode needs beside the addresses, all of it known to the emulator.
fn mode_settings(mode: Mode, origin: &str) -> (String, String) {
    let own_api = format!("audiences = [\"{CONTOSO_API}\", \"{CONTOSO_API_URI}\"]\nrequired_scopes = [\"access\"]\n");
    let app = format!(
        "client_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\nclient_secret_file = \"{CLIENT_SECRET_FILE}\"\n"
    );
    let graph = format!("[graph]\nendpoint = \"{origin}\"\n{app}");
    let assignments = format!(
        "[assignments]\nunknown_groups = \"graph\"\n[assignments.acs]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\n"
    );
    match mode {
        Mode::Passthrough => (
            String::new(),
            format!("{graph}[assignments.acs]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\n"),
        ),
        Mode::OnBehalfOf => (
            own_api,
            format!("mode = \"on_behalf_of\"\n[exchange.on_behalf_of]\n{app}{graph}{assignments}"),
        ),
        Mode::Identity => (
            own_api,
            format!(
                "mode = \"identity\"\n[exchange.identity]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\nscopes = [\"chat\", \"voip\"]\n\
                 {graph}{assignments}"
            ),
        ),
        Mode::TeamsUser => (
            String::new(),
            format!(
                "mode = \"teams_user\"\n[exchange.teams_user]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\n{graph}{assignments}"
            ),
        ),
    }
}

/// The configuration of a broker that runs against the emulator.
pub(super) fn configuration(emulator: &Emulator, certificate: Option<&DevCertificate>, mode: Mode) -> String {
    let origin = emulator.origin();
    let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
    let tls = certificate.map_or_else(String::new, |files| {
        format!(
            "tls = {{ certificate_file = {}, private_key_file = {} }}\n",
            quoted(&files.certificate),
            quoted(&files.private_key)
        )
    });
    let mut tenants = String::new();
    for tenant in &emulator.scenario().tenants {
        let _ = write!(
            tenants,
            "[[entra.tenants]]\nid = \"{}\"\nname = \"{}\"\n",
            tenant.id, tenant.name
        );
    }
    let (entra, exchange) = mode_settings(mode, &origin);
    format!(
        "[server]\ndiagnostic_headers = true\n{tls}\
         [entra]\nauthority = \"{origin}\"\n{entra}{tenants}\
         [exchange]\nendpoint = \"{origin}\"\n{exchange}\
         [doctor]\nacknowledged = [\"acs.retirement\"]\n\
         [telemetry]\nlog_format = \"pretty\"\n"
    )
}

/// ACS's assignments as the broker's file.
pub(super) fn assignments(assignments: &[Assignment]) -> String {
    let mut text = String::from(
        "# Who may have tokens here. The emulated ACS has assignments of its own, the same at the start and after each switch of the playground.\n",
    );
    for assignment in assignments {
        let principal_type = match assignment.principal_type {
            PrincipalType::User => "user",
            PrincipalType::Group => "group",
            PrincipalType::Tenant => "tenant",
        };
        let clients: Vec<String> = assignment.client_ids.iter().map(|id| format!("\"{id}\"")).collect();
        let _ = write!(
            text,
            "\n[[assignments]]\nobjectId = \"{}\"\ntenantId = \"{}\"\nprincipalType = \"{principal_type}\"\nclientIds = [{}]\n",
            assignment.object_id,
            assignment.tenant_id,
            clients.join(", ")
        );
    }
    text
}
