//! A token broker for Azure Communication Services (ACS).
pub mod clock;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod ids;
pub mod secret;
