//! The backend is asked: `docs/protocols/proxy.md`.

mod published;
