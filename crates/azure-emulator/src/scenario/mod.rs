//! The demo story as plain data: who exists, who owns what, and who may call.
//!
//! It follows Microsoft's quickstart: Contoso owns the app and the Communication Services resource, and lets in
//! a group and a single user of Fabrikam, and its own whole tenant. Ids never change between versions, so that
//! front-end code and assignment files may rely on them.

mod apps;
mod assignments;
mod demo;
mod steps;

use std::collections::BTreeSet;

use uuid::{Uuid, uuid};

pub use self::apps::{ApiApp, ClientSecret, FederatedCredential, ManagedIdentity};
pub use self::assignments::{Assignment, PrincipalType, TeamsAssignment, TeamsPrincipalType};
pub use self::steps::Step;

/// Contoso's tenant.
pub const CONTOSO: Uuid = uuid!("c0a50000-0000-4000-8000-000000000001");
/// Fabrikam's tenant.
pub const FABRIKAM: Uuid = uuid!("fab00000-0000-4000-8000-000000000002");
/// Contoso's client app, the one that every demo assignment names.
pub const CONTOSO_APP: Uuid = uuid!("c0a5a990-0000-4000-8000-000000000003");
/// Contoso's broker as an app registration: the middle tier that users' tokens are for in on-behalf-of mode.
pub const CONTOSO_API: Uuid = uuid!("c0a5a991-0000-4000-8000-000000000005");
/// The App ID URI of Contoso's broker.
pub const CONTOSO_API_URI: &str = "api://c0a5a991-0000-4000-8000-000000000005";
/// The demo client secret of Contoso's broker. Known to all, it guards nothing.
pub const CONTOSO_API_SECRET: &str = "Emulated-Secret-Guards-Nothing";
/// The client id of the managed identity that Contoso's broker runs with.
pub const CONTOSO_IDENTITY: Uuid = uuid!("c0a51de0-0000-4000-8000-000000000006");
/// The principal (object) id of that managed identity.
pub const CONTOSO_IDENTITY_PRINCIPAL: Uuid = uuid!("c0a51de0-0000-4000-8000-000000000007");
/// Contoso's Communication Services resource.
pub const RESOURCE: Uuid = uuid!("c0a5acc5-0000-4000-8000-000000000004");
/// The Fabrikam group that is assigned.
pub const FABRIKAM_CALLERS: Uuid = uuid!("fab00000-0000-4000-8000-00000000ca11");
/// A Fabrikam group that is a member of Fabrikam Callers.
pub const FABRIKAM_NIGHT_SHIFT: Uuid = uuid!("fab00000-0000-4000-8000-00000000519f");
/// The Kubernetes cluster whose service accounts the demo federated credential names.
pub const CLUSTER: &str = "contoso-aks";
/// The service account that Contoso's broker runs as in that cluster.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:default:acs-token-broker";
/// The audience of tokens that stand in for a client credential.
pub const TOKEN_EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
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
    /// The broker's own app registration.
    pub api_app: ApiApp,
    /// The managed identity that the broker runs with.
    pub managed_identity: ManagedIdentity,
    /// The Communication Services resource.
    pub resource: Resource,
    /// Demo users and daemons, each with a name of its own.
    pub users: Vec<User>,
    /// Entra assignments that the resource starts with.
    pub assignments: Vec<Assignment>,
    /// Teams Phone extension assignments that the resource starts with.
    pub teams_assignments: Vec<TeamsAssignment>,
    /// The password of every demo user; no secret.
    pub password: String,
    /// The administrators' steps that are not done when the world begins.
    pub undone: BTreeSet<Step>,
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
    /// Whether it has Entra ID P1 or P2, without which groups cannot be assigned to an app.
    pub premium: bool,
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
    /// The groups that it is itself a member of; membership is transitive.
    pub member_of: Vec<Uuid>,
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
    /// The tenant of its subscription: apps that manage it have tokens of this tenant.
    pub tenant_id: Uuid,
    /// The client ids of the apps that have a role on it, so that their Entra tokens count as much as the access key.
    pub managers: Vec<Uuid>,
}

/// A person or a daemon that can have an Entra token.
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
    /// The groups it is a direct member of.
    pub groups: Vec<Uuid>,
    /// Whether it is a Global Administrator of its tenant.
    pub administrator: bool,
    /// The authentication context (such as `c1`) that conditional access demands of it in the on-behalf-of grant.
    pub step_up: Option<String>,
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

    /// The person with this object id in a tenant's directory.
    #[must_use]
    pub fn person(&self, tenant: Uuid, object_id: Uuid) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.tenant_id == tenant && user.object_id == object_id && user.kind == UserKind::Person)
    }

    /// The groups that a user is in, directly or through other groups of the same tenant, as the directory has them.
    #[must_use]
    pub fn groups_of(&self, user: &User) -> Vec<Uuid> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut next: Vec<Uuid> = user.groups.iter().rev().copied().collect();
        // Groups may be nested in a circle: each is looked into once.
        while let Some(id) = next.pop() {
            if !seen.insert(id) {
                continue;
            }
            found.push(id);
            let group = self
                .groups
                .iter()
                .find(|group| group.id == id && group.tenant_id == user.tenant_id);
            next.extend(
                group
                    .into_iter()
                    .flat_map(|group| group.member_of.iter().rev().copied()),
            );
        }
        found
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
