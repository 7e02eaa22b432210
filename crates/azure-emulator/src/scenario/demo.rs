//! Contoso, Fabrikam and their people.

use std::collections::BTreeSet;

use uuid::{Uuid, uuid};

use super::{
    ApiApp, Assignment, CLUSTER, CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI, CONTOSO_APP,
    CONTOSO_IDENTITY, CONTOSO_IDENTITY_PRINCIPAL, ClientApp, ClientSecret, Coverage, FABRIKAM, FABRIKAM_CALLERS,
    FABRIKAM_MARKETING, FABRIKAM_NIGHT_SHIFT, FederatedCredential, Group, ManagedIdentity, PrincipalType, RESOURCE,
    Resource, SERVICE_ACCOUNT, Scenario, TOKEN_EXCHANGE_AUDIENCE, TeamsAssignment, TeamsPrincipalType, Tenant, User,
    UserKind,
};

/// Diego, who may use Teams Phone.
const DIEGO: Uuid = uuid!("c0a50000-0000-4000-8000-0000000d1e90");

impl Scenario {
    /// Contoso, Fabrikam and their people.
    #[must_use]
    pub fn demo() -> Self {
        let assign = |object_id, tenant_id, principal_type| Assignment {
            object_id,
            tenant_id,
            principal_type,
            // The broker's own app too: it is the client when it exchanges on behalf of a user.
            client_ids: vec![CONTOSO_APP, CONTOSO_API],
        };
        let users = demo_users();
        let alex = users.iter().find(|user| user.name == "alex").map(|user| user.object_id);
        Self {
            tenants: vec![
                tenant(CONTOSO, "Contoso", "contoso.com"),
                tenant(FABRIKAM, "Fabrikam", "fabrikam.com"),
            ],
            groups: vec![
                group(FABRIKAM_CALLERS, "Fabrikam Callers", &[]),
                group(FABRIKAM_MARKETING, "Fabrikam Marketing", &[]),
                group(FABRIKAM_NIGHT_SHIFT, "Fabrikam Night Shift", &[FABRIKAM_CALLERS]),
            ],
            client_app: ClientApp {
                client_id: CONTOSO_APP,
                name: "Contoso Calling".to_owned(),
            },
            api_app: api_app(),
            managed_identity: ManagedIdentity {
                client_id: CONTOSO_IDENTITY,
                object_id: CONTOSO_IDENTITY_PRINCIPAL,
                tenant_id: CONTOSO,
                name: "contoso-broker-identity".to_owned(),
                identity_header: "emulated-identity-header".to_owned(),
                graph_roles: graph_roles(),
            },
            resource: Resource {
                id: RESOURCE,
                name: "contoso-emulated".to_owned(),
                access_key: b"The emulator's access key: known to all, it guards nothing real.".to_vec(),
                tenant_id: CONTOSO,
                managers: vec![CONTOSO_API, CONTOSO_IDENTITY],
            },
            assignments: [
                Some(assign(FABRIKAM_CALLERS, FABRIKAM, PrincipalType::Group)),
                alex.map(|id| assign(id, FABRIKAM, PrincipalType::User)),
                Some(assign(CONTOSO, CONTOSO, PrincipalType::Tenant)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            teams_assignments: vec![TeamsAssignment {
                object_id: DIEGO,
                tenant_id: CONTOSO,
                principal_type: TeamsPrincipalType::User,
                client_ids: vec![CONTOSO_APP, CONTOSO_API],
            }],
            users,
            password: "Emulated-Pa55".to_owned(),
            undone: BTreeSet::new(),
        }
    }
}

fn tenant(id: Uuid, name: &str, domain: &str) -> Tenant {
    Tenant {
        id,
        name: name.to_owned(),
        domain: domain.to_owned(),
        premium: true,
    }
}

/// Contoso's broker, with every kind of credential but a certificate: no private key is published.
fn api_app() -> ApiApp {
    let federated = |issuer: String, subject: String| FederatedCredential {
        issuer,
        subject,
        audience: TOKEN_EXCHANGE_AUDIENCE.to_owned(),
    };
    ApiApp {
        client_id: CONTOSO_API,
        name: "Contoso Token Broker".to_owned(),
        app_id_uri: CONTOSO_API_URI.to_owned(),
        scopes: vec!["access".to_owned()],
        secrets: vec![ClientSecret {
            value: CONTOSO_API_SECRET.to_owned(),
            expires_on: None,
        }],
        certificates: Vec::new(),
        federated_credentials: vec![
            federated(format!("/_emulator/federated/{CLUSTER}"), SERVICE_ACCOUNT.to_owned()),
            federated(format!("/{CONTOSO}/v2.0"), CONTOSO_IDENTITY_PRINCIPAL.to_string()),
        ],
        graph_roles: graph_roles(),
        consented_by: vec![CONTOSO, FABRIKAM],
        own_signing_key: false,
    }
}

fn graph_roles() -> Vec<String> {
    // The last three are for what `doctor` looks at.
    [
        "GroupMember.Read.All",
        "User.Read.All",
        "Application.Read.All",
        "Directory.Read.All",
        "LicenseAssignment.Read.All",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn group(id: Uuid, name: &str, member_of: &[Uuid]) -> Group {
    Group {
        id,
        tenant_id: FABRIKAM,
        name: name.to_owned(),
        member_of: member_of.to_vec(),
    }
}

fn demo_users() -> Vec<User> {
    let person = |name: &str, display_name: &str, tenant_id, object_id, groups, coverage| User {
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        tenant_id,
        object_id,
        kind: UserKind::Person,
        groups,
        administrator: false,
        step_up: None,
        coverage,
    };
    // More groups than a token can list; Fabrikam Callers is one of them.
    let many = (0..205)
        .map(|n| Uuid::from_u128(0xfab0_0000_0000_4000_8000_0000_6000_0000 + n))
        .chain([FABRIKAM_CALLERS])
        .collect();
    vec![
        person(
            "adele",
            "Adele Vance",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-0000000ade1e"),
            vec![FABRIKAM_CALLERS],
            Coverage::Group,
        ),
        person(
            "alex",
            "Alex Wilber",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-00000000a1ec"),
            Vec::new(),
            Coverage::User,
        ),
        person(
            "megan",
            "Megan Bowen",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-0000003e9a00"),
            Vec::new(),
            Coverage::None,
        ),
        person(
            "grady",
            "Grady Archie",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-00000009ade0"),
            vec![FABRIKAM_MARKETING],
            Coverage::None,
        ),
        person(
            "lidia",
            "Lidia Holloway",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-0000000011d1"),
            many,
            Coverage::Group,
        ),
        // Only the directory knows that this group is a member of another.
        person(
            "nestor",
            "Nestor Wilke",
            FABRIKAM,
            uuid!("fab00000-0000-4000-8000-00000000e570"),
            vec![FABRIKAM_NIGHT_SHIFT],
            Coverage::Group,
        ),
        User {
            step_up: Some("c1".to_owned()),
            ..person(
                "joni",
                "Joni Sherman",
                FABRIKAM,
                uuid!("fab00000-0000-4000-8000-000000000901"),
                vec![FABRIKAM_CALLERS],
                Coverage::Group,
            )
        },
        person("diego", "Diego Siciliani", CONTOSO, DIEGO, Vec::new(), Coverage::Tenant),
        User {
            name: "app-only".to_owned(),
            display_name: "Contoso Nightly Job".to_owned(),
            tenant_id: CONTOSO,
            object_id: uuid!("c0a50000-0000-4000-8000-0000000dae30"),
            kind: UserKind::Daemon {
                roles: vec!["Calls.Manage".to_owned()],
            },
            groups: Vec::new(),
            administrator: false,
            step_up: None,
            coverage: Coverage::AppOnly,
        },
        User {
            administrator: true,
            ..person(
                "isaiah",
                "Isaiah Langer",
                CONTOSO,
                uuid!("c0a50000-0000-4000-8000-0000000ad313"),
                Vec::new(),
                Coverage::Tenant,
            )
        },
        User {
            administrator: true,
            ..person(
                "patti",
                "Patti Fernandez",
                FABRIKAM,
                uuid!("fab00000-0000-4000-8000-0000000ad313"),
                Vec::new(),
                Coverage::None,
            )
        },
    ]
}
