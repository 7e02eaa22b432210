//! The administrators' steps that let a company's users in, each of which may not be done yet.
//!
//! <https://learn.microsoft.com/azure/communication-services/quickstarts/identity/entra-id-authentication-integration>

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Scenario;

/// A step of an administrator. The demo world begins with all of them done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Step {
    /// The service principals of ACS's APIs in each tenant: step 1 of the quickstart.
    AcsClientsPrincipal,
    /// ACS's permissions in the registrations of the client app and of the broker's app: step 3.
    Permissions,
    /// The consent of the customers' administrators: step 5.
    Consent,
    /// The assignment of the customers' groups to ACS's APIs: step 5.
    GroupAssignment,
    /// The ACS resource's own assignments of the customers' users: step 4.
    AcsAssignment,
}

impl Step {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The step's name on command lines and in controls.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The step with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

impl Scenario {
    /// The same world, which begins without these steps.
    #[must_use]
    pub fn undo(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.undone.extend(steps);
        self
    }

    /// Whether a tenant is a customer's: not the one that owns the app and the ACS resource, unless there is no other.
    pub(crate) fn is_customer(&self, tenant: uuid::Uuid) -> bool {
        let home = self.resource.tenant_id;
        tenant != home || self.tenants.iter().all(|tenant| tenant.id == home)
    }

    /// Whether the world begins with this step done.
    pub(crate) fn begins_with(&self, step: Step) -> bool {
        !self.undone.contains(&step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_names_of_the_command_line() {
        let names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        let expected = [
            "acs-clients-principal",
            "permissions",
            "consent",
            "group-assignment",
            "acs-assignment",
        ];
        assert_eq!(names, expected);
        assert_eq!(Step::from_name("consent"), Some(Step::Consent));
        assert_eq!(Step::from_name("consents"), None);
    }
}
