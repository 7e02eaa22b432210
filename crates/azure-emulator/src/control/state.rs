//! What the controls reach: a handler takes the part that it changes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRef;

use crate::acs::state::Acs;
use crate::entra::state::Entra;
use crate::faults::Faults;
use crate::federated::Clusters;
use crate::journal::Journal;
use crate::scenario::Assignment;
use crate::settings::CurrentSettings;
use crate::site::Site;

/// Every service of the emulator that has controls.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    pub(crate) settings: Arc<CurrentSettings>,
    pub(crate) entra: Arc<Entra>,
    pub(crate) acs: Arc<Acs>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) listener: Arc<AssignmentListener>,
}

/// Who wants to know the assignments after a control has changed them.
#[derive(Default)]
pub(crate) struct AssignmentListener(OnceLock<Box<dyn Fn(Vec<Assignment>) + Send + Sync>>);

impl AssignmentListener {
    /// Only the first one counts.
    pub(crate) fn set(&self, listener: Box<dyn Fn(Vec<Assignment>) + Send + Sync>) {
        let _ = self.0.set(listener);
    }

    pub(super) fn call(&self, assignments: Vec<Assignment>) {
        if let Some(listener) = self.0.get() {
            listener(assignments);
        }
    }
}

impl fmt::Debug for AssignmentListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssignmentListener")
    }
}

/// Lets a handler take one part of [`Controls`] as its state.
macro_rules! part {
    ($($field:ident).+: $part:ty) => {
        impl FromRef<Controls> for Arc<$part> {
            fn from_ref(controls: &Controls) -> Self {
                Self::clone(&controls.$($field).+)
            }
        }
    };
}

part!(settings: CurrentSettings);
part!(entra: Entra);
part!(entra.site: Site);
part!(entra.clusters: Clusters);
part!(acs: Acs);
part!(faults: Faults);
part!(journal: Journal);
part!(listener: AssignmentListener);
