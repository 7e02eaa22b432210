//! What an administrator has to have done before a user gets a token, looked at step by step: the checks of
//! `acs-token-broker doctor`, and the steps of `setup` that Graph and ACS allow.
//!
//! Rules are pure functions over what was looked at: [`rules`]. Looking is [`look`]'s alone. [`check`] is the form of a
//! result, [`needs`] what the configuration makes necessary.

pub mod check;
pub mod look;
pub mod needs;
pub mod rules;
pub mod setup;
