//! A token broker for Azure Communication Services (ACS).
pub mod clock;
pub mod ids;
pub mod secret;
pub mod serve;
pub mod telemetry;
