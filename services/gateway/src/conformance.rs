//! Endpoints for conformance runs, served only with `development.echo`. They are written with the trait that embedders
//! use, so they double as its examples. `specs/sockjs.md`, "Endpoints for conformance runs".

pub mod echo;
