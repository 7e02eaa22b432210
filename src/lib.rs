//! A token broker for Azure Communication Services (ACS).
//!
//! A front end signs its user in with Microsoft Entra ID and posts the Entra access token here; it gets an ACS
//! access token back. The rooms are the stages of that flow, and [`pipeline`] is the flow on one page:
//!
//! 1. [`api`] reads the request, in one of three forms;
//! 2. [`authenticate`] turns the bearer token into a [`Caller`](authenticate::Caller), or refuses it;
//! 3. [`authorize`] turns the caller into a [`Permit`](authorize::Permit), or denies it;
//! 4. [`cache`] serves what an earlier exchange brought, as far as that gives nobody more than ACS would;
//!    [`shared`] is the store that replicas share, its second tier;
//! 5. [`exchange`] asks ACS, through [`azure`], the one way out;
//! 6. [`api`] writes the answer.
//!
//! [`limits`] bounds what one caller may ask for. [`config`] is what the operator says, [`broker`] puts everything together, [`serve`] owns the sockets,
//! [`management`] the probes and [`telemetry`] logs and traces. [`doctor`] checks what must have been done before. `emulator` is the Azure side for development.

pub mod admission;
pub mod api;
pub mod authenticate;
pub mod authorize;
pub mod broker;
pub mod cache;
pub mod doctor;
pub mod exchange;
pub mod limits;
pub mod management;
pub mod pipeline;
pub mod route;
pub mod shared;
