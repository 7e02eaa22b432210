//! Values and mechanisms that every part of the broker uses, and that know nothing of Azure, HTTP or the settings.

pub mod build_info;
pub mod changing_file;
pub mod clock;
pub mod document;
pub mod flight;
pub mod ids;
pub mod json;
pub mod loopback;
pub mod secret;
pub mod tasks;
pub mod untrusted;
