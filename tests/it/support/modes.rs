//! Stacks in which tokens are for the broker's own API.

use azure_emulator::TokenRequest;
use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI};

use super::stack::{Builder, Stack};

/// Accepts tokens for Contoso's own API.
pub(crate) fn own_api(builder: Builder) -> Builder {
    builder
        .set("entra.audiences", format!("{CONTOSO_API},{CONTOSO_API_URI}"))
        .set("entra.required_scopes", "access")
}

/// On-behalf-of mode without a credential.
pub(crate) fn on_behalf_of() -> Builder {
    own_api(Stack::builder())
        .set("exchange.mode", "on_behalf_of")
        .set("exchange.on_behalf_of.client_id", CONTOSO_API.to_string())
}

/// On-behalf-of mode with a client secret.
pub(crate) fn with_secret() -> Builder {
    on_behalf_of()
        .set("exchange.on_behalf_of.credential", "secret")
        .set("exchange.on_behalf_of.client_secret", CONTOSO_API_SECRET)
}

/// Asks for a token for the broker's own API, as a front end does in these modes.
pub(crate) fn for_api(request: &mut TokenRequest) {
    request.audience = Some("api".to_owned());
}
