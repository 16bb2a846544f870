//! What the tests stand on.

pub(crate) mod broker;
pub(crate) mod browser;
pub(crate) mod bucket;
pub(crate) mod data;
pub(crate) mod proxy;
pub(crate) mod serve;
pub(crate) mod services;
