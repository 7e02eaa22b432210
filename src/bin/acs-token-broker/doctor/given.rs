//! Tokens that are given on the command line, by file or on standard input. They are never shown.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use acs_token_broker::doctor::look::{GraphAccess, NoTenant, given_token};
use base::ids::TenantId;
use base::secret::BearerToken;
use zeroize::Zeroizing;

/// The longest that is read: no token is longer.
const MOST_BYTES: u64 = 256 * 1024;

/// What is wrong with a command line that clap lets pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Usage {
    #[error("{option} {}: {cause}", file.display())]
    Unreadable {
        option: &'static str,
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error("{0}: there is no token in it")]
    Empty(&'static str),
    #[error("--graph-token-file: {0}")]
    NoTenant(#[from] NoTenant),
    #[error("--token-file and --graph-token-file cannot both be standard input")]
    TwoOnStdin,
    #[error("--tenant {0}: the configuration does not list this tenant")]
    NoSuchTenant(TenantId),
    #[error("there is no terminal to ask on: give --yes, or run it on one")]
    NobodyToAsk,
    #[error("cannot run: {0}")]
    Runtime(std::io::Error),
}

/// Where a token is read from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(&'a Path);

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Self(path)
    }

    pub(crate) fn is_stdin(self) -> bool {
        self.0 == Path::new("-")
    }

    pub(crate) fn read(self, option: &'static str) -> Result<BearerToken, Usage> {
        let mut text = Zeroizing::new(String::new());
        let read = if self.is_stdin() {
            std::io::stdin().lock().take(MOST_BYTES).read_to_string(&mut text)
        } else {
            std::fs::File::open(self.0).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
        };
        read.map_err(|cause| Usage::Unreadable {
            option,
            file: self.0.to_owned(),
            cause,
        })?;
        // As it may come from an editor, from curl or out of a header.
        let bare = config::invisible::bare(&text);
        let bare = bare.strip_prefix("Bearer ").unwrap_or(bare).trim().trim_matches('"');
        if bare.is_empty() {
            return Err(Usage::Empty(option));
        }
        Ok(BearerToken::new(bare))
    }
}

/// Graph by an administrator's token.
pub(crate) fn graph_access(source: Source<'_>) -> Result<GraphAccess, Usage> {
    Ok(given_token(source.read("--graph-token-file")?)?)
}
