//! A token broker for Azure Communication Services (ACS).
pub mod authorize;
pub mod clock;
pub mod config;
pub mod ids;
pub mod secret;
pub mod serve;
pub mod telemetry;
