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
            listed: self.listed,
            file: self
                .file
                .map(|file| file.map(|file| file.into_iter().map(Assignment::from).collect())),
        };
        let checks = resource(&look, &config.upstream, self.today);
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
        CheckId::AcsRetirement,
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
fn version_and_retirement() {
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
    for (today, status) in [
        (date(2027, 9, 29), Status::Pass),
        (date(2027, 9, 30), Status::Warn),
        (date(2028, 9, 30), Status::Fail),
    ] {
        let case = Case {
            today,
            ..Case::default()
        };
        assert_eq!(case.status(CheckId::AcsRetirement), status, "{today}");
    }
    let chat = |scope: &'static str| Case {
        exchange: scope,
        ..Case::default()
    };
    let chats = "mode = \"identity\"\nidentity = { access_key_file = \"x\", scopes = [\"chat\"] }";
    let calls = "mode = \"identity\"\nidentity = { access_key_file = \"x\", scopes = [\"voip\"] }";
    assert_eq!(chat(chats).status(CheckId::AcsRetirement), Status::Warn);
    assert_eq!(chat(calls).status(CheckId::AcsRetirement), Status::Pass);
    assert_eq!(chat(calls).status(CheckId::AcsAssignments), Status::Skip);
}
