//! The demo story as plain data: who exists, who owns what, and who may call.
//!
//! It follows Microsoft's quickstart: Contoso owns the app and the Communication Services resource, and lets in
//! a group and a single user of Fabrikam, and its own whole tenant. Ids never change between versions, so that
//! front-end code and assignment files may rely on them.

use uuid::{Uuid, uuid};

use super::acs::assignments::{Assignment, PrincipalType};

/// Contoso's tenant.
pub const CONTOSO: Uuid = uuid!("c0a50000-0000-4000-8000-000000000001");
/// Fabrikam's tenant.
pub const FABRIKAM: Uuid = uuid!("fab00000-0000-4000-8000-000000000002");
/// Contoso's client app, the one that every demo assignment names.
pub const CONTOSO_APP: Uuid = uuid!("c0a5a990-0000-4000-8000-000000000003");
/// Contoso's Communication Services resource.
pub const RESOURCE: Uuid = uuid!("c0a5acc5-0000-4000-8000-000000000004");
/// The Fabrikam group that is assigned.
pub const FABRIKAM_CALLERS: Uuid = uuid!("fab00000-0000-4000-8000-00000000ca11");
/// A Fabrikam group that is not assigned.
pub const FABRIKAM_MARKETING: Uuid = uuid!("fab00000-0000-4000-8000-0000000003a2");

/// Everything the emulator needs to know of the world.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The tenants that the emulated Entra knows.
    pub tenants: Vec<Tenant>,
    /// The groups of their directories.
    pub groups: Vec<Group>,
    /// The client app that users sign in to.
    pub client_app: ClientApp,
    /// The Communication Services resource.
    pub resource: Resource,
    /// Demo users and daemons, each with a name of its own.
    pub users: Vec<User>,
    /// Entra assignments that the resource starts with.
    pub assignments: Vec<Assignment>,
    /// The password of every demo user; no secret.
    pub password: String,
}

/// A Microsoft Entra tenant.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The tenant id.
    pub id: Uuid,
    /// The company's name.
    pub name: String,
    /// The verified domain, which addresses the tenant as well as its id does.
    pub domain: String,
}

/// A group in a tenant's directory.
#[derive(Debug, Clone)]
pub struct Group {
    /// The object id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The display name.
    pub name: String,
}

/// An app registration, consented to in every tenant of the scenario.
#[derive(Debug, Clone)]
pub struct ClientApp {
    /// The application (client) id.
    pub client_id: Uuid,
    /// The display name.
    pub name: String,
}

/// A Communication Services resource.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The immutable resource id, a part of every identity.
    pub id: Uuid,
    /// The resource's name.
    pub name: String,
    /// The access key's bytes. Fixed, so that connection strings survive a restart; it guards nothing.
    pub access_key: Vec<u8>,
}

/// Somebody, or something, that can have an Entra token.
#[derive(Debug, Clone)]
pub struct User {
    /// The short name by which controls address it; unique.
    pub name: String,
    /// The display name.
    pub display_name: String,
    /// The home tenant.
    pub tenant_id: Uuid,
    /// The object id; of a daemon, that of its service principal.
    pub object_id: Uuid,
    /// A person who signs in, or a daemon.
    pub kind: UserKind,
    /// The groups it is a member of.
    pub groups: Vec<Uuid>,
    /// What the scenario's assignments say about it; a test holds the two together.
    pub coverage: Coverage,
}

/// What kind of principal a user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserKind {
    /// A person; tokens are delegated.
    Person,
    /// A daemon with these app roles; tokens are app-only.
    Daemon {
        /// The `roles` claim.
        roles: Vec<String>,
    },
}

/// Why a user may obtain ACS tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// An assignment of the user itself.
    User,
    /// An assignment of a group it is in.
    Group,
    /// An assignment of its whole tenant.
    Tenant,
    /// None: it may not.
    None,
    /// An app-only caller, which no assignment can cover.
    AppOnly,
}

impl Scenario {
    /// Contoso, Fabrikam and their people.
    #[must_use]
    pub fn demo() -> Self {
        let assign = |object_id, tenant_id, principal_type| Assignment {
            object_id,
            tenant_id,
            principal_type,
            client_ids: vec![CONTOSO_APP],
        };
        let users = demo_users();
        let alex = users.iter().find(|user| user.name == "alex").map(|user| user.object_id);
        Self {
            tenants: vec![
                tenant(CONTOSO, "Contoso", "contoso.com"),
                tenant(FABRIKAM, "Fabrikam", "fabrikam.com"),
            ],
            groups: vec![
                group(FABRIKAM_CALLERS, "Fabrikam Callers"),
                group(FABRIKAM_MARKETING, "Fabrikam Marketing"),
            ],
            client_app: ClientApp {
                client_id: CONTOSO_APP,
                name: "Contoso Calling".to_owned(),
            },
            resource: Resource {
                id: RESOURCE,
                name: "contoso-emulated".to_owned(),
                access_key: b"The emulator's access key: known to all, it guards nothing real.".to_vec(),
            },
            assignments: [
                Some(assign(FABRIKAM_CALLERS, FABRIKAM, PrincipalType::Group)),
                alex.map(|id| assign(id, FABRIKAM, PrincipalType::User)),
                Some(assign(CONTOSO, CONTOSO, PrincipalType::Tenant)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            users,
            password: "Emulated-Pa55".to_owned(),
        }
    }

    /// The tenant with this id (in any letter case), domain or name.
    #[must_use]
    pub fn tenant(&self, text: &str) -> Option<&Tenant> {
        let id = Uuid::try_parse(text).ok();
        self.tenants.iter().find(|tenant| {
            Some(tenant.id) == id || tenant.domain.eq_ignore_ascii_case(text) || tenant.name.eq_ignore_ascii_case(text)
        })
    }

    /// The user with this short name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// The groups of the principal with this object id, as the directory has them.
    #[must_use]
    pub fn groups_of(&self, tenant: Uuid, object_id: Uuid) -> &[Uuid] {
        self.users
            .iter()
            .find(|user| user.tenant_id == tenant && user.object_id == object_id)
            .map_or(&[], |user| &user.groups)
    }

    /// The name by which a user signs in.
    #[must_use]
    pub fn user_principal_name(&self, user: &User) -> String {
        let domain = self
            .tenants
            .iter()
            .find(|tenant| tenant.id == user.tenant_id)
            .map_or("example.com", |tenant| tenant.domain.as_str());
        format!("{}@{domain}", user.name)
    }
}

fn tenant(id: Uuid, name: &str, domain: &str) -> Tenant {
    Tenant {
        id,
        name: name.to_owned(),
        domain: domain.to_owned(),
    }
}

fn group(id: Uuid, name: &str) -> Group {
    Group {
        id,
        tenant_id: FABRIKAM,
        name: name.to_owned(),
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
        person(
            "diego",
            "Diego Siciliani",
            CONTOSO,
            uuid!("c0a50000-0000-4000-8000-0000000d1e90"),
            Vec::new(),
            Coverage::Tenant,
        ),
        User {
            name: "app-only".to_owned(),
            display_name: "Contoso Nightly Job".to_owned(),
            tenant_id: CONTOSO,
            object_id: uuid!("c0a50000-0000-4000-8000-0000000dae30"),
            kind: UserKind::Daemon {
                roles: vec!["Calls.Manage".to_owned()],
            },
            groups: Vec::new(),
            coverage: Coverage::AppOnly,
        },
    ]
}
