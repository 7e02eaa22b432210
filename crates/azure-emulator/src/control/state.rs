//! What the controls reach: a handler takes the part that it changes.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::acs::state::Acs;
use crate::entra::state::Entra;
use crate::faults::Faults;
use crate::federated::Clusters;
use crate::journal::Journal;
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
