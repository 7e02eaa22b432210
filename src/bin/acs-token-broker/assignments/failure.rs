//! Why a command did not do what it was asked, and which exit code says so.

use std::path::PathBuf;

use acs_token_broker::authorize::source::parse::{AssignmentProblem, UnknownFormat};
use acs_token_broker::broker::StartError;
use azure::acs_assignments::AssignmentsError;
use azure::{UpstreamFailure, UpstreamSetupError};
use base::ids::ObjectId;
use config::load::Problems;
use serde_json::{Value, json};

use crate::Exit;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the configuration has problems\n{0}")]
    Configuration(Problems),
    #[error("there are several resources; name one with --resource: {0}")]
    WhichResource(String),
    #[error("there is no resource of that name; {0}")]
    NoSuchResource(String),
    #[error("{0} is required: the command line signs its requests with it")]
    NoAuth(String),
    #[error(transparent)]
    Credential(#[from] StartError),
    #[error(transparent)]
    Upstream(#[from] UpstreamSetupError),
    #[error("no file is given, and none is configured")]
    NoFile,
    #[error("{}: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("{}: {cause}", file.display())]
    Format { file: PathBuf, cause: UnknownFormat },
    #[error("the assignment file has problems\n{}", lines(file, problems))]
    File {
        file: PathBuf,
        problems: Vec<AssignmentProblem>,
    },
    #[error("{}: {id} is assigned in two tenants, and ACS keeps one assignment for each objectId", file.display())]
    TwoTenants { file: PathBuf, id: ObjectId },
    #[error("the OBJECT_ID must be the --tenant-id, since the assignment is for the tenant")]
    NotTheTenant,
    #[error("cannot run: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Acs(#[from] AssignmentsError),
}

fn lines(file: &std::path::Path, problems: &[AssignmentProblem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {problem}", file.display()))
        .collect();
    lines.join("\n")
}

impl Failure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            // A key that cannot be read or used is a matter of configuration, though it shows late.
            Self::Acs(AssignmentsError::AccessKey(_)) => Exit::Configuration,
            Self::Acs(_) | Self::Runtime(_) => Exit::Failure,
            _ => Exit::Configuration,
        }
    }

    /// What programs that read standard output get in place of a result.
    pub(super) fn to_json(&self) -> Value {
        let code = match self {
            Self::Acs(AssignmentsError::NotFound) => "NotFound",
            Self::Acs(AssignmentsError::Refused { .. }) => "Refused",
            Self::Acs(AssignmentsError::Upstream(UpstreamFailure::Limited { .. })) => "TooManyRequests",
            Self::Acs(AssignmentsError::Upstream(UpstreamFailure::Unavailable { .. })) => "Unavailable",
            Self::Acs(AssignmentsError::Upstream(UpstreamFailure::Timeout)) => "Timeout",
            Self::Acs(
                AssignmentsError::Upstream(UpstreamFailure::InvalidResponse(_))
                | AssignmentsError::UnexpectedStatus { .. },
            ) => "InvalidResponse",
            Self::Acs(AssignmentsError::ServiceToken(_)) => "NoToken",
            Self::Runtime(_) => "Failure",
            Self::File { .. } | Self::Format { .. } | Self::Unreadable { .. } | Self::TwoTenants { .. } => {
                "InvalidFile"
            }
            Self::NotTheTenant | Self::NoFile | Self::WhichResource(_) | Self::NoSuchResource(_) => "Usage",
            Self::Acs(AssignmentsError::AccessKey(_))
            | Self::Configuration(_)
            | Self::NoAuth(_)
            | Self::Credential(_)
            | Self::Upstream(_) => "Configuration",
        };
        json!({ "error": { "code": code, "message": self.to_string() } })
    }
}
