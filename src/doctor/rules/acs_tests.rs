//! Each `acs.*` check as it passes and as it does not.

use std::path::Path;

use azure::azure_error::read_error;
use azure::{Response, UpstreamFailure};
use base::ids::{ObjectId, TenantId};
use config::Config;
use config::load::{Environment, load};

use super::super::super::check::Status;
use super::*;

const TENANT: &str = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11";
const APP: &str = "22222222-0000-4000-8000-000000000001";
const OWN_APP: &str = "22222222-0000-4000-8000-000000000009";

fn config(exchange: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let text = format!(
        "entra.tenants = [{{ id = \"{TENANT}\" }}]\nassignments.file = \"assignments.toml\"\n{}\n\
         [exchange]\nendpoint = \"https://contoso.communication.azure.com\"\n{exchange}\n",
        if exchange.contains("mode") {
            format!("entra.audiences = [\"{OWN_APP}\"]\nentra.required_scopes = [\"access\"]")
        } else {
            String::new()
        }
    );
    std::fs::write(&file, text).unwrap();
    for name in ["x", "x.pem"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let variables: [(&str, &str); 0] = [];
    let environment: Environment = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    load(Some(Path::new(&file)), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn id(number: u32) -> ObjectId {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

fn entry(object: ObjectId, kind: PrincipalType, clients: &[&str]) -> EntraAssignment {
    EntraAssignment {
        object_id: object,
        tenant_id: tenant(),
        principal_type: kind,
        client_ids: clients.iter().map(|client| client.parse().unwrap()).collect(),
    }
}

fn group(number: u32) -> EntraAssignment {
    entry(id(number), PrincipalType::Group, &[APP])
}

struct Case {
    exchange: &'static str,
    answered: Result<StatusCode, SendError>,
    listed: Option<Result<Vec<EntraAssignment>, AssignmentsError>>,
    file: Option<Result<Vec<EntraAssignment>, String>>,
    today: Date,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            exchange: "",
            answered: Ok(StatusCode::UNAUTHORIZED),
            listed: Some(Ok(vec![group(1)])),
            file: Some(Ok(vec![group(1)])),
            today: date(2026, 11, 30),
        }
    }
}

impl Case {
    fn status(self, id: CheckId) -> Status {
        let config = config(self.exchange);
        let look = ResourceLook {
            config: &config.resources[0],
            answered: self.answered,
            lists: Vec::from_iter(self.listed.map(|listed| ListLook {
                section: "assignments.acs",
                listed,
            })),
            file: self
                .file
                .map(|file| file.map(|file| file.into_iter().map(Assignment::from).collect())),
        };
        let checks = resource(&look, &config, self.today);
        let check = checks.iter().find(|check| check.id == id).unwrap();
        assert_eq!(
            check.fix.is_some(),
            matches!(check.status, Status::Fail | Status::Warn),
            "{check:?}"
        );
        assert_eq!(
            check.status == Status::Fail,
            check.status == Status::Fail && check.who.is_some(),
            "{check:?}"
        );
        check.status
    }
}

fn refused() -> AssignmentsError {
    AssignmentsError::Refused {
        status: StatusCode::UNAUTHORIZED,
        error: None,
    }
}

#[test]
fn all_is_well() {
    for id in [
        CheckId::AcsReachable,
        CheckId::AcsCredential,
        CheckId::AcsAssignments,
        CheckId::AcsAssignmentsDrift,
        CheckId::AcsApiVersion,
    ] {
        assert_eq!(Case::default().status(id), Status::Pass, "{id:?}");
    }
}

#[test]
fn reachable() {
    for (answered, status) in [
        (Ok(StatusCode::NOT_FOUND), Status::Fail),
        (Ok(StatusCode::SERVICE_UNAVAILABLE), Status::Warn),
        (Err(SendError::Timeout), Status::Fail),
        (Err(SendError::Connection("dns error".to_owned())), Status::Fail),
    ] {
        let case = Case {
            answered,
            ..Case::default()
        };
        assert_eq!(case.status(CheckId::AcsReachable), status);
    }
}

#[test]
fn credential() {
    let limited = AssignmentsError::Upstream(UpstreamFailure::Timeout);
    for (listed, status) in [
        (None, Status::Skip),
        (Some(Err(refused())), Status::Fail),
        (Some(Err(limited)), Status::Warn),
    ] {
        let case = Case {
            listed,
            ..Case::default()
        };
        assert_eq!(case.status(CheckId::AcsCredential), status);
    }
}

#[test]
fn each_credential_is_judged_by_itself() {
    let config = config("");
    let list = |section, listed| ListLook { section, listed };
    let look = ResourceLook {
        config: &config.resources[0],
        answered: Ok(StatusCode::UNAUTHORIZED),
        lists: vec![
            list("assignments.acs", Ok(vec![group(1)])),
            list("exchange.identity", Err(refused())),
        ],
        file: None,
    };
    let checks = resource(&look, &config, Case::default().today);
    let of = |id| -> Vec<&Check> { checks.iter().filter(|check| check.id == id).collect() };
    let [good, bad] = of(CheckId::AcsCredential)[..] else {
        panic!("{checks:?}")
    };
    assert_eq!((good.status, bad.status), (Status::Pass, Status::Fail));
    assert!(good.summary.contains("[assignments.acs]"), "{good:?}");
    assert!(bad.summary.contains("[exchange.identity]"), "{bad:?}");
    assert!(
        bad.fix.as_deref().unwrap_or_default().contains("[exchange.identity]"),
        "{bad:?}"
    );
    // The list of the one that is good is what counts.
    assert_eq!(of(CheckId::AcsAssignments)[0].status, Status::Pass);
}

#[test]
fn credentials_are_told_apart_while_acs_does_not_answer() {
    let config = config("");
    let sections = ["assignments.acs", "exchange.identity"];
    for (answered, status) in [
        (Err(SendError::Timeout), Status::Skip),
        (Ok(StatusCode::UNAUTHORIZED), Status::Warn),
    ] {
        let list = |section| ListLook {
            section,
            listed: Err(AssignmentsError::Upstream(UpstreamFailure::Timeout)),
        };
        let look = ResourceLook {
            config: &config.resources[0],
            answered,
            lists: sections.map(list).into(),
            file: None,
        };
        for (check, section) in credentials(&look).iter().zip(sections) {
            assert_eq!(check.status, status);
            assert!(check.summary.contains(&format!("[{section}]")), "{check:?}");
        }
    }
}

#[test]
fn assignments_and_drift() {
    let whole_tenant = || entry(tenant().as_object_id(), PrincipalType::Tenant, &[APP]);
    let other_client = || entry(id(1), PrincipalType::Group, &[OWN_APP]);
    for (listed, assignments, drift) in [
        (Some(Ok(vec![])), Status::Fail, Status::Warn),
        (Some(Ok(vec![group(2)])), Status::Fail, Status::Warn),
        (Some(Ok(vec![group(1), group(2)])), Status::Pass, Status::Warn),
        (Some(Ok(vec![whole_tenant()])), Status::Pass, Status::Warn),
        (Some(Ok(vec![other_client()])), Status::Fail, Status::Warn),
        (Some(Err(refused())), Status::Skip, Status::Skip),
        (None, Status::Skip, Status::Skip),
    ] {
        let case = |listed| Case {
            listed,
            ..Case::default()
        };
        assert_eq!(
            case(listed.clone()).status(CheckId::AcsAssignments),
            assignments,
            "{listed:?}"
        );
        assert_eq!(
            case(listed.clone()).status(CheckId::AcsAssignmentsDrift),
            drift,
            "{listed:?}"
        );
    }
    let no_file = Case {
        file: None,
        ..Case::default()
    };
    assert_eq!(no_file.status(CheckId::AcsAssignmentsDrift), Status::Skip);
}

/// On behalf of users the broker's app is the client at ACS, whatever the broker's file says.
#[test]
fn on_behalf_of_needs_the_brokers_app_at_acs() {
    let exchange = "mode = \"on_behalf_of\"\non_behalf_of = { client_id = \"22222222-0000-4000-8000-000000000009\", credential = \"certificate\", certificate_file = \"x.pem\" }";
    for (client, status) in [(APP, Status::Fail), (OWN_APP, Status::Pass)] {
        let case = Case {
            exchange,
            listed: Some(Ok(vec![entry(id(1), PrincipalType::Group, &[client])])),
            ..Case::default()
        };
        assert_eq!(case.status(CheckId::AcsAssignments), status, "{client}");
    }
}

#[test]
fn the_version_must_have_what_the_mode_needs() {
    let body = r#"{"error":{"code":"UnsupportedApiVersionValue","message":"m"}}"#;
    let error = read_error(&Response {
        status: StatusCode::BAD_REQUEST,
        headers: http::HeaderMap::new(),
        body: body.into(),
    });
    let unsupported = AssignmentsError::UnexpectedStatus {
        status: StatusCode::BAD_REQUEST,
        error,
    };
    let case = Case {
        listed: Some(Err(unsupported)),
        ..Case::default()
    };
    assert_eq!(case.status(CheckId::AcsApiVersion), Status::Fail);
    let case = Case {
        exchange: "api_version = \"2026-09-23\"",
        ..Case::default()
    };
    assert_eq!(case.status(CheckId::AcsApiVersion), Status::Warn);
}

#[test]
fn the_retirement_is_told_where_something_that_is_used_ends() {
    let on_behalf_of = |scope: &str| {
        format!(
            "mode = \"on_behalf_of\"\non_behalf_of = {{ client_id = \"{OWN_APP}\", credential = \"managed_identity\", scope = \"{scope}\" }}"
        )
    };
    let identity = |scope: &str| {
        format!("mode = \"identity\"\nidentity = {{ credential = \"managed_identity\", scopes = [\"{scope}\"] }}")
    };
    for (exchange, ends) in [
        (String::new(), "standalone calling (passthrough mode)"),
        (
            on_behalf_of("https://communication.azure.com/clients/.default"),
            "standalone calling (on_behalf_of mode)",
        ),
        (on_behalf_of("https://auth.msft.communication.azure.com/.default"), ""),
        (identity("chat"), "Chat, which exchange.identity.scopes grants,"),
        (identity("chat.join"), "Chat, which exchange.identity.scopes grants,"),
        (identity("voip"), "standalone calling (identity mode)"),
        (
            "mode = \"teams_user\"\nteams_user = { credential = \"managed_identity\" }".to_owned(),
            "",
        ),
    ] {
        let config = config(&exchange);
        for (today, status) in [
            (date(2026, 11, 30), Status::Warn),
            (date(2028, 9, 29), Status::Warn),
            (date(2028, 9, 30), Status::Fail),
        ] {
            let status = if ends.is_empty() { Status::Pass } else { status };
            let check = retirement(&config.resources[0], &config.entra.required_scopes, today);
            assert_eq!(check.status, status, "{exchange} {today}");
            assert!(
                check.summary.contains(ends) && check.summary.contains("2028-09-30"),
                "{check:?}"
            );
        }
    }
    // A passthrough resource that serves Teams Phone extension alone.
    let config = config("");
    let teams = ["TeamsExtension.ManageCalls".to_owned()];
    let check = retirement(&config.resources[0], &teams, date(2026, 11, 30));
    assert_eq!(check.status, Status::Pass);
}

#[test]
fn in_identity_mode_assignments_at_acs_have_no_part() {
    let calls = "mode = \"identity\"\nidentity = { access_key_file = \"x\", scopes = [\"voip\"] }";
    let case = Case {
        exchange: calls,
        ..Case::default()
    };
    assert_eq!(case.status(CheckId::AcsAssignments), Status::Skip);
    let teams = "mode = \"teams_user\"\nteams_user = { access_key_file = \"x\" }";
    for (id, status) in [
        (CheckId::AcsAssignments, Status::Skip),
        (CheckId::AcsAssignmentsDrift, Status::Skip),
        (CheckId::AcsApiVersion, Status::Pass),
        (CheckId::AcsRetirement, Status::Pass),
    ] {
        let case = Case {
            exchange: teams,
            ..Case::default()
        };
        assert_eq!(case.status(id), status, "{id:?}");
    }
}
