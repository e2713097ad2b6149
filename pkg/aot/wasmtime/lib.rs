//! wasmtime's C API, and nothing else: this crate only chooses version and features.
pub use api::*;
